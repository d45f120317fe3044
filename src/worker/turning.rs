//! When the ring is turned over, and what is said where it cannot be.

use std::time::Instant;

use pgrx::prelude::*;

use crate::host::txn::{self, TxnError};
use crate::log::retention::{self, Turn};
use crate::pg::identity::Extension;
use crate::pg::settings;
use domain::time::Timestamp;

/// Refused so often in a row, somebody does not only read the log for a moment.
const TELLING: u32 = 2;

/// What is known of the ring's turning.
#[derive(Default)]
pub(super) struct Turning {
    /// Although nothing is sent, events of the ring go to the slow lane, so that it can turn.
    draining: bool,
    /// `None`: not yet in this run, which may be a short one.
    asked: Option<Instant>,
    /// In a row.
    refused: u32,
    /// Why, as it is written down; `None`: not known, or it turns.
    blocked: Option<String>,
    /// It is known whether something is written down.
    known: bool,
}

impl Turning {
    /// The ring is to be read, although nothing is sent.
    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Turns it, if it is time, which the queue's `clock` shows. A slot that somebody uses is tried again later.
    pub(super) fn work(
        &mut self,
        extension: Extension,
        now: Instant,
        clock: Timestamp,
    ) -> Result<Option<Turn>, TxnError> {
        let turn = self.turn(extension, now, clock)?;
        match turn {
            Some(Turn::Blocked) => self.draining = !settings::enabled(),
            Some(_) => self.draining = false,
            None => {}
        }
        Ok(turn)
    }

    fn turn(
        &mut self,
        extension: Extension,
        now: Instant,
        clock: Timestamp,
    ) -> Result<Option<Turn>, TxnError> {
        if self.asked.is_some_and(|asked| now.duration_since(asked) < retention::interval()) {
            return Ok(None);
        }
        self.asked = Some(now);
        let turned = txn::tried(extension, |session| retention::turn(session, clock))?;
        let (turn, otherwise) = match turned {
            Ok(Turn::Blocked) => {
                (Some(Turn::Blocked), "it holds events that are not settled".to_owned())
            }
            Ok(turn) => {
                self.goes_on(extension)?;
                return Ok(Some(turn));
            }
            Err(message) => (None, message),
        };
        self.refused = self.refused.saturating_add(1);
        if self.refused >= TELLING {
            self.tell(extension, otherwise)?;
        }
        Ok(turn)
    }

    fn goes_on(&mut self, extension: Extension) -> Result<(), TxnError> {
        self.refused = 0;
        // An earlier run may have left a reason.
        if self.blocked.take().is_some() || !self.known {
            self.known = write(extension, None)?;
        }
        Ok(())
    }

    /// The log says it once until it turns, and webhook_check each reason that there is meanwhile.
    fn tell(&mut self, extension: Extension, otherwise: String) -> Result<(), TxnError> {
        let Ok((holders, size)) = txn::tried(extension, retention::holders)? else {
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
    Ok(txn::tried(extension, |session| retention::set_blocked(session, reason))?.is_ok())
}
