//! The databases of this server.

use pgrx::prelude::*;

/// `datconnlimit` of a database whose DROP was interrupted (pg_database.h).
const INVALID: i32 = -2;

/// A database.
pub struct Database {
    /// Its number.
    pub oid: pg_sys::Oid,
    /// Its name.
    pub name: String,
    /// A worker can connect to it: it is no template, not closed, not half dropped.
    pub connectable: bool,
}

/// All databases.
///
/// The launcher is connected to no database, so there is no SQL; this reads the shared catalog in a
/// transaction of its own.
pub fn all() -> Vec<Database> {
    let mut databases = Vec::new();
    // SAFETY: outside a transaction; begins and ends one around the scan, as the autovacuum launcher
    // does. Fixed columns of a tuple are read through its struct.
    unsafe {
        pg_sys::StartTransactionCommand();
        pg_sys::GetTransactionSnapshot();
        let lock = pg_sys::AccessShareLock as i32;
        let relation = pg_sys::table_open(pg_sys::DatabaseRelationId, lock);
        let scan = pg_sys::table_beginscan_catalog(relation, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            let form = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>();
            databases.push(Database {
                oid: form.oid,
                name: name_data_to_str(&form.datname).to_owned(),
                connectable: form.datallowconn
                    && !form.datistemplate
                    && form.datconnlimit != INVALID,
            });
        }
        pg_sys::table_endscan(scan);
        pg_sys::table_close(relation, lock);
        pg_sys::CommitTransactionCommand();
    }
    databases
}
