//! Writing rows without a statement.
//!
//! Needs no right on the table and runs no trigger. Every index of the table is kept, also one that an
//! administrator has added.

use std::ffi::{CStr, c_int};
use std::ptr;

use pgrx::prelude::*;

use super::spi::Arg;
use super::{compat, report};
use crate::domain::refusal::Refusal;

/// A value of a row, and the column that it is for.
#[derive(Clone, Copy)]
pub struct Field {
    column: &'static CStr,
    value: Arg,
    /// A table without the column is not written to; `false` for what can be left out.
    needed: bool,
}

impl Field {
    /// One without which a row is not what it should be.
    pub fn needed(column: &'static CStr, value: Arg) -> Self {
        Self { column, value, needed: true }
    }

    /// One that is left out where the table, which an earlier version may have made, does not have the column.
    pub fn extra(column: &'static CStr, value: Arg) -> Self {
        Self { column, value, needed: false }
    }
}

/// A row. Columns are found by name, and their types are checked, with each row: nothing has to be kept in step with the
/// catalog, and where they are in this order it takes some dozens of nanoseconds.
pub type Columns<const COLUMNS: usize> = [Field; COLUMNS];

/// Inserts a row into `relation` in the current transaction. Costs half of what a prepared INSERT does.
///
/// Raises an error where the table has other columns.
pub fn insert<const COLUMNS: usize>(relation: pg_sys::Oid, row: Columns<COLUMNS>) {
    with_relation(relation, |relation| {
        // SAFETY: in a transaction; the tuple is made for the open table's descriptor.
        unsafe {
            let tuple = form(relation, &row);
            let indexes = pg_sys::CatalogOpenIndexes(relation);
            let plain = are_plain(indexes);
            if plain {
                pg_sys::CatalogTupleInsertWithInfo(relation, tuple, indexes);
            }
            pg_sys::CatalogCloseIndexes(indexes);
            pg_sys::heap_freetuple(tuple);
            if !plain {
                insert_all_into(relation, &[row]);
            }
        }
    });
}

/// Inserts rows into `relation` in the current transaction, with one record of the write-ahead log for each
/// page. Costs a third of what an INSERT from arrays does.
///
/// Raises an error where the table has other columns.
pub fn insert_all<const COLUMNS: usize>(relation: pg_sys::Oid, rows: &[Columns<COLUMNS>]) {
    // SAFETY: in a transaction, with an open table.
    with_relation(relation, |relation| unsafe { insert_all_into(relation, rows) });
}

/// Puts `row` into the place of the one at `before`, which this transaction has locked; without one it inserts it.
///
/// Raises an error where there is no such row, or the table has other columns.
pub fn replace<const COLUMNS: usize>(
    relation: pg_sys::Oid,
    before: Option<pg_sys::ItemPointerData>,
    row: Columns<COLUMNS>,
) {
    if let Some(position) = before {
        // SAFETY: in a transaction, with an open table.
        with_relation(relation, |relation| unsafe { delete(relation, position) });
    }
    insert(relation, row);
}

/// # Safety
///
/// In a transaction; the relation is open.
unsafe fn delete(relation: pg_sys::Relation, position: pg_sys::ItemPointerData) {
    let mut tuple = pg_sys::HeapTupleData { t_self: position, ..Default::default() };
    let mut buffer = 0;
    // SAFETY: the caller's. `heap_fetch` takes any position and says whether there is a row that is visible, which
    // then stays where it is; the buffer is the one that it has pinned.
    let exists = unsafe {
        let now = &raw mut pg_sys::SnapshotSelfData;
        let exists = pg_sys::heap_fetch(relation, now, &mut tuple, &mut buffer, false);
        if exists {
            pg_sys::ReleaseBuffer(buffer);
            pg_sys::simple_heap_delete(relation, &mut tuple.t_self);
        }
        exists
    };
    if !exists {
        refuse(relation, "has no row at this position");
    }
}

fn with_relation(relation: pg_sys::Oid, work: impl FnOnce(pg_sys::Relation)) {
    // SAFETY: in a transaction, until the end of which the lock is kept, as for any insert.
    unsafe {
        let relation = pg_sys::table_open(relation, pg_sys::RowExclusiveLock as c_int);
        if (*(*relation).rd_rel).relam != pg_sys::HEAP_TABLE_AM_OID {
            refuse(relation, "is not stored as a heap");
        }
        work(relation);
        pg_sys::table_close(relation, pg_sys::NoLock as c_int);
    }
}

/// An administrator has changed the table.
#[cold]
fn refuse(relation: pg_sys::Relation, how: &'static str) -> ! {
    // SAFETY: callers have the relation open.
    let name = unsafe { name_data_to_str(&(*(*relation).rd_rel).relname) };
    report::raise(Refusal::Altered { table: name.to_owned(), how })
}

/// # Safety
///
/// The relation is open.
unsafe fn form<const COLUMNS: usize>(
    relation: pg_sys::Relation,
    row: &Columns<COLUMNS>,
) -> pg_sys::HeapTuple {
    // SAFETY: the caller's.
    let attributes = unsafe { compat::attributes((*relation).rd_att) };
    let mut values = vec![pg_sys::Datum::null(); attributes.len()];
    let mut nulls = vec![true; attributes.len()];
    let mut rest: usize = row.iter().filter(|value| value.needed).count();
    for (at, attribute) in attributes.iter().enumerate() {
        let given = find(row, at, attribute).filter(|_| !attribute.attisdropped);
        let datum = given.and_then(|given| given.value.datum);
        let fits = given.is_none_or(|given| attribute.atttypid == given.value.type_oid);
        let may_be_null = attribute.attisdropped || !attribute.attnotnull;
        if !fits || datum.is_none() && !may_be_null {
            refuse(relation, "has other columns than a row that is to be written");
        }
        if let Some(datum) = datum {
            (values[at], nulls[at]) = (datum, false);
        }
        rest -= usize::from(given.is_some_and(|given| given.needed));
    }
    if rest > 0 {
        refuse(relation, "lacks a column of a row that is to be written");
    }
    // SAFETY: a value of its type, or NULL, for each column, as has just been seen.
    unsafe { pg_sys::heap_form_tuple((*relation).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr()) }
}

/// What a row has for the column at this place, where it mostly is.
fn find<'r, const COLUMNS: usize>(
    row: &'r Columns<COLUMNS>,
    at: usize,
    attribute: &pg_sys::FormData_pg_attribute,
) -> Option<&'r Field> {
    // SAFETY: a name of the catalog ends with NUL.
    let name = unsafe { CStr::from_ptr(attribute.attname.data.as_ptr()) };
    let is_it = |value: &&Field| value.column == name;
    row.get(at).filter(is_it).or_else(|| row.iter().find(is_it))
}

/// Whether the way in which the catalogs are written does for these indexes: it evaluates no expressions
/// and leaves no row out.
///
/// # Safety
///
/// They are open.
unsafe fn are_plain(indexes: pg_sys::CatalogIndexState) -> bool {
    // SAFETY: the caller's; the array has so many entries.
    unsafe {
        let count = (*indexes).ri_NumIndices as usize;
        (0..count).all(|at| {
            let index = *(*indexes).ri_IndexRelationInfo.add(at);
            (*index).ii_Expressions.is_null()
                && (*index).ii_Predicate.is_null()
                && (*index).ii_ExclusionOps.is_null()
        })
    }
}

/// As COPY writes them.
///
/// # Safety
///
/// In a transaction; the relation is open.
unsafe fn insert_all_into<const COLUMNS: usize>(
    relation: pg_sys::Relation,
    rows: &[Columns<COLUMNS>],
) {
    // SAFETY: the caller's; each slot has a tuple of the relation's descriptor, and the position of its row
    // from when that has been inserted.
    unsafe {
        let mut slots: Vec<*mut pg_sys::TupleTableSlot> = Vec::with_capacity(rows.len());
        for row in rows {
            let kind = &raw const pg_sys::TTSOpsHeapTuple;
            let slot = pg_sys::MakeSingleTupleTableSlot((*relation).rd_att, kind);
            slots.push(pg_sys::ExecStoreHeapTuple(form(relation, row), slot, true));
        }
        let command = pg_sys::GetCurrentCommandId(true);
        let (table, count) = (slots.as_mut_ptr(), slots.len() as c_int);
        pg_sys::heap_multi_insert(relation, table, count, command, 0, ptr::null_mut());

        let executor = pg_sys::CreateExecutorState();
        let mut indexes =
            pg_sys::ResultRelInfo { type_: pg_sys::NodeTag::T_ResultRelInfo, ..Default::default() };
        pg_sys::InitResultRelInfo(&mut indexes, relation, 0, ptr::null_mut(), 0);
        pg_sys::ExecOpenIndices(&mut indexes, false);
        for slot in slots {
            compat::insert_into_indexes(&mut indexes, slot, executor);
            pg_sys::ExecDropSingleTupleTableSlot(slot);
        }
        pg_sys::ExecCloseIndices(&mut indexes);
        pg_sys::FreeExecutorState(executor);
    }
}
