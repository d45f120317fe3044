//! Webhooks and what they watch: the definitions that users make, as rows and triggers.
//!
//! The SQL functions call it, in the caller's transaction: a ROLLBACK undoes all of it. The trigger reads from it. The worker
//! reads from it as well, and writes what no statement of a user can: health, pauses, the end of webhooks whose owner is gone,
//! and triggers that were left to it. Nothing is sent or captured here.
//!
//! Everything here runs inside `pg::rights::as_owner`, after the caller's rights have been checked, but for what the caller
//! makes itself (`making::Making::carry_out`).

pub mod bringing;
pub mod condition;
pub mod definition;
pub mod document;
pub mod emitter;
pub mod endpoint;
mod further;
pub mod health;
pub mod idle;
pub mod level;
pub mod making;
pub mod managed;
pub mod owner;
pub mod privilege;
pub mod removal;
pub mod reset;
mod secret;
pub mod source;
pub mod table;
pub mod transform;
pub mod trigger;
pub mod watch;
pub mod webhook;

use pgrx::pg_sys;

use crate::host::wake;
use crate::pg::invalidation;

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
