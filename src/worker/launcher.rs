//! The launcher: sees to it that each database with the extension has a worker when it needs one.
//!
//! Only a process connected to a database can see whether it has the extension. So after a start each database is
//! visited once, by a worker that stays where there is one and leaves a note where there is none. After that the launcher
//! hears of databases through the board: when CREATE EXTENSION commits, when something is captured where no worker is,
//! when something falls due there. The launcher itself is connected to no database and is in the way of no DROP
//! DATABASE.
//!
//! Where there are more databases with work than slots, the places go round ([`super::places`]).

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use pgrx::IntoDatum;
use pgrx::bgworkers::BackgroundWorkerBuilder;
use pgrx::prelude::*;

use super::complaints::Complaints;
use super::hint::Hint;
use super::known::Known;
use super::places;
use crate::host::board::{self, Entry};
use crate::host::state::{Leave, State, Visit};
use crate::host::{lock, quit};
use crate::pg::debug::debug;
use crate::pg::{databases, interrupt, server};
use domain::clock::{Clock, Reading};
use domain::time::Timestamp;

/// How often databases are looked at although nobody has said anything: someone may have changed pg_database by hand, or the
/// clock, by which databases are due.
const LOOK: Duration = Duration::from_secs(60);

/// The same while databases wait for a slot: nobody says when one of somebody else's is free.
const LOOK_WAITING: Duration = Duration::from_millis(250);

/// The same while somebody keeps everybody from connecting to a database that needs a worker: doubled each time from the
/// shortest to the longest. A statement that has ended says so a moment before its lock is gone, a prepared transaction does
/// not say so at all.
const LOOK_BARRED: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// The launcher.
struct Launcher {
    known: HashMap<pg_sys::Oid, Known>,
    /// Databases that had the extension when the server last ran are visited first.
    hint: Hint,
    /// The database that a worker is in to see whether it has the extension.
    visiting: Option<pg_sys::Oid>,
    /// How soon a database is looked at again that nobody can connect to.
    barred: Duration,
    /// When the settings were last read.
    reloaded: Instant,
    clock: Clock,
    complaints: Complaints,
}

/// Runs until the server stops.
pub fn run() {
    server::connect_to_none();
    board::enter_launcher();
    let now = Instant::now();
    let mut launcher = Launcher {
        known: HashMap::new(),
        hint: Hint::read(),
        visiting: None,
        barred: LOOK_BARRED.0,
        reloaded: now,
        clock: Clock::new(Reading { at: Timestamp::from(SystemTime::now()), step: 0 }, now),
        complaints: Complaints::default(),
    };
    loop {
        if interrupt::reload_if_asked() {
            // What is set now may give the resting ones something to do.
            launcher.reloaded = Instant::now();
            board::entries().for_each(Entry::set_due_now);
        }
        launcher.follow_clock();
        if board::take_launcher_wake() {
            launcher.barred = LOOK_BARRED.0;
        }
        let wait = launcher.look();
        let wait = if board::is_launcher_woken() { Duration::ZERO } else { wait };
        if wait.is_zero() {
            interrupt::serve();
        } else {
            interrupt::wait(None, wait);
        }
    }
}

/// A database that needs a worker.
struct Wanting {
    oid: pg_sys::Oid,
    since: Instant,
    rank: usize,
}

impl Launcher {
    /// The resting ones are due by a clock that somebody has set: each is asked anew.
    fn follow_clock(&mut self) {
        if self.clock.look(Timestamp::from(SystemTime::now()), Instant::now()).is_some() {
            for entry in board::entries() {
                entry.set_due_now();
                // By that clock nobody can tell any more.
                entry.set_needed_from(Timestamp(0));
            }
        }
    }

    /// One look at all databases; returns when the next is due.
    fn look(&mut self) -> Duration {
        let present = databases::all();
        let mut next = LOOK;
        self.forget_dropped(&present);
        self.end_visit();
        let mut wanting = Vec::new();
        // One time for all that are found to need a worker in this look: among them the hint decides.
        let now = Instant::now();
        for database in &present {
            let entry = board::find(database.oid);
            if !database.connectable {
                let stays = entry.filter(|entry| entry.pid().is_some());
                stays.inspect(|entry| entry.ask_to_leave(Leave::Soon));
                continue;
            }
            let known = self.known.entry(database.oid).or_default();
            if known.is_at_work(entry) {
                // A worker that is not on the board yet, or not any more. Its beginning and its end are told to this process
                // while it may be waiting for something else within its look, so it does not wait for them.
                if entry.is_none_or(|entry| entry.pid().is_none()) {
                    next = next.min(LOOK_WAITING);
                }
                continue;
            }
            if known.worker.take().is_some() {
                self.ended(database, entry);
            }
            let known = self.known.entry(database.oid).or_default();
            let wait = known.needs_one_in(board::find(database.oid));
            if wait.is_some_and(|wait| wait.is_zero()) {
                let (since, rank) = (known.want(now), self.hint.rank(database.oid));
                wanting.push(Wanting { oid: database.oid, since, rank });
            } else {
                known.want_none();
                next = wait.map_or(next, |wait| next.min(wait));
            }
        }
        let (waiting, barred) = self.serve(wanting);
        if barred {
            next = next.min(self.barred);
            self.barred = (2 * self.barred).min(LOOK_BARRED.1);
        }
        self.complaints.of_waiting(&waiting);
        if places::make_room(&waiting) {
            next = next.min(LOOK_WAITING);
        }
        let unknown = |oid| self.known.get(&oid).is_some_and(Known::is_to_be_visited);
        next = self.hint.update(unknown).map_or(next, |wait| next.min(wait));
        next
    }

    /// A visit is over when its worker has ended, or is on the board: then it stays there.
    fn end_visit(&mut self) {
        let Some(oid) = self.visiting else {
            return;
        };
        let stays = board::find(oid).is_some_and(|entry| entry.pid().is_some());
        if stays || !self.known.get(&oid).is_some_and(Known::is_starting) {
            self.visiting = None;
            board::end_visit();
        }
    }

    fn forget_dropped(&mut self, present: &[databases::Database]) {
        let present: HashSet<pg_sys::Oid> = present.iter().map(|database| database.oid).collect();
        self.known.retain(|oid, _| present.contains(oid));
        quit::forget_dropped(|database| present.contains(&database));
        let dropped = board::entries()
            .filter(|entry| !present.contains(&entry.database()) && entry.pid().is_none());
        for entry in dropped {
            self.release(entry);
        }
    }

    fn release(&mut self, entry: &Entry) {
        entry.release();
        if self.complaints.end_of_full_board() {
            self.known.values_mut().for_each(Known::visit_again);
        }
    }

    /// The worker of a database has ended.
    fn ended(&mut self, database: &databases::Database, entry: Option<&'static Entry>) {
        let Some(known) = self.known.get_mut(&database.oid) else {
            return;
        };
        let Some(entry) = entry else {
            match board::take_visit(database.oid) {
                Some(Visit::Barred) => known.succeeded(),
                Some(Visit::Absent) => known.visited(),
                Some(Visit::Full) => {
                    known.visited();
                    self.complaints.of_full_board(&database.name);
                }
                None => known.failed(),
            }
            return;
        };
        entry.forget_process();
        let worked = entry.take_worked();
        match entry.state() {
            State::Absent => {
                known.visited();
                self.release(entry);
            }
            _ if entry.is_resting() => {
                known.succeeded();
                // It may not have known the settings of now.
                if !known.has_asked_since(self.reloaded) {
                    entry.set_due_now();
                }
            }
            state => {
                if worked {
                    known.succeeded();
                }
                known.failed();
                // It has not come as far as the board.
                if state == State::Starting {
                    entry.set_state(State::Stopped);
                }
            }
        }
    }

    /// Starts workers, first for those that have waited longest. Returns since when those wait that go on waiting, and whether
    /// nobody can connect to some.
    fn serve(&mut self, mut wanting: Vec<Wanting>) -> (Vec<Instant>, bool) {
        wanting.sort_by_key(|database| (database.since, database.rank, u32::from(database.oid)));
        let (mut waiting, mut barred) = (Vec::new(), false);
        // The first that is to be visited, where it is not already: the other visits come after it.
        let mut visit_waits = false;
        for database in wanting {
            let entry = board::find(database.oid);
            let is_visit = entry.is_none();
            if is_visit && (visit_waits || self.visiting.is_some()) {
                continue;
            }
            // A worker would find that out, too, but others wait for the end of a visit.
            if lock::as_if_connecting(database.oid, || ()).is_none() {
                barred = true;
                continue;
            }
            if waiting.is_empty() && self.start(database.oid, entry) {
                continue;
            }
            visit_waits |= is_visit;
            if let Some(entry) = entry {
                entry.want_slot();
            }
            waiting.push(database.since);
        }
        (waiting, barred)
    }

    /// `false` where no slot is free.
    fn start(&mut self, oid: pg_sys::Oid, entry: Option<&Entry>) -> bool {
        // Before it can begin: what is announced from then on is for whoever comes after it.
        let announced = entry.is_some_and(Entry::begin_start);
        let started = BackgroundWorkerBuilder::new("pg_webhook worker")
            .set_library("pg_webhook")
            .set_function("webhook_worker_main")
            .enable_shmem_access(None)
            .enable_spi_access()
            .set_argument(oid.into_datum())
            .set_notify_pid(server::pid())
            .load_dynamic();
        let (Ok(worker), Some(known)) = (started, self.known.get_mut(&oid)) else {
            if let Some(entry) = entry.filter(|_| announced) {
                entry.announce();
            }
            return false;
        };
        debug!("starts a worker in database {oid}");
        known.asked_for(worker);
        if entry.is_none() {
            self.visiting = Some(oid);
        }
        true
    }
}
