//! The backlog. All that is due there is in the time of the queue, see [`domain::clock`].

use std::collections::HashMap;

use pgrx::pg_sys;

use super::consequences::Waiting;
use super::ring;
use crate::pg::spi::{Arg, Row, Session, arg, sql};
use domain::ids;
use domain::key::{DeliveryId, WebhookId};
use domain::snapshot::Xid8;
use domain::time::{self, Timestamp};
use domain::timeline::Timeline;
use transit::event::{Event, Origin, Spill};
use transit::track::Claim;

/// Bytes of bodies that are written anew at once because their events are cancelled: some tenths of a second, for which everything
/// else waits. With less there are more transactions.
const MOST_SHELVED: i64 = 16 * 1024 * 1024;

/// Before every time.
const BEGINNING: Timestamp = Timestamp(i64::MIN);

/// Reads what `claims` ask for, with each event's `next_at`: what has been found for each. Where that would be too much,
/// the limits of claims become what has been read for them; for some that may be nothing.
pub fn claim(
    session: &Session,
    timeline: &Timeline,
    claims: &mut [Claim],
    now: Timestamp,
    installation: &str,
) -> Vec<Vec<(Timestamp, Event)>> {
    let webhooks: Vec<WebhookId> = claims.iter().map(|claim| claim.webhook).collect();
    let positions =
        claims.iter().map(|claim| claim.after.unwrap_or((BEGINNING, DeliveryId::FIRST)));
    let (times, ids): (Vec<Timestamp>, Vec<DeliveryId>) = positions.unzip();
    let limits: Vec<i64> = claims.iter().map(|claim| claim.limit).collect();
    let any: Vec<bool> = claims.iter().map(|claim| claim.any).collect();
    let args = [arg(webhooks), arg(times), arg(ids), arg(limits), arg(now), arg(any)];
    let rows = session.read(sql!("queue/claim"), &args);
    let indexes: HashMap<WebhookId, usize> =
        claims.iter().enumerate().map(|(at, claim)| (claim.webhook, at)).collect();
    let mut found: Vec<Vec<(Timestamp, Event)>> = claims.iter().map(|_| Vec::new()).collect();
    let mut left = ring::PAGE_BYTES;
    for row in rows.iter() {
        let Some(at) = indexes.get(&row.value::<WebhookId>("webhook")).copied() else {
            continue;
        };
        let (claim, found) = (&mut claims[at], &mut found[at]);
        if left == 0 || claim.bytes == 0 {
            // Nobody knows whether there is more, so it has not come to its end.
            claim.limit = found.len() as i64;
            claim.bytes = 0;
            continue;
        }
        let due: Timestamp = row.value("next_at");
        let event = event(row, timeline, due, installation);
        let bytes = event.body.as_ref().map_or(0, String::len);
        claim.bytes = claim.bytes.saturating_sub(bytes);
        left = left.saturating_sub(bytes);
        found.push((due, event));
    }
    found
}

pub(super) fn event(
    row: Row<'_>,
    timeline: &Timeline,
    due: Timestamp,
    installation: &str,
) -> Event {
    let id: DeliveryId = row.value("id");
    let (xid, written): (Xid8, Xid8) = (row.value("xid"), row.value("written"));
    let name: Option<String> = row.get("event_id");
    let first_attempt_at = row.get("first_attempt_at").map(|at| timeline.first_attempt(at, due));
    Event {
        id,
        xid,
        written,
        webhook: row.value("webhook"),
        origin: Origin::Pending { slot: row.get("event_slot") },
        attempts: row.value::<i32>("attempts").unsigned_abs(),
        first_attempt_at,
        since: ids::drawn(id.0),
        // What has been imported has another id than before.
        replay: written == xid
            && name.as_deref().is_some_and(|it| ring::is_of_another(installation, id, it)),
        event_id: name.unwrap_or_else(|| ring::event_id(installation, id)),
        body: row.get("payload"),
        failure: None,
        batch: row.get("batch"),
    }
}

/// For each webhook the earliest event that is not due at `now`.
pub fn next_due(
    session: &Session,
    webhooks: &[WebhookId],
    now: Timestamp,
) -> Vec<(WebhookId, Option<Timestamp>)> {
    let args = [arg(webhooks.to_vec()), arg(now)];
    let rows = session.read(sql!("queue/next_due"), &args);
    rows.iter().map(|row| (row.value("id"), row.get("next_at"))).collect()
}

/// When the first of all that waits is due, or was.
pub fn earliest(session: &Session) -> Option<Timestamp> {
    session.read(sql!("queue/earliest"), &[]).first()?.get("next_at")
}

/// The table.
pub fn table(session: &Session) -> pg_sys::Oid {
    session.read(sql!("queue/backlog"), &[]).first().expect("one row").value("relation")
}

/// What holders have locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked {
    /// The table of the backlog, or rows of it.
    Backlog,
    /// Any of our tables.
    Any,
}

/// Who keeps others from writing there, if anybody does, and a table that they have locked: that of the backlog, if it is one of
/// them.
pub fn holders(session: &Session, locked: Locked) -> Option<(String, Option<String>)> {
    let rows = session.read(sql!("queue/holders"), &[arg(locked == Locked::Any)]);
    let row = rows.first()?;
    Some((row.get("holders")?, row.get("name")))
}

/// Moves events of the ring, each from its slot and transaction, to the backlog. Returns how many
/// were moved: fewer than asked for where somebody has removed rows of the ring by hand.
pub fn suspend(session: &Session, events: &[(Spill, Waiting)], now: Timestamp) -> usize {
    if events.is_empty() {
        return 0;
    }
    let mut args = columns(events.iter().map(|(_, waiting)| waiting));
    args.push(arg(events.iter().map(|(spill, _)| spill.slot).collect::<Vec<_>>()));
    args.push(arg(events.iter().map(|(spill, _)| spill.xid).collect::<Vec<_>>()));
    args.push(arg(now));
    session.run(sql!("queue/suspend"), &args).count()
}

/// Writes when events of the backlog are due again.
pub fn postpone(session: &Session, events: &[Waiting], now: Timestamp) {
    if !events.is_empty() {
        let mut args = columns(events.iter());
        args.push(arg(now));
        session.run(sql!("queue/postpone"), &args);
    }
}

/// An array for each column.
fn columns<'a>(events: impl Iterator<Item = &'a Waiting> + Clone) -> Vec<Arg> {
    let last = || events.clone().map(|waiting| waiting.last.as_ref());
    vec![
        arg(events.clone().map(|waiting| waiting.id).collect::<Vec<_>>()),
        arg(events.clone().map(|waiting| waiting.next_at).collect::<Vec<_>>()),
        arg(last().map(|last| last.map(|l| l.first_attempt_at)).collect::<Vec<_>>()),
        arg(last().map(|last| last.map_or(0, |l| l.attempt as i32)).collect::<Vec<_>>()),
        arg(last().map(|last| last.map(|l| l.status_code)).collect::<Vec<_>>()),
        arg(last().map(|last| last.map(|l| time::micros(l.took))).collect::<Vec<_>>()),
        arg(last().map(|last| last.map(|l| l.error.as_str())).collect::<Vec<_>>()),
        arg(last().map(|last| last.map(|l| l.class)).collect::<Vec<_>>()),
        arg(last().map(|last| last.and_then(|l| l.response_body.as_deref())).collect::<Vec<_>>()),
        arg(events.clone().map(|waiting| waiting.batch).collect::<Vec<_>>()),
    ]
}

/// Of `events`, which have not all been moved, those whose ids other deliveries in the backlog have.
pub fn taken(session: &Session, events: Vec<Spill>) -> Vec<Spill> {
    let (ids, xids): (Vec<DeliveryId>, Vec<Xid8>) =
        events.iter().map(|spill| (spill.id, spill.xid)).unzip();
    let args = [arg(ids), arg(xids)];
    let rows = session.run(sql!("queue/taken"), &args);
    let taken: Vec<(DeliveryId, Xid8)> =
        rows.iter().map(|row| (row.value("id"), row.value("xid"))).collect();
    events.into_iter().filter(|spill| taken.contains(&(spill.id, spill.xid))).collect()
}

/// At most `limit` deliveries that have been cancelled and not settled, with the transactions of their
/// events.
pub fn cancelled(session: &Session, limit: i64) -> Vec<(DeliveryId, Xid8)> {
    let rows = session.read(sql!("queue/cancelled"), &[arg(limit)]);
    rows.iter().map(|row| (row.value("delivery"), row.value("xid"))).collect()
}

/// Those with `ids` that have been cancelled and not settled.
pub fn cancelled_of(session: &Session, ids: Vec<DeliveryId>) -> Vec<(DeliveryId, Xid8)> {
    let rows = session.read(sql!("queue/cancelled_of"), &[arg(ids)]);
    rows.iter().map(|row| (row.value("delivery"), row.value("xid"))).collect()
}

/// Cancelled deliveries that are in the backlog stay there for good. Returns for how many of them there
/// is nothing more to do.
pub fn settle(session: &Session, deliveries: Vec<(DeliveryId, Xid8)>) -> usize {
    let (ids, xids): (Vec<DeliveryId>, Vec<Xid8>) = deliveries.into_iter().unzip();
    session.run(sql!("queue/shelve"), &[arg(ids.clone()), arg(xids.clone()), arg(MOST_SHELVED)]);
    session.run(sql!("queue/settle"), &[arg(ids), arg(xids)]).count()
}

/// Removes delivered events.
pub fn finish(session: &Session, ids: Vec<DeliveryId>) {
    if !ids.is_empty() {
        session.run(sql!("queue/finish"), &[arg(ids)]);
    }
}
