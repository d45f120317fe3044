//! Delivery in order, as rows.
//!
//! An event that has an order is sent straight from the ring as long as nothing else with one of its keys is in the backlog
//! ([`transit::schedule::ordered`]). Otherwise, and whenever one leaves the memory unsent or is to be tried again, it goes to the backlog
//! and takes a place there for each of its keys (`webhook.place`), behind all that have one. Windows are read one after the other, and
//! each in the order of ids. Whoever has nothing before it with any of its keys is due; the others are held, which no claim asks for. An
//! event leaves the order when it is finished, in the transaction that says so, which lets go on those behind it. The deliveries of a batch
//! that is tried again are due together; when it is not whole any more they are as others are.
//!
//! So what is due has nothing unfinished before it but others of its batch: what is unfinished of a key is all in memory or all in the
//! backlog, and a place is only ever taken at the end, but for that of an event whose replay goes on in it.

use std::collections::HashMap;

use super::pending;
use super::ring;
use crate::host::ids;
use crate::pg::spi::{Arg, Row, Session, arg, sql};
use domain::key::{BatchId, DeliveryId, WebhookId};
use domain::snapshot::Xid8;
use domain::time::Timestamp;
use domain::timeline::Timeline;
use transit::event::{Event, Spill};
use transit::order::Found;
use transit::schedule::ordered::Ordered;
use transit::window::Scan;

/// Rows of the ring that are looked through at once, without bodies: a few milliseconds.
const LOOKED_THROUGH: i64 = 5_000;

/// Dead letters that are armed again in one transaction.
const REARMED: i64 = 500;

/// Places that are looked at, or given to what has been imported, in one transaction: some milliseconds.
const SWEPT: i64 = 500;

/// What has become due, and who is to be looked at.
#[derive(Debug, Default)]
pub struct Passed {
    /// These have something due, from these times on.
    pub due: Vec<(WebhookId, Timestamp)>,
    /// Of these something has left the order that all keys waited for, so any may be free.
    pub all: Vec<WebhookId>,
}

impl Passed {
    /// With `other`.
    pub fn extend(&mut self, other: Self) {
        self.due.extend(other.due);
        self.all.extend(other.all);
    }
}

/// What has come into the backlog.
#[derive(Debug, Default)]
pub struct Lined {
    /// What is due by it.
    pub passed: Passed,
    /// Deliveries.
    pub count: usize,
    /// Those that a transform has made dead, which are not there yet: whose, and why.
    pub dead: Vec<(Spill, WebhookId, String)>,
}

/// Whether any events may have an order.
pub fn is_ordered(session: &Session) -> bool {
    session.run(sql!("queue/is_ordered"), &[]).first().is_some_and(|row| row.value("is_ordered"))
}

/// The events that have an order among a page of the ring, and the position of its last row, where there may be more.
pub fn look_through(session: &Session, scan: &Scan) -> (Vec<Found>, Option<(Xid8, DeliveryId)>) {
    let rows = match scan {
        Scan::Range { after, below, upper, lower } => session.read(
            sql!("queue/order_range"),
            &[arg(after.0), arg(after.1), arg(*below), arg(upper), arg(lower), arg(LOOKED_THROUGH)],
        ),
        Scan::Transaction { xid, after } => session
            .read(sql!("queue/order_transaction"), &[arg(*xid), arg(*after), arg(LOOKED_THROUGH)]),
    };
    let found = |row: Row<'_>| Found {
        id: row.value("id"),
        xid: row.value("xid"),
        slot: row.value("slot"),
        failed: row.value("failed"),
        bytes: row.value::<i32>("bytes").unsigned_abs(),
    };
    let ordered = rows.iter().filter(|row| row.value("ordered")).map(found).collect();
    let last = rows.iter().last().filter(|_| rows.count() == LOOKED_THROUGH as usize);
    (ordered, last.map(|row| (row.value("xid"), row.value("id"))))
}

/// These events of `window`, with their bodies: all that it has between the first id and the last.
pub fn read(
    session: &Session,
    window: u64,
    page: &[Found],
    installation: &str,
) -> HashMap<(DeliveryId, Xid8), Ordered> {
    if page.is_empty() {
        return HashMap::new();
    }
    let rows = session.read(sql!("queue/ordered"), &stretches(page));
    let ordered = rows.iter().map(|row| {
        let ordered = Ordered {
            keys: row.value("keys"),
            is_behind: row.value("is_behind"),
            event: ring::event(row, window, installation),
        };
        ((ordered.event.id, ordered.event.xid), ordered)
    });
    ordered.collect()
}

/// Of each transaction the slot, itself, and its first and last id: a search for each, and not for each event.
fn stretches(page: &[Found]) -> [Arg; 4] {
    let mut stretches: HashMap<(i16, Xid8), (DeliveryId, DeliveryId)> = HashMap::new();
    for found in page {
        let (first, last) =
            stretches.entry((found.slot, found.xid)).or_insert((found.id, found.id));
        (*first, *last) = (found.id.min(*first), found.id.max(*last));
    }
    let (of, ids): (Vec<(i16, Xid8)>, Vec<_>) = stretches.into_iter().unzip();
    let (slots, xids): (Vec<i16>, Vec<Xid8>) = of.into_iter().unzip();
    let (first, last): (Vec<DeliveryId>, Vec<DeliveryId>) = ids.into_iter().unzip();
    [arg(slots), arg(xids), arg(first), arg(last)]
}

/// Slots, transactions and ids.
fn which(page: &[Found]) -> [Arg; 3] {
    let (ids, xids): (Vec<DeliveryId>, Vec<Xid8>) = page.iter().map(|it| (it.id, it.xid)).unzip();
    let slots: Vec<i16> = page.iter().map(|it| it.slot).collect();
    [arg(slots), arg(xids), arg(ids)]
}

/// Events of the backlog that are behind a claimed one.
pub struct Followers {
    /// The claimed one.
    pub head: DeliveryId,
    /// Theirs and its key, the only one of each.
    pub key: i64,
    /// In their order.
    pub events: Vec<Event>,
}

/// Those behind each of `heads`, which are the first of their keys: so many at most, and none that waits for another key as well.
pub fn followers(
    session: &Session,
    timeline: &Timeline,
    heads: &[(DeliveryId, i64)],
    installation: &str,
) -> Vec<Followers> {
    if heads.is_empty() {
        return Vec::new();
    }
    let (ids, limits): (Vec<DeliveryId>, Vec<i64>) = heads.iter().copied().unzip();
    let rows = session.read(sql!("queue/followers"), &[arg(ids), arg(limits)]);
    let mut found: Vec<Followers> = Vec::new();
    let mut left = ring::PAGE_BYTES;
    let mut over = None;
    for row in rows.iter() {
        let head: DeliveryId = row.value("head");
        if over == Some(head) {
            continue;
        }
        if found.last().is_none_or(|last| last.head != head) {
            found.push(Followers { head, key: row.value("key"), events: Vec::new() });
        }
        // Whoever is not held behind it alone, or is not there, ends the line.
        if left == 0 || !row.value::<bool>("follows") {
            over = Some(head);
            continue;
        }
        let event = pending::event(row, timeline, Timestamp::INFINITY, installation);
        left = left.saturating_sub(event.body.as_ref().map_or(0, String::len));
        if let Some(last) = found.last_mut() {
            last.events.push(event);
        }
    }
    found
}

/// Brings events of `window` into the backlog, in this order, due at `now` where they are.
pub fn line_up(session: &Session, window: u64, page: &[Found], now: Timestamp) -> Lined {
    if page.is_empty() {
        return Lined::default();
    }
    let positions: Vec<DeliveryId> = page.iter().map(|_| ids::next_here()).collect();
    let which = || which(page);
    // What replays another takes the place of that, which may be of the same page.
    for replays in [false, true] {
        let args = [&which()[..], &[arg(positions.clone()), arg(replays)]].concat();
        session.run(sql!("queue/place"), &args);
    }
    let rows = session.run(sql!("queue/line_up"), &[&which()[..], &[arg(now)]].concat());
    let count: i64 = rows.iter().map(|row| row.value::<i64>("count")).sum();
    let due = rows.iter().filter(|row| row.value("due")).map(|row| (row.value("webhook"), now));
    let mut lined = Lined {
        passed: Passed { due: due.collect(), all: Vec::new() },
        count: count.unsigned_abs() as usize,
        dead: Vec::new(),
    };
    let spill = |found: &Found| Spill { slot: found.slot, xid: found.xid, id: found.id, window };
    let dead = page.iter().filter(|found| found.failed).count();
    if dead > 0 {
        let rows = session.run(sql!("queue/line_up_dead"), &which());
        let dead = rows.iter().map(|row| {
            let (slot, xid, id) = (row.value("slot"), row.value("xid"), row.value("id"));
            (Spill { slot, xid, id, window }, row.value("webhook"), row.value("failure"))
        });
        lined.dead.extend(dead);
    }
    if lined.count + dead < page.len() {
        let taken = pending::taken(session, page.iter().map(spill).collect());
        ring::renew(session, &taken);
    }
    let replaced = session.run(sql!("queue/replaced"), &which());
    let replaced: Vec<DeliveryId> = replaced.iter().map(|row| row.value("id")).collect();
    lined.passed.extend(leave(session, &replaced, true, now, |_| false));
    lined
}

/// Of `deliveries` those that are finished leave the order, and who is the first then is due at `now`.
/// `stays`: what is in memory, and sent from there when it is its turn.
pub fn pass(
    session: &Session,
    deliveries: &[DeliveryId],
    now: Timestamp,
    stays: impl Fn(DeliveryId) -> bool,
) -> Passed {
    leave(session, deliveries, false, now, stays)
}

/// The same, where what somebody has replayed is finished, or is not: its replay has its place, or is still to be read.
fn leave(
    session: &Session,
    deliveries: &[DeliveryId],
    replaced: bool,
    now: Timestamp,
    stays: impl Fn(DeliveryId) -> bool,
) -> Passed {
    if deliveries.is_empty() {
        return Passed::default();
    }
    let args = [arg(deliveries.to_vec()), arg(replaced)];
    let rows = session.run(sql!("queue/pass"), &args);
    let gone: Vec<(WebhookId, Option<i64>)> =
        rows.iter().map(|row| (row.value("webhook"), row.get("key"))).collect();
    if gone.is_empty() {
        return Passed::default();
    }
    let all = gone.iter().filter(|(_, key)| key.is_none()).map(|(webhook, _)| *webhook).collect();
    let (webhooks, keys): (Vec<WebhookId>, Vec<Option<i64>>) = gone.into_iter().unzip();
    let next = session.run(sql!("queue/next_of_keys"), &[arg(webhooks), arg(keys)]);
    let next: Vec<DeliveryId> =
        next.iter().map(|row| row.value("delivery")).filter(|next| !stays(*next)).collect();
    Passed { due: let_go(session, &next, now), all }
}

/// Of `deliveries` those that are held and have nothing before them are due at `now`. Returns of which webhooks.
pub fn let_go(
    session: &Session,
    deliveries: &[DeliveryId],
    now: Timestamp,
) -> Vec<(WebhookId, Timestamp)> {
    if deliveries.is_empty() {
        return Vec::new();
    }
    let rows = session.run(sql!("queue/let_go"), &[arg(deliveries.to_vec()), arg(now)]);
    rows.iter().map(|row| (row.value("webhook"), now)).collect()
}

/// What was sent together and is so no more: those of these deliveries and batches that have others before them are held.
pub fn separate(session: &Session, deliveries: &[DeliveryId], batches: &[BatchId]) {
    if !deliveries.is_empty() || !batches.is_empty() {
        session.run(sql!("queue/separate"), &[arg(deliveries.to_vec()), arg(batches.to_vec())]);
    }
}

/// Looks at the next places of `webhook` behind `after`: what is finished leaves the order, unless it `stays`, and what is free is due.
/// Returns what has become due, and behind which place it goes on, where there are more.
pub fn sweep(
    session: &Session,
    webhook: WebhookId,
    after: i64,
    now: Timestamp,
    stays: impl Fn(DeliveryId) -> bool,
) -> (Passed, Option<i64>) {
    let rows = session.run(sql!("queue/sweep"), &[arg(webhook), arg(after), arg(SWEPT)]);
    let there: Vec<DeliveryId> = rows.iter().map(|row| row.value("delivery")).collect();
    let last = rows.iter().last().filter(|_| rows.count() == SWEPT as usize);
    let last = last.map(|row| row.value("position"));
    let over: Vec<DeliveryId> = there.iter().copied().filter(|it| !stays(*it)).collect();
    let mut passed = pass(session, &over, now, &stays);
    passed.due.extend(let_go(session, &over, now));
    (passed, last)
}

/// Dead letters that somebody wants to be sent again are held in their places, or due. Returns as well whether there may be more.
pub fn rearm(session: &Session, now: Timestamp) -> (Passed, bool) {
    let rows = session.run(sql!("queue/rearm"), &[arg(REARMED)]);
    let armed: Vec<DeliveryId> = rows.iter().map(|row| row.value("id")).collect();
    let due = let_go(session, &armed, now);
    (Passed { due, all: Vec::new() }, armed.len() == REARMED as usize)
}

/// Something has been imported that has no place.
pub fn has_unplaced(session: &Session) -> bool {
    session.read(sql!("queue/unplaced"), &[arg(1i64)]).first().is_some()
}

/// What has been imported takes places, in the order of ids. Returns whether there may be more.
pub fn place_imported(session: &Session, now: Timestamp) -> (Passed, bool) {
    let rows = session.read(sql!("queue/unplaced"), &[arg(SWEPT)]);
    let mut found: Vec<DeliveryId> = rows.iter().map(|row| row.value("id")).collect();
    let more = found.len() == SWEPT as usize;
    // Both keys of one are beside each other, and take one place.
    found.dedup();
    if found.is_empty() {
        return (Passed::default(), false);
    }
    let positions: Vec<DeliveryId> = found.iter().map(|_| ids::next_here()).collect();
    session.run(sql!("queue/place_imported"), &[arg(found.clone()), arg(positions)]);
    let due = let_go(session, &found, now);
    (Passed { due, all: Vec::new() }, more)
}
