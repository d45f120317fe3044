//! How long things took, counted by how long.
//!
//! A bucket is the square root of two times as wide as the one before it, so what is read from it is wrong by less than that, from
//! a tenth of a millisecond to four days.

use std::time::Duration;

/// What buckets there are. More, and a row of counts is larger each time that it is written; fewer, and it says less.
pub const BUCKETS: usize = 64;

/// The first one ends at this power of two, in microseconds: 0.128 ms, which no request over a network takes.
const FIRST: u32 = 7;

/// Counts, and the sum of all durations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Of each bucket.
    pub counts: [i64; BUCKETS],
    /// In microseconds.
    pub sum: i64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], sum: 0 }
    }
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        let micros = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
        let count = &mut self.counts[bucket(micros.unsigned_abs())];
        *count = count.saturating_add(1);
        self.sum = self.sum.saturating_add(micros);
    }
}

/// The bucket that so many microseconds are in: the first that does not end before them, the last one where all do.
fn bucket(micros: u64) -> usize {
    // Twice the logarithm, rounded up: the smallest n for which the square of it is not above 2^n.
    let square = u128::from(micros) * u128::from(micros);
    let halves = square.checked_sub(1).map_or(0, |below| u128::BITS - below.leading_zeros());
    (halves.saturating_sub(2 * FIRST) as usize).min(BUCKETS - 1)
}

/// Where a bucket ends, in milliseconds. The last one has no end; this is where it would.
pub fn bound(bucket: usize) -> f64 {
    2f64.powf(f64::from(FIRST) + bucket as f64 / 2.0) / 1000.0
}

/// The value, in milliseconds, that this part of all that is counted does not exceed: as if what is in a bucket were spread
/// evenly. `None` where nothing is counted. A count below zero is none.
pub fn percentile(counts: &[i64], part: f64) -> Option<f64> {
    let count = |count: &i64| (*count).max(0) as f64;
    let total: f64 = counts.iter().map(count).sum();
    if total == 0.0 {
        return None;
    }
    let rank = part.clamp(0.0, 1.0) * total;
    let mut below = 0.0;
    let mut value = 0.0;
    for (bucket, n) in counts.iter().map(count).enumerate().filter(|(_, n)| *n > 0.0) {
        let start = bucket.checked_sub(1).map_or(0.0, bound);
        let inside = ((rank - below) / n).clamp(0.0, 1.0);
        value = start + (bound(bucket) - start) * inside;
        below += n;
        if below >= rank {
            break;
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_bucket_that_ends_after_it() {
        for micros in (0..5000).chain([1 << 20, (1 << 20) + 1, 1 << 37, u64::MAX]) {
            let bucket = bucket(micros);
            let millis = micros as f64 / 1000.0;
            assert!(millis <= bound(bucket) || bucket == BUCKETS - 1, "{micros} in {bucket}");
            assert!(bucket == 0 || millis > bound(bucket - 1), "{micros} in {bucket}");
        }
        assert_eq!((bucket(128), bucket(129), bucket(181), bucket(182)), (0, 1, 1, 2));
        assert_eq!(bound(0), 0.128);
        let days = bound(BUCKETS - 1) / 86_400_000.0;
        assert!((4.0..5.0).contains(&days), "{days}");
    }

    #[test]
    fn percentiles_are_within_their_bucket() {
        let mut histogram = Histogram::default();
        let mut values: Vec<u64> = Vec::new();
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..10_000 {
            let power = random.u32(9..30);
            let value = random.u64(200..1 << power);
            values.push(value);
            histogram.add(Duration::from_micros(value));
        }
        values.sort_unstable();
        assert_eq!(histogram.sum as u64, values.iter().sum::<u64>());
        assert_eq!(histogram.counts.iter().sum::<i64>(), 10_000);
        for part in [0.0, 0.01, 0.5, 0.95, 0.99, 1.0] {
            let place = ((part * 10_000.0) as usize).clamp(1, 10_000) - 1;
            let exact = values[place] as f64 / 1000.0;
            let found = percentile(&histogram.counts, part).unwrap();
            let off = found / exact;
            assert!((0.7..1.42).contains(&off), "{part}: {found} for {exact}");
        }
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[0; BUCKETS], 0.5), None);
        assert_eq!(percentile(&[0, -5, 0], 0.5), None);
        // all in one bucket: from its beginning to its end
        assert_eq!(percentile(&[0, 0, 10], 0.0), Some(bound(1)));
        assert_eq!(percentile(&[0, 0, 10], 1.0), Some(bound(2)));
    }
}
