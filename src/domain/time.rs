//! Points in time as PostgreSQL counts them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `timestamptz`: microseconds since 2000-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// 2000-01-01 in unix time.
const EPOCH: Duration = Duration::from_secs(946_684_800);

impl Timestamp {
    /// Later than every time.
    pub const INFINITY: Self = Self(i64::MAX);

    /// The time since `earlier`, zero where the clock went back.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }

    /// Earlier by `duration`.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }

    /// What it is called when the clock has been set by so many microseconds. Before and after every time stays so.
    pub fn moved(self, step: i64) -> Self {
        match self.0 {
            i64::MIN | i64::MAX => self,
            at => Self(at.saturating_add(step)),
        }
    }

    /// Later by `duration`.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let unix = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(micros(unix).saturating_sub(micros(EPOCH)))
    }
}

/// `duration` in microseconds.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_the_epoch_of_postgresql() {
        assert_eq!(Timestamp::from(UNIX_EPOCH + EPOCH), Timestamp(0));
        assert_eq!(Timestamp::from(UNIX_EPOCH), Timestamp(-micros(EPOCH)));
        let later = Timestamp(5).after(Duration::from_millis(2));
        assert_eq!(later, Timestamp(2005));
        assert_eq!(later.since(Timestamp(5)), Duration::from_millis(2));
        assert_eq!(Timestamp(5).since(later), Duration::ZERO);
        assert_eq!(Timestamp::INFINITY.after(Duration::MAX), Timestamp::INFINITY);
    }
}
