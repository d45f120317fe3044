//! When the worker drops triggers that others have left to it.

use std::time::{Duration, Instant};

use crate::pg::identity::Extension;
use crate::pg::txn::{self, TxnError};
use crate::registry::removal;

/// So many times as long as the last table has taken passes before the next one: neither deliveries nor a table wait for
/// this for more than a small part of the time.
const SPACING: u32 = 20;

/// After an error.
const PAUSE: Duration = Duration::from_secs(10);

/// What is known of the work to come.
pub(super) struct Removing {
    /// `None` where there is nothing to do.
    due: Option<Instant>,
    /// Not before, whatever comes.
    earliest: Instant,
}

impl Removing {
    /// There may be work from an earlier run.
    pub(super) fn new(now: Instant) -> Self {
        Self { due: Some(now), earliest: now }
    }

    /// Definitions have changed: there may be more.
    pub(super) fn ask(&mut self) {
        self.due = Some(self.earliest);
    }

    /// `None` where nothing is to be done.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now))
    }

    /// Sees to one table, if it is time.
    pub(super) fn work(&mut self, extension: Extension, now: Instant) -> Result<(), TxnError> {
        if self.due_in(now) != Some(Duration::ZERO) {
            return Ok(());
        }
        let began = Instant::now();
        let wait = match txn::run(extension, removal::work_off) {
            Ok(wait) => wait,
            Err(TxnError::ExtensionGone) => return Err(TxnError::ExtensionGone),
            Err(TxnError::Failed(_)) => Some(PAUSE),
        };
        let ended = Instant::now();
        self.earliest = ended + (ended - began) * SPACING;
        self.due = wait.map(|wait| self.earliest.max(ended + wait));
        Ok(())
    }
}
