//! Writing down what has happened: one transaction for all that has come in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::leader::Leader;
use crate::log::{attempt, health};
use crate::pg::settings::{self, LogLevel};
use crate::pg::txn::{self, TxnError};
use crate::pg::wake;
use crate::queue::cursor;
use crate::queue::pending::{self, Last, Waiting};
use crate::queue::ring;
use crate::registry;
use domain::time::Timestamp;
use domain::verdict::{self, Verdict};
use transit::event::{Origin, Settlement, Spill};

/// Attempts that are written at once, if they come fast.
const BATCH: usize = 500;

/// How long one may wait for others; longer where events wait for others as well.
const PATIENCE: Duration = Duration::from_millis(5);

/// Attempts that may be held in memory; when they cannot be written, the threads come to a stop.
const MOST: usize = 512;

/// How often the cursor is written while it changes.
const RARELY: Duration = Duration::from_secs(1);

impl Leader {
    /// Takes in what the threads have brought and judges it.
    pub(super) fn collect(&mut self) {
        let mut outcomes = self.pool.collect(self.room_for_outcomes());
        outcomes.extend(self.schedule.take_untried());
        let at = self.moment();
        let now = at.now;
        for outcome in outcomes {
            let jitter = fastrand::f64() * 2.0 - 1.0;
            let Some((settlement, spills)) = self.schedule.judge(outcome, at, jitter) else {
                continue;
            };
            self.settlements.push(settlement);
            self.spill(spills);
        }
        if !self.settlements.is_empty() {
            self.unwritten_since.get_or_insert(now);
        }
        let surplus = self.schedule.survey(now);
        self.spill(surplus);
        self.schedule.push_due(now);
        self.send();
    }

    /// How many more may be held in memory.
    pub(super) fn room_for_outcomes(&self) -> usize {
        MOST.saturating_sub(self.settlements.len() + self.backlog.held())
    }

    /// Events that must go to the slow lane.
    pub(super) fn spill(&mut self, spills: impl IntoIterator<Item = Spill>) {
        self.spills.extend(spills);
        if !self.spills.is_empty() {
            self.unwritten_since.get_or_insert_with(Instant::now);
        }
    }

    /// How long writing can wait; `None` where there is nothing to write.
    pub(super) fn flush_wait(&mut self, now: Instant) -> Option<Duration> {
        if self.settlements.len() >= BATCH || !self.spills.is_empty() || !self.doubled.is_empty() {
            return Some(Duration::ZERO);
        }
        if let Some(settled) = self.windows.advance() {
            self.cursor = Some(settled.clone());
        }
        let nothing_else_comes =
            self.schedule.len() == self.settlements.len() + self.backlog.held();
        let patience = PATIENCE.max(self.delay / 4);
        let attempts = self.unwritten_since.map(|since| {
            if nothing_else_comes { Duration::ZERO } else { patience.saturating_sub(now - since) }
        });
        let rarely =
            |written: Instant| RARELY.saturating_sub(now.saturating_duration_since(written));
        let cursor =
            (self.progressed && self.cursor.is_some()).then(|| rarely(self.cursor_written));
        let health = self.schedule.health_due_in(now);
        let held = (!self.backlog.holds_nothing()).then(|| self.backlog.again_in(now));
        [attempts, cursor, health, held].into_iter().flatten().min()
    }

    /// Writes everything that waits. After an error it still waits. Where somebody is in the way in the backlog, or something
    /// there, what goes there waits longer, and keeps nothing else from being written.
    pub(super) fn flush(&mut self) -> Result<(), TxnError> {
        self.take_back(Instant::now());
        if !self.needs_backlog() {
            return self.write().map(drop);
        }
        let reason = match self.write() {
            Ok(true) => {
                self.backlog.is_had();
                return Ok(());
            }
            Ok(false) => None,
            Err(TxnError::Failed(reason)) if self.backlog.may_wait() => Some(reason),
            Err(error) => return Err(error),
        };
        self.hold_back(reason);
        self.write().map(drop)
    }

    /// In one transaction. `false` where nothing has been written, because somebody has locked the backlog.
    fn write(&mut self) -> Result<bool, TxnError> {
        let now = Instant::now();
        let there = self.needs_backlog();
        let reading = self.read_clock();
        let rarely = now.duration_since(self.cursor_written) >= RARELY;
        let cursor = self.cursor.as_ref().filter(|_| rarely && self.progressed);
        let healths = self.schedule.take_health(now);
        let (settlements, spills) = (&self.settlements, &self.spills);
        let nothing_waits = settlements.is_empty() && spills.is_empty() && self.doubled.is_empty();
        if nothing_waits && healths.is_empty() && cursor.is_none() {
            return Ok(true);
        }
        // Also where the cursor stays: by that the next run knows how long there was none.
        let waits = !settlements.is_empty() || !spills.is_empty();
        let marks = cursor.is_some() || rarely && waits;
        let clock = reading.time();
        if !spills.is_empty() {
            self.schedule.spill_at(clock);
        }
        let suspensions = suspensions(settlements, spills, clock);
        let level = if self.unlogged.is_full() { LogLevel::All } else { settings::log_level() };
        let cleared = settlements.iter().any(|s| Some(s.delivery) == self.suspect);
        let written = txn::run(self.extension, |session| {
            if there && !self.backlog.is_free() {
                return None;
            }
            let _impatient = there.then(|| self.backlog.impatient());
            self.log.write(self.slot, level, settlements);
            let mut moved = pending::suspend(session, &suspensions, clock);
            let mut doubled = self.doubled.clone();
            if moved < suspensions.len() {
                let taken = pending::taken(session, &suspensions);
                moved += taken.len();
                doubled.extend(taken);
            }
            ring::renew(session, &doubled);
            if !doubled.is_empty() {
                wake::worker_at_commit();
            }
            pending::postpone(session, &postponements(settlements), clock);
            pending::finish(session, delivered(settlements));
            health::write(session, &healths);
            let paused = health::pause(session, gone(settlements));
            if !paused.is_empty() {
                registry::changed();
            }
            if marks {
                cursor::save(session, cursor, reading);
            }
            if cleared {
                cursor::suspect(session, None);
            }
            Some((moved, doubled, paused))
        });
        let (moved, doubled, paused) = match written {
            Ok(Some(written)) => written,
            otherwise => {
                self.schedule.return_health(&healths);
                return otherwise.map(|_| false);
            }
        };
        // Where a copy has just been armed, they are what has been forgotten.
        if moved < suspensions.len() && self.installation.is_here {
            log!("pg_webhook: {} events have vanished from the ring", suspensions.len() - moved);
        }
        if let Some(first) = doubled.first() {
            log!(
                "pg_webhook: {} events have the ids of other deliveries, {} the first; they are sent under new ones",
                doubled.len(),
                first.id
            );
        }
        for name in paused {
            let resuming = txn::qualified("its events are kept, and webhook_resume sends them");
            log!("pg_webhook: webhook \"{name}\" is paused: its endpoint answered 410; {resuming}");
        }
        if cleared {
            self.suspect = None;
        }
        if !suspensions.is_empty() || self.settlements.iter().any(|s| s.verdict == Verdict::Dead) {
            self.walking.repeat();
        }
        if marks {
            self.cursor_written = now;
            self.marked = Some(now);
        }
        if cursor.is_some() {
            self.cursor = None;
            self.progressed = false;
        }
        self.forget(level);
        Ok(true)
    }

    /// What has been written leaves the memory.
    fn forget(&mut self, level: LogLevel) {
        // The cursor may follow, though nothing else comes.
        self.progressed |=
            !self.settlements.is_empty() || !self.spills.is_empty() || !self.doubled.is_empty();
        for settlement in self.settlements.drain(..) {
            self.schedule.settled(&settlement);
            if level != LogLevel::All {
                self.unlogged.note(&settlement);
            }
            if let Origin::Ring { window, .. } = settlement.origin {
                self.windows.settled(window);
            }
        }
        for spill in self.spills.drain(..).chain(self.doubled.drain(..)) {
            self.windows.settled(spill.window);
        }
        self.unwritten_since = None;
        self.unlogged.forget_before(self.windows.first());
    }
}

/// Events of the ring that go to the slow lane: those that failed, and those that were not tried.
fn suspensions(
    settlements: &[Settlement],
    spills: &[Spill],
    clock: Timestamp,
) -> Vec<(Spill, Waiting)> {
    let failed = settlements.iter().filter(|s| !s.orphan).filter_map(|s| match s.origin {
        Origin::Ring { slot, window } => {
            Some((Spill { slot, xid: s.xid, id: s.delivery, window }, waiting(s)?))
        }
        Origin::Pending { .. } => None,
    });
    let untried =
        spills.iter().map(|spill| (*spill, Waiting { id: spill.id, next_at: clock, last: None }));
    failed.chain(untried).collect()
}

fn postponements(settlements: &[Settlement]) -> Vec<Waiting> {
    settlements.iter().filter(|s| s.origin.is_pending()).filter_map(waiting).collect()
}

/// How the event waits, unless it is delivered.
fn waiting(settlement: &Settlement) -> Option<Waiting> {
    let last = Last {
        attempt: settlement.attempt,
        first_attempt_at: settlement.first_attempt_at,
        status_code: attempt::status_code(settlement),
        took: settlement.took,
        error: verdict::failure_of(&settlement.result)?.message,
        response_body: attempt::response_body(settlement).map(str::to_owned),
    };
    Some(Waiting { id: settlement.delivery, next_at: settlement.next_at?, last: Some(last) })
}

fn delivered(settlements: &[Settlement]) -> Vec<i64> {
    let delivered =
        settlements.iter().filter(|s| s.origin.is_pending() && s.verdict == Verdict::Delivered);
    delivered.map(|s| s.delivery).collect()
}

/// Webhooks whose endpoints are gone, each with when it was last changed before that was asked.
fn gone(settlements: &[Settlement]) -> Vec<(i32, Timestamp)> {
    let gone = settlements.iter().filter_map(|s| Some((s.webhook, s.gone?)));
    // Of several the last, which is the latest.
    gone.collect::<BTreeMap<_, _>>().into_iter().collect()
}
