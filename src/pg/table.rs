//! Tables that are looked at, open and locked.

use std::ffi::{CStr, CString, c_int};

use pgrx::pg_sys;

use super::compat;
use super::composite::Record;
use super::identity;
use super::row::Row;

/// How a table is locked while it is looked at, until the transaction ends.
#[derive(Clone, Copy)]
pub enum Lock {
    /// Against being dropped or changed in its shape.
    Read,
    /// Against writers and other changes of its triggers, as CREATE TRIGGER does.
    Trigger,
    /// Against everything, as DROP TRIGGER does.
    Drop,
}

/// Locks a table for writing until the transaction ends; `false` where somebody keeps others from that, or waits to.
pub fn lock_at_once(table: pg_sys::Oid) -> bool {
    // SAFETY: in a transaction. Where the table has been dropped there is no error, and nobody else has the number.
    unsafe { pg_sys::ConditionalLockRelationOid(table, pg_sys::RowExclusiveLock as c_int) }
}

/// An open table.
pub struct Table {
    relation: pg_sys::Relation,
}

impl Table {
    /// Opens a table and waits for the lock; `None` where it has been dropped.
    pub fn open(table: pg_sys::Oid, lock: Lock) -> Option<Self> {
        let mode = match lock {
            Lock::Read => pg_sys::AccessShareLock,
            Lock::Trigger => pg_sys::ShareRowExclusiveLock,
            Lock::Drop => pg_sys::AccessExclusiveLock,
        };
        // SAFETY: in a transaction; closed in drop, or by the abort.
        let relation = unsafe { pg_sys::try_relation_open(table, mode as c_int) };
        // Not `then_some`, which would make a value of the null and close it.
        (!relation.is_null()).then(|| Self { relation })
    }

    /// Its oid.
    pub fn oid(&self) -> pg_sys::Oid {
        // SAFETY: open.
        unsafe { (*self.relation).rd_id }
    }

    /// The server's own handle, as long as the table is open.
    pub fn relation(&self) -> pg_sys::Relation {
        self.relation
    }

    /// The columns, as long as the table is open.
    pub fn descriptor(&self) -> pg_sys::TupleDesc {
        // SAFETY: open.
        unsafe { (*self.relation).rd_att }
    }

    /// The row, if it is one of the table's type.
    pub fn row<'a>(&'a self, Record(row): Record<'a>) -> Option<Row<'a>> {
        // SAFETY: open; a row's descriptor is one.
        let own = unsafe { (*(*self.relation).rd_rel).reltype == (*row.descriptor()).tdtypeid };
        own.then_some(row)
    }

    /// A row of NULLs, in the current memory context.
    pub fn nulls(&self) -> Row<'_> {
        // SAFETY: open for as long as the row is there; the arrays have an entry for each column, of which none is read
        // where it is NULL.
        unsafe {
            let columns = (*self.descriptor()).natts as usize;
            let mut values = vec![pg_sys::Datum::null(); columns];
            let mut nulls = vec![true; columns];
            let tuple =
                pg_sys::heap_form_tuple(self.descriptor(), values.as_mut_ptr(), nulls.as_mut_ptr());
            Row::new(tuple, self.descriptor())
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by `open`; the lock stays until the transaction ends.
            unsafe { pg_sys::relation_close(self.relation, pg_sys::NoLock as c_int) };
        }
    }
}

/// Takes all rows out of tables that are open with [`Lock::Drop`], as TRUNCATE does it. Logical decoding does not see
/// it, so the tables of a subscriber that are called so stay as they are.
pub fn empty(tables: &[Table]) {
    let relations: Vec<pg_sys::Relation> = tables.iter().map(Table::relation).collect();
    // SAFETY: open, and locked against everybody else; they stay open. A cursor of this session is an error.
    unsafe {
        relations.iter().for_each(|table| pg_sys::CheckTableNotInUse(*table, c"TRUNCATE".as_ptr()));
        compat::truncate(&relations);
    }
}

/// The table of ours that has this name.
pub fn own(name: &str) -> Option<pg_sys::Oid> {
    let name = CString::new(name).ok()?;
    // SAFETY: catalog reads in a transaction; without the schema an error.
    let table = unsafe {
        let schema = pg_sys::get_namespace_oid(identity::SCHEMA.as_ptr(), false);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    (table != pg_sys::InvalidOid).then_some(table)
}

/// Schema and name; `None` where there is no such table.
pub fn name(table: pg_sys::Oid) -> Option<(String, String)> {
    let copied = |name: *mut std::ffi::c_char| {
        // SAFETY: a name ends with NUL.
        (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
    };
    // SAFETY: catalog reads in a transaction, which return copies.
    unsafe {
        let schema = pg_sys::get_rel_namespace(table);
        copied(pg_sys::get_namespace_name(schema)).zip(copied(pg_sys::get_rel_name(table)))
    }
}

/// Whether `role` may read all rows and all columns of a table; `false` where there is none.
pub fn is_open_to(table: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    let mut missing = false;
    // SAFETY: catalog reads in a transaction. A tuple of that cache begins with that struct, whose fixed columns are read
    // while it is pinned.
    unsafe {
        let mode = pg_sys::AclMode::from(pg_sys::ACL_SELECT);
        let may = pg_sys::pg_class_aclcheck_ext(table, role, mode, &mut missing);
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(table),
        );
        if tuple.is_null() {
            return false;
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>();
        let secured = (*form).relrowsecurity;
        pg_sys::ReleaseSysCache(tuple);
        may == pg_sys::AclResult::ACLCHECK_OK && !missing && !secured
    }
}
