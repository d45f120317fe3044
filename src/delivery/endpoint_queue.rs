//! The queue of one endpoint, and how many requests to it there may be at once.
//!
//! An endpoint queue with parcels is represented in the pool by runners: each is a claim on one permit, and
//! there are never more of them than its limit. A slow endpoint therefore holds its own
//! runners and nothing else. There are only as many as the endpoint's pace asks for (Little's law), because
//! few connections with much to do cost less than many with little; when none comes back for more, their
//! number doubles. After so many failures in a row that the breaker will open, the queue
//! holds: its runners end, and the parcels wait until the leader has decided.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::client::{Client, Destination, Endpoint};
use domain::breaker;
use domain::failure::{ErrorClass, Failure};
use domain::key::{DeliveryId, WebhookId};
use domain::rate::Rate;
use transit::sending::{Parcel, Queue, Queues, Waiting};

/// So many runners are started that what waits is taken within this time. Shorter, and many connections share little work;
/// longer, and what waits is sent late.
const STINT: Duration = Duration::from_millis(1);

/// Where an attempt usually takes less than this, it counts as the best one did: what it takes longer, attempts wait for each
/// other on our thread. It has nothing to do with [`Pace::Fast`], which ends at [`STEADY`].
const FAST: Duration = Duration::from_millis(5);

/// When parcels wait and none has been taken for this long, the endpoint is slower than it was, and gets twice the runners.
/// Shorter, and a pause of the machine opens connections; longer, and an endpoint that has become slow gets its requests late.
const LATE: Duration = Duration::from_millis(20);

/// As [`LATE`], but for an endpoint without a finished attempt. Such an endpoint starts with one request, so that many new
/// endpoints do not occupy the pool. Longer, and a new endpoint that is slow gets more requests late.
const LATE_UNKNOWN: Duration = Duration::from_millis(500);

/// The best time of an attempt is forgotten by this part with each that takes longer.
const FORGET: u32 = 1024;

/// What one attempt counts for in the usual time: an eighth.
const MEMORY: u32 = 8;

/// An attempt that takes longer than this is no fast one. Lower, and distant endpoints share permits for nothing; higher, and those
/// that are not fast hold permits for longer that fast ones wait for.
const STEADY: Duration = Duration::from_millis(100);

/// One that takes longer than this is slow. An endpoint that answers sooner must not wait for those that hang; higher, and those
/// that it shares permits with hold them for longer.
const SLOW: Duration = Duration::from_secs(2);

/// Attempts in a row that change what is known of an endpoint: one may be an accident.
const CONVINCING: u32 = 3;

/// What is known of an endpoint's speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Attempts end soon.
    Fast,
    /// They take their time, and end.
    Steady,
    /// None has ended yet.
    Unknown,
    /// An attempt holds its permit for long.
    Slow,
}

impl Pace {
    fn of(took: Duration) -> Self {
        if took <= STEADY {
            Self::Fast
        } else if took <= SLOW {
            Self::Steady
        } else {
            Self::Slow
        }
    }
}

/// One endpoint's waiting parcels.
pub struct EndpointQueue {
    webhook: WebhookId,
    state: Mutex<State>,
}

struct State {
    endpoint: Arc<Endpoint>,
    queue: VecDeque<(Instant, Parcel)>,
    /// Of what is in it.
    bytes: usize,
    limit: usize,
    runners: usize,
    rate: Option<Rate>,
    /// How long an attempt takes, usually and at best.
    times: Option<(Duration, Duration)>,
    /// When a parcel was last taken, or the runners doubled.
    moved: Option<Instant>,
    /// Runners that there must be until one comes back.
    least: usize,
    /// In a row.
    failures: u32,
    pace: Pace,
    /// Attempts in a row that say otherwise.
    doubts: u32,
}

impl EndpointQueue {
    /// An empty queue of `webhook`, within the limits of its destination.
    pub fn new(webhook: WebhookId, endpoint: Arc<Endpoint>) -> Self {
        let destination = endpoint.destination();
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            limit: destination.concurrency,
            runners: 0,
            rate: destination.rate.map(Rate::per_second),
            endpoint,
            times: None,
            moved: None,
            least: 0,
            failures: 0,
            pace: Pace::Unknown,
            doubts: 0,
        };
        Self { webhook, state: Mutex::new(state) }
    }

    /// Whose parcels these are.
    pub fn webhook(&self) -> WebhookId {
        self.webhook
    }

    /// How fast its endpoint has been. One without a finished attempt counts as slow when it has a second runner, because the
    /// first one has waited for long.
    pub(super) fn pace(&self) -> Pace {
        let state = self.lock();
        match state.pace {
            Pace::Unknown if state.runners > 1 => Pace::Slow,
            pace => pace,
        }
    }

    /// Counts an attempt that has ended.
    pub(super) fn note(&self, failed: bool, took: Duration) {
        let mut state = self.lock();
        state.failures = if failed { state.failures.saturating_add(1) } else { 0 };
        state.least = 0;
        let (usual, best) = state.times.unwrap_or((took, took));
        state.times =
            Some((usual - usual / MEMORY + took / MEMORY, took.min(best + best / FORGET)));
        let seen = Pace::of(took);
        state.doubts = if seen == state.pace { 0 } else { state.doubts + 1 };
        if state.pace == Pace::Unknown || state.doubts >= CONVINCING {
            state.pace = seen;
            state.doubts = 0;
        }
    }

    /// Appends `parcels` and ends a hold; returns how many runners the caller must start.
    pub(super) fn push(&self, parcels: impl IntoIterator<Item = Parcel>) -> usize {
        let now = Instant::now();
        let mut state = self.lock();
        for parcel in parcels {
            state.bytes += parcel.bytes();
            state.queue.push_back((now, parcel));
        }
        // One more failure makes it hold again.
        state.failures = state.failures.min(breaker::TRIPS_AT - 1);
        let missing = state.missing(now);
        state.runners += missing;
        missing
    }

    /// The next parcel for a runner, with the endpoint as it is now. `None` ends the runner.
    pub(super) fn next(&self) -> Option<(Arc<Endpoint>, Parcel)> {
        let now = Instant::now();
        let mut state = self.lock();
        if state.runners <= state.limit.min(2 * state.wanted())
            && state.failures < breaker::TRIPS_AT
            && !state.queue.is_empty()
            && state.start_one(now)
            && let Some((_, parcel)) = state.queue.pop_front()
        {
            state.moved = Some(now);
            state.bytes -= parcel.bytes();
            return Some((Arc::clone(&state.endpoint), parcel));
        }
        state.runners -= 1;
        None
    }

    /// Every update leaves the state whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues for Client {
    type Destination = Destination;
    type Queue = EndpointQueue;

    fn is(&self, other: &Self) -> bool {
        Self::is(self, other)
    }

    fn queue(&self, webhook: WebhookId, to: Destination) -> Result<Arc<EndpointQueue>, Failure> {
        let endpoint = Endpoint::new(self, to)
            .map_err(|error| Failure::new(ErrorClass::Internal, error.to_string()))?;
        Ok(Arc::new(EndpointQueue::new(webhook, Arc::new(endpoint))))
    }

    fn concurrency(to: &Destination) -> usize {
        to.concurrency
    }
}

impl Queue for EndpointQueue {
    fn waiting(&self, now: Instant) -> Waiting {
        let state = self.lock();
        let since = |at: Instant| now.saturating_duration_since(at);
        let lag = state.queue.front().map_or(Duration::ZERO, |(at, _)| since(*at));
        let busy = state.moved.filter(|_| state.runners > 0).map_or(Duration::ZERO, since);
        let rate = state.rate.as_ref().map_or(Duration::ZERO, |rate| rate.wait(now));
        let limited = !state.queue.is_empty() && !rate.is_zero();
        Waiting { bytes: state.bytes, still: lag.max(busy).max(rate), limited }
    }

    fn lag(&self) -> Duration {
        self.lock().queue.front().map_or(Duration::ZERO, |(since, _)| since.elapsed())
    }

    fn takes_within(&self, time: Duration, size: usize) -> usize {
        let state = self.lock();
        let Some(attempt) = state.attempt() else {
            return 0;
        };
        let each = time.div_duration_f64(attempt.max(Duration::from_micros(1)));
        let allowed = state.rate.as_ref().map_or(f64::INFINITY, |rate| rate.within(time));
        (each * (state.limit * size) as f64).min(allowed) as usize
    }

    fn due_in(&self, now: Instant) -> Option<Duration> {
        let state = self.lock();
        let stuck = state.stuck_since()?;
        let wait = state.rate.as_ref().map_or(Duration::ZERO, |rate| rate.wait(now));
        if state.failures >= breaker::TRIPS_AT || state.runners >= state.limit {
            None
        } else if state.runners == 0 || !wait.is_zero() {
            Some(wait)
        } else if state.wanted() > state.runners {
            Some(Duration::ZERO)
        } else {
            Some(state.late().saturating_sub(now.saturating_duration_since(stuck)))
        }
    }

    fn holds(&self) -> bool {
        self.lock().failures >= breaker::TRIPS_AT
    }

    fn take_over(&self, new: &Self) {
        let (endpoint, limit, rate) = {
            let new = new.lock();
            (Arc::clone(&new.endpoint), new.limit, new.rate.clone())
        };
        let mut state = self.lock();
        state.endpoint = endpoint;
        state.limit = limit;
        state.rate = match (rate, &state.rate) {
            // What has started counts.
            (Some(new), Some(old)) => Some(new.after(old)),
            (new, _) => new,
        };
    }

    fn give_back(&self, bytes: usize) -> Vec<Parcel> {
        let mut state = self.lock();
        let mut left = 0;
        let fits = |(_, parcel): &&(Instant, Parcel)| {
            left += parcel.bytes();
            left <= bytes
        };
        let kept = state.queue.iter().take_while(fits).count();
        let given: Vec<Parcel> = state.queue.drain(kept..).map(|(_, parcel)| parcel).collect();
        state.bytes -= given.iter().map(Parcel::bytes).sum::<usize>();
        given
    }

    fn withdraw(&self, delivery: DeliveryId) -> bool {
        let mut state = self.lock();
        let at = state.queue.iter().position(|(_, parcel)| parcel.delivery == delivery);
        let withdrawn = at.and_then(|at| state.queue.remove(at));
        state.bytes -= withdrawn.as_ref().map_or(0, |(_, parcel)| parcel.bytes());
        withdrawn.is_some()
    }
}

impl State {
    /// Counts the next parcel as started, each of its events; says whether it may be by now.
    fn start_one(&mut self, now: Instant) -> bool {
        let count = self.queue.front().and_then(|(_, parcel)| parcel.batch).unwrap_or(1);
        self.rate.as_mut().is_none_or(|rate| rate.take(now, count))
    }

    /// Since when parcels wait and none is taken.
    fn stuck_since(&self) -> Option<Instant> {
        let (since, _) = self.queue.front()?;
        Some(self.moved.map_or(*since, |moved| moved.max(*since)))
    }

    /// How long may pass without a parcel being taken.
    fn late(&self) -> Duration {
        if self.times.is_some() { LATE } else { LATE_UNKNOWN }
    }

    /// Runners to be started.
    fn missing(&mut self, now: Instant) -> usize {
        let Some(stuck) = self.stuck_since() else {
            return 0;
        };
        if now.saturating_duration_since(stuck) > self.late() {
            self.moved = Some(now);
            self.least = 2 * self.runners;
        }
        let allowed = self.rate.as_ref().map_or(usize::MAX, |rate| rate.available(now));
        self.wanted()
            .min(self.limit)
            .saturating_sub(self.runners)
            .min(self.queue.len())
            .min(allowed)
    }

    /// Runners that take what waits within a stint.
    fn wanted(&self) -> usize {
        let waiting = self.queue.len() as u32;
        let stints = self.attempt().map_or(0.0, |time| (time * waiting).div_duration_f64(STINT));
        (stints.ceil() as usize).max(1).max(self.least)
    }

    /// What an attempt takes. Fast ones count as at their best: what they take longer, they wait for each
    /// other.
    fn attempt(&self) -> Option<Duration> {
        let (usual, best) = self.times?;
        Some(if usual < FAST { best } else { usual })
    }
}

#[cfg(test)]
mod tests;
