//! What the launcher knows of one database, and when that needs a worker.

use std::time::{Duration, Instant, SystemTime};

use pgrx::bgworkers::{BackgroundWorkerStatus, DynamicBackgroundWorker};

use crate::host::board::Entry;
use domain::time::Timestamp;

/// The time between two starts of a worker that fails, doubled each time up to the longest. Shorter, and a worker that crashes
/// at once keeps the server busy with starting it; longer, and events wait longer when its cause is gone.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What the launcher knows of one database.
pub(super) struct Known {
    pub(super) worker: Option<DynamicBackgroundWorker>,
    /// When it was last asked for, if it ever was.
    asked: Option<Instant>,
    /// In a row, without having worked in between.
    failures: u32,
    /// After a failure.
    not_before: Instant,
    /// A worker has been there to look. If the database is not on the board, it does not have the extension, or there was no
    /// entry free.
    visited: bool,
    /// Since when it has needed a worker and has none.
    wants_since: Option<Instant>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            worker: None,
            asked: None,
            failures: 0,
            not_before: Instant::now(),
            visited: false,
            wants_since: None,
        }
    }
}

impl Known {
    /// A worker of it runs, or is asked for and not on the board yet.
    pub(super) fn is_at_work(&self, entry: Option<&Entry>) -> bool {
        entry.is_some_and(|entry| entry.pid().is_some()) || self.is_starting()
    }

    /// A worker of it has been asked for and has not ended.
    pub(super) fn is_starting(&self) -> bool {
        let ended = |worker: &DynamicBackgroundWorker| {
            matches!(worker.pid(), Err(BackgroundWorkerStatus::Stopped))
        };
        self.worker.as_ref().is_some_and(|worker| !ended(worker))
    }

    /// How long until it needs a worker; `None` where nothing but a wake says so.
    pub(super) fn needs_one_in(&self, entry: Option<&Entry>) -> Option<Duration> {
        match entry {
            None if self.visited => None,
            Some(entry) if entry.is_announced() => Some(Duration::ZERO),
            Some(entry) if entry.is_resting() && entry.is_woken() => Some(Duration::ZERO),
            Some(entry) if entry.is_resting() => {
                Some(entry.due().since(Timestamp::from(SystemTime::now())))
            }
            _ => Some(self.not_before.saturating_duration_since(Instant::now())),
        }
    }

    /// It needs a worker now. Returns since when it has.
    pub(super) fn want(&mut self, now: Instant) -> Instant {
        *self.wants_since.get_or_insert(now)
    }

    /// It needs none, or has been given one.
    pub(super) fn want_none(&mut self) {
        self.wants_since = None;
    }

    /// This one is on its way.
    pub(super) fn asked_for(&mut self, worker: DynamicBackgroundWorker) {
        self.worker = Some(worker);
        self.asked = Some(Instant::now());
        self.want_none();
    }

    /// Whether its last worker was asked for after `time`.
    pub(super) fn has_asked_since(&self, time: Instant) -> bool {
        self.asked.is_some_and(|asked| asked > time)
    }

    /// A worker has been there, and none needs to stay.
    pub(super) fn visited(&mut self) {
        self.visited = true;
        self.succeeded();
    }

    /// No worker has been there to look, or one is to look again.
    pub(super) fn is_to_be_visited(&self) -> bool {
        !self.visited
    }

    /// It is to be visited again, if it is not on the board.
    pub(super) fn visit_again(&mut self) {
        self.visited = false;
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = Instant::now();
    }

    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.saturating_sub(1).min(10);
        self.not_before = Instant::now() + (SHORTEST_WAIT * 2u32.pow(doublings)).min(LONGEST_WAIT);
    }
}
