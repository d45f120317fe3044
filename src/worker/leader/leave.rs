//! Leaving so that another database can have the place.
//!
//! A worker that is asked to leave writes down what it knows, and on the board when its database needs one again:
//! for what is due in the backlog, for what will be beyond a bound there, for the ring's rotation, for what is to be taken
//! away. The launcher starts one then, or when somebody wakes it.

use std::time::{Duration, Instant, SystemTime};

use pgrx::prelude::*;

use super::Leader;
use super::ending::GRACE;
use crate::host::state::{Leave, State};
use crate::host::txn::{self, TxnError};
use crate::log::retention;
use crate::pg::interrupt;
use crate::worker::places::PATIENCE;
use crate::worker::{Exit, LONGEST_PAUSE};
use domain::time::Timestamp;

/// How long requests that are under way may take when the worker has to leave although it has work. What has not
/// ended by then is cut off and sent again. With the launcher's patience it makes up most of the 10 s that a
/// database waits at most; longer, and others wait longer.
const DRAIN: Duration = Duration::from_secs(6);

/// How often it is looked meanwhile whether there is more to write.
const STEP: Duration = Duration::from_millis(100);

// The 10 s that a database waits at most.
const _: () = assert!(DRAIN.as_secs() + PATIENCE.as_secs() < 10);

impl Leader {
    /// Nothing is under way, to be read, to be written or due.
    pub(super) fn is_idle(&self) -> bool {
        self.ledger.is_empty()
            && !self.pacing.is_behind()
            && !self.has_work()
            && self.jobs.are_idle(Instant::now())
            && !self.entry.is_woken()
            && !self.entry.is_asked()
            && !self.sender.has_outcomes()
    }

    /// Does what the worker has been asked for, if it has been asked to leave; `Some` when it has left.
    pub(super) fn leave(&mut self) -> Option<Exit> {
        match self.entry.leave() {
            Leave::Stay => None,
            Leave::IfIdle if self.is_idle() => Some(self.depart(Duration::ZERO)),
            Leave::IfIdle => {
                self.entry.stay();
                None
            }
            // Otherwise one that has to leave each time before its first poll would never send anything.
            Leave::Soon if self.pacing.is_behind() && self.errors == 0 => None,
            Leave::Soon => {
                let now = Instant::now();
                if self.leaving.is_none() {
                    self.leaving = Some(now);
                    let waiting = self.schedule.recall_all(now);
                    self.ledger.spill(waiting);
                }
                let over = self.leaving.is_some_and(|since| now.duration_since(since) >= DRAIN);
                (over || self.schedule.is_empty()).then(|| self.depart(Duration::ZERO))
            }
            Leave::AtOnce => Some(self.depart(GRACE)),
        }
    }

    /// Waits for what is under way.
    pub(super) fn wait_to_leave(&self) {
        let wait = self.flush_in(Instant::now()).unwrap_or(STEP).min(STEP);
        interrupt::wait(Some(self.sender.wakeup()), wait);
    }

    /// Writes everything down, the next due time on the board. Whatever it cannot write is found by the next worker. What is
    /// under way has `grace` to be answered.
    pub(super) fn depart(&mut self, grace: Duration) -> Exit {
        let clock = |wait| Timestamp::from(SystemTime::now()).after(wait);
        match self.settle(grace) {
            Ok(wait) => {
                let due = wait.map_or(Timestamp::INFINITY, clock);
                self.entry.rest(due);
                self.entry.set_needed_from(due);
            }
            Err(TxnError::ExtensionGone) => self.entry.set_state(State::Absent),
            Err(TxnError::Ending) => {
                self.end_if_asked();
                return Exit::Failed;
            }
            Err(TxnError::Failed(message)) => {
                log!("pg_webhook: at the end: {message}");
                self.entry.set_error(&message);
                self.entry.rest(clock(LONGEST_PAUSE));
            }
        }
        Exit::Finished
    }

    /// Returns how long until there is something to do.
    fn settle(&mut self, grace: Duration) -> Result<Option<Duration>, TxnError> {
        self.wind_up(grace)?;
        let mut told = false;
        // Who gives requests a moment is in haste beyond that.
        if grace.is_zero() {
            let backlog = self.ledger.backlog_mut();
            self.upkeep.catch_up(self.extension, &self.time, &self.schedule, backlog)?;
            told = self.tell(Instant::now())?;
        }
        self.save()?;
        let time = self.time.now();
        let rotation = txn::run(c"looks when the log is to be cut", self.extension, |session| {
            retention::due_in(session, time)
        })?;
        let (now, clock) = (Instant::now(), self.time.now());
        let unfinished =
            self.pacing.is_behind() || !self.schedule.is_empty() || !self.reader.is_done();
        let on = self.database.is_switched_on();
        // What it has told is to be sent.
        if on && (unfinished || told) {
            return Ok(Some(Duration::ZERO));
        }
        let sending = on.then(|| self.schedule.next_wake(now, clock)).flatten();
        let jobs = self.jobs.due_in(now, self.ledger.backlog());
        let times = [Some(rotation), sending, self.upkeep.due_at_rest(now, clock), jobs];
        Ok(times.into_iter().flatten().min())
    }
}
