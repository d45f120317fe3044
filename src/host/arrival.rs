//! When a copy of a database became one of its own: the number of a transaction, in a sequence.
//!
//! What transactions before it have written came along; the original has that as well. Whoever is first to write anything in
//! the copy writes its own number down, and whoever comes later and has a smaller one, as it began earlier. No rollback takes
//! that back, and nobody waits for a transaction of somebody else.
//!
//! A copy of that copy brings the number along. So it is written down with the number of the database that it was noted in,
//! by one change of one page, and counts as none in another database. In a copy of a whole server it counts: what the copied
//! one has captured is sent twice then, under the same ids, rather than not at all.

use pgrx::pg_sys;

use crate::pg::{invalidation, sequence, server, snapshot};
use domain::snapshot::Xid8;

/// This transaction is one of a copy of the installation that transaction `since` has written.
pub fn note(since: i64) {
    let own = i64::try_from(snapshot::top_xid().0).unwrap_or(i64::MAX);
    sequence::locked(place(), |locked| {
        let noted = locked.noted();
        let first = known(since, noted).map_or(own, |known| known.min(own));
        if noted != (first, here()) {
            locked.note(first, here());
        }
    });
}

/// It is no copy of that installation, whatever has been noted.
pub fn forget(since: i64) {
    sequence::locked(place(), |locked| {
        if locked.noted().0 > since {
            locked.note(since, here());
        }
    });
}

/// What has been noted in a copy of that installation.
pub fn noted(since: i64) -> Option<Xid8> {
    let noted = sequence::locked(place(), |locked| locked.noted());
    known(since, noted).map(|noted| Xid8(noted.unsigned_abs()))
}

/// What has been noted, where that was in this database, and not for an installation before this one. pg_upgrade may keep the
/// number and not where it was noted: the next note says that again.
fn known(since: i64, (noted, database): (i64, i64)) -> Option<i64> {
    (noted > since && [here(), NOWHERE].contains(&database)).then_some(noted)
}

/// What is written down beside a number by nobody here.
const NOWHERE: i64 = 0;

fn here() -> i64 {
    u32::from(server::database()).into()
}

fn place() -> pg_sys::Oid {
    invalidation::relation(c"arrival_seq")
}
