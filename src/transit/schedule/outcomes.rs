//! Outcomes: what an attempt means for its delivery, its endpoint and whoever waits behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Delivery, Schedule};
use crate::batches::{Batch, Composition};
use crate::event::{Attempt, Pause, Settlement, Spill};
use crate::health::Health;
use crate::moment::Moment;
use crate::sending::{Exchange, Outcome, Queue, Queues};
use domain::breaker::Allowance;
use domain::key::{DeliveryId, WebhookId};
use domain::time::Timestamp;
use domain::verdict::{self, History, Verdict};

/// Why a webhook is paused that has failed for as long as it may.
const TOO_LONG: &str = "it has failed without a success for as long as disable_after says; events are kept until it is resumed";

impl<Q: Queues> Schedule<Q> {
    /// Whether there are outcomes of deliveries that could not be tried.
    pub fn has_untried(&self) -> bool {
        !self.untried.is_empty()
    }

    /// Outcomes of deliveries that could not be tried.
    pub fn take_untried(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.untried)
    }

    /// Judges an outcome, and appends what it means for each delivery to `settlements`. These stay in memory until
    /// [`Self::settled`]. Returns what must leave the queue because the breaker opened.
    pub fn judge(
        &mut self,
        outcome: Outcome,
        at: Moment,
        jitter: f64,
        settlements: &mut Vec<Settlement>,
    ) -> Vec<Spill> {
        if !self.deliveries.contains_key(&outcome.delivery) {
            return Vec::new();
        }
        let batch = self.end_batch(outcome.delivery);
        let alone = [outcome.delivery];
        let members = batch.as_ref().map_or(&alone[..], |batch| &batch.members);
        let is_delivered = verdict::failure_of(&outcome.exchange.result).is_none();
        if !is_delivered {
            members.iter().for_each(|member| self.part(*member, outcome.webhook));
        }
        let Some(track) = self.tracks.get_mut(&outcome.webhook) else {
            return Vec::new();
        };
        let Exchange { started, took, result } = outcome.exchange;
        let Moment { now, wall, clock } = at;
        let started = Timestamp::from(started);
        let (trips, turn) = track.note(outcome.delivery, &result, started.after(took), now, jitter);
        let asked = result.as_ref().ok().and_then(verdict::pauses);
        let too_long = track.fails_for_too_long(now).then_some(TOO_LONG);
        let reason = asked.or(too_long);
        let changed = track.unchanged_since(outcome.began);
        let pause = changed.zip(reason).map(|(changed, reason)| Pause { changed, reason });
        let free = track.breaker.allows(now) == Allowance::Any;
        if free && track.queue.as_ref().is_ok_and(|queue| queue.holds()) {
            // It held for nothing: let it go on.
            self.outbox.entry(outcome.webhook).or_default();
        }
        let policy = track.route.policy;
        let spills = if trips { self.recall(outcome.webhook, now) } else { Vec::new() };
        let result = Arc::new(result);
        let settle = |delivery: DeliveryId, of: &Delivery| {
            let first_attempt_at = of.first_attempt_at.unwrap_or(clock.before(took));
            let elapsed = clock.since(first_attempt_at);
            // In a batch there may be some that have been tried oftener.
            let number = of.attempts + 1;
            let history = History { attempts: number, elapsed };
            let verdict = verdict::judge(&result, history, &policy, wall, jitter);
            let attempt = Attempt {
                delivery,
                xid: of.xid,
                webhook: outcome.webhook,
                event_slot: of.origin.slot(),
                number,
                started,
                took,
                result: Arc::clone(&result),
                batch: batch.as_ref().map(|batch| batch.id),
                verdict,
            };
            Settlement {
                attempt,
                origin: of.origin,
                since: of.since,
                first_attempt_at,
                attempts: number,
                // What is told of the endpoint is told once.
                pause: pause.filter(|_| delivery == outcome.delivery),
                turn: turn.filter(|_| delivery == outcome.delivery),
                next_at: due(verdict, clock),
                batch: None,
            }
        };
        let from = settlements.len();
        let settled = members.iter().filter_map(|it| Some(settle(*it, self.deliveries.get(it)?)));
        settlements.extend(settled);
        if is_delivered {
            members.iter().for_each(|member| self.step_up(*member, outcome.webhook, now));
        }
        if let Some(batch) = batch {
            let made = &mut settlements[from..];
            if made.len() > 1 && verdict::refuses(&result) {
                self.divide(outcome.webhook, batch, made, clock);
            } else {
                self.keep_together(batch, made, clock);
            }
        }
        spills
    }

    /// Something in a batch is refused: each half of it is sent by itself, until what is refused is alone. None of its deliveries has
    /// used up an attempt.
    fn divide(
        &mut self,
        webhook: WebhookId,
        batch: Batch,
        settlements: &mut [Settlement],
        clock: Timestamp,
    ) {
        let shape = self.rules(webhook).map_or("", |rules| rules.shape());
        let (first, second) = settlements.split_at_mut(settlements.len().div_ceil(2));
        for (half, settlements) in batch.halves.into_iter().zip([first, second]) {
            // In the second half some may have others of the first one before them.
            let separate = half == batch.halves[1] && self.is_ordered(webhook);
            for settlement in &mut *settlements {
                settlement.attempt.verdict = Verdict::Retry(Duration::ZERO);
                settlement.attempts = settlement.attempts.saturating_sub(1);
                settlement.next_at = Some(clock);
                settlement.batch = (!separate).then_some(half);
            }
            if separate {
                self.parted.separate.extend(settlements.iter().map(|it| it.attempt.delivery));
                continue;
            }
            let members = settlements.iter().map(|it| (it.attempt.delivery, it.attempt.xid));
            let deliveries = members.collect();
            self.changes.made.push(Composition { batch: half, webhook, shape, deliveries });
        }
        self.changes.ended.push(batch.id);
    }

    /// A batch that is tried again is due again as a whole. Where it is over for some of its deliveries it is not the same any more.
    fn keep_together(&mut self, batch: Batch, settlements: &mut [Settlement], clock: Timestamp) {
        let wait = |it: &Settlement| match it.attempt.verdict {
            Verdict::Retry(wait) => Some(wait),
            _ => None,
        };
        let waits: Option<Vec<Duration>> = settlements.iter().map(wait).collect();
        let Some(longest) = waits.and_then(|waits| waits.into_iter().max()) else {
            self.changes.ended.push(batch.id);
            // Some may have others of it before them, for which it is over.
            if settlements.first().is_some_and(|it| self.is_ordered(it.attempt.webhook)) {
                let waits = settlements.iter().filter(|it| wait(it).is_some());
                self.parted.separate.extend(waits.map(|it| it.attempt.delivery));
            }
            return;
        };
        for settlement in settlements {
            settlement.attempt.verdict = Verdict::Retry(longest);
            settlement.next_at = Some(clock.after(longest));
            settlement.batch = Some(batch.id);
        }
    }

    /// The settlement is in the database.
    pub fn settled(&mut self, settlement: &Settlement) {
        self.unload(settlement.attempt.delivery);
        if let Some(track) = self.tracks.get_mut(&settlement.attempt.webhook) {
            if let Some(at) = settlement.next_at.filter(|at| *at < Timestamp::INFINITY) {
                track.next_due = Some(track.next_due.map_or(at, |due| due.min(at)));
                track.waits_from(at);
            }
            if track.removed && track.loaded == 0 {
                self.tracks.remove(&settlement.attempt.webhook);
            }
        }
    }

    /// How long until [`Self::take_health`] has something to return.
    pub fn health_due_in(&self, now: Instant) -> Option<Duration> {
        let tracks = self.tracks.values().filter(|track| !track.removed);
        tracks.filter_map(|track| track.health.due_in(now)).min()
    }

    /// What is new about the endpoints and due to be written.
    pub fn take_health(&mut self, now: Instant) -> Vec<Health> {
        let tracks = self.tracks.values_mut().filter(|track| !track.removed);
        tracks.filter_map(|track| track.health.take(now)).collect()
    }

    /// Whatever is new is due.
    pub fn hurry_health(&mut self) {
        self.tracks.values_mut().for_each(|track| track.health.hurry());
    }

    /// Puts back what could not be written.
    pub fn return_health(&mut self, healths: &[Health]) {
        for health in healths {
            if let Some(track) = self.tracks.get_mut(&health.webhook) {
                track.health.put_back();
            }
        }
    }
}

/// When a delivery is due again after that verdict.
fn due(verdict: Verdict, clock: Timestamp) -> Option<Timestamp> {
    match verdict {
        Verdict::Delivered => None,
        Verdict::Retry(wait) => Some(clock.after(wait)),
        Verdict::Dead | Verdict::Failed => Some(Timestamp::INFINITY),
    }
}
