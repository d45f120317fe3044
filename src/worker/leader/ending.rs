//! The orderly end of a worker that has work: nothing begins any more, and what is answered is written down.
//!
//! What waits in memory stays where it is in the database, where the next worker finds it. What is under way has a moment to be
//! answered; what is not answered by then is cut off, and sent again.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::Leader;
use crate::host::txn::TxnError;
use crate::pg::interrupt;

/// How long requests that are under way have to be answered. Most are within this; an endpoint that hangs makes each stop of
/// the server longer by as much.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// A worker ends this long after SIGTERM, also where it waits for a lock and cannot write down what it knows. A fast shutdown
/// may take 3 s, and the server's part of it is in these as well.
const LIMIT: Duration = Duration::from_secs(2);

/// How often it is written down what has been answered meanwhile.
const STEP: Duration = Duration::from_millis(20);

// What is answered within the moment is written down within the limit, and the server has some of its 3 s left.
const _: () = assert!(GRACE.as_millis() < LIMIT.as_millis() && LIMIT.as_millis() < 3_000);

impl Leader {
    /// Does what is left to be done if SIGTERM has come, and ends the process.
    pub(super) fn end_if_asked(&mut self) {
        interrupt::finish(LIMIT, || self.last_words());
    }

    fn last_words(&mut self) {
        report(self.wind_up(GRACE).and_then(|()| self.save()));
    }

    /// Writes down what has been brought, and waits for nothing more.
    pub(super) fn break_off(&mut self) {
        report(self.wind_up(Duration::ZERO));
    }

    /// Writes down how far this run has come, which has gone well.
    pub(super) fn save(&mut self) -> Result<(), TxnError> {
        self.advance();
        let reading = self.read_clock();
        let upkeep = &self.upkeep;
        self.ledger.close(self.extension, reading, |session| upkeep.leave(session, reading.time()))
    }

    /// Begins nothing more, and writes down what has been brought and what is brought within `grace`.
    pub(super) fn wind_up(&mut self, grace: Duration) -> Result<(), TxnError> {
        let until = Instant::now() + grace;
        // Nothing is written for these.
        self.schedule.abandon(Instant::now());
        self.schedule.hurry_health();
        self.ledger.backlog_mut().need();
        loop {
            self.collect();
            self.flush()?;
            let is_over = self.schedule.is_empty() || Instant::now() >= until;
            if is_over && !self.sender.has_outcomes() && !self.ledger.has_parted() {
                return Ok(());
            }
            interrupt::wait(None, STEP);
        }
    }
}

/// What could not be written down will be repeated.
fn report(written: Result<(), TxnError>) {
    if let Err(error) = written {
        log!("pg_webhook: at the end: {error:?}");
    }
}
