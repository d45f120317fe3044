//! What the launcher says in the server's log, once until it has passed.

use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::host::board;

/// How long a database waits for a slot before the log says so.
const TOO_LONG: Duration = Duration::from_secs(10);

/// What has been said.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    few_slots: bool,
    full_board: bool,
}

impl Complaints {
    /// Databases have waited for a slot since these times.
    pub(super) fn of_waiting(&mut self, waiting: &[Instant]) {
        if !waiting.iter().any(|since| since.elapsed() >= TOO_LONG) {
            self.few_slots &= !waiting.is_empty();
            return;
        }
        if std::mem::replace(&mut self.few_slots, true) {
            return;
        }
        let waiting = waiting.len();
        let message = format!("pg_webhook: {waiting} databases wait for a background worker slot");
        say(
            message,
            "Increase max_worker_processes: pg_webhook needs one for each database that has work at the same time, and one.",
        );
    }

    /// There is no entry for the database of this name.
    pub(super) fn of_full_board(&mut self, name: &str) {
        if std::mem::replace(&mut self.full_board, true) {
            return;
        }
        let most = board::DATABASES;
        say(
            format!(
                "pg_webhook: nothing is sent from database \"{name}\": {most} others have the extension already"
            ),
            "Drop the extension, or the database, where it is not needed.",
        );
    }

    /// An entry is free. Returns whether there was none for somebody.
    pub(super) fn end_of_full_board(&mut self) -> bool {
        std::mem::take(&mut self.full_board)
    }
}

fn say(message: String, hint: &str) {
    let code = PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
    ErrorReport::new(code, message, function_name!()).set_hint(hint).report(PgLogLevel::LOG);
}
