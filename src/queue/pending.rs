//! The slow lane.

use super::ring;
use super::schedule::{Claim, Event, Origin, Spill};
use crate::domain::time::Timestamp;
use crate::pg::spi::{Session, arg, sql};

/// Before every time.
const BEGINNING: Timestamp = Timestamp(i64::MIN);

/// Reads what `claims` ask for, with each event's `next_at`.
pub fn claim(
    session: &Session,
    claims: &[Claim],
    now: Timestamp,
    installation: &str,
) -> Vec<(Timestamp, Event)> {
    let webhooks: Vec<i32> = claims.iter().map(|claim| claim.webhook).collect();
    let positions = claims
        .iter()
        .map(|claim| claim.after.unwrap_or((BEGINNING, i64::MIN)));
    let (times, ids): (Vec<Timestamp>, Vec<i64>) = positions.unzip();
    let limits: Vec<i64> = claims.iter().map(|claim| claim.limit).collect();
    let args = [arg(webhooks), arg(times), arg(ids), arg(limits), arg(now)];
    let rows = session.read(sql!("queue/claim"), &args);
    rows.iter()
        .map(|row| {
            let id = row.value(3);
            let event = Event {
                id,
                xid: row.value(4),
                webhook: row.value(1),
                origin: Origin::Pending,
                attempts: row.value::<i32>(5).unsigned_abs(),
                first_attempt_at: row.get(6),
                event_id: row
                    .get(7)
                    .unwrap_or_else(|| ring::event_id(installation, id)),
                body: row.get(8),
            };
            (row.value(2), event)
        })
        .collect()
}

/// For each webhook the earliest event that is not due at `now`.
pub fn next_due(
    session: &Session,
    webhooks: &[i32],
    now: Timestamp,
) -> Vec<(i32, Option<Timestamp>)> {
    let rows = session.read(sql!("queue/next_due"), &[arg(webhooks.to_vec()), arg(now)]);
    rows.iter().map(|row| (row.value(1), row.get(2))).collect()
}

/// An event of the ring on its way into the slow lane.
pub struct Suspension {
    /// Which.
    pub event: Spill,
    /// Due then.
    pub next_at: Timestamp,
    /// After so many attempts.
    pub attempts: i32,
    /// Of which the first began then.
    pub first_attempt_at: Option<Timestamp>,
}

/// Moves events of the ring to the slow lane. Returns how many were moved: fewer than asked for where
/// somebody has removed rows of the ring by hand.
pub fn suspend(session: &Session, events: &[Suspension]) -> usize {
    if events.is_empty() {
        return 0;
    }
    let rows = session.write(
        sql!("queue/suspend"),
        &[
            arg(events.iter().map(|s| s.event.slot).collect::<Vec<_>>()),
            arg(events.iter().map(|s| s.event.xid).collect::<Vec<_>>()),
            arg(events.iter().map(|s| s.event.id).collect::<Vec<_>>()),
            arg(events.iter().map(|s| s.next_at).collect::<Vec<_>>()),
            arg(events
                .iter()
                .map(|s| s.first_attempt_at)
                .collect::<Vec<_>>()),
            arg(events.iter().map(|s| s.attempts).collect::<Vec<_>>()),
        ],
    );
    rows.count()
}

/// A failed attempt of an event in the slow lane.
pub struct Postponement {
    /// The event.
    pub id: i64,
    /// Due again then.
    pub next_at: Timestamp,
    /// After so many attempts.
    pub attempts: i32,
    /// Of which the first began then.
    pub first_attempt_at: Timestamp,
}

/// Writes when events are due again.
pub fn postpone(session: &Session, events: &[Postponement]) {
    if events.is_empty() {
        return;
    }
    session.write(
        sql!("queue/postpone"),
        &[
            arg(events.iter().map(|p| p.id).collect::<Vec<_>>()),
            arg(events.iter().map(|p| p.next_at).collect::<Vec<_>>()),
            arg(events
                .iter()
                .map(|p| p.first_attempt_at)
                .collect::<Vec<_>>()),
            arg(events.iter().map(|p| p.attempts).collect::<Vec<_>>()),
        ],
    );
}

/// Removes delivered events.
pub fn finish(session: &Session, ids: Vec<i64>) {
    if !ids.is_empty() {
        session.write(sql!("queue/finish"), &[arg(ids)]);
    }
}
