//! Rows of `webhook.attempt`.

use std::collections::HashMap;

use pgrx::datum::Uuid;
use pgrx::pg_sys;

use super::retention::SLOTS;
use crate::pg::heap::{self, Field, column};
use crate::pg::settings::LogLevel;
use crate::pg::spi::{Session, arg, sql};
use domain::key::WebhookId;
use domain::time;
use domain::verdict::Verdict;
use transit::event::Attempt;

/// Webhooks whose uuids are remembered, so that none is looked up for each attempt: 300 kB. With more than that all are looked up
/// once more.
const MOST: usize = 10_000;

/// The tables of attempts, one for each slot of the ring.
pub struct Log {
    tables: Vec<pg_sys::Oid>,
    /// What attempts name webhooks by.
    uuids: HashMap<WebhookId, Uuid>,
}

impl Log {
    /// Finds them. They are the same as long as the extension is.
    pub fn open(session: &Session) -> Self {
        let rows = session.read(sql!("log/tables"), &[arg(SLOTS)]);
        Self {
            tables: rows.iter().map(|row| row.value("relation")).collect(),
            uuids: HashMap::new(),
        }
    }

    /// Writes a row for each attempt that is to be logged into `slot`: those that `level` is for.
    pub fn write<'a>(
        &mut self,
        session: &Session,
        slot: i16,
        level: LogLevel,
        attempts: impl Iterator<Item = &'a Attempt>,
    ) {
        let is_logged = |attempt: &&Attempt| match level {
            LogLevel::All => true,
            LogLevel::Failures => attempt.verdict != Verdict::Delivered,
            LogLevel::None => false,
        };
        let attempts: Vec<_> = attempts.filter(is_logged).collect();
        if attempts.is_empty() {
            return;
        }
        self.look_up(session, &attempts);
        let row = |attempt: &&Attempt| row(slot, attempt, self.uuids.get(&attempt.webhook));
        heap::insert_all(self.tables[slot as usize], &attempts.iter().map(row).collect::<Vec<_>>());
    }

    fn look_up(&mut self, session: &Session, attempts: &[&Attempt]) {
        // Before it is asked which are unknown.
        if self.uuids.len() >= MOST {
            self.uuids.clear();
        }
        let unknown = attempts.iter().map(|attempt| attempt.webhook);
        let unknown: Vec<_> = unknown.filter(|webhook| !self.uuids.contains_key(webhook)).collect();
        if unknown.is_empty() {
            return;
        }
        let rows = session.read(sql!("log/uuids"), &[arg(unknown)]);
        self.uuids.extend(rows.iter().map(|row| (row.value("id"), row.value::<Uuid>("uuid"))));
    }
}

fn row(slot: i16, attempt: &Attempt, webhook: Option<&Uuid>) -> heap::Columns<14> {
    let failure = attempt.failure();
    let class = failure.as_ref().map(|failure| failure.class.as_str());
    let message = failure.as_ref().map(|failure| failure.message.as_str());
    [
        Field::needed(column!(c"delivery"), arg(attempt.delivery)),
        Field::needed(column!(c"xid"), arg(attempt.xid)),
        Field::needed(column!(c"started_at"), arg(attempt.started)),
        Field::needed(column!(c"duration_us"), arg(time::micros(attempt.took))),
        Field::needed(column!(c"attempt"), arg(attempt.number as i32)),
        Field::needed(column!(c"slot"), arg(slot)),
        Field::needed(column!(c"status_code"), arg(attempt.status_code())),
        Field::needed(column!(c"webhook_id"), arg(webhook.copied())),
        Field::needed(column!(c"verdict"), arg(name(attempt.verdict))),
        Field::extra(column!(c"error_class"), arg(class)),
        Field::extra(column!(c"error"), arg(message)),
        Field::extra(column!(c"response_body"), arg(attempt.response_body())),
        Field::extra(column!(c"event_slot"), arg(attempt.event_slot)),
        Field::extra(column!(c"batch"), arg(attempt.batch)),
    ]
}

/// As the log names it.
pub fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Delivered => "delivered",
        Verdict::Retry(_) => "retry",
        Verdict::Dead => "dead",
        Verdict::Failed => "failed",
    }
}
