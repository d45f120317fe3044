//! The machine's clock, which somebody may set.

use std::time::{Duration, Instant};

use super::time::{Timestamp, micros};

/// Less than this is left to the back-off: clocks are corrected by so much all the time.
pub const NOTICED: Duration = Duration::from_secs(10);

/// How far the clock has been set, by one that nobody sets.
#[derive(Debug)]
pub struct Steps {
    seen: (Timestamp, Instant),
    /// In microseconds.
    step: i64,
}

impl Steps {
    /// Begins at `wall`, which is `now`.
    pub fn new(wall: Timestamp, now: Instant) -> Self {
        Self { seen: (wall, now), step: 0 }
    }

    /// By how many microseconds the clock has been set since [`Self::settled`]; `None` where that is too little to matter.
    pub fn look(&mut self, wall: Timestamp, now: Instant) -> Option<i64> {
        let (before, at) = std::mem::replace(&mut self.seen, (wall, now));
        let passed = micros(now.saturating_duration_since(at));
        let step = wall.0.saturating_sub(before.0).saturating_sub(passed);
        // One look after the other, so that what a clock is slow or fast by does not add up.
        if step.saturating_abs() >= micros(NOTICED) {
            self.step = self.step.saturating_add(step);
        }
        Some(self.step).filter(|step| *step != 0)
    }

    /// That is written down.
    pub fn settled(&mut self) {
        self.step = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn tells_steps_from_time_that_passes() {
        let began = Instant::now();
        let now = |seconds| began + Duration::from_secs(seconds);
        let mut steps = Steps::new(Timestamp(0), began);
        assert_eq!(steps.look(Timestamp(3600 * SECOND), now(3600)), None);
        assert_eq!(steps.look(Timestamp(3609 * SECOND), now(3600)), None, "corrected");
        assert_eq!(steps.look(Timestamp(3618 * SECOND), now(3600)), None, "and again");
        assert_eq!(steps.look(Timestamp(7219 * SECOND), now(3601)), Some(3600 * SECOND));
        assert_eq!(steps.look(Timestamp(7220 * SECOND), now(3602)), Some(3600 * SECOND), "still");
        assert_eq!(steps.look(Timestamp(20 * SECOND), now(3602)), Some(-3600 * SECOND));
        steps.settled();
        assert_eq!(steps.look(Timestamp(21 * SECOND), now(3603)), None);
    }
}
