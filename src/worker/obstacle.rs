//! Who is in the way: what the log and `webhook.worker` say of locks that the worker waits for.

use crate::host::txn;
use crate::queue::pending::{self, Locked};

/// What an error says of which a lock was the cause.
const LOCKED: &str = "LOCK_NOT_AVAILABLE";

/// What there is to be done about it.
const WAY_OUT: &str = "let that end, or end it with pg_terminate_backend";

/// Whether an error is about a lock.
pub(super) fn is_lock(error: &str) -> bool {
    error.contains(LOCKED)
}

/// An error of a transaction, after who is in the way where it is about that. Its code stays last, where it is looked for.
pub(super) fn explained(error: &str) -> String {
    match is_lock(error).then(|| holders(Locked::Any)).flatten() {
        Some((by, _)) => format!("schema webhook is locked by {by}: {WAY_OUT}: {error}"),
        None => error.to_owned(),
    }
}

/// That the backlog is locked.
pub(super) fn of_backlog() -> String {
    let (by, table) = match holders(Locked::Backlog) {
        Some((by, table)) => (format!(" by {by}"), table),
        None => (String::new(), None),
    };
    let table = table.as_deref().unwrap_or("webhook.pending");
    format!("{table} is locked{by}: {WAY_OUT}")
}

/// Without waiting for them.
fn holders(locked: Locked) -> Option<(String, Option<String>)> {
    txn::unheld(|session| pending::holders(session, locked)).ok().flatten()
}
