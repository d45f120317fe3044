//! Webhooks and what they watch: the definitions that users make, as rows and triggers.
//!
//! Everything here runs inside `pg::rights::as_owner`, after the caller's rights have been checked, but for what
//! the caller makes itself (`making::Making::carry_out`), and in the caller's transaction: a ROLLBACK undoes all of it.

pub mod condition;
pub mod definition;
pub mod emitter;
pub mod endpoint;
mod further;
pub mod health;
pub mod level;
pub mod making;
pub mod managed;
pub mod owner;
mod privilege;
pub mod removal;
mod secret;
pub mod table;
pub mod transform;
pub mod trigger;
pub mod watch;
pub mod webhook;

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pgrx::pg_sys;

use crate::pg::{invalidation, wake};

/// Tells every process, at commit, that a definition has changed: backends drop what they cached, the
/// worker reads the definitions again.
pub fn changed() {
    invalidation::announce(relation());
    wake::definitions_at_commit();
}

/// The oid of `webhook.webhook`, by whose invalidation changes are told.
pub fn relation() -> pg_sys::Oid {
    invalidation::relation(c"webhook")
}

static RELATION: AtomicU32 = AtomicU32::new(0);
static CHANGED: AtomicBool = AtomicBool::new(false);

/// Learns of changes from now on. In a transaction.
pub fn listen() {
    static LISTENING: Once = Once::new();
    RELATION.store(relation().into(), Ordering::Relaxed);
    // The server has room for a few.
    LISTENING.call_once(|| invalidation::on_relation(invalidated));
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
