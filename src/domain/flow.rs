//! How fast things come: a moving average with exponential decay.

use std::time::{Duration, Instant};

/// What came longer ago than this hardly counts.
const MEMORY: Duration = Duration::from_millis(200);

/// A rate that is measured at any moments.
#[derive(Debug)]
pub struct Flow {
    since: Instant,
    count: usize,
    per_second: f64,
}

impl Flow {
    /// Nothing has come.
    pub fn new(now: Instant) -> Self {
        Self { since: now, count: 0, per_second: 0.0 }
    }

    /// So many have come.
    pub fn add(&mut self, count: usize) {
        self.count += count;
    }

    /// The rate until `now`.
    pub fn per_second(&mut self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        if passed > 0.0 {
            let weight = 1.0 - (-passed / MEMORY.as_secs_f64()).exp();
            self.per_second += weight * (self.count as f64 / passed - self.per_second);
            self.since = now;
            self.count = 0;
        }
        self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate after `millis` of `count` in each of them.
    fn after(flow: &mut Flow, millis: u64, count: usize) -> f64 {
        for _ in 0..millis {
            flow.add(count);
            flow.per_second(flow.since + Duration::from_millis(1));
        }
        flow.per_second
    }

    #[test]
    fn follows_the_rate_within_its_memory() {
        let mut flow = Flow::new(Instant::now());
        assert!(after(&mut flow, 20, 2) < 500.0, "a burst is no flow");
        assert!((1990.0..=2000.0).contains(&after(&mut flow, 1200, 2)));
        assert!(after(&mut flow, 1200, 0) < 10.0);
    }

    #[test]
    fn does_not_depend_on_when_it_is_asked() {
        let start = Instant::now();
        let mut often = Flow::new(start);
        after(&mut often, 100, 3);
        let mut once = Flow::new(start);
        once.add(300);
        let rate = once.per_second(start + Duration::from_millis(100));
        assert!((rate - often.per_second).abs() < 0.001, "{rate} and {}", often.per_second);
        assert_eq!(once.per_second(start), rate, "nor on a clock that stands");
    }
}
