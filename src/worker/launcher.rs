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
use pgrx::bgworkers::{BackgroundWorkerBuilder, BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{hint, places};
use crate::domain::time::Timestamp;
use crate::pg::board::{self, Entry};
use crate::pg::state::{Leave, State, Visit};
use crate::pg::{databases, interrupt, server};

/// How often databases are looked at although nobody has said anything: someone may have changed pg_database by hand.
const LOOK: Duration = Duration::from_secs(60);

/// The same while databases wait for a slot: nobody says when one of somebody else's is free.
const LOOK_WAITING: Duration = Duration::from_millis(250);

/// Between two starts of a worker that fails; doubled each time up to the longest.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Between two writings of the hint file.
const HINT: Duration = Duration::from_secs(1);

/// A database that has waited for so long makes the log say that there are too few slots.
const TOO_LONG: Duration = Duration::from_secs(10);

/// What the launcher knows of one database.
struct Database {
    worker: Option<DynamicBackgroundWorker>,
    /// In a row, without having worked in between.
    failures: u32,
    not_before: Instant,
    /// Whoever is not on the board does not have the extension, or there is no room for it.
    visited: bool,
    /// Since when it has needed a worker and has none.
    wants_since: Option<Instant>,
}

/// The launcher.
struct Launcher {
    known: HashMap<pg_sys::Oid, Database>,
    /// Databases that had the extension when the server last ran are visited first, in this order.
    hint: HashMap<pg_sys::Oid, usize>,
    written: Vec<pg_sys::Oid>,
    write_again: Instant,
    /// The database that a worker is in to see whether it has the extension.
    visiting: Option<pg_sys::Oid>,
    /// When the settings were last read.
    reloaded: Timestamp,
    /// Said in the log that there are too few slots.
    complained: bool,
    /// Said in the log that the board is full.
    overflowed: bool,
}

/// Runs until the server stops.
pub fn run() {
    server::connect_to_none();
    board::enter_launcher();
    let written = hint::read();
    let mut launcher = Launcher {
        known: HashMap::new(),
        hint: written.iter().enumerate().map(|(rank, oid)| (*oid, rank)).collect(),
        written,
        write_again: Instant::now(),
        visiting: None,
        reloaded: Timestamp::from(SystemTime::now()),
        complained: false,
        overflowed: false,
    };
    loop {
        if interrupt::reload_if_asked() {
            // What is set now may give the resting ones something to do.
            launcher.reloaded = Timestamp::from(SystemTime::now());
            board::entries().for_each(Entry::set_due_now);
        }
        board::take_launcher_wake();
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
    /// One look at all databases; returns when the next is due.
    fn look(&mut self) -> Duration {
        let present = databases::all();
        let mut next = LOOK;
        self.forget_dropped(&present);
        // One that is on the board now stays.
        let known = &self.known;
        let under_way = |oid: &pg_sys::Oid| {
            board::find(*oid).is_none() && known.get(oid).is_some_and(Database::is_starting)
        };
        self.visiting = self.visiting.filter(under_way);
        let mut wanting = Vec::new();
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
                // It is about to begin or to end, and the server may say so to somebody else.
                if entry.is_none_or(|entry| entry.pid().is_none()) {
                    next = next.min(LOOK_WAITING);
                }
                continue;
            }
            if known.worker.take().is_some() {
                self.ended(database, entry);
            }
            let known = self.known.entry(database.oid).or_default();
            match known.wants(board::find(database.oid), &mut next) {
                true => {
                    let since = *known.wants_since.get_or_insert(now);
                    let rank = self.hint.get(&database.oid).copied().unwrap_or(usize::MAX);
                    wanting.push(Wanting { oid: database.oid, since, rank });
                }
                false => known.wants_since = None,
            }
        }
        // Before the last visit nobody knows all that the file should say.
        let all_known = wanting.iter().all(|database| board::find(database.oid).is_some());
        let waiting = self.serve(wanting);
        self.complain(&waiting);
        if places::make_room(&waiting) {
            next = next.min(LOOK_WAITING);
        }
        if all_known && self.visiting.is_none() {
            self.write_hint(&mut next);
        }
        next
    }

    fn forget_dropped(&mut self, present: &[databases::Database]) {
        let present: HashSet<pg_sys::Oid> = present.iter().map(|database| database.oid).collect();
        self.known.retain(|oid, _| present.contains(oid));
        let dropped = board::entries()
            .filter(|entry| !present.contains(&entry.database()) && entry.pid().is_none());
        for entry in dropped {
            self.release(entry);
        }
    }

    fn release(&mut self, entry: &Entry) {
        entry.release();
        // One of those that had no room may have it now.
        if std::mem::take(&mut self.overflowed) {
            self.known.values_mut().for_each(|database| database.visited = false);
        }
    }

    /// The worker of a database has ended.
    fn ended(&mut self, database: &databases::Database, entry: Option<&'static Entry>) {
        let Some(known) = self.known.get_mut(&database.oid) else {
            return;
        };
        known.not_before = Instant::now();
        let Some(entry) = entry else {
            match board::take_visit(database.oid) {
                Some(found) => {
                    known.failures = 0;
                    known.visited = true;
                    if found == Visit::Full {
                        self.overflow(&database.name);
                    }
                }
                None => known.failed(),
            }
            return;
        };
        entry.forget_process();
        let worked = entry.take_worked();
        match entry.state() {
            State::Absent => {
                known.failures = 0;
                known.visited = true;
                self.release(entry);
            }
            _ if entry.is_resting() => {
                known.failures = 0;
                // It may not have known them.
                if entry.started() <= self.reloaded.0 {
                    entry.set_due_now();
                }
            }
            state => {
                if worked {
                    known.failures = 0;
                }
                known.failed();
                // It has not come as far as the board.
                if state == State::Starting {
                    entry.set_state(State::Stopped);
                }
            }
        }
    }

    fn overflow(&mut self, name: &str) {
        if std::mem::replace(&mut self.overflowed, true) {
            return;
        }
        let most = board::DATABASES;
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            format!("pg_webhook: nothing is sent from database \"{name}\": {most} others have the extension already"),
            function_name!(),
        )
        .set_hint("Drop the extension, or the database, where it is not needed.")
        .report(PgLogLevel::LOG);
    }

    /// Starts workers, first for those that have waited longest. Returns those that go on waiting.
    fn serve(&mut self, mut wanting: Vec<Wanting>) -> Vec<Instant> {
        wanting.sort_by_key(|database| (database.since, database.rank, u32::from(database.oid)));
        let mut waiting = Vec::new();
        for database in wanting {
            let entry = board::find(database.oid);
            let is_visit = entry.is_none();
            if is_visit && self.visiting.is_some() {
                continue;
            }
            if waiting.is_empty() && self.start(database.oid, entry) {
                continue;
            }
            if is_visit {
                // The others come after it.
                self.visiting.get_or_insert(database.oid);
            }
            if let Some(entry) = entry {
                entry.want_slot();
            }
            waiting.push(database.since);
        }
        // Only those are visits that have a worker.
        let started = |oid: &pg_sys::Oid| self.known.get(oid).is_some_and(|d| d.worker.is_some());
        self.visiting = self.visiting.filter(started);
        waiting
    }

    /// `false` where no slot is free.
    fn start(&mut self, oid: pg_sys::Oid, entry: Option<&Entry>) -> bool {
        // Before it can begin: what is announced from then on is for whoever comes after it.
        let announced = entry.is_some_and(Entry::starts);
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
        known.worker = Some(worker);
        known.wants_since = None;
        if entry.is_none() {
            self.visiting = Some(oid);
        }
        true
    }

    fn complain(&mut self, waiting: &[Instant]) {
        let too_long = waiting.iter().any(|since| since.elapsed() >= TOO_LONG);
        if !too_long {
            self.complained &= !waiting.is_empty();
            return;
        }
        if !std::mem::replace(&mut self.complained, true) {
            ErrorReport::new(
                PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                format!(
                    "pg_webhook: {} databases wait for a background worker slot",
                    waiting.len()
                ),
                function_name!(),
            )
            .set_hint("Increase max_worker_processes: pg_webhook needs one for each database that has work at the same time, and one.")
            .report(PgLogLevel::LOG);
        }
    }

    fn write_hint(&mut self, next: &mut Duration) {
        let mut databases: Vec<pg_sys::Oid> = board::entries().map(Entry::database).collect();
        databases.sort_unstable_by_key(|oid| u32::from(*oid));
        if databases == self.written {
            return;
        }
        let wait = self.write_again.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            *next = (*next).min(wait);
            return;
        }
        self.write_again = Instant::now() + HINT;
        if let Err(error) = hint::write(&databases) {
            log!("pg_webhook: the order of databases for the next start is not kept: {error}");
        }
        self.written = databases;
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            worker: None,
            failures: 0,
            not_before: Instant::now(),
            visited: false,
            wants_since: None,
        }
    }
}

impl Database {
    /// A worker of it runs, or is asked for and not on the board yet.
    fn is_at_work(&self, entry: Option<&Entry>) -> bool {
        entry.is_some_and(|entry| entry.pid().is_some()) || self.is_starting()
    }

    /// A worker of it has been asked for and has not ended.
    fn is_starting(&self) -> bool {
        let ended = |worker: &DynamicBackgroundWorker| {
            matches!(worker.pid(), Err(BackgroundWorkerStatus::Stopped))
        };
        self.worker.as_ref().is_some_and(|worker| !ended(worker))
    }

    /// Whether it needs a worker now. Where it will, `next` is no later.
    fn wants(&self, entry: Option<&Entry>, next: &mut Duration) -> bool {
        let wait = match entry {
            None if self.visited => return false,
            // Whoever holds it wakes the launcher.
            Some(entry) if entry.is_held() => return false,
            Some(entry) if entry.is_announced() => Duration::ZERO,
            Some(entry) if entry.is_resting() && entry.is_woken() => Duration::ZERO,
            Some(entry) if entry.is_resting() => {
                entry.due().since(Timestamp::from(SystemTime::now()))
            }
            _ => self.not_before.saturating_duration_since(Instant::now()),
        };
        if !wait.is_zero() {
            *next = (*next).min(wait);
        }
        wait.is_zero()
    }

    fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.saturating_sub(1).min(10);
        self.not_before = Instant::now() + (SHORTEST_WAIT * 2u32.pow(doublings)).min(LONGEST_WAIT);
    }
}
