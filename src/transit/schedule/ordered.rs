//! What is delivered in order, on its way through memory: who goes straight from the ring, who goes to the backlog first, and what becomes
//! of those who stand in line there.
//!
//! As long as all goes well an event is sent from the ring as others are, and those behind it with the same key wait in memory for its
//! end, or go in one batch with it. When it fails, or has to leave the memory for any other reason, it takes its place in the backlog with all that share a line
//! with it, those under way among them, which are like claimed ones from then on. Of what is there the first of a key is claimed, and
//! as many as are behind it come along.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::Schedule;
use crate::batches::Item;
use crate::event::{Event, Origin, Spill};
use crate::lines::{Count, Crowd, Left};
use crate::sending::Queues;
use crate::track::Track;
use domain::batch::Batching;
use domain::key::{BatchId, DeliveryId, WebhookId};

/// Events that stand in line behind others, of one webhook. Fewer, and a receiver that takes its time for each of a thousand keys is not
/// kept busy: of so many keys four is what is needed for one of each to be there nearly always. More are written at once when it fails.
const MOST_OF_ONE: usize = 4_096;

/// The same of all webhooks. With more of these others wait a moment, and then go to the backlog.
const MOST: usize = 2 * MOST_OF_ONE;

/// The bytes of their bodies, of one webhook and of all. Less, and large bodies stand in short lines; more cost memory, beside what waits
/// in queues.
const MOST_BYTES_OF_ONE: usize = 4 * 1024 * 1024;
const MOST_BYTES: usize = 4 * MOST_BYTES_OF_ONE;

/// Those behind a claimed one that come along, at most. Fewer, and one key goes more slowly; more are read for nothing when it fails.
pub const MOST_FOLLOWERS: usize = 64;

/// The same of all claimed ones together.
const MOST_OF_CLAIMS: usize = 2_048;

/// An event of the ring that is delivered in order.
#[derive(Debug)]
pub struct Ordered {
    /// Without a body where it is not to be sent.
    pub event: Event,
    /// By which it is ordered; none: with all of its webhook.
    pub keys: Vec<i64>,
    /// Something with one of its keys is in the backlog, or it takes the place of something there.
    pub is_behind: bool,
}

/// What has been decided of a page so far, and is not done yet.
#[derive(Debug, Default)]
pub struct Page {
    straight: HashSet<(WebhookId, i64)>,
    stored: HashSet<(WebhookId, i64)>,
    /// All keys of these.
    barred: HashSet<WebhookId>,
    counts: HashMap<WebhookId, Count>,
    all: Count,
    ids: HashSet<DeliveryId>,
}

/// Where an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Into memory.
    Straight,
    /// To the backlog.
    Stored,
    /// Nowhere yet: there is no room, and soon will be.
    Crowded,
    /// To the backlog, after those in memory that are before it: see [`Schedule::part_before`].
    After,
    /// It is to be written once more: another one has its id.
    Doubled,
    /// Nowhere before it is known that its webhook has an order: see [`Schedule::learn_order`].
    Unknown,
}

/// What has left the memory, to be written.
#[derive(Debug, Default)]
pub struct Parted {
    /// Events of the ring that take places in the backlog, in their order.
    pub lined: Vec<Spill>,
    /// Deliveries of the backlog that may be the first of their keys.
    pub free: Vec<DeliveryId>,
    /// Deliveries of a batch that is sent no more as it was: some may have others of it before them.
    pub separate: Vec<DeliveryId>,
    /// Batches in the backlog of which that is so of all deliveries.
    pub dissolved: Vec<BatchId>,
}

impl Parted {
    /// Nothing has.
    pub fn is_empty(&self) -> bool {
        let Self { lined, free, separate, dissolved } = self;
        lined.is_empty() && free.is_empty() && separate.is_empty() && dissolved.is_empty()
    }

    /// With `other`, which comes later.
    pub fn extend(&mut self, other: Self) {
        self.lined.extend(other.lined);
        self.free.extend(other.free);
        self.separate.extend(other.separate);
        self.dissolved.extend(other.dissolved);
    }
}

impl<Q: Queues> Schedule<Q> {
    /// Decides where the next event of a page goes. Where that is [`Admission::Crowded`], [`Admission::After`] or
    /// [`Admission::Unknown`], those behind it are not decided yet.
    pub fn admit(&self, ordered: &Ordered, page: &mut Page, now: Instant) -> Admission {
        let Ordered { event, keys, is_behind } = ordered;
        let webhook = event.webhook;
        let known = self.tracks.get(&webhook).map(|track| track.route.ordered);
        if !known.unwrap_or_else(|| self.deleted.contains(&webhook)) {
            return Admission::Unknown;
        }
        let other = self.deliveries.get(&event.id).is_some_and(|known| known.xid != event.xid);
        if other || page.ids.contains(&event.id) {
            return Admission::Doubled;
        }
        let shares = |those: &HashSet<(WebhookId, i64)>| {
            keys.iter().any(|key| those.contains(&(webhook, *key)))
        };
        let stored = *is_behind
            || keys.is_empty()
            || event.body.is_none()
            || event.failure.is_some()
            || page.barred.contains(&webhook)
            || shares(&page.stored)
            || self.has(event.id);
        if !stored {
            match self.room_in_line(webhook, page, now) {
                Some(true) => {
                    page.straight.extend(keys.iter().map(|key| (webhook, *key)));
                    let bytes = event.body.as_ref().map_or(0, String::len);
                    page.counts.entry(webhook).or_default().add(bytes);
                    page.all.add(bytes);
                    page.ids.insert(event.id);
                    return Admission::Straight;
                }
                Some(false) => return Admission::Crowded,
                None => {}
            }
        }
        let before = match &keys[..] {
            [] => page.counts.contains_key(&webhook) || self.lines.has_unstored(webhook),
            keys => {
                shares(&page.straight)
                    || keys.iter().any(|key| self.lines.is_unstored(webhook, *key))
            }
        };
        if before {
            return Admission::After;
        }
        match &keys[..] {
            [] => drop(page.barred.insert(webhook)),
            keys => page.stored.extend(keys.iter().map(|key| (webhook, *key))),
        }
        Admission::Stored
    }

    /// Whether one more event of it may stand in line now; `None` where it is not waited for.
    fn room_in_line(&self, webhook: WebhookId, page: &Page, now: Instant) -> Option<bool> {
        let track = self.tracks.get(&webhook).filter(|track| !track.removed)?;
        if self.single || self.closed || !track.takes_fresh(now) {
            return None;
        }
        let (of_it, all) = (self.lines.count(webhook), self.lines.all());
        let coming = page.counts.get(&webhook).copied().unwrap_or_default();
        let is_full = of_it.events + coming.events >= MOST_OF_ONE
            || of_it.bytes + coming.bytes >= MOST_BYTES_OF_ONE;
        let others_fill =
            all.events + page.all.events >= MOST || all.bytes + page.all.bytes >= MOST_BYTES;
        if !is_full && !others_fill {
            return Some(true);
        }
        // Whom others leave no room does not know how long these take.
        let waits = track.crowd.as_ref().is_none_or(|crowd| crowd.is_waited_for(!is_full, now));
        waits.then_some(false)
    }

    /// The definitions have just been read, and `webhook` has events in order: if it is not among them, it has been deleted.
    pub fn learn_order(&mut self, webhook: WebhookId) {
        self.learn(webhook);
        if let Some(track) = self.tracks.get_mut(&webhook) {
            track.route.ordered = true;
        }
    }

    /// There is memory, and no queue is full to which reading on in order would add: where keys are many it would be behind before lines
    /// are full.
    pub fn has_room_in_order(&self) -> bool {
        self.has_memory()
            && !self.tracks.values().any(|track| track.route.ordered && track.is_full())
    }

    /// Reading waits for room of it.
    pub fn wait_for_room(&mut self, webhook: WebhookId, now: Instant) {
        if let Some(track) = self.tracks.get_mut(&webhook) {
            track.crowd.get_or_insert_with(|| Crowd::new(now)).look(track.lined, now);
        }
    }

    /// An admitted event comes into memory, and is sent when nobody is before it.
    pub fn stand(&mut self, ordered: Ordered, now: Instant) {
        let Ordered { event, keys, .. } = ordered;
        let webhook = event.webhook;
        self.remember(&event);
        if let Some(track) = self.tracks.get_mut(&webhook) {
            track.last_event = Some(now);
        }
        if let Some(event) = self.lines.enter(event, keys) {
            self.load(event, now);
        }
        self.count_lines(webhook);
    }

    /// What is before that event, which goes to the backlog, goes there first.
    pub fn part_before(&mut self, webhook: WebhookId, keys: &[i64], now: Instant) {
        let takes = |track: &Track<Q>| track.takes_fresh(now) && track.crowd.is_none();
        if keys.is_empty() || !self.tracks.get(&webhook).is_some_and(takes) {
            return self.part_all(webhook);
        }
        for key in keys {
            let parted = self.lines.part_line(webhook, *key);
            self.note_parted(webhook, parted);
        }
    }

    /// Something is in memory that the backlog knows nothing of.
    pub fn has_unstored(&self) -> bool {
        self.lines.has_any_unstored()
    }

    /// All of that goes to the backlog.
    pub fn part_everything(&mut self) {
        let webhooks: Vec<WebhookId> = self.tracks.keys().copied().collect();
        webhooks.into_iter().for_each(|webhook| self.part_all(webhook));
    }

    /// What has left the memory since this was last asked.
    pub fn take_parted(&mut self) -> Parted {
        std::mem::take(&mut self.parted)
    }

    /// Something has.
    pub fn has_parted(&self) -> bool {
        !self.parted.is_empty()
    }

    /// How many of those behind each of so many claimed ones may come along.
    pub fn followers(&self, webhook: WebhookId, claimed: usize) -> usize {
        let (of_it, all) = (self.lines.count(webhook), self.lines.all());
        if of_it.bytes >= MOST_BYTES_OF_ONE || all.events >= MOST || all.bytes >= MOST_BYTES {
            return 0;
        }
        let room = MOST_OF_ONE.saturating_sub(of_it.events);
        // A batch may be of one key.
        let most = self.tracks.get(&webhook).map_or(1, Track::batch_size).max(MOST_FOLLOWERS);
        let share = (MOST_OF_CLAIMS / claimed.max(1)).clamp(1, most);
        share.min(room / claimed.max(1))
    }

    /// What has been claimed since this was last asked, is of no batch, and may have an order; and whose it is. Not what was in memory
    /// before: it may be finished already.
    pub fn take_heads(&mut self) -> Vec<(DeliveryId, WebhookId)> {
        let claimed = std::mem::take(&mut self.taken);
        let head = |id: DeliveryId| {
            let webhook = self.deliveries.get(&id)?.webhook;
            let track = self.tracks.get(&webhook)?;
            let leads = track.route.ordered && !self.single && !self.lines.has(id);
            leads.then_some((id, webhook))
        };
        claimed.into_iter().filter_map(head).collect()
    }

    /// Events of the backlog that are behind a claimed one, in their order, come along. What is in memory already stays as it is, and
    /// nothing behind that comes.
    pub fn follow(&mut self, head: DeliveryId, key: i64, followers: Vec<Event>) {
        let Some(webhook) = self.deliveries.get(&head).map(|delivery| delivery.webhook) else {
            return;
        };
        if followers.is_empty() || self.lines.has(head) || self.lines.has_line(webhook, key) {
            return;
        }
        self.lines.enter_sent(head, webhook, key);
        for event in followers.into_iter().take_while(|event| event.body.is_some()) {
            if self.has(event.id) {
                break;
            }
            self.remember(&event);
            // Not the first of its line: that is the head.
            drop(self.lines.enter(event, vec![key]));
        }
        self.count_lines(webhook);
    }

    /// A delivery is made: whoever is first behind it now is sent.
    pub(super) fn step_up(&mut self, delivery: DeliveryId, webhook: WebhookId, now: Instant) {
        if !self.lines.has(delivery) {
            return;
        }
        let next = self.lines.leave(delivery);
        let count = next.len();
        next.into_iter().for_each(|event| self.load(event, now));
        self.leave_lines(webhook, count);
    }

    /// That one goes to the backlog, with all that share a line with it.
    pub(super) fn part(&mut self, delivery: DeliveryId, webhook: WebhookId) {
        let parted = self.lines.part(delivery);
        self.note_parted(webhook, parted);
    }

    /// Those that may go in one request with `items`, as far as it has room for them.
    pub(super) fn take_along(
        &mut self,
        webhook: WebhookId,
        rules: &Batching,
        items: &[Item],
    ) -> Vec<Event> {
        let members: Vec<DeliveryId> = items.iter().map(|item| item.delivery).collect();
        let mut room = rules.size.saturating_sub(items.len());
        let mut bytes: usize = items.iter().map(|item| item.body.len()).sum();
        let taken = self.lines.take_along(&members, |event| {
            bytes += event.body.as_ref().map_or(0, String::len);
            let fits = room > 0 && bytes <= rules.bytes;
            room = room.saturating_sub(1);
            fits
        });
        self.leave_lines(webhook, taken.len());
        taken
    }

    /// So many of it have been sent, and are waited for no more.
    fn leave_lines(&mut self, webhook: WebhookId, count: usize) {
        if let Some(crowd) = self.tracks.get_mut(&webhook).and_then(|track| track.crowd.as_mut()) {
            crowd.leave(count);
        }
        self.count_lines(webhook);
    }

    /// A batch of the backlog is sent no more as it was: when that is written its deliveries are due each by itself, or held.
    pub(super) fn dissolve(&mut self, webhook: WebhookId, batch: BatchId) {
        if !self.parted.dissolved.contains(&batch) {
            self.parted.dissolved.push(batch);
            self.changes.ended.push(batch);
        }
        if let Some(track) = self.tracks.get_mut(&webhook) {
            track.gives_back = true;
        }
    }

    /// That one leaves the memory unsent.
    pub(super) fn part_unsent(&mut self, delivery: DeliveryId, webhook: WebhookId) {
        if self.winding_up {
            // All others are gone, and the next run finds it.
            self.lines.leave(delivery);
            return;
        }
        self.part(delivery, webhook);
    }

    /// All of `webhook` go to the backlog.
    pub(super) fn part_all(&mut self, webhook: WebhookId) {
        if !self.winding_up {
            let parted = self.lines.part_all(webhook);
            self.note_parted(webhook, parted);
        }
    }

    fn note_parted(&mut self, webhook: WebhookId, parted: Vec<Left>) {
        if parted.is_empty() {
            return;
        }
        for Left { delivery, stored, sent } in parted {
            if !stored {
                self.store(delivery);
            }
            if !sent {
                self.unload(delivery);
            }
            if stored && !sent {
                self.parted.free.push(delivery);
            }
        }
        self.count_lines(webhook);
        if let Some(track) = self.tracks.get_mut(&webhook) {
            track.crowd = None;
            track.gives_back = true;
            track.look_again();
        }
    }

    /// From now on it is one of the backlog.
    fn store(&mut self, delivery: DeliveryId) {
        let Some(known) = self.deliveries.get_mut(&delivery) else {
            return;
        };
        if let Origin::Ring { slot, window } = known.origin {
            self.parted.lined.push(Spill { slot, xid: known.xid, id: delivery, window });
            known.origin = Origin::Pending { slot: Some(slot) };
            if let Some(track) = self.tracks.get_mut(&known.webhook) {
                track.loaded_pending += 1;
            }
        }
    }

    /// Nothing more is sent, and nothing that has not been is written: the next run finds it.
    pub fn abandon(&mut self, now: Instant) {
        for delivery in self.lines.drop_waiting() {
            self.unload(delivery);
        }
        self.winding_up = true;
        drop(self.recall_all(now));
    }

    fn count_lines(&mut self, webhook: WebhookId) {
        let count = self.lines.count(webhook);
        if let Some(track) = self.tracks.get_mut(&webhook) {
            track.lined = count.events;
            if count.events < MOST_OF_ONE / 2 && count.bytes < MOST_BYTES_OF_ONE / 2 {
                track.crowd = None;
            }
        }
    }
}
