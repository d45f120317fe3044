//! What has been delivered and is not logged.
//!
//! Where deliveries are not logged nothing but the cursor says that they have been made, and that stays before a window of
//! which not all is settled. So that an orderly end repeats none of them, they are kept in mind until the cursor is past
//! them, and logged after all where the end comes first.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::snapshot::Xid8;
use domain::time::Timestamp;
use domain::verdict::{Answer, Verdict};
use transit::event::{Origin, Settlement};

/// Deliveries that are kept in mind: some megabytes. What is delivered beyond that of windows that are not done, such as that
/// of a transaction of a million rows, is logged.
const MOST: usize = 100_000;

#[derive(Default)]
pub(super) struct Unlogged {
    /// By window.
    deliveries: BTreeMap<u64, Vec<Delivered>>,
    count: usize,
}

/// As much of a settlement as the log takes of one that is delivered.
struct Delivered {
    delivery: i64,
    xid: Xid8,
    started: Timestamp,
    took: Duration,
    webhook: i32,
    attempt: u32,
    status: u16,
    slot: i16,
}

impl Unlogged {
    /// What is delivered from now on is to be logged.
    pub(super) fn is_full(&self) -> bool {
        self.count >= MOST
    }

    /// It has not been logged.
    pub(super) fn note(&mut self, settlement: &Settlement) {
        let (Origin::Ring { slot, window }, Ok(answer)) = (settlement.origin, &settlement.result)
        else {
            return;
        };
        if settlement.verdict != Verdict::Delivered {
            return;
        }
        self.count += 1;
        self.deliveries.entry(window).or_default().push(Delivered {
            delivery: settlement.delivery,
            xid: settlement.xid,
            started: settlement.started,
            took: settlement.took,
            webhook: settlement.webhook,
            attempt: settlement.attempt,
            status: answer.status,
            slot,
        });
    }

    /// The cursor is past all windows before this one; `None`: past all.
    pub(super) fn forget_before(&mut self, window: Option<u64>) {
        let first = self.deliveries.first_key_value().map(|(first, _)| *first);
        if first.is_none_or(|first| window.is_some_and(|window| window <= first)) {
            return;
        }
        let left = window.map_or_else(BTreeMap::new, |window| self.deliveries.split_off(&window));
        self.deliveries = left;
        self.count = self.deliveries.values().map(Vec::len).sum();
    }

    /// All of them, as they are logged.
    pub(super) fn settlements(&self) -> Vec<Settlement> {
        let windows = self.deliveries.iter();
        let all = windows.flat_map(|(window, made)| made.iter().map(|one| one.settlement(*window)));
        all.collect()
    }
}

impl Delivered {
    fn settlement(&self, window: u64) -> Settlement {
        let answer =
            Answer { status: self.status, retry_after: None, points_to: None, body: String::new() };
        Settlement {
            delivery: self.delivery,
            xid: self.xid,
            webhook: self.webhook,
            origin: Origin::Ring { slot: self.slot, window },
            attempt: self.attempt,
            started: self.started,
            took: self.took,
            first_attempt_at: self.started,
            result: Ok(answer),
            verdict: Verdict::Delivered,
            next_at: None,
            gone: None,
            orphan: false,
        }
    }
}
