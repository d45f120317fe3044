//! When the worker drops triggers that others have left to it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::host::txn::{self, TxnError};
use crate::pg::identity::Extension;
use crate::registry::removal::{self, Step};

/// After a table has been seen to, so many times as long passes before the next one. So dropping triggers takes a twentieth of
/// the worker's time at most, and of the time in which a table may be locked.
const SPACING: u32 = 20;

/// Tables of which it is remembered what has been said. With more than that, it is said again.
const MOST_SAID: usize = 1_000;

/// How long it pauses after an error. Nothing waits for triggers that do nothing.
const PAUSE: Duration = Duration::from_secs(10);

/// What is known of the work to come.
pub(super) struct Removing {
    /// `None` where there is nothing to do.
    due: Option<Instant>,
    /// Not before, whatever comes.
    earliest: Instant,
    /// Why triggers stay, as the log says it: of each table, and of none where nothing could be done at all.
    said: HashMap<pg_sys::Oid, String>,
}

impl Removing {
    /// There may be work from an earlier run.
    pub(super) fn new(now: Instant) -> Self {
        Self { due: Some(now), earliest: now, said: HashMap::new() }
    }

    /// Definitions have changed: there may be more.
    pub(super) fn ask(&mut self) {
        self.due = Some(self.earliest);
    }

    /// `None` where nothing is to be done.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now))
    }

    /// Sees to one table, if it is time.
    pub(super) fn work(&mut self, extension: Extension, now: Instant) -> Result<(), TxnError> {
        if self.due_in(now) != Some(Duration::ZERO) {
            return Ok(());
        }
        let began = Instant::now();
        let wait =
            match txn::tried(c"drops triggers of ended webhooks", extension, removal::work_off)? {
                Ok(Step::Nothing) => {
                    self.said.clear();
                    None
                }
                Ok(Step::NotDue(wait)) => Some(wait),
                Ok(Step::InUse) => Some(Duration::ZERO),
                Ok(Step::Done(relation)) => {
                    self.said.remove(&relation);
                    Some(Duration::ZERO)
                }
                Ok(Step::Kept { relation, table, reason }) => {
                    self.say_once(
                        relation,
                        format!("triggers of ended webhooks on {table} stay: {reason}"),
                    );
                    Some(Duration::ZERO)
                }
                Err(reason) => {
                    self.say_once(
                        pg_sys::InvalidOid,
                        format!("triggers of ended webhooks stay: {reason}"),
                    );
                    Some(PAUSE)
                }
            };
        let ended = Instant::now();
        self.earliest = ended + (ended - began) * SPACING;
        self.due = wait.map(|wait| self.earliest.max(ended + wait));
        Ok(())
    }

    /// And again when there is another reason.
    fn say_once(&mut self, relation: pg_sys::Oid, message: String) {
        if self.said.get(&relation) == Some(&message) {
            return;
        }
        let code = PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION;
        ErrorReport::new(code, format!("pg_webhook: {message}"), function_name!())
            .set_hint(txn::qualified("They do nothing. It is tried again; webhook_check shows each, with the statement that drops it."))
            .report(PgLogLevel::LOG);
        if self.said.len() >= MOST_SAID {
            self.said.clear();
        }
        self.said.insert(relation, message);
    }
}
