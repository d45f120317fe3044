//! Outcomes: what an attempt means for its delivery, its endpoint and whoever waits behind it.

use std::time::{Duration, Instant};

use super::Schedule;
use crate::event::{Attempt, Pause, Settlement, Spill};
use crate::health::Health;
use crate::moment::Moment;
use crate::sending::{Exchange, Outcome, Queue, Queues};
use domain::breaker::Allowance;
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

    /// Judges an outcome. The delivery stays in memory until [`Self::settled`]. Also
    /// returns what must leave the queue because the breaker opened.
    pub fn judge(
        &mut self,
        outcome: Outcome,
        at: Moment,
        jitter: f64,
    ) -> Option<(Settlement, Vec<Spill>)> {
        let delivery = self.deliveries.get(&outcome.delivery)?.clone();
        let track = self.tracks.get_mut(&outcome.webhook)?;
        let Exchange { started, took, result } = outcome.exchange;
        let Moment { now, wall, clock } = at;
        let started = Timestamp::from(started);
        let first_attempt_at = delivery.first_attempt_at.unwrap_or(clock.before(took));
        let elapsed = clock.since(first_attempt_at);
        let history = History { attempts: outcome.attempt, elapsed };
        let verdict = verdict::judge(&result, history, &track.route.policy, wall, jitter);
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
        let spills = if trips { self.recall(outcome.webhook, now) } else { Vec::new() };
        let attempt = Attempt {
            delivery: outcome.delivery,
            xid: delivery.xid,
            webhook: outcome.webhook,
            event_slot: delivery.origin.slot(),
            number: outcome.attempt,
            started,
            took,
            result,
            verdict,
        };
        let settlement = Settlement {
            attempt,
            origin: delivery.origin,
            since: delivery.since,
            first_attempt_at,
            pause,
            turn,
            next_at: match verdict {
                Verdict::Delivered => None,
                Verdict::Retry(wait) => Some(clock.after(wait)),
                Verdict::Dead | Verdict::Failed => Some(Timestamp::INFINITY),
            },
        };
        Some((settlement, spills))
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
