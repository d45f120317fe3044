//! `webhook.obstacles`: what keeps this database from sending that no table says.

use std::time::SystemTime;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::TableIterator;
use pgrx::prelude::*;

use super::status;
use crate::host::board::{self, Entry};
use crate::host::state::State;
use crate::host::txn;
use crate::pg::identity;
use crate::pg::spi;
use crate::pg::{rights, server, settings};
use domain::time::Timestamp;
use domain::version::{self, Fit};

/// A worker that starts for longer than this, in microseconds, waits for something. Shorter, and each start is shown as an obstacle.
const STARTING: i64 = 2_000_000;

/// Its kind, which `sql/health.sql` has the words for, what belongs into them, and since when.
type Obstacle = (&'static str, Option<String>, Option<TimestampWithTimeZone>);

#[pg_extern(sql = false)]
fn webhook_obstacles() -> TableIterator<
    'static,
    (
        name!(kind, &'static str),
        name!(detail, Option<String>),
        name!(since, Option<TimestampWithTimeZone>),
    ),
> {
    let mut found = Vec::new();
    // The view compares it with the version of the extension, and says no more than that there is an update where it is older.
    let of_extension = spi::connect(|session| txn::version(session, identity::extension()?));
    let is_older = of_extension.is_some_and(|version| version::fit(&version) == Fit::Older);
    let kind = if is_older { "older" } else { "version" };
    found.push((kind, Some(version::LIBRARY.to_owned()), None));
    if !settings::enabled() {
        found.push(("server switch", None, None));
    }
    if server::is_in_recovery() {
        found.push(("standby", None, None));
    }
    if board::find(server::database()).is_some_and(Entry::lacks_certificates) {
        found.push(("certificates", None, None));
    }
    if !board::preloaded() {
        found.push(("not preloaded", None, None));
    } else if !server::is_in_recovery() {
        found.extend(of_worker());
    }
    TableIterator::new(found)
}

/// What keeps the worker of this database from working.
fn of_worker() -> Option<Obstacle> {
    let Some(entry) = board::find(server::database()) else {
        return Some(if !board::has_launcher() {
            ("no launcher", None, None)
        } else if board::is_full() {
            ("no place", Some(board::DATABASES.to_string()), None)
        } else {
            ("stopped", None, None)
        });
    };
    let (error, since) = (error_of(entry), status::timestamp(entry.since()));
    let is_new = Timestamp::from(SystemTime::now()).0 - entry.since() <= STARTING;
    match entry.state() {
        State::Running | State::Unarmed if entry.is_failing() => Some(("failing", error, since)),
        State::Running | State::Unarmed => error.map(|error| ("hampered", Some(error), since)),
        State::Starting if error.is_some() => Some(("cannot begin", error, since)),
        State::Starting if is_new => None,
        State::Starting => Some(("starting", None, since)),
        State::NoSlot => Some(("no slot", None, since)),
        State::Stopped | State::Absent if !board::has_launcher() => {
            Some(("no launcher", None, None))
        }
        // It is just being started.
        State::Stopped | State::Absent if entry.is_announced() && is_new => None,
        State::Stopped | State::Absent => Some(("stopped", None, since)),
        // It comes when there is something to do; and a version that does not fit is told above.
        State::Resting | State::VersionMismatch => None,
    }
}

/// The worker's last error; to whom `webhook.worker` does not show it, its code alone.
fn error_of(entry: &Entry) -> Option<String> {
    let error = entry.error();
    if error.is_empty() || rights::may_call("webhook.worker_status()") {
        return Some(error).filter(|error| !error.is_empty());
    }
    status::code(&error)
}
