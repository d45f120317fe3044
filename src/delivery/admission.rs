//! Where runners wait for a permit: one queue of them for each pace, so that slow endpoints, however many, never
//! hold every permit.
//!
//! There are as many permits as requests may be in flight. Fast runners go first. Of those that may hang, endpoints of which
//! nothing is known and slow ones, a slow one gets another permit only while they hold less than half of the permits, a new one
//! less than three quarters: what hangs until its timeout hangs in its own part of the pool, and leaves room to new
//! ones. Endpoints that take their time and answer hold half at most, and find a permit beside those that hang: with them they
//! leave an eighth to the fast ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::endpoint_queue::{EndpointQueue, Pace};

/// The runners that wait, and the permits that are taken.
#[derive(Default)]
pub struct Admission {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    fast: VecDeque<Runner>,
    steady: VecDeque<Runner>,
    unknown: VecDeque<Runner>,
    slow: VecDeque<Runner>,
    /// Permits that are taken by fast endpoints, by those that take their time, and by those that may hang.
    on_fast: usize,
    on_steady: usize,
    on_hanging: usize,
}

/// A claim on a permit, and since when.
struct Runner {
    queue: Arc<EndpointQueue>,
    since: Instant,
}

/// A runner that has a permit; dropping it gives the permit back.
pub struct Permit {
    admission: Arc<Admission>,
    pace: Pace,
    /// Whose parcels are to be sent.
    pub queue: Arc<EndpointQueue>,
}

impl Admission {
    /// Puts a runner of `queue` at the end.
    pub fn join(&self, queue: Arc<EndpointQueue>) {
        let pace = queue.pace();
        let mut state = self.lock();
        state.of(pace).push_back(Runner { queue, since: Instant::now() });
    }

    /// Runners that wait.
    pub fn len(&self) -> usize {
        let state = self.lock();
        state.fast.len() + state.steady.len() + state.unknown.len() + state.slow.len()
    }

    /// How long the request that would get the next of `permits` permits has waited; `None` if none is free.
    pub fn lag(&self, permits: usize) -> Option<Duration> {
        let mut state = self.lock();
        let pace = state.next(permits)?;
        state.of(pace).front().map(|runner| runner.since.elapsed())
    }

    /// Whether more than `permits` are taken.
    pub fn is_crowded(&self, permits: usize) -> bool {
        self.lock().taken() > permits
    }

    /// The next runner, if one may have one of `permits` permits.
    pub fn next(self: &Arc<Self>, permits: usize) -> Option<Permit> {
        let mut state = self.lock();
        let pace = state.next(permits)?;
        let Runner { queue, .. } = state.of(pace).pop_front()?;
        *state.taken_by(pace) += 1;
        drop(state);
        Some(Permit { admission: Arc::clone(self), pace, queue })
    }

    /// Every update leaves the state whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(&mut self, pace: Pace) -> &mut VecDeque<Runner> {
        match pace {
            Pace::Fast => &mut self.fast,
            Pace::Steady => &mut self.steady,
            Pace::Unknown => &mut self.unknown,
            Pace::Slow => &mut self.slow,
        }
    }

    fn taken_by(&mut self, pace: Pace) -> &mut usize {
        match pace {
            Pace::Fast => &mut self.on_fast,
            Pace::Steady => &mut self.on_steady,
            Pace::Unknown | Pace::Slow => &mut self.on_hanging,
        }
    }

    fn taken(&self) -> usize {
        self.on_fast + self.on_steady + self.on_hanging
    }

    /// The pace whose first runner may have a permit now.
    fn next(&self, permits: usize) -> Option<Pace> {
        let within = |taken, eighths| taken < part(permits, eighths);
        // Where there are few permits an eighth of them is none.
        let for_new = part(permits, 6).min(part(permits, 7) - 1).max(1);
        if self.taken() >= permits {
            None
        } else if !self.fast.is_empty() {
            Some(Pace::Fast)
        } else if !within(self.on_steady + self.on_hanging, 7) {
            None
        } else if !self.unknown.is_empty() && self.on_hanging < for_new {
            Some(Pace::Unknown)
        } else if !self.steady.is_empty() && within(self.on_steady, 4) {
            Some(Pace::Steady)
        } else if !self.slow.is_empty() && within(self.on_hanging, 4) {
            Some(Pace::Slow)
        } else {
            None
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        *state.taken_by(self.pace) -= 1;
    }
}

/// So many eighths, at least one.
fn part(permits: usize, eighths: usize) -> usize {
    (permits * eighths / 8).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Endpoint, example};
    use domain::key::WebhookId;

    const PERMITS: usize = 8;

    fn queue(webhook: i32, took: Option<Duration>) -> Arc<EndpointQueue> {
        let endpoint = Endpoint::new(&example::client(), example::destination());
        let queue =
            EndpointQueue::new(WebhookId(webhook), Arc::new(endpoint.expect("an endpoint")));
        if let Some(took) = took {
            queue.note(false, took);
        }
        Arc::new(queue)
    }

    /// As many as find a permit.
    fn all(admission: &Arc<Admission>) -> Vec<Permit> {
        std::iter::from_fn(|| admission.next(PERMITS)).collect()
    }

    fn webhooks(permits: &[Permit]) -> Vec<i32> {
        permits.iter().map(|permit| permit.queue.webhook().0).collect()
    }

    #[test]
    fn slow_endpoints_hold_their_part_and_no_more() {
        let admission = Arc::new(Admission::default());
        let slow = queue(1, Some(Duration::from_secs(10)));
        let fast = queue(3, Some(Duration::ZERO));
        for _ in 0..PERMITS {
            admission.join(Arc::clone(&slow));
        }
        let slow = all(&admission);
        assert_eq!(webhooks(&slow), [1; 4], "half of eight");
        admission.join(queue(2, None));
        admission.join(queue(2, None));
        admission.join(queue(2, None));
        let unknown = all(&admission);
        assert_eq!(webhooks(&unknown), [2; 2], "with them three quarters");
        admission.join(fast);
        let fast = all(&admission);
        assert_eq!(webhooks(&fast), [3], "there is always room");
        drop(slow);
        let left = all(&admission);
        assert_eq!(
            webhooks(&left),
            [2, 1],
            "slow ones while those who may hang are less than half"
        );
        assert_eq!(admission.len(), 3);
    }

    #[test]
    fn whoever_answers_finds_a_permit_beside_those_that_hang() {
        let admission = Arc::new(Admission::default());
        let steady = queue(2, Some(Duration::from_millis(300)));
        let hanging: Vec<_> = (10..18).map(|webhook| queue(webhook, None)).collect();
        hanging.iter().for_each(|queue| admission.join(Arc::clone(queue)));
        let hanging = all(&admission);
        assert_eq!(hanging.len(), 6, "three quarters of eight");
        admission.join(Arc::clone(&steady));
        admission.join(Arc::clone(&steady));
        let first = all(&admission);
        assert_eq!(webhooks(&first), [2], "with them seven eighths");
        admission.join(queue(3, Some(Duration::ZERO)));
        assert_eq!(webhooks(&all(&admission)), [3], "there is always room");
    }

    #[test]
    fn however_few_permits_there_are_one_is_for_each_that_answers() {
        for permits in 1..=PERMITS {
            let admission = Arc::new(Admission::default());
            (10..20).for_each(|webhook| admission.join(queue(webhook, None)));
            let next = || std::iter::from_fn(|| admission.next(permits)).collect::<Vec<_>>();
            let hanging = next();
            admission.join(queue(2, Some(Duration::from_millis(300))));
            let steady = next();
            admission.join(queue(3, Some(Duration::ZERO)));
            let fast = next();
            assert!(!hanging.is_empty());
            assert_eq!(steady.len(), usize::from(permits >= 3), "{permits}");
            assert_eq!(fast.len(), usize::from(permits >= 2), "{permits}");
        }
    }

    #[test]
    fn those_that_answer_leave_permits_to_slow_ones() {
        let admission = Arc::new(Admission::default());
        let steady = queue(1, Some(Duration::from_millis(300)));
        let slow = queue(2, Some(Duration::from_secs(10)));
        (0..PERMITS).for_each(|_| admission.join(Arc::clone(&steady)));
        let steady = all(&admission);
        assert_eq!(webhooks(&steady), [1; 4], "half of eight");
        (0..PERMITS).for_each(|_| admission.join(Arc::clone(&slow)));
        assert_eq!(webhooks(&all(&admission)), [2; 3], "with them seven eighths");
    }

    #[test]
    fn all_permits_are_for_the_fast_ones() {
        let admission = Arc::new(Admission::default());
        let fast = queue(1, Some(Duration::ZERO));
        for _ in 0..=PERMITS {
            admission.join(Arc::clone(&fast));
        }
        let permits = all(&admission);
        assert_eq!(permits.len(), PERMITS);
        assert!(admission.lag(PERMITS).is_none(), "it has no permit to wait for");
        assert!(admission.is_crowded(PERMITS - 1) && !admission.is_crowded(PERMITS));
        drop(permits);
        assert!(admission.lag(PERMITS).is_some());
    }

    #[test]
    fn one_slow_attempt_may_be_an_accident() {
        let queue = queue(1, None);
        let (soon, late) = (Duration::ZERO, Duration::from_secs(10));
        let paces = [soon, late, late, soon, late, late, late, soon].map(|took| {
            queue.note(false, took);
            queue.pace()
        });
        let mut expected = [Pace::Fast; 8];
        expected[6] = Pace::Slow;
        expected[7] = Pace::Slow;
        assert_eq!(paces, expected);
    }
}
