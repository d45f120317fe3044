//! Of which webhooks what waits has waited for too long (`pg_webhook.backlog_alert_age`), by what a walk through the backlog has found.
//!
//! It is written down, so that it is told once for each time, whichever run finds it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::pg::settings;
use crate::pg::spi::Session;
use crate::registry::health;
use domain::bounds::Walk;
use domain::key::WebhookId;
use domain::time::Timestamp;
use transit::notice::Waiting;

/// What is known of it.
pub(super) struct Overdue {
    /// Nothing is sent, because somebody wants it so.
    off: bool,
    /// Since when something is sent again; `None` where it has been since this run began.
    on_since: Option<Instant>,
    /// Of some it may be written down, so that it has to be seen when they are so no more.
    any: bool,
    news: Vec<News>,
}

/// A webhook has begun to be overdue, or is so no more.
pub(super) type News = (WebhookId, Option<Waiting>);

/// What a walk has found.
pub(super) struct Found {
    news: Vec<News>,
    any: bool,
}

impl Overdue {
    /// Another run may have written something down.
    pub(super) fn new() -> Self {
        Self { off: false, on_since: None, any: true, news: Vec::new() }
    }

    /// Whether anything is sent from now on.
    pub(super) fn set_sending(&mut self, sends: bool, now: Instant) {
        if self.off && sends {
            self.on_since = Some(now);
        }
        self.off = !sends;
    }

    /// Judges what a `walk` that has come to its end has counted, writes that down, and tells the walk when there will be something to
    /// be found. It holds when the transaction has committed: see [`Self::learn`].
    pub(super) fn judge(
        &self,
        session: &Session,
        walk: &mut Walk,
        clock: Timestamp,
        now: Instant,
    ) -> Option<Found> {
        if self.off {
            return None;
        }
        let limit = settings::backlog_alert_age();
        let mut late = HashMap::new();
        let mut next = Timestamp::INFINITY;
        if let Some(limit) = limit {
            // What has waited meanwhile has as long to be sent.
            let sending = |since| limit.saturating_sub(now.saturating_duration_since(since));
            let rest = self.on_since.map_or(Duration::ZERO, sending);
            for (webhook, counted) in walk.counted() {
                match counted.left.overdue_at(limit) {
                    Some(at) if at <= clock && rest.is_zero() => {
                        let (count, age) = (counted.left.events, counted.left.age(clock));
                        late.insert(*webhook, Waiting { count, age, limit });
                    }
                    Some(at) => next = next.min(at.max(clock.after(rest))),
                    None => {}
                }
            }
        }
        let mut found = Found { news: Vec::new(), any: false };
        if self.any || !late.is_empty() {
            let limit = limit.unwrap_or_default();
            for webhook in health::overdue(session, late.keys().copied().collect(), limit) {
                found.any |= webhook.is;
                let waiting = late.remove(&webhook.webhook).filter(|_| webhook.is);
                if webhook.news {
                    found.news.push((webhook.webhook, waiting));
                }
            }
            // Somebody keeps these from sending, or has changed them.
            if !late.is_empty() {
                next = next.min(clock.after(limit));
            }
        }
        walk.expect(next);
        Some(found)
    }

    /// What has been found has been written down.
    pub(super) fn learn(&mut self, found: Found) {
        self.any = found.any;
        self.news.extend(found.news);
    }

    /// What nobody has asked for yet.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }
}
