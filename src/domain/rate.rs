//! How often requests may start: the generic cell rate algorithm (ITU-T I.371).
//!
//! Many requests a second come in small bursts, because nobody can wait exactly a millisecond; the
//! interval is longer by as much as the burst allows, so that no second sees more than the limit.

use std::time::{Duration, Instant};

/// A burst is this part of what a limit lets pass in a second, rounded up. On a busy machine a thread is woken some tens of
/// milliseconds late, and what a burst does not make up for is lost. A smaller number allows larger bursts, each of which may
/// go beyond the limit by so much.
const BURSTS: u32 = 10;

/// A limit, and what has been used of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: u32,
    /// When the next request would be due if all were evenly spaced.
    due: Option<Instant>,
}

impl Rate {
    /// At most `limit` in any second; 0 is treated as 1.
    pub fn per_second(limit: u32) -> Self {
        let limit = limit.max(1);
        let burst = limit.div_ceil(BURSTS);
        Self { interval: Duration::from_secs(1) / (limit - burst + 1), burst, due: None }
    }

    /// The same limit, from when `before` would have let the next one start.
    pub fn after(self, before: &Self) -> Self {
        let last = before.due.and_then(|due| due.checked_sub(before.interval));
        Self { due: last.map(|last| last + self.interval), ..self }
    }

    /// How many may start now.
    pub fn available(&self, now: Instant) -> usize {
        let Some(due) = self.due else {
            return self.burst as usize;
        };
        let ahead = due.saturating_duration_since(now);
        let room = (self.interval * self.burst).saturating_sub(ahead);
        (room.as_nanos() / self.interval.as_nanos()) as usize
    }

    /// How many may start in so long.
    pub fn within(&self, time: Duration) -> f64 {
        time.div_duration_f64(self.interval)
    }

    /// How long until one may start.
    pub fn wait(&self, now: Instant) -> Duration {
        let ahead = self.due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now));
        ahead.saturating_sub(self.interval * (self.burst - 1))
    }

    /// One starts that counts as so many, if one may.
    pub fn take(&mut self, now: Instant, count: u32) -> bool {
        let may = self.wait(now).is_zero();
        if may {
            let used = self.interval * count.max(1);
            self.due = Some(self.due.map_or(now, |due| due.max(now)) + used);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Takes whatever it can get, looking at random times for ten seconds.
    fn greedy(limit: u32, seed: u64) -> Vec<Instant> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut rate = Rate::per_second(limit);
        let begin = Instant::now();
        let mut now = begin;
        let mut taken = Vec::new();
        while now - begin < 10 * SECOND {
            let available = rate.available(now);
            let before = taken.len();
            while rate.take(now, 1) {
                taken.push(now);
            }
            assert_eq!(taken.len() - before, available);
            now += rate.wait(now) + Duration::from_micros(random.u64(0..300));
        }
        taken
    }

    #[test]
    fn no_second_sees_more_and_most_see_nearly_as_many() {
        for limit in [1, 2, 3, 49, 50, 51, 99, 1000, 10_000] {
            let taken = greedy(limit, u64::from(limit));
            for (index, first) in taken.iter().enumerate() {
                let within = taken[index..].iter().take_while(|at| **at - *first < SECOND).count();
                assert!(within <= limit as usize, "{within} of {limit}");
            }
            let least = f64::from(limit) * 10.0 * 0.9;
            assert!(taken.len() as f64 >= least, "{} of {least}", taken.len());
        }
    }

    #[test]
    fn another_limit_begins_where_the_one_before_was() {
        let now = Instant::now();
        let mut rate = Rate::per_second(1);
        assert!(rate.take(now, 1));
        let mut same = Rate::per_second(1).after(&rate);
        assert!(!same.take(now + SECOND / 2, 1) && same.take(now + SECOND, 1));
        let mut higher = Rate::per_second(10).after(&rate);
        assert!(!higher.take(now, 1) && higher.take(now + SECOND / 10, 1));
        assert!(Rate::per_second(1).after(&Rate::per_second(1)).take(now, 1));
    }

    #[test]
    fn what_was_not_used_is_lost() {
        let now = Instant::now();
        let mut rate = Rate::per_second(100);
        let later = now + 60 * SECOND;
        assert!(rate.take(now, 1));
        assert_eq!(rate.available(later), 10);
        assert!((0..10).all(|_| rate.take(later, 1)) && !rate.take(later, 1));
        assert!(!rate.wait(later).is_zero());
    }

    #[test]
    fn many_at_once_use_up_as_much() {
        let now = Instant::now();
        let mut rate = Rate::per_second(100);
        assert!(rate.take(now, 50));
        assert!(!rate.take(now, 1), "although ten may come in a burst");
        let wait = rate.wait(now);
        assert!((SECOND * 4 / 10..SECOND * 6 / 10).contains(&wait), "{wait:?}");
        assert!(rate.take(now + wait, 50));
    }
}
