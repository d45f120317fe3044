//! The worker of this database, and those of all, as the board shows them; and which database this is.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::TableIterator;
use pgrx::prelude::*;

use crate::host::board;
use crate::pg::server;
use domain::time::Timestamp;

#[pg_extern(sql = false)]
fn webhook_worker_status() -> TableIterator<
    'static,
    (
        name!(state, String),
        name!(pid, Option<i32>),
        name!(started_at, Option<TimestampWithTimeZone>),
        name!(threads, i32),
        name!(in_flight, i32),
        name!(last_error, Option<String>),
    ),
> {
    let row = match board::find(server::database()) {
        Some(entry) => {
            let pid = entry.pid();
            let (threads, in_flight) = entry.load();
            let started = pid.and_then(|_| TimestampWithTimeZone::try_from(entry.started()).ok());
            let error = Some(entry.error()).filter(|error| !error.is_empty());
            let state = entry.state().as_str().to_owned();
            (state, pid, started, threads as i32, in_flight as i32, error)
        }
        None => {
            let state = match board::preloaded() {
                true if board::is_full() => "no place",
                true => "stopped",
                false => "not preloaded",
            };
            (state.to_owned(), None, None, 0, 0, None)
        }
    };
    TableIterator::once(row)
}

#[pg_extern(sql = false)]
fn webhook_workers_status() -> TableIterator<
    'static,
    (
        name!(database, pg_sys::Oid),
        name!(pid, Option<i32>),
        name!(state, String),
        name!(since, Option<TimestampWithTimeZone>),
        name!(next_due, Option<TimestampWithTimeZone>),
        name!(last_error, Option<String>),
    ),
> {
    let entries = board::preloaded().then(board::entries).into_iter().flatten();
    let rows: Vec<_> = entries
        .map(|entry| {
            let pid = entry.pid();
            let due = Some(entry.due()).filter(|due| pid.is_none() && *due < Timestamp::INFINITY);
            (
                entry.database(),
                pid,
                entry.state().as_str().to_owned(),
                Some(entry.since()).filter(|since| *since != 0).and_then(timestamp),
                due.and_then(|due| timestamp(due.0)),
                code(&entry.error()),
            )
        })
        .collect();
    TableIterator::new(rows)
}

pub(super) fn timestamp(micros: i64) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(micros).ok()
}

/// What may be told of an error of another database: its text may hold what is in tables there.
pub(super) fn code(error: &str) -> Option<String> {
    if error.is_empty() {
        return None;
    }
    let last = error.rsplit_once('(').and_then(|(_, last)| last.strip_suffix(')'));
    let code = last.and_then(|last| last.strip_prefix("ERRCODE"));
    Some(code.unwrap_or("internal_error").trim_start_matches('_').to_ascii_lowercase())
}

#[pg_extern(sql = false)]
fn webhook_is_database(system_identifier: Option<i64>, database: Option<pg_sys::Oid>) -> bool {
    system_identifier == Some(server::system_identifier() as i64)
        && database == Some(server::database())
}
