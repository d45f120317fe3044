//! An event that crashes the worker is sent again at the next start, and crashes it again.
//!
//! Nothing that a receiver answers should be able to do that; this is for what nobody thought of. When
//! runs of one server have ended badly twice in a row, events are sent one at a time and written down
//! before, so that the next crash has a name. An event that two crashes name is a dead letter, and the
//! others go on. That another process crashes, or that the server is stopped at once, ends a run as well and says nothing
//! about its events: see [`crate::host::quit`].

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::host::txn::{self, TxnError};
use crate::pg::identity::Extension;
use crate::pg::spi::Session;
use crate::queue::cursor::{self, Start};
use crate::queue::order;
use domain::key::DeliveryId;
use domain::time::Timestamp;

/// Runs in a row that may end badly before the next one sends one event at a time. With one, a single crash of another cause
/// would slow the database down for ten seconds.
const RUNS: i32 = 2;

/// Crashes with the same event alone under way that make it a dead letter. One may have had another cause.
const SUSPICIONS: i32 = 2;

/// A run that has lasted so long counts as good, unless it sends one event at a time and is not through yet. What crashes a
/// worker at its start does that within a second.
const CALM: Duration = Duration::from_secs(10);

/// More events than a run has in memory, so that the one that ended it is among the first so many that are sent alone.
const SUSPECTS: usize = 12_000;

/// What the log says of a condemned event.
const REASON: &str = "internal: the worker crashed each time this was sent";

/// Deals with the event that ended the last runs, if there is one. Says whether the run that begins is
/// to be cautious. `now` in the time of the queue.
pub(super) fn judge(session: &Session, start: &Start, now: Timestamp) -> bool {
    match start.suspect {
        Some(delivery) if start.suspicions >= SUSPICIONS => {
            log!("pg_webhook: delivery {delivery} has crashed the worker and is a dead letter now");
            cursor::condemn(session, delivery, REASON, now);
            order::pass(session, &[delivery], now, |_| false);
            cursor::calm(session);
            false
        }
        _ => start.runs > RUNS,
    }
}

/// What this run does about it.
pub(super) struct Quarantine {
    began: Instant,
    /// It has been written down that this run goes well.
    calm: bool,
    /// The event that is written down as under way alone.
    suspect: Option<DeliveryId>,
    /// How many have been.
    declared: usize,
}

impl Quarantine {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, calm: false, suspect: None, declared: 0 }
    }

    /// The event that is written down as under way alone.
    pub(super) fn suspect(&self) -> Option<DeliveryId> {
        self.suspect
    }

    /// Writes down what is about to be sent `alone`.
    pub(super) fn declare(
        &mut self,
        extension: Extension,
        alone: Option<DeliveryId>,
    ) -> Result<(), TxnError> {
        if let Some(delivery) = alone.filter(|_| self.suspect != alone) {
            txn::run(c"writes down what is under way alone", extension, |session| {
                cursor::suspect(session, Some(delivery))
            })?;
            self.suspect = Some(delivery);
            self.declared += 1;
        }
        Ok(())
    }

    /// It is back, which is written down.
    pub(super) fn clear(&mut self) {
        self.suspect = None;
    }

    /// The run goes well after a while: nothing is suspected any more. Not while events are still sent one by one
    /// (`searching`). Returns whether that has just become so.
    pub(super) fn calm_down(
        &mut self,
        extension: Extension,
        now: Instant,
        searching: bool,
    ) -> Result<bool, TxnError> {
        let searching = searching && self.declared < SUSPECTS;
        if self.calm || searching || now.duration_since(self.began) < CALM {
            return Ok(false);
        }
        txn::run(c"writes down that all goes well", extension, cursor::calm)?;
        self.suspect = None;
        self.calm = true;
        Ok(true)
    }
}
