//! The worker of this database, as the board shows it.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::TableIterator;
use pgrx::prelude::*;

use crate::pg::{board, server};

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
            let state = if board::preloaded() { "stopped" } else { "not preloaded" };
            (state.to_owned(), None, None, 0, 0, None)
        }
    };
    TableIterator::once(row)
}
