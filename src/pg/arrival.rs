//! When a copy of a database became one of its own: the number of a transaction, in a sequence.
//!
//! What transactions before it have written came along; the original has that as well. Whoever is first to capture in the
//! copy writes its own number down, and whoever comes later and has a smaller one, as it began earlier. No rollback takes
//! that back, and nobody waits for a transaction of somebody else.

use pgrx::pg_sys;

use super::{invalidation, sequence, snapshot};
use crate::domain::ids::Ledger;
use crate::domain::snapshot::Xid8;

/// This transaction is one of a copy of the installation that transaction `since` has written.
pub fn note(since: i64) {
    let own = i64::try_from(snapshot::top_xid().0).unwrap_or(i64::MAX);
    sequence::locked(place(), |ledger| {
        let noted = ledger.mark();
        if noted <= since || own < noted {
            ledger.raise(own);
        }
    });
}

/// It is no copy of that installation, whatever has been noted.
pub fn forget(since: i64) {
    sequence::locked(place(), |ledger| ledger.raise(since));
}

/// What has been noted in a copy of that installation.
pub fn noted(since: i64) -> Option<Xid8> {
    let noted = sequence::locked(place(), |ledger| ledger.mark());
    (noted > since).then_some(Xid8(noted.unsigned_abs()))
}

fn place() -> pg_sys::Oid {
    invalidation::relation(c"arrival_seq")
}
