//! Reading those catalogs that no cache of the server's holds as they are asked for.

use pgrx::pg_sys;

/// What `read` makes of the rows of `catalog` that have `value` in the column of number `column`; by `index`, if there is one.
///
/// # Safety
///
/// In a transaction. `catalog` is one whose rows begin with a `T`, `column` holds oids, and `index` is on that alone.
pub unsafe fn rows<T, R>(
    catalog: pg_sys::Oid,
    index: Option<pg_sys::Oid>,
    (column, value): (i16, pg_sys::Oid),
    mut read: impl FnMut(&T) -> Option<R>,
) -> Vec<R> {
    let mut found = Vec::new();
    // SAFETY: the caller's. Each row is read before the next is asked for; an error ends the scan with the transaction.
    unsafe {
        let lock = pg_sys::AccessShareLock as i32;
        let catalog = pg_sys::table_open(catalog, lock);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            column,
            pg_sys::BTEqualStrategyNumber as u16,
            pg_sys::F_OIDEQ.into(),
            value.into(),
        );
        let scan = pg_sys::systable_beginscan(
            catalog,
            index.unwrap_or(pg_sys::InvalidOid),
            index.is_some(),
            std::ptr::null_mut(),
            1,
            &mut key,
        );
        loop {
            let row = pg_sys::systable_getnext(scan);
            if row.is_null() {
                break;
            }
            found.extend(read(&*pg_sys::GETSTRUCT(row).cast::<T>()));
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, lock);
    }
    found
}
