//! Delivery in order: when events come into the backlog in their order, and who is looked at because anything of it may be free.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::reader::{Admitted, Memory, Reader};
use crate::pg::spi::Session;
use crate::queue::order::{self, Passed};
use domain::key::{DeliveryId, WebhookId};
use domain::time::Timestamp;

/// Before every place.
const FIRST: i64 = i64::MIN;

/// How long reading rests that waits for room. Shorter, and pages are read of which little fits; longer, and a fast endpoint runs dry:
/// it takes a thousand in this time, and four stand in line.
const REST: Duration = Duration::from_millis(20);

/// How long reading waits for queues that are full. Shorter, and a fast endpoint has more in its queue than it needs; longer, and one
/// whose requests all hang holds up other webhooks with an order.
const PATIENCE: Duration = Duration::from_millis(250);

/// What is to be done.
#[derive(Default)]
pub(super) struct Ordering {
    /// Of these webhooks all places behind one are looked at: at the start of a run, when it has changed whether dead letters hold up
    /// others, when something has left the order that all keys waited for, and after jobs.
    sweeps: VecDeque<(WebhookId, i64)>,
    /// The webhooks that have, or had, an order, and whether a dead letter holds up those behind it.
    known: HashMap<WebhookId, bool>,
    /// Something may have been imported.
    imported: bool,
    /// What is in memory has gone to the backlog before that.
    parted: bool,
    /// What is read next has no room before this.
    rests_until: Option<Instant>,
    /// Since when queues have been too full to read on.
    full_since: Option<Instant>,
}

/// What has been done in one transaction.
#[derive(Default)]
pub(super) struct Step {
    pub(super) passed: Passed,
    /// Of a window.
    pub(super) admitted: Option<Admitted>,
    /// Where the sweep goes on.
    swept: Option<Option<i64>>,
    imported: Option<bool>,
    /// What is in memory has to be in the backlog before.
    pub(super) parts: bool,
}

impl Ordering {
    /// Of these all is looked at.
    pub(super) fn sweep(&mut self, webhooks: impl IntoIterator<Item = WebhookId>) {
        for webhook in webhooks {
            self.sweeps.retain(|(of, _)| *of != webhook);
            self.sweeps.push_back((webhook, FIRST));
        }
    }

    /// Definitions have changed, or something has been imported. These webhooks have, or had, an order, and dead letters hold up those
    /// behind them or not.
    pub(super) fn look(&mut self, ordered: HashMap<WebhookId, bool>) {
        self.imported |= !ordered.is_empty();
        let changed =
            ordered.iter().filter(|(webhook, holds)| self.known.get(webhook) != Some(holds));
        let changed: Vec<WebhookId> = changed.map(|(webhook, _)| *webhook).collect();
        self.sweep(changed);
        self.known = ordered;
    }

    /// Reading waits for room.
    pub(super) fn rest(&mut self, now: Instant) {
        self.rests_until = Some(now + REST);
    }

    /// Queues have room, or have none.
    pub(super) fn note_room(&mut self, has_room: bool, now: Instant) {
        let since = self.full_since.unwrap_or(now);
        self.full_since = (!has_room).then_some(since);
    }

    /// How long until there is room perhaps, or none is waited for any more.
    pub(super) fn rests_for(&self, now: Instant) -> Duration {
        let patient_until = self.full_since.map(|since| since + PATIENCE);
        let until = self.rests_until.max(patient_until);
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// There is something to do, once all that an earlier run has left is in the backlog or where that `recovers`.
    pub(super) fn has_work(&self, reader: &Reader) -> bool {
        reader.has_unordered()
            || !reader.recovers_order() && (self.imported || !self.sweeps.is_empty())
    }

    /// Does some of it, at `clock`. What is in memory `stays` in the order. It counts when the transaction has committed, which is to be
    /// told by [`Self::did`].
    pub(super) fn step(
        &self,
        session: &Session,
        reader: &mut Reader,
        memory: &Memory<'_>,
        clock: Timestamp,
        stays: impl Fn(DeliveryId) -> bool,
    ) -> Step {
        let admitted = reader.read_ordered(session, clock, memory);
        let mut step = Step { admitted, ..Step::default() };
        // What is dead there is not yet in the backlog, and would be taken for finished.
        let buried = |admitted: &Admitted| !admitted.lined.dead.is_empty();
        if step.admitted.as_ref().is_some_and(buried) || reader.recovers_order() {
            return step;
        }
        // Once is enough: what comes into memory after that has no key with what has been imported.
        let parts = self.imported && !self.parted && memory.schedule.has_unstored();
        if parts && order::has_unplaced(session) {
            step.parts = true;
        } else if self.imported {
            let (passed, more) = order::place_imported(session, clock);
            step.passed.extend(passed);
            step.imported = Some(more);
        }
        if let Some((webhook, after)) = self.sweeps.front() {
            let (passed, last) = order::sweep(session, *webhook, *after, clock, stays);
            step.passed.extend(passed);
            step.swept = Some(last);
        }
        step
    }

    /// That has committed.
    pub(super) fn did(&mut self, step: &Step) {
        if let Some(more) = step.imported {
            self.imported = more;
        }
        self.parted = step.parts;
        if let Some(last) = step.swept
            && let Some((webhook, _)) = self.sweeps.pop_front()
            && let Some(last) = last
        {
            self.sweeps.push_front((webhook, last));
        }
    }
}
