//! When to say something again that nobody has done anything about.

use std::time::{Duration, Instant};

/// A log that says it more often is not read, and one that says it less often is turned over in between.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Whether it has been said lately.
#[derive(Debug, Default)]
pub(super) struct Reminder {
    said: Option<Instant>,
}

impl Reminder {
    /// Whether to say it now.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.said.is_none_or(|said| now.duration_since(said) >= EVERY);
        if due {
            self.said = Some(now);
        }
        due
    }
}
