//! Telling all processes that a relation has changed, and being told.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::identity;

/// Told of one relation, or of all where the oid is invalid. Neither allocates nor raises.
pub type OnRelation = unsafe extern "C-unwind" fn(pg_sys::Datum, pg_sys::Oid);

/// Told of a row of a catalog. Neither allocates nor raises.
pub type OnCatalog = unsafe extern "C-unwind" fn(pg_sys::Datum, i32, u32);

/// The relation `name` of schema `webhook`; invalid where there is none.
pub fn relation(name: &CStr) -> pg_sys::Oid {
    // SAFETY: a catalog read in a transaction.
    unsafe { pg_sys::get_relname_relid(name.as_ptr(), identity::schema()) }
}

/// Tells every process, at commit, that `relation` has changed.
pub fn announce(relation: pg_sys::Oid) {
    // SAFETY: in a transaction; the relation exists.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) };
}

/// Calls `changed` whenever a relation has changed, for the life of this process.
pub fn on_relation(changed: OnRelation) {
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(changed), pg_sys::Datum::null()) };
}

/// Calls `changed` whenever a schema has changed: renaming one invalidates no relation.
pub fn on_schema(changed: OnCatalog) {
    on_catalog(pg_sys::SysCacheIdentifier::NAMESPACEOID, changed);
}

/// Calls `changed` whenever a row of the catalog behind `cache` has changed, with the row's hash, or with 0 where that
/// could be any row.
pub fn on_catalog(cache: pg_sys::SysCacheIdentifier::Type, changed: OnCatalog) {
    // SAFETY: as above.
    unsafe {
        pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(changed), pg_sys::Datum::null());
    }
}

/// The hash by which a change of the row with this oid is told.
pub fn hash(cache: pg_sys::SysCacheIdentifier::Type, oid: pg_sys::Oid) -> u32 {
    let none = pg_sys::Datum::null();
    // SAFETY: in a transaction, for a cache with one key.
    unsafe { pg_sys::GetSysCacheHashValue(cache as i32, oid.into(), none, none, none) }
}
