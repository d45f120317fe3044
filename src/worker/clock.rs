//! The clock of a run: by what it judges, and what it writes down of it.

use std::time::{Duration, Instant, SystemTime};

use pgrx::prelude::*;

use super::leader::Leader;
use crate::pg::txn::{self, TxnError};
use crate::queue::cursor;
use domain::clock::Reading;
use domain::time::Timestamp;
use transit::moment::Moment;

/// How often a worker that has nothing to write writes down that it is there, where something waits. By so much the next
/// run, after a crash, is mistaken about how long there was none. More often would cost more than that is worth.
const MARKS: Duration = Duration::from_secs(60);

impl Leader {
    /// The time of the queue. It goes on as it did, whoever sets the clock meanwhile.
    pub(super) fn time(&self) -> Timestamp {
        self.clock.read(Instant::now()).time()
    }

    /// The same, with what else the time is.
    pub(super) fn moment(&self) -> Moment {
        let now = Instant::now();
        Moment { now, wall: SystemTime::now(), clock: self.clock.read(now).time() }
    }

    /// What is to be written of the clock. Where it has been set since the last look, that is soon written.
    pub(super) fn read_clock(&mut self) -> Reading {
        let (wall, now) = (Timestamp::from(SystemTime::now()), Instant::now());
        if let Some(by) = self.clock.look(wall, now) {
            log!("pg_webhook: the clock has been set by {} seconds", by / 1_000_000);
            self.marked = None;
        }
        self.clock.read(now)
    }

    /// Writes down that the worker is there, now and then, and where the clock has been set.
    pub(super) fn mark(&mut self, now: Instant) -> Result<(), TxnError> {
        if self.marked.is_some_and(|at| now.duration_since(at) < MARKS) {
            return Ok(());
        }
        // It looks whether anything waits there.
        if !self.backlog.again_in(now).is_zero() {
            return Ok(());
        }
        let reading = self.read_clock();
        let marked = txn::run(self.extension, |session| {
            self.backlog.is_free().then(|| cursor::mark(session, reading))
        })?;
        match marked {
            Some(()) => self.marked = Some(now),
            None => self.backlog.is_kept(None),
        }
        Ok(())
    }
}
