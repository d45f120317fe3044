//! When to say something again that nobody has done anything about.

use std::time::{Duration, Instant};

/// A log that says it more often is not read, and one that says it less often is turned over in between.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Whether it has been said lately.
#[derive(Debug, Default)]
pub struct Reminder {
    said: Option<Instant>,
}

impl Reminder {
    /// Whether to say it now, which is done then.
    pub fn fall_due(&mut self, now: Instant) -> bool {
        let due = self.said.is_none_or(|said| now.duration_since(said) >= EVERY);
        if due {
            self.said = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_an_hour() {
        let (mut reminder, began) = (Reminder::default(), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        let said: Vec<u64> =
            (0..4 * 3600).step_by(100).filter(|&s| reminder.fall_due(after(s))).collect();
        assert_eq!(said, [0, 3600, 7200, 10800]);
        assert!(
            !reminder.fall_due(after(10800 + 3599)),
            "what was asked for meanwhile counts for nothing"
        );
    }
}
