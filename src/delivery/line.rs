//! Where runners wait for a thread: one line for each pace, so that slow endpoints, however many,
//! never hold every thread.
//!
//! Fast runners go first. Of the threads, slow endpoints hold at most half, and together with those of
//! which nothing is known yet at most three quarters: what hangs until its timeout hangs in its own part
//! of the pool.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::lane::{Lane, Pace};

/// The runners that wait, and the threads that wait for one.
#[derive(Default)]
pub struct Line {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    fast: VecDeque<Arc<Lane>>,
    unknown: VecDeque<Arc<Lane>>,
    slow: VecDeque<Arc<Lane>>,
    /// Threads on endpoints that are not known to be fast.
    held: usize,
    /// Those of them on slow ones.
    held_by_slow: usize,
    /// Threads that wait, or are on their way here.
    idle: usize,
}

/// A runner in the hands of a thread; dropping it gives its part of the pool back.
pub struct Turn<'a> {
    line: &'a Line,
    pace: Pace,
    /// Whose messages are to be sent.
    pub lane: Arc<Lane>,
}

impl Line {
    /// Puts a runner of `lane` at the end.
    pub fn join(&self, lane: Arc<Lane>) {
        let pace = lane.pace();
        let mut state = self.lock();
        match pace {
            Pace::Fast => state.fast.push_back(lane),
            Pace::Unknown => state.unknown.push_back(lane),
            Pace::Slow => state.slow.push_back(lane),
        }
        self.bell.notify_one();
    }

    /// Whether any runner waits.
    pub fn is_empty(&self) -> bool {
        self.lock().waiting() == 0
    }

    /// Whether more runners wait than threads.
    pub fn is_short(&self) -> bool {
        let state = self.lock();
        state.waiting() > state.idle
    }

    /// A thread is on its way to [`Self::next`].
    pub fn expect(&self) {
        self.lock().idle += 1;
    }

    /// It will not come.
    pub fn give_up(&self) {
        self.lock().idle -= 1;
    }

    /// The next runner for one of `threads` threads, which has been expected. `None` where there was
    /// none for `patience`; whoever joins later finds no idle thread and starts one.
    pub fn next(&self, threads: usize, patience: Duration) -> Option<Turn<'_>> {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some((pace, lane)) = state.take(threads) {
                state.idle -= 1;
                return Some(Turn { line: self, pace, lane });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.idle -= 1;
                return None;
            }
            let waited = self.bell.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Every update leaves the state whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.fast.len() + self.unknown.len() + self.slow.len()
    }

    fn take(&mut self, threads: usize) -> Option<(Pace, Arc<Lane>)> {
        if let Some(lane) = self.fast.pop_front() {
            return Some((Pace::Fast, lane));
        }
        if self.held >= part(threads, 3, 4) {
            return None;
        }
        if let Some(lane) = self.unknown.pop_front() {
            self.held += 1;
            return Some((Pace::Unknown, lane));
        }
        if self.held_by_slow >= part(threads, 1, 2) {
            return None;
        }
        let lane = self.slow.pop_front()?;
        self.held += 1;
        self.held_by_slow += 1;
        Some((Pace::Slow, lane))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.pace != Pace::Fast {
            let mut state = self.line.lock();
            state.held -= 1;
            state.held_by_slow -= usize::from(self.pace == Pace::Slow);
            if state.waiting() > 0 {
                self.line.bell.notify_one();
            }
        }
    }
}

/// At least one.
fn part(threads: usize, numerator: usize, denominator: usize) -> usize {
    (threads * numerator / denominator).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::client::{Endpoint, example};

    fn lane(webhook: i32, took: Option<Duration>) -> Arc<Lane> {
        let endpoint = Endpoint::new(&example::client(), example::destination());
        let lane = Lane::new(webhook, Arc::new(endpoint.expect("an endpoint")));
        if let Some(took) = took {
            lane.note(false, took);
        }
        Arc::new(lane)
    }

    fn next(line: &Line) -> Option<Turn<'_>> {
        line.expect();
        line.next(8, Duration::ZERO)
    }

    #[test]
    fn slow_endpoints_hold_their_part_and_no_more() {
        let line = Line::default();
        let (slow, unknown, fast) =
            (lane(1, Some(Duration::from_secs(1))), lane(2, None), lane(3, Some(Duration::ZERO)));
        for _ in 0..8 {
            line.join(Arc::clone(&slow));
            line.join(Arc::clone(&unknown));
        }
        let unknowns: Vec<Turn<'_>> = std::iter::from_fn(|| next(&line)).collect();
        assert_eq!(unknowns.len(), 6, "three quarters of eight");
        assert!(unknowns.iter().all(|turn| turn.lane.webhook() == 2));
        line.join(Arc::clone(&fast));
        assert_eq!(next(&line).map(|turn| turn.lane.webhook()), Some(3), "there is always room");
        drop(unknowns);
        let left: Vec<i32> = {
            let turns: Vec<Turn<'_>> = std::iter::from_fn(|| next(&line)).collect();
            turns.iter().map(|turn| turn.lane.webhook()).collect()
        };
        assert_eq!(left, [2, 2, 1, 1, 1, 1], "and of them half of eight slow");
        assert!(!line.is_empty());
    }

    #[test]
    fn one_slow_attempt_may_be_an_accident() {
        let lane = lane(1, None);
        let (soon, late) = (Duration::ZERO, Duration::from_secs(1));
        let paces = [soon, late, late, soon, late, late, late, soon].map(|took| {
            lane.note(false, took);
            lane.pace()
        });
        let mut expected = [Pace::Fast; 8];
        expected[6] = Pace::Slow;
        expected[7] = Pace::Slow;
        assert_eq!(paces, expected);
    }

    #[test]
    fn a_thread_that_finds_nothing_is_not_idle_any_more() {
        let line = Line::default();
        assert!(next(&line).is_none());
        line.join(lane(1, None));
        assert!(line.is_short());
        line.expect();
        assert!(!line.is_short());
        line.give_up();
        assert!(line.is_short());
    }
}
