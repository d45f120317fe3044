//! The place of a walk through the backlog that has not come to its end when its worker leaves.

use crate::pg::spi::{Session, arg, sql};
use domain::bounds::{Counted, Tally, Walk};
use domain::key::{DeliveryId, WebhookId};
use domain::overdue::Left;
use domain::time::Timestamp;

/// Where it is.
pub struct Place {
    /// Behind this id.
    pub before: DeliveryId,
    /// There has to be another one after it.
    pub again: bool,
    /// What it knows by then.
    pub walk: Walk,
    /// When it was left, in the time of the queue.
    pub at: Timestamp,
}

/// Takes it, if there is one.
pub fn take(session: &Session) -> Option<Place> {
    let rows = session.run(sql!("queue/take_walk"), &[]);
    let row = rows.first()?;
    let webhooks: Vec<WebhookId> = row.value("webhooks");
    let tallies = |events, bytes| {
        let (events, bytes): (Vec<i64>, Vec<i64>) = (row.value(events), row.value(bytes));
        let tally = |(events, bytes): (i64, i64)| Tally {
            events: events.unsigned_abs(),
            bytes: bytes.unsigned_abs(),
        };
        events.into_iter().zip(bytes).map(tally).collect::<Vec<_>>()
    };
    let (events, oldest): (Vec<i64>, Vec<i64>) =
        (row.value("left_events"), row.value("left_since"));
    let left = |(events, oldest): (i64, i64)| Left {
        events: events.unsigned_abs(),
        oldest: Timestamp(oldest),
    };
    let counted = tallies("waiting_events", "waiting_bytes")
        .into_iter()
        .zip(tallies("dead_events", "dead_bytes"))
        .zip(events.into_iter().zip(oldest).map(left));
    let counted = counted.map(|((waiting, dead), left)| Counted { waiting, dead, left });
    let walk = Walk::resumed(webhooks.into_iter().zip(counted).collect(), row.value("soonest"));
    Some(Place {
        before: row.value("before"),
        again: row.value("again"),
        walk,
        at: row.value("at"),
    })
}

/// Leaves it for the next run.
pub fn leave(session: &Session, before: DeliveryId, again: bool, walk: &Walk, now: Timestamp) {
    let (webhooks, counted): (Vec<WebhookId>, Vec<Counted>) = walk.counted().iter().unzip();
    let numbers = |number: fn(&Counted) -> u64| {
        let number = |it| i64::try_from(number(it)).unwrap_or(i64::MAX);
        arg(counted.iter().map(number).collect::<Vec<_>>())
    };
    let args = [
        arg(before),
        arg(again),
        arg(walk.soonest()),
        arg(now),
        arg(webhooks),
        numbers(|it| it.waiting.events),
        numbers(|it| it.waiting.bytes),
        numbers(|it| it.dead.events),
        numbers(|it| it.dead.bytes),
        numbers(|it| it.left.events),
        arg(counted.iter().map(|it| it.left.oldest.0).collect::<Vec<_>>()),
    ];
    session.run(sql!("queue/leave_walk"), &args);
}
