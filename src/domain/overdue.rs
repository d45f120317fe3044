//! Whether what waits of a webhook has waited for too long.

use std::time::Duration;

use super::time::Timestamp;

/// What a walk through the backlog has left waiting of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Rows.
    pub events: u64,
    /// Since when the oldest of them has waited.
    pub oldest: Timestamp,
}

impl Default for Left {
    /// Nothing.
    fn default() -> Self {
        Self { events: 0, oldest: Timestamp::INFINITY }
    }
}

impl Left {
    /// One more, which has waited since then.
    pub fn add(&mut self, since: Timestamp) {
        self.events = self.events.saturating_add(1);
        self.oldest = self.oldest.min(since);
    }

    /// For how long the oldest has waited.
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.oldest)
    }

    /// When that will be as long as `limit`; a time that has passed where it is. `None` where nothing waits.
    pub fn overdue_at(&self, limit: Duration) -> Option<Timestamp> {
        (self.events > 0).then(|| self.oldest.after(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_waits_and_knows_the_oldest() {
        let (now, second) = (Timestamp(9_000_000), Duration::from_secs(1));
        let mut left = Left::default();
        assert_eq!((left.age(now), left.overdue_at(second)), (Duration::ZERO, None));
        [5_000_000, 2_000_000, 7_000_000].into_iter().for_each(|since| left.add(Timestamp(since)));
        assert_eq!((left.events, left.age(now)), (3, 7 * second));
        assert_eq!(left.overdue_at(2 * second), Some(Timestamp(4_000_000)));
    }
}
