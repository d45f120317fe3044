//! Webhooks and what they watch: the definitions that users make, as rows and triggers.
//!
//! Everything here runs inside `pg::identity::as_owner`, after the caller's rights have been checked,
//! and in the caller's transaction: a ROLLBACK undoes all of it.

pub mod condition;
pub mod definition;
pub mod endpoint;
pub mod trigger;
pub mod watch;
pub mod webhook;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pgrx::pg_sys;

use crate::pg::wake;

/// Tells every process, at commit, that a definition has changed: backends drop what they cached, the
/// worker reads the definitions again.
pub fn changed() {
    // SAFETY: in a transaction; the relation is found by name in our own schema.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation()) };
    wake::definitions_at_commit();
}

/// The oid of `webhook.webhook`, by whose invalidation changes are told.
pub fn relation() -> pg_sys::Oid {
    // SAFETY: catalog reads in a transaction.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"webhook".as_ptr(), true);
        pg_sys::get_relname_relid(c"webhook".as_ptr(), schema)
    }
}

static RELATION: AtomicU32 = AtomicU32::new(0);
static CHANGED: AtomicBool = AtomicBool::new(false);

/// Learns of changes from now on. To be called once, in a transaction.
pub fn listen() {
    RELATION.store(relation().into(), Ordering::Relaxed);
    // SAFETY: the callback lives as long as the library and does nothing but store a flag.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(invalidated), pg_sys::Datum::from(0usize));
    }
    set_changed();
}

/// Whether definitions have changed since the last call.
pub fn take_changed() -> bool {
    CHANGED.swap(false, Ordering::Relaxed)
}

/// They are to be read again.
pub fn set_changed() {
    CHANGED.store(true, Ordering::Relaxed);
}

unsafe extern "C-unwind" fn invalidated(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    if relation == pg_sys::InvalidOid || u32::from(relation) == RELATION.load(Ordering::Relaxed) {
        set_changed();
    }
}
