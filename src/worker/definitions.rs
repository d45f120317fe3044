//! Whether definitions have changed since the worker last read them.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pgrx::pg_sys;

use crate::host::anchor;
use crate::pg::invalidation;
use crate::pg::spi::Session;
use crate::registry::{self, owner};

static RELATION: AtomicU32 = AtomicU32::new(0);
static CHANGED: AtomicBool = AtomicBool::new(false);

/// Learns of changes from now on. In a transaction.
pub(super) fn listen() {
    static LISTENING: Once = Once::new();
    RELATION.store(registry::relation().into(), Ordering::Relaxed);
    // The server has room for a few of them, and takes none back.
    LISTENING.call_once(|| invalidation::on_relation(invalidated));
    set_changed();
}

/// Whether they have changed since the last call.
pub(super) fn take_changed() -> bool {
    CHANGED.swap(false, Ordering::Relaxed)
}

/// They are to be read again.
pub(super) fn set_changed() {
    CHANGED.store(true, Ordering::Relaxed);
}

thread_local! {
    /// The hashes by which the server tells that the anchor of a present owner has changed.
    static OWNERS: RefCell<HashSet<u32>> = RefCell::default();
}

/// From now on definitions are also read again when the anchor of a present owner changes.
pub(super) fn watch_owners(session: &Session) {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| invalidation::on_catalog(anchor::CACHE, owner_changed));
    OWNERS.set(owner::hashes(session));
}

extern "C-unwind" fn owner_changed(_argument: pg_sys::Datum, _cache: i32, hash: u32) {
    // While the set is borrowed it cannot be looked into: the change counts.
    let concerned = OWNERS.with(|hashes| {
        hashes.try_borrow().map_or(true, |known| hash == 0 || known.contains(&hash))
    });
    if concerned {
        set_changed();
    }
}

unsafe extern "C-unwind" fn invalidated(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    if relation == pg_sys::InvalidOid || u32::from(relation) == RELATION.load(Ordering::Relaxed) {
        set_changed();
    }
}
