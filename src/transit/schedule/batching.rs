//! Batches: how what gathers becomes parcels, and what becomes of those.

use std::time::{Duration, Instant};

use super::Schedule;
use crate::batches::{Batch, Changes, Composition, Drawn, Item};
use crate::event::Event;
use crate::sending::{Parcel, Queues};
use crate::track::Track;
use domain::batch::Batching;
use domain::key::{BatchId, DeliveryId, WebhookId};

impl<Q: Queues> Schedule<Q> {
    /// How long until [`Self::form`] has something to do; `None` where nothing gathers, or all of it waits for a free place.
    pub fn forms_in(&self, now: Instant) -> Option<Duration> {
        if !self.unwritten.is_empty() {
            return Some(Duration::ZERO);
        }
        let hurry = self.is_in_hurry();
        let tracks = self.tracks.values().filter(|track| self.may_form(track));
        tracks.filter_map(|track| track.forms_in(now, hurry)).min()
    }

    /// [`Self::form`] has something to do for what is delivered in order: what is before that has to be written down first.
    pub fn forms_in_order(&self, now: Instant) -> bool {
        let hurry = self.is_in_hurry();
        let mut ordered = self.tracks.values().filter(|track| track.route.ordered);
        ordered.any(|track| track.forms_in(now, hurry) == Some(Duration::ZERO))
    }

    /// What has become of deliveries so far is in the database, or is not.
    pub fn set_written(&mut self, written: bool) {
        self.written = written;
    }

    fn may_form(&self, track: &Track<Q>) -> bool {
        self.written || !track.route.ordered
    }

    /// How that webhook puts requests together, if it does.
    pub(super) fn rules(&self, webhook: WebhookId) -> Option<Batching> {
        self.tracks.get(&webhook)?.route.batching
    }

    /// Others wait for the memory that what gathers takes.
    pub(super) fn is_in_hurry(&self) -> bool {
        !self.has_memory() || self.is_full()
    }

    /// Puts together what is to be sent in one request. It is sent when it has been written down: see [`Self::release`].
    pub fn form(&mut self, now: Instant, mut draw: impl FnMut(Option<BatchId>) -> Drawn) {
        let hurry = self.is_in_hurry();
        let due = |wait: Option<Duration>| wait == Some(Duration::ZERO);
        let ready = self.tracks.values().filter(|track| self.may_form(track));
        let ready = ready.filter(|track| due(track.forms_in(now, hurry)));
        let ready: Vec<WebhookId> = ready.map(|track| track.route.webhook).collect();
        for webhook in ready {
            while let Some((rules, mut items)) =
                self.tracks.get_mut(&webhook).and_then(|track| track.next_batch(now, hurry))
            {
                let along = self.take_along(webhook, &rules, &items);
                items.extend(self.items(webhook, along, now));
                let drawn = draw(None);
                let composition = Composition {
                    batch: drawn.batch,
                    webhook,
                    shape: rules.shape(),
                    deliveries: items.iter().map(|item| (item.delivery, item.xid)).collect(),
                };
                let parcel = self.seal(webhook, &rules, items, drawn, false);
                self.unwritten.extend(parcel.map(|parcel| (composition, parcel)));
            }
        }
    }

    /// What [`Self::form`] has put together, to be written down.
    pub fn unwritten(&self) -> impl Iterator<Item = &Composition> + Clone {
        self.unwritten.iter().map(|(composition, _)| composition)
    }

    /// That has been written down, and may be sent.
    pub fn release(&mut self) {
        for (composition, parcel) in self.unwritten.drain(..) {
            self.outbox.entry(composition.webhook).or_default().push(parcel);
        }
    }

    /// What has become of batches that were written down.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Takes a batch that has been sent before, and is sent again as it was.
    pub(super) fn load_batch(&mut self, events: Vec<Event>, drawn: Drawn, now: Instant) {
        let Some(webhook) = events.first().map(|event| event.webhook) else {
            return;
        };
        let Some(rules) = self.rules(webhook) else {
            return;
        };
        events.iter().for_each(|event| self.remember(event));
        let items = self.items(webhook, events, now);
        let parcel = self.seal(webhook, &rules, items, drawn, true);
        self.outbox.entry(webhook).or_default().extend(parcel);
    }

    /// What goes together of these, which take memory from now on.
    fn items(&mut self, webhook: WebhookId, events: Vec<Event>, now: Instant) -> Vec<Item> {
        let item = |event: Event| {
            let xid = event.xid;
            Item::new(Parcel::of(event), xid, now)
        };
        let items: Vec<Item> = events.into_iter().map(item).collect();
        let bytes = items.iter().map(|item| item.bytes).sum();
        if let Some(track) = self.tracks.get_mut(&webhook) {
            self.memory.add(track, bytes);
        }
        items
    }

    /// The parcel of these, which are in memory.
    fn seal(
        &mut self,
        webhook: WebhookId,
        rules: &Batching,
        items: Vec<Item>,
        drawn: Drawn,
        is_kept: bool,
    ) -> Option<Parcel> {
        let head = items.first()?.delivery;
        let members: Vec<DeliveryId> = items.iter().map(|item| item.delivery).collect();
        for member in &members {
            if let Some(delivery) = self.deliveries.get_mut(member) {
                delivery.head = Some(head);
            }
        }
        if let Some(track) = self.tracks.get_mut(&webhook) {
            track.batches += 1;
        }
        let parcel = Parcel {
            delivery: head,
            event_id: drawn.name,
            attempt: items.iter().map(|item| item.attempt).max().unwrap_or(1),
            batch: Some(items.len() as u32),
            replay: false,
            body: rules.body(items.iter().map(|item| (&*item.event_id, &*item.body))),
        };
        let batch = Batch { id: drawn.batch, halves: drawn.halves, members, is_kept };
        self.batches.insert(head, batch);
        Some(parcel)
    }

    /// The batch that this is the first delivery of is not under way any more.
    pub(super) fn end_batch(&mut self, head: DeliveryId) -> Option<Batch> {
        let batch = self.batches.remove(&head)?;
        let webhook = self.deliveries.get(&head).map(|delivery| delivery.webhook);
        if let Some(track) = webhook.and_then(|webhook| self.tracks.get_mut(&webhook)) {
            track.batches -= 1;
        }
        Some(batch)
    }

    /// A batch leaves the memory unsent: its members. One that has been sent before stays what it is.
    pub(super) fn give_up_batch(&mut self, head: DeliveryId) -> Option<Vec<DeliveryId>> {
        let batch = self.end_batch(head)?;
        if !batch.is_kept {
            self.changes.ended.push(batch.id);
        }
        Some(batch.members)
    }
}
