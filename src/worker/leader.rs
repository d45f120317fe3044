//! The leader: the first thread of a database's worker, which reads the queue, and its loop.
//!
//! A turn takes in what the threads have brought, polls the ring and the backlog for what is to be sent ([`poll`]), writes down what
//! has happened ([`super::ledger`]), sees to the rest ([`super::upkeep`]), and waits ([`rest`]). Turns are some milliseconds apart while
//! there is work, so that batches form by themselves, and a first event after idleness is taken up at once.
//!
//! Each part knows its own; what one has to know of another passes through here.

mod ending;
mod leave;
mod poll;
mod rest;

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use self::ending::GRACE;
use super::backlog::Backlog;
use super::database::Database;
use super::jobs::{Asked, Jobs};
use super::ledger::{Facts, Ledger};
use super::notices::Notices;
use super::ordering::Ordering;
use super::quarantine::Quarantine;
use super::reader::{Admitted, Memory, Reader};
use super::sender::Sender;
use super::time::Time;
use super::upkeep::Upkeep;
use super::{Exit, LONGEST_PAUSE, SHORTEST_PAUSE, definitions, obstacle};
use crate::host::board::Entry;
use crate::host::state::{Leave, State};
use crate::host::txn::{self, TxnError};
use crate::log::attempt::Log;
use crate::log::retention::Rotation;
use crate::pg::debug::debug;
use crate::pg::identity::Extension;
use crate::pg::{interrupt, memory, settings};
use crate::queue::batch;
use crate::queue::cursor::{self, Start};
use crate::queue::order::Passed;
use delivery::client::Client;
use domain::clock::{Clock, Reading};
use domain::key::DeliveryId;
use transit::event::{Event, Origin};
use transit::pacing::Pacing;
use transit::schedule::Schedule;
use transit::schedule::ordered::Admission;

/// The longest pause after an error where the worker is leaving, which it has some seconds for: longer, and others wait for
/// its place for longer.
const PAUSE_IN_LEAVING: Duration = Duration::from_secs(1);

/// What the leader begins with.
pub(super) struct Begun {
    pub(super) database: Database,
    pub(super) start: Start,
    /// Whether this run sends one event at a time.
    pub(super) cautious: bool,
    pub(super) clock: Clock,
    /// The slot that attempts are logged to.
    pub(super) slot: i16,
    pub(super) log: Log,
    pub(super) backlog: Backlog,
}

/// The leader of one database.
pub(super) struct Leader {
    extension: Extension,
    entry: &'static Entry,
    database: Database,
    time: Time,
    schedule: Schedule<Client>,
    sender: Sender,
    reader: Reader,
    ledger: Ledger,
    pacing: Pacing,
    quarantine: Quarantine,
    upkeep: Upkeep,
    notices: Notices,
    jobs: Jobs,
    ordering: Ordering,
    /// In a row.
    errors: u32,
    /// Since when it has been making its place free although it had work.
    leaving: Option<Instant>,
}

impl Leader {
    /// Begins where an earlier run has ended.
    ///
    /// # Errors
    ///
    /// The operating system's limit on file descriptors.
    pub(super) fn new(
        extension: Extension,
        entry: &'static Entry,
        begun: Begun,
    ) -> Result<Self, Exit> {
        let Begun { database, start, cautious, clock, slot, log, backlog } = begun;
        let now = Instant::now();
        let sender = Sender::new(now).map_err(|error| {
            log!("pg_webhook: {error}");
            Exit::Failed
        })?;
        debug!("reads on behind {}, one event at a time: {cautious}", start.settled);
        let mut schedule = Schedule::default();
        schedule.set_single(cautious);
        entry.set_state(database.state());
        entry.set_error("");
        entry.set_lacks_certificates(sender.lacks_certificates());
        Ok(Self {
            extension,
            entry,
            database,
            upkeep: Upkeep::new(now, start.place, clock.read(now).time()),
            jobs: Jobs::new(now),
            time: Time::new(clock, start.timeline),
            schedule,
            sender,
            ledger: Ledger::new(log, slot, backlog, start.settled.clone(), now),
            reader: Reader::new(start.settled, start.begun),
            pacing: Pacing::new(now),
            quarantine: Quarantine::new(now),
            notices: Notices::default(),
            ordering: Ordering::default(),
            errors: 0,
            leaving: None,
        })
    }

    /// The loop.
    pub(super) fn lead(&mut self) -> Exit {
        loop {
            let began = Instant::now();
            self.end_if_asked();
            if self.database.is_updated() && !self.sender.is_broken() {
                log!("pg_webhook: the extension has been updated; starting again");
                let exit = self.depart(GRACE);
                // Also where there is nothing to do: it is seen that the next run goes well.
                self.entry.set_due_now();
                return exit;
            }
            if let Some(reason) = self.ends() {
                return self.start_again(reason);
            }
            if let Some(exit) = self.leave() {
                return exit;
            }
            self.take_changes(began);
            match self.turn(began) {
                Ok(()) => self.recover(),
                Err(TxnError::ExtensionGone) => {
                    self.entry.set_state(State::Absent);
                    return Exit::Finished;
                }
                Err(TxnError::Ending) => continue,
                Err(TxnError::Failed(message)) => {
                    self.fail(&message);
                    continue;
                }
            }
            let (threads, in_flight) = self.sender.load();
            self.entry.set_load(threads, in_flight);
            self.entry.set_idle(self.is_idle());
            match self.leaving {
                Some(_) => self.wait_to_leave(),
                None => self.rest(began),
            }
        }
    }

    /// Why the run is over and another one has to begin.
    fn ends(&self) -> Option<&'static str> {
        let broken = self.sender.is_broken().then_some("a delivery thread has panicked");
        broken.or_else(|| self.database.ends())
    }

    /// Takes over what has changed outside: settings, files, definitions.
    fn take_changes(&mut self, now: Instant) {
        if interrupt::reload_if_asked() {
            self.sender.reconfigure();
            definitions::set_changed();
            self.entry.wake();
            self.pacing.hurry();
            self.upkeep.repeat_walk();
        }
        let renewed = self.sender.renew_trust(now);
        self.entry.set_lacks_certificates(self.sender.lacks_certificates());
        if renewed {
            definitions::set_changed();
            self.entry.wake();
        }
        if self.entry.take_changed() {
            definitions::set_changed();
            self.pacing.hurry();
            // Somebody may have imported what waits.
            self.ledger.mark_soon();
            self.upkeep.ask_to_add();
            self.upkeep.repeat_walk();
        }
    }

    fn turn(&mut self, now: Instant) -> Result<(), TxnError> {
        self.read_clock();
        self.collect();
        if self.entry.take_cancelled() {
            self.reader.look_for_cancelled();
            self.jobs.ask();
            self.pacing.hurry();
        }
        if self.leaving.is_none() && now >= self.next_poll() {
            let unasked = self.pacing.unasked_in(now, settings::poll_interval()).is_zero();
            if unasked {
                self.pacing.ask_nobody(now);
                self.reader.look_for_cancelled();
                self.jobs.ask();
            }
            // Taken in any case: whoever comes later wakes again.
            if self.entry.take_wake() {
                self.pacing.fall_behind();
            }
            if unasked || self.pacing.is_behind() || self.poll_is_due() {
                self.poll(unasked)?;
                let delay = self.batch_delay(now);
                self.pacing.polled(now, delay);
            }
        }
        self.put_in_order()?;
        self.schedule.set_in_order(!self.reader.recovers_order());
        // Whatever is in the way of that is in nothing else's.
        let formed = self.form();
        // After polling, so that what was found does not wait for the disk.
        self.advance();
        if self.flush_in(Instant::now()) == Some(Duration::ZERO) {
            self.flush()?;
        }
        formed?;
        // As it is after all that, which may have taken long.
        let reading = self.read_clock();
        self.ledger.mark(self.extension, now, reading)?;
        self.calm_down(now)?;
        self.rotate_ring(now)?;
        self.work_on_jobs()?;
        self.database.remind(now);
        let backlog = self.ledger.backlog_mut();
        self.upkeep.work(self.extension, now, &self.time, &self.schedule, backlog)?;
        let passed = self.upkeep.passed();
        self.pass(passed);
        self.tell(now).map(drop)
    }

    /// Tells of what has been found of webhooks, if there is anything.
    fn tell(&mut self, now: Instant) -> Result<bool, TxnError> {
        self.upkeep.reached().iter().for_each(|reached| self.notices.reach(reached, now));
        for (webhook, overdue) in self.upkeep.overdue() {
            self.notices.wait(webhook, overdue, now);
        }
        self.notices.work(self.extension, now)
    }

    /// Takes in what the threads have brought and judges it.
    fn collect(&mut self) {
        let mut outcomes = self.sender.collect(self.ledger.room());
        outcomes.extend(self.schedule.take_untried());
        let at = self.time.moment();
        let mut settlements = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            let (webhook, jitter) = (outcome.webhook, fastrand::f64() * 2.0 - 1.0);
            let spills = self.schedule.judge(outcome, at, jitter, &mut settlements);
            if !spills.is_empty() {
                let events = spills.len();
                debug!(
                    "webhook {webhook} takes nothing for a while: {events} events go to the backlog"
                );
            }
            self.ledger.spill(spills);
        }
        for settlement in settlements {
            let holds = self.schedule.holds(settlement.attempt.webhook);
            self.notices.settle(&settlement, holds, at.now);
            self.ledger.settle(settlement, at.now);
        }
        let surplus = self.schedule.survey(at.now);
        self.ledger.spill(surplus);
        self.schedule.push_due(at.now);
        self.sender.send(&mut self.schedule, at);
    }

    /// Puts together what goes in one request, and sends it when that is on disk.
    fn form(&mut self) -> Result<(), TxnError> {
        let now = Instant::now();
        if self.leaving.is_some() {
            return Ok(());
        }
        // After a crash what goes in a batch comes again before what is before it and is not known to be finished.
        let waits = !self.ledger.is_empty() && self.ledger.backlog().holds_nothing();
        if waits && self.schedule.forms_in_order(now) {
            self.flush()?;
        }
        self.note_written();
        if self.schedule.forms_in(now) != Some(Duration::ZERO) {
            return Ok(());
        }
        let (schedule, database) = (&mut self.schedule, &self.database);
        txn::run(c"writes down what is sent together", self.extension, |session| {
            memory::ensure(batch::ROOM);
            schedule.form(now, |known| batch::draw(database.id(), known));
            batch::compose(session, schedule.unwritten());
        })?;
        self.schedule.release();
        self.sender.send(&mut self.schedule, self.time.moment());
        Ok(())
    }

    /// Batches of what is delivered in order may be made where nothing is to be written.
    fn note_written(&mut self) {
        self.schedule.set_written(self.ledger.is_empty() && !self.schedule.has_parted());
    }

    fn note_room(&mut self) {
        self.ordering.note_room(self.schedule.has_room_in_order(), Instant::now());
    }

    /// There is something to be put in order, and nobody in the way.
    fn may_put_in_order(&self) -> bool {
        let now = Instant::now();
        if self.leaving.is_none() && !self.ordering.rests_for(now).is_zero() {
            return false;
        }
        // Who leaves brings what has been read to its end.
        (self.leaving.is_none() || self.reader.has_unordered())
            && self.reads()
            && self.ordering.has_work(&self.reader)
            && self.ledger.backlog().again_in(now).is_zero()
            && self.ledger.backlog().holds_nothing()
            && self.ledger.room() > 0
            // What is before others is in the backlog before these are.
            && !self.schedule.has_parted()
            && !self.ledger.has_parted()
    }

    /// Brings what is delivered in order into the backlog, and lets go on what is free there.
    fn put_in_order(&mut self) -> Result<(), TxnError> {
        self.note_room();
        if !self.may_put_in_order() {
            return Ok(());
        }
        let clock = self.time.now();
        let (ordering, reader, schedule) = (&self.ordering, &mut self.reader, &self.schedule);
        let ledger = &mut self.ledger;
        let (jobs, installation) = (&self.jobs, self.database.id());
        let keep = |event: &mut Event| jobs.keep(std::iter::once(event));
        let memory = Memory { schedule, keep: &keep, installation };
        let done = txn::tried(c"puts events in their order", self.extension, |session| {
            if !ledger.backlog_mut().acquire(Instant::now()) {
                return None;
            }
            let _impatient = ledger.backlog().impatient();
            let stays = |it: DeliveryId| schedule.has(it) || ledger.holds(|id, _| id == it);
            Some(ordering.step(session, reader, &memory, clock, stays))
        })?;
        let mut step = match done {
            Ok(Some(step)) => step,
            Ok(None) => return Ok(()),
            Err(message) => {
                self.ledger.backlog_mut().keep(Some(message));
                return Ok(());
            }
        };
        self.ordering.did(&step);
        if step.parts {
            self.schedule.part_everything();
        }
        if let Some(admitted) = step.admitted.take() {
            self.admit(admitted)?;
        }
        self.pass(step.passed);
        self.sender.send(&mut self.schedule, self.time.moment());
        Ok(())
    }

    /// What has been read comes into memory, or has come into the backlog.
    fn admit(&mut self, admitted: Admitted) -> Result<(), TxnError> {
        let Admitted { count, straight, lined, doubled, stop } = admitted;
        let now = Instant::now();
        debug!("{} ordered events are sent, {} come into the backlog", straight.len(), lined.count);
        self.reader.admitted(count, lined.dead.len() + doubled.len() + straight.len());
        doubled.into_iter().for_each(|event| self.ledger.double(event));
        let transactions = straight.chunk_by(|a, b| a.event.xid == b.event.xid).count();
        self.pacing.count(straight.len(), transactions);
        straight.into_iter().for_each(|ordered| self.schedule.stand(ordered, now));
        if lined.count > 0 {
            self.upkeep.note_moved(lined.count);
            self.upkeep.repeat_walk();
        }
        self.ledger.progress();
        self.pass(lined.passed);
        lined
            .dead
            .into_iter()
            .for_each(|(event, webhook, reason)| self.bury(event, webhook, reason));
        match stop {
            Some((Admission::After, webhook, keys)) => {
                self.schedule.part_before(webhook, &keys, now);
            }
            Some((Admission::Unknown, webhook, _)) => {
                // Commits are visible a moment before they are told.
                txn::run(c"reads definitions", self.extension, |session| {
                    self.read_definitions(session);
                })?;
                self.schedule.learn_order(webhook);
            }
            Some((_, webhook, _)) => {
                self.schedule.wait_for_room(webhook, now);
                self.ordering.rest(now);
            }
            None => {}
        }
        Ok(())
    }

    /// These have something due, or are to be looked at.
    fn pass(&mut self, passed: Passed) {
        self.upkeep.note_moved(passed.due.len());
        for (webhook, at) in passed.due {
            self.schedule.comes_due(webhook, at);
        }
        self.ordering.sweep(passed.all);
    }

    /// How long writing can wait; `None` where there is nothing to write.
    fn flush_in(&self, now: Instant) -> Option<Duration> {
        if self.schedule.has_parted() {
            return Some(self.ledger.backlog().again_in(now));
        }
        let (in_memory, health) = (self.schedule.len(), self.schedule.health_due_in(now));
        self.ledger.due_in(now, in_memory, self.pacing.delay(), health)
    }

    /// Writes down what has happened.
    fn flush(&mut self) -> Result<(), TxnError> {
        let reading = self.read_clock();
        let (suspect, is_here) = (self.quarantine.suspect(), self.database.is_here());
        let facts = Facts { reading, suspect, is_here };
        let written = self.ledger.flush(self.extension, &mut self.schedule, facts)?;
        written.windows.iter().for_each(|window| self.reader.settle(*window));
        if written.cleared {
            self.quarantine.clear();
        }
        self.pass(written.passed);
        self.upkeep.note_moved(written.moved);
        if written.backlog_grew {
            self.upkeep.repeat_walk();
        }
        self.note_written();
        // What has been written down has left the memory.
        self.note_room();
        self.advance();
        Ok(())
    }

    /// The cursor follows what is settled.
    fn advance(&mut self) {
        let settled = self.reader.advance().cloned();
        let (first, newest) = (self.reader.first_window(), self.reader.newest_window());
        self.ledger.advance(settled, first, newest);
    }

    /// What is to be written of the clock. Where it has been set since the last look, that is soon written.
    fn read_clock(&mut self) -> Reading {
        let (reading, set) = self.time.look();
        if set {
            self.ledger.mark_soon();
        }
        reading
    }

    /// The run goes well after a while: nothing is suspected any more.
    fn calm_down(&mut self, now: Instant) -> Result<(), TxnError> {
        let searching = self.schedule.is_single() && self.has_work();
        if self.quarantine.calm_down(self.extension, now, searching)? {
            self.schedule.set_single(false);
        }
        Ok(())
    }

    /// Rotates the ring when it is time.
    fn rotate_ring(&mut self, now: Instant) -> Result<(), TxnError> {
        let backlog = self.ledger.backlog();
        let sends = self.database.is_switched_on();
        match self.upkeep.rotate(self.extension, now, &self.time, backlog, sends)? {
            Some(Rotation::Rotated(slot)) => self.ledger.set_slot(slot),
            Some(Rotation::Blocked) => {
                // The cursor may be further than it has been worth writing.
                self.ledger.progress();
                self.pacing.fall_behind();
            }
            Some(Rotation::NotDue) | None => {}
        }
        Ok(())
    }

    /// Has a job do something, if it is time.
    fn work_on_jobs(&mut self) -> Result<(), TxnError> {
        let next = self.jobs.next(Instant::now(), self.ledger.backlog());
        let Some(at) = next.filter(|_| self.leaving.is_none()) else {
            return Ok(());
        };
        if self.jobs.sends(at) && !self.database.is_here() {
            self.jobs.rest(at);
            return Ok(());
        }
        let unread = || self.schedule.candidates().filter(|(.., origin)| !origin.is_pending());
        let found = match self.jobs.asks(at) {
            None => (true, 0),
            Some(Asked::Covered(scope, erases)) => {
                let mut sending = self.schedule.candidates();
                let waits = |origin: Origin| erases || !origin.is_pending();
                let ready = self.reader.has_read_scope(scope)
                    && !sending.any(|(it, _, origin)| waits(origin) && self.jobs.covers(at, it))
                    && !self.ledger.holds(|id, xid| scope.covers(id, xid));
                (ready, 0)
            }
            Some(Asked::Read(webhook, seen)) => {
                let ready =
                    self.reader.has_read(seen) && !self.ledger.holds(|_, xid| seen.sees(xid));
                (ready, unread().filter(|(it, ..)| it.webhook == webhook).count() as i64)
            }
        };
        // What is neither in memory nor in the backlog is about to be there.
        let found = (found.0 && !self.schedule.has_parted(), found.1);
        if !found.0 {
            // It waits for what a poll reads, and nobody else may ask for one.
            self.pacing.fall_behind();
        }
        let clock = self.time.now();
        self.jobs.work(at, found, self.extension, clock, self.ledger.backlog_mut())?;
        // A page writes a row or two.
        self.upkeep.note_moved(2);
        for webhook in self.jobs.take_left() {
            self.schedule.look_again(webhook);
        }
        let ended = self.jobs.take_ended();
        if !ended.is_empty() {
            // Somebody may want dead letters sent again.
            self.reader.look_for_cancelled();
            self.pacing.fall_behind();
        }
        let schedule = &self.schedule;
        self.ordering.sweep(ended.into_iter().filter(|webhook| schedule.is_ordered(*webhook)));
        Ok(())
    }

    /// A turn has succeeded.
    fn recover(&mut self) {
        if std::mem::take(&mut self.errors) > 0 {
            self.entry.set_failing(false);
            log!("pg_webhook: working again");
            self.entry.set_error(self.ledger.backlog().said());
        }
        if let Some(said) = self.ledger.backlog_mut().tell(!self.database.is_here()) {
            self.entry.set_error(said);
        }
    }

    /// A turn has failed: says so once, and pauses, the longer the more often in a row.
    fn fail(&mut self, message: &str) {
        self.pacing.fall_behind();
        self.pacing.hurry();
        self.errors = self.errors.saturating_add(1);
        self.entry.set_idle(false);
        let message = obstacle::explained(message);
        if self.errors == 1 {
            log!("pg_webhook: {message}; trying again");
        }
        self.entry.set_error(&message);
        self.entry.set_failing(true);
        let doublings = (self.errors - 1).min(10);
        let pause = (SHORTEST_PAUSE * 2u32.pow(doublings)).min(LONGEST_PAUSE);
        // Who has begun to leave has a time for that, and tries a few times more within it.
        let begun = self.leaving.is_some();
        let pause = if begun { pause.min(PAUSE_IN_LEAVING) } else { pause };
        // Not on the outcomes: those that cannot be written would end it at once, again and again. Nor on the latch, which commits set.
        interrupt::pause(pause, || match self.entry.leave() {
            Leave::Stay => false,
            Leave::IfIdle | Leave::Soon => !begun,
            Leave::AtOnce => true,
        });
    }

    /// As after a crash, so that an event that is to blame for it is found in the end.
    fn start_again(&mut self, reason: &str) -> Exit {
        log!("pg_webhook: {reason}; starting again");
        self.break_off();
        // A panic counts, whatever else there is.
        if self.database.is_displaced()
            && !self.sender.is_broken()
            && let Err(TxnError::Failed(message)) =
                txn::run(c"writes down that all went well", self.extension, cursor::calm)
        {
            log!("pg_webhook: {message}");
        }
        Exit::Failed
    }
}
