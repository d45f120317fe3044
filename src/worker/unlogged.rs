//! What has been delivered and is not logged.
//!
//! Where deliveries are not logged nothing but the cursor says that they have been made, and that stays before a window of
//! which not all is settled. So that an orderly end repeats none of them, they are kept in mind until the cursor is past
//! them, and logged after all where the end comes first.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::pg::settings::LogLevel;
use domain::key::{BatchId, DeliveryId, WebhookId};
use domain::snapshot::{Snapshot, Xid8};
use domain::time::Timestamp;
use domain::verdict::{Answer, Verdict};
use transit::event::{Attempt, Origin, Settlement};
use transit::window::RECOVERY;

/// Deliveries that are kept in mind: some megabytes. What is delivered beyond that of windows that are not done, such as that
/// of a transaction of a million rows, is logged.
const MOST: usize = 100_000;

#[derive(Default)]
pub(super) struct Unlogged {
    /// By window; those of the backlog by the newest one there was.
    deliveries: BTreeMap<u64, Vec<Delivered>>,
    newest: u64,
    count: usize,
    /// Those of the backlog, until all that was there before this run has been read and is settled: it may be read from the ring once
    /// more.
    claimed: HashSet<(DeliveryId, Xid8)>,
    recovered: bool,
    /// The slots of the ring that are known, to those who list deliveries, to hold such.
    slots: BTreeSet<i16>,
}

/// As much of an attempt as the log takes of one that has delivered.
struct Delivered {
    delivery: DeliveryId,
    xid: Xid8,
    started: Timestamp,
    took: Duration,
    webhook: WebhookId,
    number: u32,
    status: u16,
    slot: i16,
    batch: Option<BatchId>,
}

impl Unlogged {
    /// What is delivered from now on is to be logged.
    pub(super) fn is_full(&self) -> bool {
        self.count >= MOST
    }

    /// It has not been logged. Before the cursor is what `settled` sees.
    pub(super) fn note(&mut self, settlement: &Settlement, settled: &Snapshot) {
        let attempt = &settlement.attempt;
        let (Some(slot), Ok(answer)) = (attempt.event_slot, attempt.result.as_ref()) else {
            return;
        };
        if !settlement.is_delivered() || settled.sees(attempt.xid) {
            return;
        }
        let window = match settlement.origin {
            Origin::Ring { window, .. } => window,
            Origin::Pending { .. } => {
                if !self.recovered {
                    self.claimed.insert((attempt.delivery, attempt.xid));
                }
                self.newest
            }
        };
        self.count += 1;
        self.deliveries.entry(window).or_default().push(Delivered {
            delivery: attempt.delivery,
            xid: attempt.xid,
            started: attempt.started,
            took: attempt.took,
            webhook: attempt.webhook,
            number: attempt.number,
            status: answer.status,
            slot,
            batch: attempt.batch,
        });
    }

    /// The slots that hold what has just been delivered and, at this `level`, is not logged, and are not known for it.
    pub(super) fn further_slots<'s>(
        &self,
        level: LogLevel,
        settlements: impl Iterator<Item = &'s Settlement>,
    ) -> Vec<i16> {
        if level == LogLevel::All {
            return Vec::new();
        }
        let delivered = settlements.filter(|settlement| settlement.is_delivered());
        let slots: BTreeSet<i16> = delivered.filter_map(|s| s.attempt.event_slot).collect();
        slots.difference(&self.slots).copied().collect()
    }

    /// These are known from now on.
    pub(super) fn know(&mut self, slots: &[i16]) {
        self.slots.extend(slots);
    }

    /// This one is empty.
    pub(super) fn forget_slot(&mut self, slot: i16) {
        self.slots.remove(&slot);
    }

    /// The cursor is past all windows before this one; `None`: past all. What has been read is in the `newest` at the latest.
    pub(super) fn forget_before(&mut self, window: Option<u64>, newest: u64) {
        self.newest = newest;
        if !self.recovered && window != Some(RECOVERY) {
            self.recovered = true;
            self.claimed = HashSet::new();
        }
        let first = self.deliveries.first_key_value().map(|(first, _)| *first);
        if first.is_none_or(|first| window.is_some_and(|window| window <= first)) {
            return;
        }
        let left = window.map_or_else(BTreeMap::new, |window| self.deliveries.split_off(&window));
        self.deliveries = left;
        self.count = self.deliveries.values().map(Vec::len).sum();
    }

    /// They have been logged.
    pub(super) fn logged(&mut self) {
        self.deliveries.clear();
        self.claimed.clear();
        self.count = 0;
    }

    /// Whether it is one of these, for whoever reads what was there before this run. What has been read of that is not read again.
    pub(super) fn has_claimed(&self, delivery: DeliveryId, xid: Xid8) -> bool {
        self.claimed.contains(&(delivery, xid))
    }

    /// All of them, as they are logged.
    pub(super) fn attempts(&self) -> Vec<Attempt> {
        self.deliveries.values().flatten().map(Delivered::attempt).collect()
    }
}

impl Delivered {
    fn attempt(&self) -> Attempt {
        let answer = Answer {
            status: self.status,
            retry_after: None,
            request: None,
            points_to: None,
            body: String::new(),
        };
        Attempt {
            delivery: self.delivery,
            xid: self.xid,
            webhook: self.webhook,
            event_slot: Some(self.slot),
            number: self.number,
            started: self.started,
            took: self.took,
            result: Arc::new(Ok(answer)),
            batch: self.batch,
            verdict: Verdict::Delivered,
        }
    }
}
