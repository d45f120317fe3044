//! When the ring rotates, and what is said where it cannot be.

use std::time::Instant;

use pgrx::prelude::*;

use crate::host::txn::{self, TxnError};
use crate::log::retention::{self, Rotation};
use crate::pg::identity::Extension;
use domain::time::Timestamp;

/// So many refusals in a row are told in the log. One may be a query that reads the log at this moment.
const TELLING: u32 = 2;

/// What is known of the ring's rotation.
#[derive(Default)]
pub(super) struct Rotating {
    /// Although nothing is sent, events of the ring go to the backlog, so that it can rotate.
    draining: bool,
    /// `None`: not yet in this run, which may be a short one.
    asked: Option<Instant>,
    /// In a row.
    refused: u32,
    /// Why, as it is written down; `None`: not known, or it rotates.
    blocked: Option<String>,
    /// It is known whether something is written down.
    known: bool,
}

impl Rotating {
    /// The ring is to be read, although nothing is sent.
    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Rotates it, if it is time, which the queue's `clock` shows. A slot that somebody uses is tried again later. Where nothing
    /// `sends`, what is in the way is read.
    pub(super) fn work(
        &mut self,
        extension: Extension,
        now: Instant,
        clock: Timestamp,
        sends: bool,
    ) -> Result<Option<Rotation>, TxnError> {
        let rotation = self.rotate(extension, now, clock)?;
        match rotation {
            Some(Rotation::Blocked) => self.draining = !sends,
            Some(_) => self.draining = false,
            None => {}
        }
        Ok(rotation)
    }

    fn rotate(
        &mut self,
        extension: Extension,
        now: Instant,
        clock: Timestamp,
    ) -> Result<Option<Rotation>, TxnError> {
        if self.asked.is_some_and(|asked| now.duration_since(asked) < retention::interval()) {
            return Ok(None);
        }
        self.asked = Some(now);
        let rotated =
            txn::tried(c"cuts the log", extension, |session| retention::rotate(session, clock))?;
        let (rotation, otherwise) = match rotated {
            Ok(Rotation::Blocked) => {
                (Some(Rotation::Blocked), "it holds events that are not settled".to_owned())
            }
            Ok(rotation) => {
                self.goes_on(extension)?;
                return Ok(Some(rotation));
            }
            Err(message) => (None, message),
        };
        self.refused = self.refused.saturating_add(1);
        if self.refused >= TELLING {
            self.tell(extension, otherwise)?;
        }
        Ok(rotation)
    }

    fn goes_on(&mut self, extension: Extension) -> Result<(), TxnError> {
        self.refused = 0;
        // An earlier run may have left a reason.
        if self.blocked.take().is_some() || !self.known {
            self.known = write(extension, None)?;
        }
        Ok(())
    }

    /// The log says it once until it rotates, and webhook_check each reason that there is meanwhile.
    fn tell(&mut self, extension: Extension, otherwise: String) -> Result<(), TxnError> {
        let Ok((holders, size)) =
            txn::tried(c"looks who keeps the log from being cut", extension, retention::holders)?
        else {
            return Ok(());
        };
        let reason = match holders {
            Some(holders) => format!("its oldest part is in use by {holders}"),
            None => format!("of its oldest part, {otherwise}"),
        };
        if self.blocked.is_none() {
            log!("pg_webhook: the log is not cut, and takes {size}: {reason}");
        }
        if self.blocked.as_ref() != Some(&reason) {
            write(extension, Some(&reason))?;
            self.known = true;
            self.blocked = Some(reason);
        }
        Ok(())
    }
}

/// Whether it has been written; if not, there is another time.
fn write(extension: Extension, reason: Option<&str>) -> Result<bool, TxnError> {
    Ok(txn::tried(c"writes down who keeps the log from being cut", extension, |session| {
        retention::set_blocked(session, reason)
    })?
    .is_ok())
}
