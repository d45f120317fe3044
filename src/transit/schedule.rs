//! What is in memory: the queues of all endpoints, and every delivery in them.
//!
//! The leader reads the ring in order; this decides what becomes of each event. An event goes into its
//! endpoint's queue, unless the endpoint is paused, broken, behind, or has older events waiting: then it
//! is spilled to the backlog, from where it is claimed when the endpoint can take it. So a slow or
//! dead endpoint costs a row for each of its events and nothing for anybody else's.

mod batching;
mod claims;
mod memory;
pub mod ordered;
mod outcomes;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batches::{Batch, Changes, Composition, Item};
use super::event::{Candidate, Event, Origin, Spill};
use super::lines::Lines;
use super::track::{Backlog, Track};
use crate::moment::Moment;
use crate::route::Route;
use crate::sending::{Exchange, Outcome, Parcel, Queue, Queues};
use domain::failure::Failure;
use domain::key::{DeliveryId, WebhookId};
use domain::snapshot::Xid8;
use domain::time::Timestamp;
use memory::Memory;
use ordered::Parted;

/// The ring is not read on while so many deliveries are in memory for endpoints that take some. More cost memory; fewer, and
/// many busy endpoints wait for each other.
const MOST_DELIVERIES: usize = 10_000;

/// Deleted webhooks that are remembered, so that their events ask for no second look at the definitions: 80 kB. With more
/// than that all are looked for once more.
const MOST_DELETED: usize = 10_000;

/// So many of these are named to the statement that reads the ring, so that it leaves their bodies out. It compares each row with all of
/// them; the bodies of more are read for nothing.
const MOST_SKIPPED: usize = 100;

/// A delivery in memory.
#[derive(Debug, Clone)]
struct Delivery {
    webhook: WebhookId,
    xid: Xid8,
    written: Xid8,
    attempts: u32,
    origin: Origin,
    first_attempt_at: Option<Timestamp>,
    since: Timestamp,
    /// The first one of its batch, if it is in one.
    head: Option<DeliveryId>,
}

/// What becomes of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is in its queue.
    Taken,
    /// It must wait in the backlog.
    Spilled(Spill),
    /// Its id is that of another delivery, which is in memory.
    Doubled(Spill),
    /// Its transform has failed, for this reason: it is a dead letter, and its endpoint has nothing to do with it.
    Dead(Spill, WebhookId, String),
}

/// All endpoints and deliveries.
pub struct Schedule<Q: Queues> {
    tracks: HashMap<WebhookId, Track<Q>>,
    deliveries: HashMap<DeliveryId, Delivery>,
    memory: Memory,
    /// Outcomes of deliveries that could not even be tried.
    untried: Vec<Outcome>,
    /// Webhooks that have been deleted, so that their events ask for no second look.
    deleted: HashSet<WebhookId>,
    /// One delivery at a time, of all webhooks.
    single: bool,
    /// Parcels for endpoint queues, to be handed over when the transaction that read them has ended.
    outbox: HashMap<WebhookId, Vec<Parcel>>,
    /// Batches in memory, by their first deliveries.
    batches: HashMap<DeliveryId, Batch>,
    /// Those of them that are to be written down before they go into the outbox.
    unwritten: Vec<(Composition, Parcel)>,
    /// What has become of others and is to be written.
    changes: Changes,
    /// Webhooks with an order are sent from the backlog: what an earlier run has not brought there is there.
    in_order: bool,
    /// What is delivered in order and in memory.
    lines: Lines,
    /// What has been claimed and has just come into memory.
    taken: Vec<DeliveryId>,
    /// What has left these, to be written.
    parted: Parted,
    /// What has an order comes into memory by claims alone.
    closed: bool,
    /// Nothing more is sent.
    winding_up: bool,
    /// What has become of deliveries so far is in the database.
    written: bool,
}

impl<Q: Queues> Default for Schedule<Q> {
    fn default() -> Self {
        Self {
            tracks: HashMap::new(),
            deliveries: HashMap::new(),
            memory: Memory::default(),
            untried: Vec::new(),
            deleted: HashSet::new(),
            single: false,
            outbox: HashMap::new(),
            batches: HashMap::new(),
            unwritten: Vec::new(),
            changes: Changes::default(),
            in_order: false,
            lines: Lines::default(),
            taken: Vec::new(),
            parted: Parted::default(),
            closed: false,
            winding_up: false,
            written: true,
        }
    }
}

impl<Q: Queues> Schedule<Q> {
    /// Takes over the webhooks as they are now, by the time that `clock` shows, and empties the queues of those that do not send any
    /// more. What is returned must be spilled.
    pub fn set_routes(
        &mut self,
        routes: Vec<Route<Q::Destination>>,
        queues: &Q,
        clock: impl Fn() -> Instant,
    ) -> Vec<Spill> {
        let now = clock();
        for track in self.tracks.values_mut() {
            track.removed = true;
        }
        let mut recalled = Vec::new();
        for route in routes {
            let Some(track) = self.tracks.get(&route.webhook) else {
                self.tracks.insert(route.webhook, Track::new(route, queues, now));
                continue;
            };
            let other = track.other_queue(&route, queues);
            if track.loses_its_queue(&route, other.as_ref()) {
                recalled.extend(self.recall(route.webhook, now));
            }
            if let Some(track) = self.tracks.get_mut(&route.webhook) {
                track.reconfigure(route, queues, other, &clock);
            }
        }
        let stopped = self.tracks.values().filter(|track| !track.sends());
        let stopped: Vec<WebhookId> = stopped.map(|track| track.route.webhook).collect();
        recalled.extend(stopped.into_iter().flat_map(|webhook| self.recall(webhook, now)));
        self.tracks.retain(|_, track| !track.removed || track.loaded > 0);
        recalled
    }

    /// Whether this webhook is known, be it as deleted.
    pub fn knows(&self, webhook: WebhookId) -> bool {
        self.tracks.contains_key(&webhook) || self.deleted.contains(&webhook)
    }

    /// The definitions have just been read: a webhook that is not among them has been deleted.
    pub fn learn(&mut self, webhook: WebhookId) {
        if self.tracks.contains_key(&webhook) {
            return;
        }
        if self.deleted.len() >= MOST_DELETED {
            self.deleted.clear();
        }
        self.deleted.insert(webhook);
    }

    /// One delivery at a time from now on, or any number.
    pub fn set_single(&mut self, single: bool) {
        self.single = single;
    }

    /// Whether it is one delivery at a time.
    pub fn is_single(&self) -> bool {
        self.single
    }

    /// The delivery in memory, where there is one at a time and there is one.
    pub fn single(&self) -> Option<DeliveryId> {
        self.deliveries.keys().next().copied().filter(|_| self.single)
    }

    /// Events that may be taken of a page of `read`.
    pub fn page(&self, read: usize) -> usize {
        if self.single { read.min(1) } else { read }
    }

    /// Whether more of the ring may be read now: there is memory, and no queue is full that keeps up. One that is behind is not
    /// waited for.
    pub fn has_room(&self) -> bool {
        self.has_memory() && !self.is_full()
    }

    /// Whether the first page of a new window may be read. Not only where there is room: an endpoint that
    /// keeps up does not wait for one that is full, whose events are spilled meanwhile.
    pub fn has_room_for_fresh(&self, now: Instant) -> bool {
        let hungry =
            || self.tracks.values().any(|track| track.is_hungry(now) && !self.fills(track));
        self.has_memory() && (!self.is_full() || !self.single && hungry())
    }

    fn is_full(&self) -> bool {
        self.tracks.values().any(|track| self.fills(track))
    }

    /// Reading on would give it more than it takes. One that is behind is not waited for.
    fn fills(&self, track: &Track<Q>) -> bool {
        let has_much = !track.is_still() && self.memory.room(track) == 0;
        track.is_full() || has_much && track.keeps_up()
    }

    fn has_memory(&self) -> bool {
        if self.single {
            return self.deliveries.is_empty();
        }
        let queues = self.tracks.values().filter(|track| track.loaded > 0 && !track.is_still());
        let deliveries: usize = queues.map(Track::in_queue).sum();
        deliveries < MOST_DELIVERIES && self.memory.has_room()
    }

    /// The webhooks whose new events will be spilled, those that have been deleted among them, so that their bodies need not be read.
    pub fn spilling(&self, now: Instant) -> Vec<WebhookId> {
        let has_room = |track: &Track<Q>| !track.is_full() && self.memory.room(track) > 0;
        let spills = |track: &&Track<Q>| !track.takes_fresh(now) || !has_room(track);
        let spilling = self.tracks.values().filter(spills).map(|track| track.route.webhook);
        spilling.chain(self.deleted.iter().copied().take(MOST_SKIPPED)).collect()
    }

    /// Decides about an event of the ring. That of a deleted webhook goes to the backlog, where it is found as cancelled.
    pub fn offer(&mut self, event: Event, now: Instant) -> Decision {
        let spill = event.spill().expect("an event of the ring");
        if self.deliveries.get(&event.id).is_some_and(|other| other.xid != event.xid) {
            return Decision::Doubled(spill);
        }
        if let Some(failure) = event.failure {
            return Decision::Dead(spill, event.webhook, failure);
        }
        let track = self.tracks.get_mut(&event.webhook);
        let Some(track) = track.filter(|track| !track.removed) else {
            return Decision::Spilled(spill);
        };
        track.last_event = Some(now);
        if event.body.is_none() || !track.takes_fresh(now) {
            track.backlog = Backlog::Waiting;
            return Decision::Spilled(spill);
        }
        self.remember(&event);
        self.load(event, now);
        Decision::Taken
    }

    /// How long until an endpoint queue needs a push that nothing else will give.
    pub fn push_due_in(&self, now: Instant) -> Option<Duration> {
        self.tracks.values().filter_map(|track| track.push_due_in(now)).min()
    }

    /// Puts the queues that need a push into the outbox.
    pub fn push_due(&mut self, now: Instant) {
        for (webhook, track) in &self.tracks {
            if track.push_due_in(now) == Some(Duration::ZERO) {
                self.outbox.entry(*webhook).or_default();
            }
        }
    }

    /// The parcels that were taken, with their queues.
    pub fn take_outbox(&mut self, at: Moment) -> Vec<(Arc<Q::Queue>, Vec<Parcel>)> {
        let mut sent = Vec::with_capacity(self.outbox.len());
        for (webhook, parcels) in self.outbox.drain() {
            let Some(track) = self.tracks.get(&webhook) else {
                continue;
            };
            match &track.queue {
                Ok(queue) => sent.push((Arc::clone(queue), parcels)),
                Err(failure) => {
                    let untried =
                        parcels.into_iter().map(|parcel| untried(webhook, &parcel, failure, at));
                    self.untried.extend(untried);
                }
            }
        }
        sent
    }

    /// A delivery has been cancelled: unless a runner has taken it, it leaves its queue, and with it what was to be sent in the same
    /// request. What is returned must be spilled.
    pub fn withdraw(&mut self, delivery: DeliveryId, xid: Xid8, now: Instant) -> Vec<Spill> {
        let known = self.deliveries.get(&delivery).filter(|delivery| delivery.xid == xid);
        let Some((webhook, head)) = known.map(|known| (known.webhook, known.head)) else {
            return Vec::new();
        };
        if self.lines.is_waiting(delivery) {
            self.part(delivery, webhook);
            return Vec::new();
        }
        let Some(track) = self.tracks.get_mut(&webhook) else {
            return Vec::new();
        };
        if track.gathering.withdraw(delivery) {
            track.breaker.unsent(delivery, now);
            return self.give_up(delivery).into_iter().collect();
        }
        let delivery = head.unwrap_or(delivery);
        let unwritten = self.unwritten.iter().position(|(_, parcel)| parcel.delivery == delivery);
        let waiting = |parcel: &Parcel| parcel.delivery == delivery;
        let parcels = self.outbox.get_mut(&webhook);
        let at = parcels.as_ref().and_then(|parcels| parcels.iter().position(waiting));
        match (parcels, at, unwritten) {
            (Some(parcels), Some(at), _) => drop(parcels.remove(at)),
            (.., Some(at)) => drop(self.unwritten.remove(at)),
            _ if track.queue.as_ref().is_ok_and(|queue| queue.withdraw(delivery)) => {}
            _ => return Vec::new(),
        }
        track.breaker.unsent(delivery, now);
        if head.is_some() {
            // The others are sent without it.
            track.look_again();
        }
        self.give_up_parcel(delivery)
    }

    /// The deliveries in memory, those under way among them: what a job looks at, the transaction and where it was read.
    pub fn candidates(&self) -> impl Iterator<Item = (Candidate, Xid8, Origin)> {
        self.deliveries.iter().map(|(id, it)| {
            let Delivery { webhook, written, attempts, xid, origin, .. } = *it;
            (Candidate { id: *id, webhook, written, tried: attempts > 0 }, xid, origin)
        })
    }

    /// The backlog of `webhook` holds what has been passed over, and may be sent now.
    pub fn look_again(&mut self, webhook: WebhookId) {
        if let Some(track) = self.tracks.get_mut(&webhook) {
            track.look_again();
        }
    }

    /// The webhooks that have, or had, an order, and whether a dead letter holds up those behind it.
    pub fn ordered(&self) -> HashMap<WebhookId, bool> {
        let ordered = self.tracks.values().filter(|track| track.route.ordered && !track.removed);
        ordered.map(|track| (track.route.webhook, track.route.holds)).collect()
    }

    /// Whether events of `webhook` may be in an order.
    pub fn is_ordered(&self, webhook: WebhookId) -> bool {
        self.tracks.get(&webhook).is_some_and(|track| track.route.ordered)
    }

    /// Whether a dead letter of `webhook` holds up those behind it in their order.
    pub fn holds(&self, webhook: WebhookId) -> bool {
        self.tracks.get(&webhook).is_some_and(|track| track.route.ordered && track.route.holds)
    }

    /// From now on what has an order is sent, or not.
    pub fn set_in_order(&mut self, in_order: bool) {
        self.in_order = in_order;
    }

    /// Rows of the backlog of `webhook` have become due, at `clock`: what has been claimed meanwhile may not have seen them.
    pub fn comes_due(&mut self, webhook: WebhookId, clock: Timestamp) {
        if let Some(track) = self.tracks.get_mut(&webhook) {
            track.next_due = Some(track.next_due.map_or(clock, |due| due.min(clock)));
            track.waits_from(clock);
        }
    }

    /// Spilled events are about to be written, due at `clock`.
    pub fn spill_at(&mut self, clock: Timestamp) {
        self.tracks.values_mut().for_each(|track| track.waits_from(clock));
    }

    /// Spilled events have been written.
    pub fn spilled(&mut self) {
        for track in self.tracks.values_mut().filter(|track| track.gives_back) {
            track.gives_back = false;
            track.look_again();
        }
    }

    /// The deliveries in memory.
    pub fn ids(&self) -> Vec<DeliveryId> {
        self.deliveries.keys().copied().collect()
    }

    /// Whether this one is among them.
    pub fn has(&self, delivery: DeliveryId) -> bool {
        self.deliveries.contains_key(&delivery)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Takes an event that is remembered, to be sent by itself or with others.
    fn load(&mut self, event: Event, now: Instant) {
        let Some(track) = self.tracks.get_mut(&event.webhook) else {
            return;
        };
        let (webhook, xid) = (event.webhook, event.xid);
        let mut parcel = Parcel::of(event);
        self.memory.add(track, parcel.bytes());
        match &track.route.batching {
            Some(rules) if self.single => {
                // Nobody else is to go down with it.
                parcel.body = rules.body(std::iter::once((&*parcel.event_id, &*parcel.body)));
                parcel.batch = Some(1);
            }
            Some(_) => {
                track.gathering.push(Item::new(parcel, xid, now));
                return;
            }
            None => {}
        }
        self.outbox.entry(webhook).or_default().push(parcel);
    }

    /// It is in memory, and in no batch yet.
    fn remember(&mut self, event: &Event) {
        let Some(track) = self.tracks.get_mut(&event.webhook) else {
            return;
        };
        track.loaded += 1;
        track.loaded_pending += usize::from(event.origin.is_pending());
        let delivery = Delivery {
            webhook: event.webhook,
            xid: event.xid,
            written: event.written,
            attempts: event.attempts,
            origin: event.origin,
            first_attempt_at: event.first_attempt_at,
            since: event.since,
            head: None,
        };
        self.deliveries.insert(event.id, delivery);
    }

    fn unload(&mut self, delivery: DeliveryId) -> Option<Delivery> {
        let left = self.deliveries.remove(&delivery)?;
        if let Some(track) = self.tracks.get_mut(&left.webhook) {
            track.loaded -= 1;
            track.loaded_pending -= usize::from(left.origin.is_pending());
        }
        Some(left)
    }

    /// Empties all queues: what is left is under way. What is returned must be spilled.
    pub fn recall_all(&mut self, now: Instant) -> Vec<Spill> {
        self.closed = true;
        let webhooks: Vec<WebhookId> = self.tracks.keys().copied().collect();
        webhooks.into_iter().flat_map(|webhook| self.recall(webhook, now)).collect()
    }

    /// Empties the queue of `webhook`. What is returned must be spilled.
    fn recall(&mut self, webhook: WebhookId, now: Instant) -> Vec<Spill> {
        self.give_back(webhook, 0, now)
    }

    /// Leaves `bytes` of what waits in the queue of `webhook`, the oldest, at most. What is returned must be spilled.
    fn give_back(&mut self, webhook: WebhookId, bytes: usize, now: Instant) -> Vec<Spill> {
        let Some(track) = self.tracks.get_mut(&webhook) else {
            return Vec::new();
        };
        let mut parcels =
            track.queue.as_ref().map_or_else(|_| Vec::new(), |queue| queue.give_back(bytes));
        parcels.extend(self.outbox.remove(&webhook).unwrap_or_default());
        let of_it = |(composition, _): &mut (Composition, _)| composition.webhook == webhook;
        parcels.extend(self.unwritten.extract_if(.., of_it).map(|(_, parcel)| parcel));
        let unsent: Vec<DeliveryId> =
            parcels.into_iter().map(|it| it.delivery).chain(track.gathering.clear()).collect();
        if !unsent.is_empty() {
            track.look_again();
        }
        unsent.iter().for_each(|delivery| track.breaker.unsent(*delivery, now));
        let spills =
            unsent.into_iter().flat_map(|delivery| self.give_up_parcel(delivery)).collect();
        self.part_all(webhook);
        spills
    }

    /// What was to be sent in one request leaves the memory unsent.
    fn give_up_parcel(&mut self, delivery: DeliveryId) -> Vec<Spill> {
        match self.give_up_batch(delivery) {
            Some(members) => members.into_iter().filter_map(|it| self.give_up(it)).collect(),
            None => self.give_up(delivery).into_iter().collect(),
        }
    }

    /// A delivery leaves the memory unsent. What came from the ring must be spilled; what came from the
    /// backlog is still there.
    fn give_up(&mut self, delivery: DeliveryId) -> Option<Spill> {
        if self.lines.has(delivery) {
            let webhook = self.deliveries.get(&delivery)?.webhook;
            self.part_unsent(delivery, webhook);
        }
        let left = self.unload(delivery)?;
        // It may be one that was behind another there, and is held.
        if left.origin.is_pending() && self.is_ordered(left.webhook) && !self.winding_up {
            self.parted.free.push(delivery);
        }
        let spill = left.origin.spill(delivery, left.xid)?;
        if let Some(track) = self.tracks.get_mut(&left.webhook) {
            track.gives_back = true;
        }
        Some(spill)
    }
}

fn untried(webhook: WebhookId, parcel: &Parcel, failure: &Failure, at: Moment) -> Outcome {
    let exchange =
        Exchange { started: at.wall, took: Duration::ZERO, result: Err(failure.clone()) };
    let Parcel { delivery, batch, .. } = *parcel;
    Outcome { webhook, delivery, batch, began: at.now, exchange }
}

#[cfg(test)]
mod tests;
