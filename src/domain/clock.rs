//! The machine's clock, which somebody may set, and the time of the queue, which goes on as it did.
//!
//! What waits is due by the clock as it was when the queue was made; how far that has been set since is kept apart. So a
//! clock that is set changes neither a row nor what a worker has in mind. What is written of a clock, what it shows and how
//! far it has been set, always belongs together, whether a run has seen by then that it was set or not: the next one finds
//! the rest where it begins, and finds it once.

use std::time::{Duration, Instant};

use super::time::{Timestamp, micros};

/// A clock counts as set when it has moved by this much. Less passes for time that went by: clocks are corrected by so much all
/// the time, and a retry is early or late by no more than that.
pub const NOTICED: Duration = Duration::from_secs(10);

/// What is written of a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// What it shows.
    pub at: Timestamp,
    /// By how many microseconds it has been set since the queue was made.
    pub step: i64,
}

impl Reading {
    /// The time of the queue.
    pub fn time(self) -> Timestamp {
        self.at.moved(self.step.saturating_neg())
    }

    /// At `wall`, in a run that begins after one that has left this: a clock that has been set back since is followed. One
    /// that has gone on, or has been set forward, which nobody can tell apart, has left time in which there was nobody.
    pub fn resumed(self, wall: Timestamp) -> Self {
        let gap = wall.0.saturating_sub(self.at.0);
        let set_back = if gap < -micros(NOTICED) { gap } else { 0 };
        Self { at: wall, step: self.step.saturating_add(set_back) }
    }
}

/// A clock that is looked at now and then, beside one that nobody sets.
#[derive(Debug)]
pub struct Clock {
    seen: Reading,
    /// When.
    since: Instant,
}

impl Clock {
    /// It says `seen` at `now`.
    pub fn new(seen: Reading, now: Instant) -> Self {
        Self { seen, since: now }
    }

    /// It shows `wall` now. Returns by how many microseconds it has been set since the last look; `None` where that is too
    /// little to matter.
    pub fn look(&mut self, wall: Timestamp, now: Instant) -> Option<i64> {
        let Reading { at, step } = self.read(now);
        let set = Some(wall.0.saturating_sub(at.0));
        let set = set.filter(|by| by.saturating_abs() >= micros(NOTICED));
        // One look after the other, so that what a clock is slow or fast by does not add up.
        self.seen = Reading { at: wall, step: step.saturating_add(set.unwrap_or(0)) };
        self.since = now;
        set
    }

    /// What it would say now if it had not been set since the last look.
    pub fn read(&self, now: Instant) -> Reading {
        let passed = now.saturating_duration_since(self.since);
        Reading { at: self.seen.at.after(passed), ..self.seen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    const fn reading(seconds: i64, step: i64) -> Reading {
        Reading { at: at(seconds), step: step * 1_000_000 }
    }

    #[test]
    fn tells_steps_from_time_that_passes() {
        let began = Instant::now();
        let now = |seconds| began + Duration::from_secs(seconds);
        let mut clock = Clock::new(reading(0, 50), began);
        assert_eq!(clock.look(at(3600), now(3600)), None);
        assert_eq!(clock.look(at(3609), now(3600)), None, "corrected");
        assert_eq!(clock.look(at(3618), now(3600)), None, "and again");
        assert_eq!(clock.look(at(7219), now(3601)), Some(3_600_000_000));
        assert_eq!(clock.look(at(7220), now(3602)), None, "that was it");
        assert_eq!(clock.read(now(3604)), reading(7222, 3650));
        assert_eq!(clock.read(now(3604)).time(), at(3572));
        assert_eq!(clock.look(at(22), now(3604)), Some(-7_200_000_000));
        assert_eq!(clock.read(now(3604)), reading(22, -3550));
        assert_eq!(clock.read(now(3604)).time(), at(3572), "the queue's goes on");
    }

    /// Whenever the power fails: before the step or after it, seen or not, and written or not.
    #[test]
    fn a_step_back_is_followed_once() {
        let began = Instant::now();
        let now = |seconds| began + Duration::from_secs(seconds);
        let mut clock = Clock::new(reading(100_000, 0), began);
        let mut written = vec![clock.read(now(0)), clock.read(now(20)), clock.read(now(21))];
        clock.look(at(13_622), now(22)).expect("a day less");
        written.extend([clock.read(now(22)), clock.read(now(23))]);
        for left in written {
            let next = left.resumed(at(13_625));
            let waited = next.time().since(left.time());
            assert!(waited <= Duration::from_secs(3), "{left:?}");
            assert_eq!(next.at, at(13_625));
            let again = next.resumed(at(13_626));
            assert_eq!(again.step, next.step, "{left:?}");
        }
    }

    #[test]
    fn whoever_comes_later_finds_time_that_has_passed() {
        let left = reading(100, 7);
        assert_eq!(left.resumed(at(5000)), reading(5000, 7));
        assert_eq!(left.resumed(at(95)), reading(95, 7), "corrected");
        assert_eq!(left.resumed(at(80)), reading(80, -13));
    }
}
