//! How long to wait before the next attempt.

use std::time::Duration;

/// No wait between two attempts is longer, whatever the number of failures or the receiver's `Retry-After`. Longer, and an
/// endpoint that is back is found late; shorter, and a dead one is asked more often.
pub const LONGEST: Duration = Duration::from_secs(10 * 60 * 60);

/// Share of a wait by which jitter moves it, so that events that failed together do not return together. Less, and they come back
/// in a crowd; more, and the waits that the documentation says are hardly right.
pub const JITTER: f64 = 0.2;

/// The wait after the `failures`-th failure in a row (counted from 1): `base` doubled with each
/// further failure, moved by `jitter` (from -1 to 1) times [`JITTER`], at most [`LONGEST`].
pub fn wait(failures: u32, base: Duration, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(63) as i32;
    let seconds =
        base.as_secs_f64() * 2f64.powi(doublings) * (1.0 + JITTER * jitter.clamp(-1.0, 1.0));
    if seconds < LONGEST.as_secs_f64() { Duration::from_secs_f64(seconds) } else { LONGEST }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(5);

    #[test]
    fn doubles_from_the_base() {
        let waits: Vec<u64> = (1..=6).map(|n| wait(n, BASE, 0.0).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160]);
    }

    #[test]
    fn jitter_moves_by_a_fifth_and_no_further() {
        assert_eq!(wait(1, BASE, 1.0), Duration::from_secs(6));
        assert_eq!(wait(1, BASE, -1.0), Duration::from_secs(4));
        assert_eq!(wait(1, BASE, 7.0), Duration::from_secs(6));
    }

    #[test]
    fn is_capped_at_any_count() {
        for failures in [20, 64, 1_000, u32::MAX] {
            assert_eq!(wait(failures, BASE, 1.0), LONGEST);
            assert_eq!(wait(failures, BASE, -1.0), LONGEST);
        }
    }

    #[test]
    fn a_base_of_zero_retries_at_once() {
        assert_eq!(wait(9, Duration::ZERO, 1.0), Duration::ZERO);
    }

    #[test]
    fn never_shrinks_with_more_failures() {
        let mut last = Duration::ZERO;
        for failures in 0..100 {
            let next = wait(failures, BASE, 0.3);
            assert!(next >= last);
            last = next;
        }
    }
}
