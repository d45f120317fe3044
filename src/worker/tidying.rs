//! When the worker takes away what webhooks have left that ended with their owners.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::host::txn::{self, TxnError};
use crate::pg::identity::Extension;
use crate::registry::owner;

/// How long it pauses where somebody else changes privileges, which it does not wait for.
const IN_THE_WAY: Duration = Duration::from_secs(10);

/// How long it pauses after an error. Such a one is not likely to pass, and holds nothing up.
const MISHAP: Duration = Duration::from_secs(60);

/// When there may be something to take away.
pub(super) struct Tidying(Option<Instant>);

impl Tidying {
    /// There may be some from an earlier run.
    pub(super) fn new(now: Instant) -> Self {
        Self(Some(now))
    }

    /// There is.
    pub(super) fn ask(&mut self) {
        self.0 = Some(Instant::now());
    }

    /// `None` where nothing is to be done.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        self.0.map(|due| due.saturating_duration_since(now))
    }

    /// Takes it away, if it is time.
    pub(super) fn work(&mut self, extension: Extension, now: Instant) -> Result<(), TxnError> {
        if self.due_in(now) != Some(Duration::ZERO) {
            return Ok(());
        }
        let pause =
            match txn::tried(c"tidies up after roles that are gone", extension, owner::tidy)? {
                Ok(Ok(())) => None,
                Ok(Err(_)) => Some(IN_THE_WAY),
                Err(message) => {
                    log!("pg_webhook: what webhooks without an owner have left stays: {message}");
                    Some(MISHAP)
                }
            };
        self.0 = pause.map(|pause| Instant::now() + pause);
        Ok(())
    }
}
