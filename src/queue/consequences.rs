//! What outcomes mean for the rows of events: which are moved to the backlog, due again, removed, and whose webhooks are
//! paused.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::key::{BatchId, DeliveryId, WebhookId};
use domain::time::Timestamp;
use transit::event::{Pause, Settlement, Spill};

/// An event that waits in the backlog.
pub struct Waiting {
    /// Its row.
    pub id: DeliveryId,
    /// Due then.
    pub next_at: Timestamp,
    /// How the last attempt ended, if there was one.
    pub last: Option<Last>,
    /// As part of that batch, if of one.
    pub batch: Option<BatchId>,
}

/// The last attempt of an event that waits.
pub struct Last {
    /// How many there have been with it, as they count.
    pub attempt: u32,
    /// When the first one began.
    pub first_attempt_at: Timestamp,
    /// 0 where there was no answer.
    pub status_code: i16,
    /// How long it took.
    pub took: Duration,
    /// Why it is not enough.
    pub error: String,
    /// Of which kind that is.
    pub class: &'static str,
    /// The beginning of the answer's body.
    pub response_body: Option<String>,
}

/// Whether the backlog is written to, or something removed from there.
pub fn reaches_backlog(settlement: &Settlement) -> bool {
    settlement.origin.is_pending() || !settlement.is_delivered()
}

/// Events of the ring that go to the backlog: those that failed, and those that were not tried, which are due at `clock`.
pub fn suspensions(
    settlements: &[Settlement],
    spills: &[Spill],
    clock: Timestamp,
) -> Vec<(Spill, Waiting)> {
    let failed = settlements
        .iter()
        .filter_map(|s| Some((s.origin.spill(s.attempt.delivery, s.attempt.xid)?, waiting(s)?)));
    let untried = spills
        .iter()
        .map(|spill| (*spill, Waiting { id: spill.id, next_at: clock, last: None, batch: None }));
    failed.chain(untried).collect()
}

/// Events of the backlog that are due again, be it never.
pub fn postponements(settlements: &[Settlement]) -> Vec<Waiting> {
    settlements.iter().filter(|s| s.origin.is_pending()).filter_map(waiting).collect()
}

/// How the event waits, unless it is delivered.
fn waiting(settlement: &Settlement) -> Option<Waiting> {
    let attempt = &settlement.attempt;
    let failure = attempt.failure()?;
    let last = Last {
        attempt: settlement.attempts,
        first_attempt_at: settlement.first_attempt_at,
        status_code: attempt.status_code(),
        took: attempt.took,
        error: failure.message,
        class: failure.class.as_str(),
        response_body: attempt.response_body().map(str::to_owned),
    };
    let (id, batch) = (attempt.delivery, settlement.batch);
    Some(Waiting { id, next_at: settlement.next_at?, last: Some(last), batch })
}

/// Events that leave the backlog for good.
pub fn delivered(settlements: &[Settlement]) -> Vec<DeliveryId> {
    let delivered = settlements.iter().filter(|s| s.origin.is_pending() && s.is_delivered());
    delivered.map(|s| s.attempt.delivery).collect()
}

/// Webhooks that are paused by what their endpoints have answered.
pub fn pauses(settlements: &[Settlement]) -> Vec<(WebhookId, Pause)> {
    let pauses = settlements.iter().filter_map(|s| Some((s.attempt.webhook, s.pause?)));
    // Of several the last, which is the latest.
    pauses.collect::<BTreeMap<_, _>>().into_iter().collect()
}
