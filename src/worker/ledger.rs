//! What has happened and is not in the database yet, and how far the run has come: written in one transaction for all that
//! has come in.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::backlog::Backlog;
use super::unlogged::Unlogged;
use crate::host::txn::{self, TxnError};
use crate::host::wake;
use crate::log::attempt::Log;
use crate::log::metric;
use crate::pg::debug::debug;
use crate::pg::identity::Extension;
use crate::pg::settings::{self, LogLevel};
use crate::pg::spi::Session;
use crate::queue::consequences::{self, reaches_backlog};
use crate::queue::order::{self, Passed};
use crate::queue::{batch, cursor, pending, ring};
use crate::registry;
use delivery::client::Client;
use domain::clock::Reading;
use domain::key::DeliveryId;
use domain::snapshot::{Snapshot, Xid8};
use domain::verdict::Verdict;
use transit::batches::Changes;
use transit::event::{Settlement, Spill};
use transit::order::Found;
use transit::schedule::Schedule;
use transit::schedule::ordered::Parted;
use transit::tally::Tallies;
use transit::window::RECOVERY;

/// Attempts that are written at once where they come fast. Fewer cost more, as each transaction is flushed to the disk; more are
/// repeated after a crash.
const BATCH: usize = 500;

/// How long an attempt waits for others to be written with; a quarter of the time that events gather, where that is longer.
/// Longer, and the status of a delivery is late, and a crash repeats more.
const PATIENCE: Duration = Duration::from_millis(5);

/// Attempts that may be held in memory. When they cannot be written, no more are collected, and the threads come to a stop. Half
/// of what a crash can repeat besides what is under way.
const MOST: usize = 512;

// Otherwise what fills the memory would wait for more.
const _: () = assert!(BATCH < MOST);

/// Events in order that come into the backlog in one transaction: some ten milliseconds, for which everything else waits.
const AT_ONCE: usize = 500;

/// How often the cursor is written while it changes. A start after a crash reads what has come since; more
/// often, and each time costs one more version of its row.
const RARELY: Duration = Duration::from_secs(1);

/// How often a worker that has nothing to write writes down that it is there, where something waits. After a crash the next run
/// is mistaken by as much about how long there was none.
const MARKS: Duration = Duration::from_secs(60);

/// What is to be written.
pub(super) struct Ledger {
    log: Log,
    /// The slot that attempts are logged to.
    slot: i16,
    settlements: Vec<Settlement>,
    /// Events of the ring that are not in the backlog yet.
    spills: Vec<Spill>,
    /// What is delivered in order and has left the memory, or takes its place beside that.
    parted: Parted,
    /// Events of the ring whose ids other deliveries have.
    doubled: Vec<Spill>,
    /// What has become of batches.
    batches: Changes,
    /// Since when settlements or spills have waited.
    since: Option<Instant>,
    backlog: Backlog,
    unlogged: Unlogged,
    tallies: Tallies,
    /// The cursor, and whether it is to be written, once it is time.
    cursor: Snapshot,
    moved: bool,
    cursor_written: Instant,
    /// Events have been read or settled since.
    progressed: bool,
    /// When it was last written down that the worker is there, or was no need to; `None`: it is to be.
    marked: Option<Instant>,
}

/// What the leader knows of a moment in which something is written.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    pub(super) reading: Reading,
    /// The event that is written down as under way alone.
    pub(super) suspect: Option<DeliveryId>,
    /// The database is no copy. In a copy events vanish from the ring while somebody arms it, which is no fault to be told.
    pub(super) is_here: bool,
}

/// What has been written, for whoever has to do with it.
#[derive(Default)]
pub(super) struct Written {
    /// Of each event of the ring that is settled, its window.
    pub(super) windows: Vec<u64>,
    /// Deliveries that have come to a stage of the backlog, or left one.
    pub(super) moved: usize,
    /// More waits in the backlog, or is dead there.
    pub(super) backlog_grew: bool,
    /// The suspect is back.
    pub(super) cleared: bool,
    /// What is due because others have left their order.
    pub(super) passed: Passed,
}

impl Ledger {
    pub(super) fn new(
        log: Log,
        slot: i16,
        backlog: Backlog,
        cursor: Snapshot,
        now: Instant,
    ) -> Self {
        Self {
            log,
            slot,
            settlements: Vec::new(),
            spills: Vec::new(),
            parted: Parted::default(),
            doubled: Vec::new(),
            batches: Changes::default(),
            since: None,
            backlog,
            unlogged: Unlogged::default(),
            tallies: Tallies::new(now),
            cursor,
            moved: false,
            cursor_written: now,
            progressed: false,
            marked: Some(now),
        }
    }

    /// Attempts are logged to this slot of the ring from now on, which was empty before.
    pub(super) fn set_slot(&mut self, slot: i16) {
        if self.slot != slot {
            self.unlogged.forget_slot(slot);
        }
        self.slot = slot;
    }

    /// An attempt has ended.
    pub(super) fn settle(&mut self, settlement: Settlement, now: Instant) {
        self.settlements.push(settlement);
        self.since.get_or_insert(now);
    }

    /// Events must go to the backlog.
    pub(super) fn spill(&mut self, spills: impl IntoIterator<Item = Spill>) {
        self.spills.extend(spills);
        if !self.spills.is_empty() {
            self.since.get_or_insert_with(Instant::now);
        }
    }

    /// An event whose id another delivery has is to be written once more, under another.
    pub(super) fn double(&mut self, event: Spill) {
        self.doubled.push(event);
    }

    /// How many more attempts may be held in memory.
    pub(super) fn room(&self) -> usize {
        MOST.saturating_sub(self.attempts())
    }

    /// Attempts that are held in memory.
    fn attempts(&self) -> usize {
        self.settlements.len() + self.backlog.held()
    }

    /// Writing down what is spilled costs more than reading it did, so no more is read.
    pub(super) fn has_many_spills(&self) -> bool {
        self.spills.len() >= ring::PAGE || self.backlog.is_full()
    }

    /// Nothing is to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.settlements.is_empty()
            && self.spills.is_empty()
            && self.parted.is_empty()
            && self.doubled.is_empty()
            && self.backlog.holds_nothing()
    }

    /// What has to be in the backlog before others of its keys is not there yet.
    pub(super) fn has_parted(&self) -> bool {
        !self.parted.is_empty()
    }

    /// Some of what is to be written is such an event of the ring.
    pub(super) fn holds(&self, which: impl Fn(DeliveryId, Xid8) -> bool + Copy) -> bool {
        let attempts = self.settlements.iter().map(|it| (it.attempt.delivery, it.attempt.xid));
        let spills = self.spills.iter().chain(&self.doubled).chain(&self.parted.lined);
        let spills = spills.map(|it| (it.id, it.xid));
        attempts.chain(spills).any(|(id, xid)| which(id, xid)) || self.backlog.holds(which)
    }

    /// The backlog's table.
    pub(super) fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// The same, for whoever locks it.
    pub(super) fn backlog_mut(&mut self) -> &mut Backlog {
        &mut self.backlog
    }

    /// Everything that `settled` sees is settled, and the `first` window of which not all is and the `newest` one have these
    /// numbers.
    pub(super) fn advance(&mut self, settled: Option<Snapshot>, first: Option<u64>, newest: u64) {
        if let Some(settled) = settled {
            self.cursor = settled;
            self.moved = true;
        }
        self.unlogged.forget_before(first, newest);
    }

    /// It has been delivered from the backlog, is not logged, and may be behind the cursor.
    pub(super) fn has_claimed(&self, delivery: DeliveryId, xid: Xid8) -> bool {
        self.unlogged.has_claimed(delivery, xid)
    }

    /// Events have been read, or the cursor is further than it has been worth writing.
    pub(super) fn progress(&mut self) {
        self.progressed = true;
    }

    /// Writes down soon that the worker is there.
    pub(super) fn mark_soon(&mut self) {
        self.marked = None;
    }

    /// How long writing can wait; `None` where there is nothing to write. So many deliveries are in memory, events wait for
    /// `delay` for others, and what is new of endpoints is due in `health`.
    pub(super) fn due_in(
        &self,
        now: Instant,
        in_memory: usize,
        delay: Duration,
        health: Option<Duration>,
    ) -> Option<Duration> {
        let spills = !self.spills.is_empty() || !self.parted.is_empty();
        if self.settlements.len() >= BATCH || spills || !self.doubled.is_empty() {
            return Some(Duration::ZERO);
        }
        let nothing_else_comes = in_memory == self.attempts();
        let patience = PATIENCE.max(delay / 4);
        let attempts = self.since.map(|since| {
            if nothing_else_comes { Duration::ZERO } else { patience.saturating_sub(now - since) }
        });
        let rarely =
            |written: Instant| RARELY.saturating_sub(now.saturating_duration_since(written));
        let cursor = (self.progressed && self.moved).then(|| rarely(self.cursor_written));
        let held = (!self.backlog.holds_nothing()).then(|| self.backlog.again_in(now));
        [attempts, cursor, health, held, self.tallies.due_in(now)].into_iter().flatten().min()
    }

    /// Writes everything that waits. After an error it still waits. Where somebody is in the way in the backlog, or something
    /// there, what goes there waits longer, and keeps nothing else from being written.
    pub(super) fn flush(
        &mut self,
        extension: Extension,
        schedule: &mut Schedule<Client>,
        facts: Facts,
    ) -> Result<Written, TxnError> {
        let now = Instant::now();
        self.batches.extend(schedule.take_changes());
        let (settlements, spills, mut parted) = self.backlog.take_back(now);
        parted.extend(std::mem::take(&mut self.parted));
        parted.extend(schedule.take_parted());
        self.parted = parted;
        settlements.into_iter().for_each(|settlement| self.settle(settlement, now));
        self.spill(spills);
        // What becomes of those in order is not there before they are.
        if self.backlog.holds_ordered() {
            self.set_aside();
        }
        let later = self.put_off();
        let written = self.write_or_hold(extension, schedule, facts);
        self.parted.lined.extend(later);
        written
    }

    /// What is more than one transaction takes of what is delivered in order, and has not been sent, waits for the next one.
    fn put_off(&mut self) -> Vec<Spill> {
        if self.parted.lined.len() <= AT_ONCE {
            return Vec::new();
        }
        // Those that have been sent are before the others of their keys, and what becomes of a batch is written at once.
        let sent: HashSet<DeliveryId> =
            self.settlements.iter().map(|it| it.attempt.delivery).collect();
        self.parted.lined.sort_by_key(|spill| !sent.contains(&spill.id));
        let count = self.parted.lined.partition_point(|spill| sent.contains(&spill.id));
        self.parted.lined.split_off(count.max(AT_ONCE))
    }

    /// Writes what waits; what goes to the backlog is held back where that cannot be.
    fn write_or_hold(
        &mut self,
        extension: Extension,
        schedule: &mut Schedule<Client>,
        facts: Facts,
    ) -> Result<Written, TxnError> {
        if !self.needs_backlog() {
            return self.write(extension, schedule, facts).map(Option::unwrap_or_default);
        }
        let reason = match self.write(extension, schedule, facts) {
            Ok(Some(written)) => {
                self.backlog.release();
                return Ok(written);
            }
            Ok(None) => None,
            Err(TxnError::Failed(reason)) if self.backlog.may_wait() => Some(reason),
            Err(error) => return Err(error),
        };
        self.hold_back(reason);
        self.write(extension, schedule, facts).map(Option::unwrap_or_default)
    }

    /// Something that is to be written goes to the backlog.
    fn needs_backlog(&self) -> bool {
        !self.spills.is_empty()
            || !self.parted.is_empty()
            || self.settlements.iter().any(reaches_backlog)
    }

    /// What goes to the backlog stays in memory. With the attempt: an event that is dead or delivered in the log alone would
    /// be forgotten, or sent again, after a crash in between.
    fn hold_back(&mut self, reason: Option<String>) {
        self.backlog.keep(reason);
        self.set_aside();
    }

    fn set_aside(&mut self) {
        let (there, others) =
            std::mem::take(&mut self.settlements).into_iter().partition(reaches_backlog);
        self.settlements = others;
        let (spills, parted) = (std::mem::take(&mut self.spills), std::mem::take(&mut self.parted));
        self.backlog.hold(there, spills, parted);
        if self.settlements.is_empty() {
            self.since = None;
        }
    }

    /// In one transaction. `None` where nothing has been written, because somebody has locked the backlog.
    fn write(
        &mut self,
        extension: Extension,
        schedule: &mut Schedule<Client>,
        facts: Facts,
    ) -> Result<Option<Written>, TxnError> {
        let now = Instant::now();
        let there = self.needs_backlog();
        let rarely = now.duration_since(self.cursor_written) >= RARELY;
        let cursor = (self.moved && rarely && self.progressed).then_some(&self.cursor);
        let healths = schedule.take_health(now);
        let (settlements, spills) = (&self.settlements, &self.spills);
        let tallies = self.tallies.due(settlements, now);
        // What becomes of a batch and of its deliveries is written at once.
        let nothing = Changes::default();
        let batches = if self.backlog.holds_nothing() { &self.batches } else { &nothing };
        let nothing_waits = settlements.is_empty()
            && spills.is_empty()
            && self.parted.is_empty()
            && self.doubled.is_empty()
            && batches.is_empty();
        if nothing_waits && healths.is_empty() && cursor.is_none() && tallies.is_empty() {
            return Ok(Some(Written::default()));
        }
        // Also where the cursor stays: by that the next run knows how long there was none.
        let waits = !settlements.is_empty() || !spills.is_empty() || !self.parted.is_empty();
        let marks = cursor.is_some() || rarely && waits;
        let clock = facts.reading.time();
        if !spills.is_empty() || !self.parted.is_empty() {
            schedule.spill_at(clock);
        }
        let suspensions = consequences::suspensions(settlements, spills, clock);
        let changed = spills.len()
            + self.parted.lined.len()
            + settlements.iter().filter(|it| reaches_backlog(it)).count();
        let ordered = settlements.iter().filter(|it| schedule.is_ordered(it.attempt.webhook));
        let ordered: Vec<(DeliveryId, bool)> =
            ordered.map(|it| (it.attempt.delivery, reaches_backlog(it))).collect();
        // What is delivered straight from the ring has no place.
        let placed = ordered.iter().filter(|(_, has_place)| *has_place);
        let placed: Vec<DeliveryId> = placed.map(|(delivery, _)| *delivery).collect();
        let parted = &self.parted;
        let stays = |it: DeliveryId| schedule.has(it);
        // What has an order and is delivered is not read again as long as the cursor is behind it: it would come after what is newer. So
        // that is logged in any case.
        let level = if self.unlogged.is_full() { LogLevel::All } else { settings::log_level() };
        let in_order: HashSet<DeliveryId> = ordered.iter().map(|(delivery, _)| *delivery).collect();
        let is_ordered = |it: &&Settlement| in_order.contains(&it.attempt.delivery);
        let others = settlements.iter().filter(|it| !is_ordered(it));
        let unlogged = self.unlogged.further_slots(level, others.clone());
        let cleared = settlements.iter().any(|s| Some(s.attempt.delivery) == facts.suspect);
        let written = txn::run(c"writes down what has been attempted", extension, |session| {
            if there && !self.backlog.lock() {
                return None;
            }
            let _impatient = there.then(|| self.backlog.impatient());
            let ordered = settlements.iter().filter(is_ordered);
            self.log.write(session, self.slot, LogLevel::All, ordered.map(|it| &it.attempt));
            self.log.write(session, self.slot, level, others.map(|it| &it.attempt));
            ring::note_unlogged(session, &unlogged);
            batch::decompose(session, &batches.ended);
            batch::compose(session, batches.made.iter());
            // Before what has become of them: an attempt's outcome is that of a row of the backlog then.
            let found: Vec<Found> = parted.lined.iter().map(found).collect();
            let mut passed = order::line_up(session, RECOVERY, &found, clock).passed;
            let mut moved = pending::suspend(session, &suspensions, clock);
            let mut doubled = self.doubled.clone();
            if moved < suspensions.len() {
                let taken =
                    pending::taken(session, suspensions.iter().map(|(spill, _)| *spill).collect());
                moved += taken.len();
                doubled.extend(taken);
            }
            ring::renew(session, &doubled);
            if !doubled.is_empty() {
                wake::worker_at_commit();
            }
            pending::postpone(session, &consequences::postponements(settlements), clock);
            pending::finish(session, consequences::delivered(settlements));
            passed.extend(order::pass(session, &placed, clock, stays));
            // After that: whoever was before them may be finished now, and who is in memory is not let go by that.
            order::separate(session, &parted.separate, &parted.dissolved);
            passed.due.extend(order::let_go(session, &parted.free, clock));
            registry::health::write(session, &healths);
            metric::add(session, &tallies);
            let paused = registry::health::pause(session, &consequences::pauses(settlements));
            if marks {
                cursor::save(session, cursor, facts.reading);
            }
            if cleared {
                cursor::suspect(session, None);
            }
            Some((moved, doubled, paused, passed))
        });
        let (moved, doubled, paused, passed) = match written {
            Ok(Some(written)) => written,
            otherwise => {
                schedule.return_health(&healths);
                return otherwise.map(|_| None);
            }
        };
        if moved < suspensions.len() && facts.is_here {
            log!("pg_webhook: {} events have vanished from the ring", suspensions.len() - moved);
        }
        if let Some(first) = doubled.first() {
            log!(
                "pg_webhook: {} events have the ids of other deliveries, {} the first; they are sent under new ones",
                doubled.len(),
                first.id
            );
        }
        for (name, reason) in &paused {
            let resuming = txn::qualified("webhook_resume sends them");
            log!("pg_webhook: webhook \"{name}\" is paused: {reason}; {resuming}");
        }
        debug!(
            "{} attempts written, {} events to the backlog, in {:?}",
            settlements.len(),
            suspensions.len(),
            now.elapsed()
        );
        let backlog_grew = !suspensions.is_empty()
            || !self.parted.lined.is_empty()
            || settlements.iter().any(|s| s.attempt.verdict == Verdict::Dead);
        if marks {
            self.cursor_written = now;
            self.marked = Some(now);
        }
        self.unlogged.know(&unlogged);
        if cursor.is_some() {
            self.moved = false;
            self.progressed = false;
        }
        self.tallies.count(&self.settlements, &tallies, now);
        let windows = self.forget(level, &in_order, schedule);
        Ok(Some(Written { windows, moved: changed, backlog_grew, cleared, passed }))
    }

    /// What has been written leaves the memory. Returns the windows that waited for it.
    fn forget(
        &mut self,
        level: LogLevel,
        in_order: &HashSet<DeliveryId>,
        schedule: &mut Schedule<Client>,
    ) -> Vec<u64> {
        // The cursor may follow, though nothing else comes.
        self.progressed |=
            !self.settlements.is_empty() || !self.spills.is_empty() || !self.doubled.is_empty();
        let parted = std::mem::take(&mut self.parted);
        self.progressed |= !parted.lined.is_empty();
        if self.backlog.holds_nothing() {
            self.batches = Changes::default();
        }
        let mut windows = Vec::new();
        for settlement in self.settlements.drain(..) {
            schedule.settled(&settlement);
            if level != LogLevel::All && !in_order.contains(&settlement.attempt.delivery) {
                self.unlogged.note(&settlement, &self.cursor);
            }
            windows.extend(settlement.window());
        }
        if !self.spills.is_empty() || !parted.is_empty() {
            schedule.spilled();
        }
        windows.extend(parted.lined.into_iter().map(|it| it.window));
        windows.extend(self.spills.drain(..).chain(self.doubled.drain(..)).map(|it| it.window));
        self.since = None;
        windows
    }

    /// Writes down that the worker is there, now and then, and where that is to be soon.
    pub(super) fn mark(
        &mut self,
        extension: Extension,
        now: Instant,
        reading: Reading,
    ) -> Result<(), TxnError> {
        let recently = self.marked.is_some_and(|at| now.duration_since(at) < MARKS);
        // It looks whether anything waits in the backlog.
        if recently || !self.backlog.again_in(now).is_zero() {
            return Ok(());
        }
        let marked = txn::run(c"writes down that it is there", extension, |session| {
            self.backlog.lock().then(|| cursor::mark(session, reading))
        })?;
        match marked {
            Some(()) => self.marked = Some(now),
            None => self.backlog.keep(None),
        }
        Ok(())
    }

    /// Writes down how far this run has come, which has gone well, and what is `left` to the next one.
    pub(super) fn close(
        &mut self,
        extension: Extension,
        reading: Reading,
        left: impl FnOnce(&Session),
    ) -> Result<(), TxnError> {
        let (unlogged, tallies) = (self.unlogged.attempts(), self.tallies.all());
        txn::run(c"writes down how far it has come", extension, |session| {
            self.log.write(session, self.slot, LogLevel::All, unlogged.iter());
            cursor::save(session, self.moved.then_some(&self.cursor), reading);
            cursor::calm(session);
            metric::add(session, &tallies);
            left(session);
        })?;
        self.unlogged.logged();
        self.tallies.count(&[], &tallies, Instant::now());
        Ok(())
    }
}

/// As it is found in the ring.
fn found(spill: &Spill) -> Found {
    let Spill { slot, xid, id, .. } = *spill;
    Found { id, xid, slot, failed: false, bytes: 0 }
}
