//! Batches: what gathers for an endpoint until it goes in one request, and what is on its way together.
//!
//! Events gather in memory. A batch is full, or it goes with what is there: when a request could begin, and the first of its events
//! has waited for as long as the webhook says. It is written down before it is sent ([`Composition`]), so that a request that is
//! repeated, after a crash as well, is the same one.

use std::time::{Duration, Instant};

use super::event::Event;
use super::sending::Parcel;
use domain::batch::Batching;
use domain::key::{BatchId, DeliveryId, WebhookId};
use domain::snapshot::Xid8;

/// What goes in one request, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composition {
    /// The batch.
    pub batch: BatchId,
    /// Whose.
    pub webhook: WebhookId,
    /// How it is put together: [`Batching::shape`].
    pub shape: &'static str,
    /// Its deliveries, with the transactions of their events.
    pub deliveries: Vec<(DeliveryId, Xid8)>,
}

/// A batch that has been sent before, of which all deliveries wait.
#[derive(Debug)]
pub struct Whole {
    /// As it was put together.
    pub shape: String,
    /// Its events, in the order in which they are in its body.
    pub events: Vec<Event>,
}

/// Ids of a batch, which are drawn before they are needed: who judges an outcome cannot draw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// Its own.
    pub batch: BatchId,
    /// As receivers know it.
    pub name: String,
    /// Of what it is divided into, if it is.
    pub halves: [BatchId; 2],
}

/// What becomes of batches, to be written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// These are not sent any more.
    pub ended: Vec<BatchId>,
    /// These are sent from now on.
    pub made: Vec<Composition>,
}

impl Changes {
    /// Nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.made.is_empty()
    }

    /// Those of `later` come after these.
    pub fn extend(&mut self, later: Self) {
        self.ended.extend(later.ended);
        self.made.extend(later.made);
    }
}

/// A batch in memory.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) id: BatchId,
    pub(crate) halves: [BatchId; 2],
    /// In the order in which they are in the body.
    pub(crate) members: Vec<DeliveryId>,
    /// Its rows in the backlog know that they belong to it: it has been sent before.
    pub(crate) is_kept: bool,
}

/// An event that waits for others.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) since: Instant,
    pub(crate) delivery: DeliveryId,
    pub(crate) xid: Xid8,
    pub(crate) event_id: String,
    pub(crate) attempt: u32,
    pub(crate) body: String,
    /// What it takes of memory.
    pub(crate) bytes: usize,
}

impl Item {
    /// What would be sent by itself.
    pub(crate) fn new(parcel: Parcel, xid: Xid8, since: Instant) -> Self {
        let bytes = parcel.bytes();
        let Parcel { delivery, event_id, attempt, body, .. } = parcel;
        Self { since, delivery, xid, event_id, attempt, body, bytes }
    }
}

/// What gathers for one endpoint, in the order in which it has come.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    items: Vec<Item>,
    bytes: usize,
}

impl Gathering {
    pub(crate) fn push(&mut self, item: Item) {
        self.bytes += item.bytes;
        self.items.push(item);
    }

    /// Of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes one out; says whether it was there.
    pub(crate) fn withdraw(&mut self, delivery: DeliveryId) -> bool {
        let Some(at) = self.items.iter().position(|item| item.delivery == delivery) else {
            return false;
        };
        self.bytes -= self.items.remove(at).bytes;
        true
    }

    /// Takes all of them out.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = DeliveryId> + use<> {
        self.bytes = 0;
        std::mem::take(&mut self.items).into_iter().map(|item| item.delivery)
    }

    /// How many of the first ones make a batch, and whether no more would fit.
    fn fitting(&self, rules: &Batching) -> (usize, bool) {
        let mut bytes = 0;
        let fits = |item: &&Item| {
            bytes += item.body.len();
            bytes <= rules.bytes
        };
        let count = self.items.iter().take(rules.size).take_while(fits).count();
        // The first one goes in any case.
        let count = count.max(usize::from(!self.items.is_empty()));
        (count, count == rules.size || count < self.items.len() || bytes >= rules.bytes)
    }

    /// How long until there is a batch, where a request could begin or not; `None` where only more events or a free place make one. So
    /// many can go with what gathers, because they stand in line behind it.
    pub(crate) fn due_in(
        &self,
        rules: &Batching,
        lined: usize,
        may_begin: bool,
        now: Instant,
    ) -> Option<Duration> {
        let first = self.items.first()?;
        let (count, is_full) = self.fitting(rules);
        if is_full || may_begin && count + lined >= rules.size {
            return Some(Duration::ZERO);
        }
        let waited = now.saturating_duration_since(first.since);
        may_begin.then(|| rules.wait.saturating_sub(waited))
    }

    /// For how long the first one has waited although it need not wait for others.
    pub(crate) fn overdue(&self, rules: &Batching, now: Instant) -> Duration {
        let waited = self.items.first().map(|item| now.saturating_duration_since(item.since));
        waited.map_or(Duration::ZERO, |waited| waited.saturating_sub(rules.wait))
    }

    /// The next batch, in the order of the ids; empty where it is not time.
    pub(crate) fn take(
        &mut self,
        rules: &Batching,
        lined: usize,
        may_begin: bool,
        now: Instant,
    ) -> Vec<Item> {
        if self.due_in(rules, lined, may_begin, now) != Some(Duration::ZERO) {
            return Vec::new();
        }
        let (count, _) = self.fitting(rules);
        let mut taken: Vec<Item> = self.items.drain(..count).collect();
        self.bytes -= taken.iter().map(|item| item.bytes).sum::<usize>();
        taken.sort_by_key(|item| item.delivery);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::batch::BatchFormat;

    fn rules(size: usize, bytes: usize, wait: u64) -> Batching {
        let (wait, format) = (Duration::from_secs(wait), BatchFormat::Array);
        Batching { size, bytes, wait, format, named: false }
    }

    fn item(delivery: i64, body: &str, since: Instant) -> Item {
        Item {
            since,
            delivery: DeliveryId(delivery),
            xid: Xid8(1),
            event_id: String::new(),
            attempt: 1,
            body: body.to_owned(),
            bytes: body.len(),
        }
    }

    fn ids(items: Vec<Item>) -> Vec<i64> {
        items.into_iter().map(|item| item.delivery.0).collect()
    }

    #[test]
    fn a_full_batch_waits_for_nothing() {
        let now = Instant::now();
        let mut gathering = Gathering::default();
        for delivery in [3, 1, 2, 4, 5] {
            gathering.push(item(delivery, "12345", now));
        }
        let rules = rules(2, 100, 10);
        assert_eq!(ids(gathering.take(&rules, 0, false, now)), [1, 3]);
        assert_eq!(ids(gathering.take(&rules, 0, false, now)), [2, 4]);
        assert!(gathering.take(&rules, 0, true, now).is_empty(), "it waits for others");
        assert_eq!(gathering.due_in(&rules, 0, true, now), Some(Duration::from_secs(10)));
        assert_eq!(gathering.due_in(&rules, 0, false, now), None);
        let later = now + Duration::from_secs(10);
        assert!(gathering.take(&rules, 0, false, later).is_empty(), "no request may begin");
        assert_eq!(ids(gathering.take(&rules, 0, true, later)), [5]);
        assert!(gathering.items.is_empty() && gathering.bytes() == 0);
    }

    #[test]
    fn what_there_is_goes_where_nothing_waits() {
        let now = Instant::now();
        let mut gathering = Gathering::default();
        gathering.push(item(1, "1", now));
        assert_eq!(ids(gathering.take(&rules(100, 100, 0), 0, true, now)), [1]);
    }

    #[test]
    fn no_batch_has_more_bytes_but_one_of_a_single_event() {
        let now = Instant::now();
        let mut gathering = Gathering::default();
        for (delivery, body) in [(1, "123456789012"), (2, "12345"), (3, "12345"), (4, "1")] {
            gathering.push(item(delivery, body, now));
        }
        let rules = rules(100, 10, 10);
        assert_eq!(ids(gathering.take(&rules, 0, false, now)), [1]);
        assert_eq!(ids(gathering.take(&rules, 0, false, now)), [2, 3]);
        assert!(gathering.take(&rules, 0, false, now).is_empty());
    }

    #[test]
    fn what_is_withdrawn_is_not_sent() {
        let now = Instant::now();
        let mut gathering = Gathering::default();
        gathering.push(item(1, "1", now));
        gathering.push(item(2, "22", now));
        assert!(gathering.withdraw(DeliveryId(1)) && !gathering.withdraw(DeliveryId(1)));
        assert_eq!(gathering.bytes(), 2);
        assert_eq!(gathering.clear().collect::<Vec<_>>(), [DeliveryId(2)]);
        assert!(gathering.items.is_empty() && gathering.bytes() == 0);
    }
}
