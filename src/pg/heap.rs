//! Writing rows without a statement.
//!
//! Needs no right on the table and runs no trigger. Every index of the table is kept, also one that an
//! administrator has added. Logical decoding sees nothing of the rows: there are bodies and secrets in them, and a
//! subscriber has no use for the rows of another database's queue.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use pgrx::prelude::*;

use super::row::{Row, is_named};
use super::spi::Arg;
use super::{compat, report, wal};
use domain::refusal::Refusal;

/// The name of a column as the catalog has it, filled up with zeros: of a fixed size, so that comparing two looks for no end.
/// Each row of the ring is compared with all of them.
pub struct Column([c_char; pg_sys::NAMEDATALEN as usize]);

impl Column {
    /// Without a branch for each byte, and without a call.
    fn is(&self, attribute: &pg_sys::FormData_pg_attribute) -> bool {
        let both = self.0.iter().zip(&attribute.attname.data);
        both.fold(0, |unlike, (one, other)| unlike | (one ^ other)) == 0
    }

    /// That of this name, which is shorter than the catalog's longest.
    pub const fn named(name: &CStr) -> Self {
        let mut column = [0; pg_sys::NAMEDATALEN as usize];
        let mut at = 0;
        while at < name.count_bytes() {
            column[at] = name.to_bytes()[at] as c_char;
            at += 1;
        }
        assert!(at < column.len());
        Self(column)
    }
}

/// A [`Column`] that is made by the compiler.
macro_rules! column {
    ($name:literal) => {
        const { &$crate::pg::heap::Column::named($name) }
    };
}
pub(crate) use column;

/// A value of a row, and the column that it is for.
#[derive(Clone, Copy)]
pub struct Field {
    column: &'static Column,
    value: Arg,
    /// A table without the column is not written to; `false` for what can be left out.
    needed: bool,
}

impl Field {
    /// One without which a row is not what it should be.
    pub fn needed(column: &'static Column, value: Arg) -> Self {
        Self { column, value, needed: true }
    }

    /// One that is left out where the table, which an earlier version may have made, does not have the column.
    pub fn extra(column: &'static Column, value: Arg) -> Self {
        Self { column, value, needed: false }
    }
}

/// A row. Columns are found by name, and their types are checked, with each row: nothing has to be kept in step with the
/// catalog, and where they are in this order each name is compared once.
pub type Columns<const COLUMNS: usize> = [Field; COLUMNS];

/// Inserts a row into `relation` in the current transaction. Costs half of what a prepared INSERT does.
///
/// Raises an error where the table has other columns.
pub fn insert<const COLUMNS: usize>(relation: pg_sys::Oid, row: Columns<COLUMNS>) {
    with_relation(relation, |relation| {
        // SAFETY: in a transaction, with an open table, for whose descriptor the row is formed.
        unsafe { insert_into(relation, &mut form(relation, &row)) }
    });
}

/// As [`insert`], for a row of any kind, whose columns, but for `but_for`, are found by name.
///
/// Raises an error where the table does not have each of them, or has others that must not be NULL.
pub fn insert_row(relation: pg_sys::Oid, row: &Row<'_>, but_for: Option<&str>) {
    with_relation(relation, |relation| {
        // SAFETY: in a transaction, with an open table, for whose descriptor the row is formed.
        unsafe {
            let columns = Matching::new(relation, row.attributes(), but_for);
            insert_into(relation, &mut columns.form(relation, row));
        }
    });
}

/// Inserts rows into `relation` in the current transaction, with one record of the write-ahead log for each
/// page. Costs a third of what an INSERT from arrays does.
///
/// Raises an error where the table has other columns.
pub fn insert_all<const COLUMNS: usize>(relation: pg_sys::Oid, rows: &[Columns<COLUMNS>]) {
    // SAFETY: in a transaction, with an open table, for which the tuples are made.
    with_relation(relation, |relation| unsafe {
        insert_all_into(relation, rows.iter().map(|row| form(relation, row).tuple()).collect());
    });
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

/// Removes the row at `position`, which nobody else changes. Logical decoding sees no more of it than its key.
///
/// Raises an error where there is none.
pub fn remove(relation: pg_sys::Oid, position: pg_sys::ItemPointerData) {
    // SAFETY: in a transaction, with an open table.
    with_relation(relation, |relation| unsafe { delete(relation, position) });
}

/// A row that is to be written, whose columns are found by name.
pub struct Put<'a> {
    /// Into this table.
    pub relation: pg_sys::Oid,
    /// Into the place of the one at this position, which nobody else changes.
    pub before: Option<pg_sys::ItemPointerData>,
    /// With these values.
    pub row: Row<'a>,
}

/// Writes rows, best those of a table all of one type, but for their column `but_for`, as [`insert_all`] does. Logical decoding sees of
/// those that were there before no more than their key.
///
/// Raises an error where a table does not have each of the columns, or has others that must not be NULL, or a row is not there.
pub fn put_all<'a>(rows: impl Iterator<Item = Put<'a>>, but_for: Option<&str>) {
    let mut tables: BTreeMap<u32, Vec<Put<'a>>> = BTreeMap::new();
    rows.for_each(|put| tables.entry(put.relation.to_u32()).or_default().push(put));
    for (table, rows) in tables {
        // SAFETY: in a transaction, with an open table, for whose descriptor the rows are formed.
        with_relation(table.into(), |relation| unsafe {
            let before = rows.iter().filter_map(|put| put.before);
            before.for_each(|position| delete(relation, position));
            let mut columns: Option<(Kind, Matching)> = None;
            let tuples = rows.iter().map(|put| {
                let kind = kind_of(&put.row);
                let known = columns.take().filter(|(known, _)| *known == kind);
                let made = || (kind, Matching::new(relation, put.row.attributes(), but_for));
                let (_, columns) = columns.insert(known.unwrap_or_else(made));
                columns.form(relation, &put.row).tuple()
            });
            insert_all_into(relation, tuples.collect());
        });
    }
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

/// A row with a value, or NULL, for each column of a descriptor.
struct Formed {
    descriptor: pg_sys::TupleDesc,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl Formed {
    /// # Safety
    ///
    /// There is a value of its type, or NULL, for each column of the descriptor. That and what values point to outlive the
    /// result.
    unsafe fn new(
        descriptor: pg_sys::TupleDesc,
        values: Vec<pg_sys::Datum>,
        nulls: Vec<bool>,
    ) -> Self {
        Self { descriptor, values, nulls }
    }

    fn tuple(&mut self) -> pg_sys::HeapTuple {
        let (values, nulls) = (self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
        // SAFETY: by `new`.
        unsafe { pg_sys::heap_form_tuple(self.descriptor, values, nulls) }
    }
}

/// # Safety
///
/// The relation is open.
unsafe fn form<const COLUMNS: usize>(relation: pg_sys::Relation, row: &Columns<COLUMNS>) -> Formed {
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
    unsafe { Formed::new((*relation).rd_att, values, nulls) }
}

/// What says of which type a row is.
type Kind = (pg_sys::Oid, i32);

fn kind_of(row: &Row<'_>) -> Kind {
    // SAFETY: a row has a descriptor for as long as it is there.
    unsafe { ((*row.descriptor()).tdtypeid, (*row.descriptor()).tdtypmod) }
}

/// For each column of a relation, which one of rows of some kind it is; `None` for one that is to be NULL.
struct Matching(Vec<Option<usize>>);

impl Matching {
    /// # Safety
    ///
    /// The relation is open.
    unsafe fn new(
        relation: pg_sys::Relation,
        given: &[pg_sys::FormData_pg_attribute],
        but_for: Option<&str>,
    ) -> Self {
        // SAFETY: the caller's.
        let attributes = unsafe { compat::attributes((*relation).rd_att) };
        let find = |attribute: &pg_sys::FormData_pg_attribute| {
            let is_it = |other: &pg_sys::FormData_pg_attribute| {
                other.attname.data == attribute.attname.data && other.atttypid == attribute.atttypid
            };
            given.iter().position(is_it).filter(|_| !attribute.attisdropped)
        };
        let found: Vec<_> = attributes.iter().map(find).collect();
        let wanted =
            |a: &&pg_sys::FormData_pg_attribute| !but_for.is_some_and(|it| is_named(a, it));
        if found.iter().flatten().count() < given.iter().filter(wanted).count() {
            refuse(relation, "lacks a column of a row that is to be written");
        }
        Self(found)
    }

    /// # Safety
    ///
    /// The relation is the open one that it was made for, and the row of the kind.
    unsafe fn form(&self, relation: pg_sys::Relation, row: &Row<'_>) -> Formed {
        // SAFETY: the caller's.
        let attributes = unsafe { compat::attributes((*relation).rd_att) };
        let mut values = vec![pg_sys::Datum::null(); attributes.len()];
        let mut nulls = vec![true; attributes.len()];
        for (at, attribute) in attributes.iter().enumerate() {
            match self.0[at].and_then(|index| row.value(index)) {
                Some(datum) => (values[at], nulls[at]) = (datum, false),
                None if attribute.attnotnull && !attribute.attisdropped => {
                    refuse(relation, "has other columns than a row that is to be written");
                }
                None => {}
            }
        }
        // SAFETY: a value of its type, or NULL, for each column, as has just been seen.
        unsafe { Formed::new((*relation).rd_att, values, nulls) }
    }
}

/// What a row has for the column at this place, where it mostly is.
fn find<'r, const COLUMNS: usize>(
    row: &'r Columns<COLUMNS>,
    at: usize,
    attribute: &pg_sys::FormData_pg_attribute,
) -> Option<&'r Field> {
    let is_it = |value: &&Field| value.column.is(attribute);
    row.get(at).filter(is_it).or_else(|| row.iter().find(is_it))
}

/// # Safety
///
/// In a transaction; the row is one of the open relation's descriptor.
unsafe fn insert_into(relation: pg_sys::Relation, row: &mut Formed) {
    let tuple = row.tuple();
    // SAFETY: the caller's. The list of indexes is closed again, and nobody needs the tuple afterwards.
    unsafe {
        let indexes = pg_sys::CatalogOpenIndexes(relation);
        let plain = are_plain(indexes);
        if plain {
            unseen(relation, tuple);
            insert_into_plain(relation, indexes, row, &mut (*tuple).t_self);
            pg_sys::heap_freetuple(tuple);
        }
        pg_sys::CatalogCloseIndexes(indexes);
        if !plain {
            insert_all_into(relation, vec![tuple]);
        }
    }
}

/// Inserts a tuple of which logical decoding sees nothing.
///
/// # Safety
///
/// In a transaction; the tuple is one of the open relation's descriptor.
unsafe fn unseen(relation: pg_sys::Relation, tuple: pg_sys::HeapTuple) {
    let options = pg_sys::HEAP_INSERT_NO_LOGICAL as c_int;
    // SAFETY: the caller's. Parts that are stored elsewhere are written with the same options.
    unsafe {
        let command = pg_sys::GetCurrentCommandId(true);
        pg_sys::heap_insert(relation, tuple, command, options, ptr::null_mut());
    }
}

/// Whether an entry in these indexes is made of columns alone, and each row has one, or each in which a column is not null.
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
            ((*index).ii_Predicate.is_null() || needed(&*index).is_some())
                && (*index).ii_ExclusionOps.is_null()
                && columns(&*index).iter().all(|number| *number > 0)
        })
    }
}

/// The numbers of the columns of an index: 0 for an expression, and less for what the server keeps of each row.
fn columns(index: &pg_sys::IndexInfo) -> &[i16] {
    &index.ii_IndexAttrNumbers[..index.ii_NumIndexAttrs as usize]
}

/// The number of the column that is not null in rows of which the index has an entry; `None` where it asks for anything else.
///
/// # Safety
///
/// It is one of an open relation.
unsafe fn needed(index: &pg_sys::IndexInfo) -> Option<i16> {
    let conditions = index.ii_Predicate;
    // SAFETY: the caller's: what an index asks for is a list of nodes, which are what their tags say.
    unsafe {
        let condition = (!conditions.is_null() && (*conditions).length == 1)
            .then(|| pg_sys::list_nth(conditions, 0).cast::<pg_sys::Node>())?;
        if (*condition).type_ != pg_sys::NodeTag::T_NullTest {
            return None;
        }
        let test = condition.cast::<pg_sys::NullTest>();
        let argument = (*test).arg.cast::<pg_sys::Node>();
        let is_there = (*test).nulltesttype == pg_sys::NullTestType::IS_NOT_NULL
            && (*argument).type_ == pg_sys::NodeTag::T_Var;
        let number = is_there.then(|| (*argument.cast::<pg_sys::Var>()).varattno)?;
        (number > 0).then_some(number)
    }
}

/// As the server does for its catalogs.
///
/// # Safety
///
/// The indexes are those of the open relation, and plain; the row is one of its descriptor, and at `position` there.
unsafe fn insert_into_plain(
    relation: pg_sys::Relation,
    indexes: pg_sys::CatalogIndexState,
    row: &Formed,
    position: pg_sys::ItemPointer,
) {
    const MOST: usize = pg_sys::INDEX_MAX_KEYS as usize;
    let (mut values, mut nulls) = ([pg_sys::Datum::null(); MOST], [false; MOST]);
    // SAFETY: the caller's; an index has as many columns at most as the arrays have entries.
    unsafe {
        for at in 0..(*indexes).ri_NumIndices as usize {
            let index = *(*indexes).ri_IndexRelationDescs.add(at);
            let info = *(*indexes).ri_IndexRelationInfo.add(at);
            let is_left_out =
                || needed(&*info).is_some_and(|number| row.nulls[number as usize - 1]);
            if !(*info).ii_ReadyForInserts || is_left_out() {
                continue;
            }
            for (at, number) in columns(&*info).iter().enumerate() {
                let column = *number as usize - 1;
                (values[at], nulls[at]) = (row.values[column], row.nulls[column]);
            }
            let (values, nulls) = (values.as_mut_ptr(), nulls.as_mut_ptr());
            let check = match (*(*index).rd_index).indisunique {
                true => pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES,
                false => pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO,
            };
            pg_sys::index_insert(index, values, nulls, position, relation, check, false, info);
        }
    }
}

/// As COPY writes them, unless logical decoding could see them then.
///
/// # Safety
///
/// In a transaction; the tuples are of the open relation's descriptor, and nobody needs them afterwards.
unsafe fn insert_all_into(relation: pg_sys::Relation, tuples: Vec<pg_sys::HeapTuple>) {
    // SAFETY: the caller's; each slot has a tuple of the relation's descriptor, and the position of its row
    // from when that has been inserted.
    unsafe {
        // That of the relation is counted, and hundreds of slots with it would be told to the resource owner and looked for again.
        let descriptor = pg_sys::CreateTupleDescCopy((*relation).rd_att);
        let stored = |tuple| {
            let kind = &raw const pg_sys::TTSOpsHeapTuple;
            let slot = pg_sys::MakeSingleTupleTableSlot(descriptor, kind);
            pg_sys::ExecStoreHeapTuple(tuple, slot, true)
        };
        let mut slots: Vec<_> = tuples.iter().map(|tuple| stored(*tuple)).collect();
        if wal::is_logical() {
            for (slot, tuple) in slots.iter().zip(&tuples) {
                unseen(relation, *tuple);
                (**slot).tts_tid = (**tuple).t_self;
            }
        } else {
            let command = pg_sys::GetCurrentCommandId(true);
            let (table, count) = (slots.as_mut_ptr(), slots.len() as c_int);
            pg_sys::heap_multi_insert(relation, table, count, command, 0, ptr::null_mut());
        }

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
        pg_sys::FreeTupleDesc(descriptor);
    }
}
