//! How much may be replayed, so that it makes no dead letters of what waits.
//!
//! What is replayed may wait, and what waits beyond a bound becomes dead, the oldest first. So no more is replayed while half of what
//! may wait does. That is counted now and then, and what is replayed meanwhile is taken off. Events that come meanwhile have the other half.

use std::collections::HashMap;

use crate::pg::snapshot;
use crate::pg::spi::Session;
use crate::queue::{bounds, jobs};
use domain::key::{DeliveryId, WebhookId};
use domain::snapshot::Snapshot;

/// What may be replayed, of webhooks that it is known of.
#[derive(Default)]
pub(super) struct Rooms {
    left: HashMap<WebhookId, Left>,
    counting: Option<Counting>,
}

/// Until it is counted again.
#[derive(Clone, Copy)]
struct Left {
    events: i64,
    bytes: i64,
}

/// Of one webhook.
struct Counting {
    webhook: WebhookId,
    /// What had been written by then is to be read first: it can be in the backlog afterwards.
    written: Snapshot,
    /// Behind this delivery.
    after: DeliveryId,
    events: i64,
    bytes: i64,
}

/// What came of counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// There is more to count.
    Partly,
    /// There is room.
    Room,
    /// There is none.
    Full,
}

impl Rooms {
    /// So many may be replayed for `webhook`; `None` where that has to be counted.
    pub(super) fn of(&self, webhook: WebhookId) -> Option<i64> {
        let left = self.left.get(&webhook)?;
        (left.events > 0 && left.bytes > 0).then_some(left.events)
    }

    /// So many may be for each of those that it is known of.
    pub(super) fn least(&self) -> i64 {
        self.known().iter().filter_map(|webhook| self.of(*webhook)).min().unwrap_or(i64::MAX)
    }

    /// The webhooks that it is known of.
    pub(super) fn known(&self) -> Vec<WebhookId> {
        self.left.keys().copied().filter(|webhook| self.of(*webhook).is_some()).collect()
    }

    /// So much has been replayed, of one of those that it is known of.
    pub(super) fn take(&mut self, webhook: Option<WebhookId>, events: i64, bytes: i64) {
        for (of, left) in &mut self.left {
            if webhook.is_none_or(|webhook| webhook == *of) {
                left.events -= events;
                left.bytes -= bytes;
            }
        }
    }

    /// It is to be counted for `webhook`.
    pub(super) fn want(&mut self, webhook: WebhookId) {
        self.left.remove(&webhook);
        let (after, events, bytes) = (DeliveryId::FIRST, 0, 0);
        let written = snapshot::current();
        self.counting = Some(Counting { webhook, written, after, events, bytes });
    }

    /// What is to be read before it is counted, and for which webhook, where it is to be.
    pub(super) fn counting(&self) -> Option<(WebhookId, &Snapshot)> {
        self.counting.as_ref().map(|counting| (counting.webhook, &counting.written))
    }

    /// Counts some of what waits, beside so many in memory.
    pub(super) fn count(&mut self, session: &Session, in_memory: i64) -> Counted {
        let Some(counting) = &mut self.counting else {
            return Counted::Room;
        };
        let webhook = counting.webhook;
        let found = jobs::count(session, webhook, counting.after);
        counting.events += found.events;
        counting.bytes += found.bytes;
        if let Some(after) = found.after {
            counting.after = after;
            return Counted::Partly;
        }
        let (_, bounds) = bounds::limits(session);
        let half = |most: u64| i64::try_from(most.div_ceil(2)).unwrap_or(i64::MAX);
        let left = match bounds.get(&webhook) {
            Some(bounds) => Left {
                events: half(bounds.events.most) - counting.events - in_memory,
                bytes: half(bounds.bytes.most) - counting.bytes,
            },
            // It has been deleted: nothing is replayed for it.
            None => Left { events: i64::MAX, bytes: i64::MAX },
        };
        self.counting = None;
        self.left.insert(webhook, left);
        if self.of(webhook).is_some() { Counted::Room } else { Counted::Full }
    }

    /// All of it is to be counted again.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
