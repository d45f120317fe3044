//! How endpoints answer: rows of `webhook.health`, and pausing those that are gone.

use std::collections::HashMap;
use std::time::Duration;

use crate::pg::spi::{Row, Session, arg, sql};
use domain::key::WebhookId;
use domain::time::Timestamp;
use transit::event::Pause;
use transit::health::Health;

/// Writes what changed.
pub fn write(session: &Session, healths: &[Health]) {
    if healths.is_empty() {
        return;
    }
    session.run(
        sql!("registry/health"),
        &[
            arg(healths.iter().map(|h| h.webhook).collect::<Vec<_>>()),
            arg(healths.iter().map(|h| h.fail_count as i32).collect::<Vec<_>>()),
            arg(healths.iter().map(|h| h.unwell as i32).collect::<Vec<_>>()),
            arg(healths.iter().map(|h| h.last_success_at).collect::<Vec<_>>()),
            arg(healths.iter().map(|h| h.last_failure_at).collect::<Vec<_>>()),
            arg(healths.iter().map(|h| h.last_error.clone()).collect::<Vec<_>>()),
            arg(healths.iter().map(|h| h.failing_since).collect::<Vec<_>>()),
            arg(healths.iter().map(|h| h.held_until).collect::<Vec<_>>()),
            arg(healths.iter().map(|h| h.throttled).collect::<Vec<_>>()),
        ],
    );
}

/// What a bound has done to a webhook's backlog.
pub struct Reached {
    /// Whose.
    pub webhook: WebhookId,
    /// Events that are dead letters now.
    pub shed: i64,
    /// Dead letters that have ended.
    pub expired: i64,
    /// Which one, the last of them where there are several.
    pub bound: String,
}

impl Reached {
    /// Nothing yet.
    pub fn new(webhook: WebhookId) -> Self {
        Self { webhook, shed: 0, expired: 0, bound: String::new() }
    }
}

/// Adds to what has been counted.
pub fn reach(session: &Session, reached: &[Reached]) {
    if reached.is_empty() {
        return;
    }
    session.run(
        sql!("registry/bound"),
        &[
            arg(reached.iter().map(|it| it.webhook).collect::<Vec<_>>()),
            arg(reached.iter().map(|it| it.shed).collect::<Vec<_>>()),
            arg(reached.iter().map(|it| it.expired).collect::<Vec<_>>()),
            arg(reached.iter().map(|it| it.bound.clone()).collect::<Vec<_>>()),
        ],
    );
}

/// Whether what waits of a webhook is overdue.
pub struct Overdue {
    /// Whose.
    pub webhook: WebhookId,
    /// It is, or it has been until now.
    pub is: bool,
    /// It has been otherwise before.
    pub news: bool,
}

/// Writes down which ones are overdue of those of which something has waited for `limit` or longer, and which ones no longer are.
pub fn overdue(session: &Session, waiting: Vec<WebhookId>, limit: Duration) -> Vec<Overdue> {
    let args = [arg(waiting), arg(limit.as_secs_f64())];
    let rows = session.run(sql!("registry/overdue"), &args);
    let overdue = |row: Row<'_>| Overdue {
        webhook: row.value("webhook"),
        is: row.value("overdue"),
        news: row.value("news"),
    };
    rows.iter().map(overdue).collect()
}

/// Pauses webhooks, each unless it has been changed since the request that was answered so. Returns the names of those that it
/// has paused, and why.
pub fn pause(session: &Session, pauses: &[(WebhookId, Pause)]) -> Vec<(String, String)> {
    if pauses.is_empty() {
        return Vec::new();
    }
    let webhooks: Vec<WebhookId> = pauses.iter().map(|(webhook, _)| *webhook).collect();
    let changed: Vec<Timestamp> = pauses.iter().map(|(_, pause)| pause.changed).collect();
    let reasons: Vec<&str> = pauses.iter().map(|(_, pause)| pause.reason).collect();
    let args = [arg(webhooks), arg(changed), arg(reasons)];
    let rows = session.run(sql!("registry/pause_answered"), &args);
    let paused: Vec<(String, String)> =
        rows.iter().map(|row| (row.value("name"), row.value("paused_because"))).collect();
    if !paused.is_empty() {
        super::changed();
    }
    paused
}

/// Who keeps a webhook from sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    /// Whoever has disabled it.
    Disabled,
    /// This role has paused it, or the worker for this reason.
    Paused {
        /// The role.
        by: Option<String>,
        /// The reason.
        reason: Option<String>,
    },
}

/// The webhooks that somebody keeps from sending.
pub fn halted(session: &Session) -> HashMap<WebhookId, Halt> {
    let rows = session.run(sql!("registry/halted"), &[]);
    let halt = |row: Row<'_>| match row.value("enabled") {
        false => Halt::Disabled,
        true => Halt::Paused { by: row.get("paused_by"), reason: row.get("paused_because") },
    };
    rows.iter().map(|row| (row.value("id"), halt(row))).collect()
}
