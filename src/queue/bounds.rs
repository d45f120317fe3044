//! The backlog as it is walked to keep it within its bounds: see [`domain::bounds`].

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::pg::settings;
use crate::pg::spi::{self, Session, arg, sql};
use domain::bounds::{Bound, Bounds, Row};
use domain::key::{DeliveryId, WebhookId};
use domain::snapshot::Xid8;
use domain::time::Timestamp;
use domain::timeline::Timeline;

/// A row that the walk has come to.
pub struct Found {
    /// The delivery.
    pub id: DeliveryId,
    /// The transaction of its event.
    pub xid: Xid8,
    /// What counts.
    pub row: Row,
    /// It has been cancelled.
    pub cancelled: bool,
    /// It is the first of its key, which no bound takes.
    pub first: bool,
    /// Somebody has cancelled or replayed it, and webhook.closed says so.
    pub closed: bool,
}

/// A delivery of the backlog.
pub type Delivery = (DeliveryId, Xid8);

/// The names and the bounds of all live webhooks.
pub fn limits(session: &Session) -> (HashMap<WebhookId, String>, HashMap<WebhookId, Bounds>) {
    let rows = session.run(sql!("queue/limits"), &[]);
    let webhook = |row: spi::Row<'_>| {
        let number = |at| row.get::<i64>(at).map(i64::unsigned_abs);
        let time = |at| number(at).map(Duration::from_secs);
        let bounds = Bounds {
            events: Bound::new(number("max_backlog"), settings::max_backlog()),
            bytes: Bound::new(number("max_backlog_bytes"), settings::max_backlog_bytes()),
            age: Bound::new(time("max_backlog_age"), settings::max_backlog_age()),
            retention: Bound::new(time("dead_letter_retention"), settings::dead_letter_retention()),
        };
        let id = row.value("id");
        ((id, row.value("name")), (id, bounds))
    };
    rows.iter().map(webhook).unzip()
}

/// The `most` newest rows with ids below `before`, the newest first. `now` in the time of the queue.
pub fn page(
    session: &Session,
    timeline: &Timeline,
    before: DeliveryId,
    most: i64,
    now: Timestamp,
) -> Vec<Found> {
    let rows = session.read(sql!("queue/walk"), &[arg(before), arg(most)]);
    let found = |row: spi::Row<'_>| {
        let due: Timestamp = row.value("next_at");
        let held: bool = row.value("held");
        let dead = due >= Timestamp::INFINITY && !held;
        let since = match (dead, held) {
            // One of which it is not known is kept.
            (true, _) => row.get("dead_at").unwrap_or(now),
            (_, true) => row.value("since"),
            // Less what nobody could try it in.
            (false, false) => timeline.first_attempt(row.value("since"), due),
        };
        let bytes = row.value::<i32>("bytes").unsigned_abs().into();
        Found {
            id: row.value("id"),
            xid: row.value("xid"),
            row: Row { webhook: row.value("webhook"), bytes, age: now.since(since), dead },
            cancelled: row.value("cancelled"),
            first: row.value("first"),
            closed: row.value("closed"),
        }
    };
    rows.iter().map(found).collect()
}

/// Makes events that wait dead letters, each for its reason. Returns which ones. `now` in the time of the queue.
pub fn shed(
    session: &Session,
    deliveries: &[Delivery],
    reasons: Vec<&str>,
    now: Timestamp,
) -> HashSet<DeliveryId> {
    if deliveries.is_empty() {
        return HashSet::new();
    }
    let (ids, xids): (Vec<DeliveryId>, Vec<Xid8>) = deliveries.iter().copied().unzip();
    let rows = session.run(sql!("queue/shed"), &[arg(ids), arg(xids), arg(reasons), arg(now)]);
    rows.iter().map(|row| row.value("id")).collect()
}

/// Ends dead letters, or what a job has cancelled, but for those that the ring still holds. Returns which ones.
pub fn expire(session: &Session, deliveries: &[Delivery]) -> HashSet<DeliveryId> {
    if deliveries.is_empty() {
        return HashSet::new();
    }
    let (ids, xids): (Vec<DeliveryId>, Vec<Xid8>) = deliveries.iter().copied().unzip();
    let rows = session.run(sql!("queue/expire"), &[arg(ids), arg(xids)]);
    rows.iter().map(|row| row.value("id")).collect()
}
