//! Who is told of what the worker finds: by a line in the server's log, and by operational events.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use pgrx::prelude::*;
use serde_json::Value;

use crate::compose::notice;
use crate::host::txn::{self, TxnError};
use crate::pg::identity::Extension;
use crate::pg::spi::Session;
use crate::registry::health::{Halt, Reached};
use domain::key::WebhookId;
use domain::verdict::Verdict;
use transit::event::Settlement;
use transit::notice::{Notice, Notices as Pending, Waiting};

/// What is to be told.
#[derive(Default)]
pub(super) struct Notices {
    pending: Pending,
    /// Which webhooks there are, and which of them are kept from sending, as of the last look.
    seen: Option<Seen>,
}

struct Seen {
    all: HashSet<WebhookId>,
    halted: HashMap<WebhookId, Halt>,
}

impl Notices {
    /// An attempt has ended.
    /// `holds`: if it is a dead letter, those behind it are held.
    pub(super) fn settle(&mut self, settlement: &Settlement, holds: bool, now: Instant) {
        let attempt = &settlement.attempt;
        let died = attempt.verdict == Verdict::Dead;
        if !died && settlement.turn.is_none() {
            return;
        }
        // What a transform has said can hold parts of a row, and not everybody who is told may see these.
        let error = match attempt.number {
            0 => "its transform has failed".to_owned(),
            _ => attempt.failure().map(|failure| failure.to_string()).unwrap_or_default(),
        };
        if let Some(turn) = settlement.turn {
            self.pending.turned(attempt.webhook, turn, &error, now);
        }
        if died {
            self.pending.died(attempt.webhook, 1, Some(attempt.delivery), &error, now);
            if holds {
                self.pending.held(attempt.webhook, attempt.delivery, &error, now);
            }
        }
    }

    /// There are `all` these now, of which these are kept from sending. What the first look of a run finds has been so before, and what
    /// has been made disabled has not become so.
    pub(super) fn look(
        &mut self,
        all: HashSet<WebhookId>,
        halted: HashMap<WebhookId, Halt>,
        now: Instant,
    ) {
        let seen = Seen { all, halted: halted.clone() };
        let Some(before) = self.seen.replace(seen) else {
            return;
        };
        for (webhook, halt) in halted {
            if before.halted.get(&webhook) == Some(&halt) {
                continue;
            }
            match halt {
                Halt::Disabled if !before.all.contains(&webhook) => {}
                Halt::Disabled => self.pending.disabled(webhook, now),
                Halt::Paused { by, reason } => self.pending.paused(webhook, by, reason, now),
            }
        }
    }

    /// A bound of what waits has made dead letters.
    pub(super) fn reach(&mut self, reached: &Reached, now: Instant) {
        if reached.shed > 0 {
            let count = reached.shed.unsigned_abs();
            self.pending.died(reached.webhook, count, None, &reached.bound, now);
        }
    }

    /// What waits of a webhook has begun to be overdue, or is so no more.
    pub(super) fn wait(&mut self, webhook: WebhookId, overdue: Option<Waiting>, now: Instant) {
        self.pending.waits(webhook, overdue, now);
    }

    /// How long until something is to be told.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        self.pending.due_in(now)
    }

    /// Tells what is due, if anything is.
    pub(super) fn work(&mut self, extension: Extension, now: Instant) -> Result<bool, TxnError> {
        let due = self.pending.take(now);
        if due.is_empty() {
            return Ok(false);
        }
        let told = txn::tried(c"tells of webhooks", extension, |session| {
            let lines = due.iter().filter_map(|(webhook, notice)| tell(session, *webhook, notice));
            lines.collect::<Vec<_>>()
        })?;
        match told {
            Ok(lines) => lines.iter().for_each(|line| log!("pg_webhook: {line}")),
            Err(message) => {
                log!("pg_webhook: {} operational events could not be made: {message}", due.len());
                // It begins only once, and nobody would hear of it again.
                for (webhook, notice) in due {
                    if let Notice::Overdue(waiting) = notice {
                        self.pending.waits(webhook, Some(waiting), now);
                    }
                }
            }
        }
        Ok(true)
    }
}

/// Makes the events, and returns what the log says, where that has not been said.
fn tell(session: &Session, webhook: WebhookId, notice: &Notice) -> Option<String> {
    match notice {
        Notice::Failing(failures, error) => {
            let about = [("failures", Value::from(*failures)), ("error", error.clone().into())];
            let name = notice::tell(session, webhook, "pg_webhook.webhook.failing", &about)?;
            Some(format!("webhook \"{name}\" has failed {failures} times in a row: {error}"))
        }
        Notice::Recovered => {
            let name = notice::tell(session, webhook, "pg_webhook.webhook.recovered", &[])?;
            Some(format!("webhook \"{name}\" delivers again"))
        }
        Notice::Dead(count, last, reason) => {
            let last = last.map(|id| id.0);
            let about = [
                ("count", Value::from(*count)),
                ("delivery_id", last.into()),
                ("error", reason.clone().into()),
            ];
            let name = notice::tell(session, webhook, notice::DEAD, &about)?;
            let which = last.map_or_else(String::new, |id| format!(" ({id})"));
            Some(format!(
                "webhook \"{name}\" has {count} more dead letters, the last one{which} because of {reason}"
            ))
        }
        Notice::Held(count, last, reason) => {
            let about = [
                ("count", Value::from(*count)),
                ("delivery_id", last.0.into()),
                ("error", reason.clone().into()),
            ];
            let name = notice::tell(session, webhook, "pg_webhook.key.held", &about)?;
            Some(format!(
                "webhook \"{name}\" holds what is behind {count} more dead letters in their order, the last one ({last}), until they are replayed or cancelled: {reason}"
            ))
        }
        Notice::Paused(by, reason) => {
            let about = [("by", Value::from(by.clone())), ("reason", reason.clone().into())];
            let name = notice::tell(session, webhook, "pg_webhook.webhook.paused", &about)?;
            // Of its own doing the worker has told when it did it.
            by.as_ref().map(|by| format!("webhook \"{name}\" has been paused by role {by}"))
        }
        Notice::Disabled => {
            let name = notice::tell(session, webhook, "pg_webhook.webhook.disabled", &[])?;
            Some(format!("webhook \"{name}\" has been disabled"))
        }
        Notice::Overdue(Waiting { count, age, limit }) => {
            let (age, limit) = (age.as_secs(), limit.as_secs());
            let about = [
                ("count", Value::from(*count)),
                ("oldest_seconds", age.into()),
                ("limit_seconds", limit.into()),
            ];
            let name = notice::tell(session, webhook, "pg_webhook.backlog", &about)?;
            Some(format!(
                "webhook \"{name}\" has {count} events that wait, the oldest for {age} seconds (pg_webhook.backlog_alert_age is {limit})"
            ))
        }
    }
}
