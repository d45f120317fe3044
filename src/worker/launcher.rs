//! The launcher: sees to it that each database with the extension has a worker.
//!
//! Only a process connected to a database can see whether it has the extension, so the launcher starts
//! a worker in each database that it has not seen before; one that finds nothing leaves a note on the
//! board and ends. After that a database is looked at again when CREATE EXTENSION announces it. The
//! launcher itself is connected to no database and is in the way of no DROP DATABASE.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgrx::IntoDatum;
use pgrx::bgworkers::{BackgroundWorkerBuilder, BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::pg::board::{self, Entry};
use crate::pg::state::State;
use crate::pg::{databases, interrupt, server};

/// Databases made from a template that has the extension announce nothing, so there is a slow look.
const LOOK: Duration = Duration::from_secs(10);

/// Between two starts of a worker that fails; doubled each time up to the longest.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What the launcher knows of one database.
struct Database {
    worker: Option<DynamicBackgroundWorker>,
    /// In a row, without having worked in between.
    failures: u32,
    not_before: Instant,
    /// Said in the log that there is no slot.
    complained: bool,
}

/// Runs until the server stops.
pub fn run() {
    server::connect_to_none();
    board::enter_launcher();
    let mut known: HashMap<pg_sys::Oid, Database> = HashMap::new();
    loop {
        interrupt::reload_if_asked();
        let wait = look(&mut known);
        interrupt::wait(None, wait);
    }
}

/// One look at all databases; returns when the next is due.
fn look(known: &mut HashMap<pg_sys::Oid, Database>) -> Duration {
    let present = databases::connectable();
    known.retain(|oid, _| present.iter().any(|(other, _)| other == oid));
    for entry in board::entries() {
        if !present.iter().any(|(oid, _)| *oid == entry.database()) && entry.pid().is_none() {
            entry.release();
        }
    }
    let mut next = LOOK;
    for (oid, name) in present {
        let Some(entry) = board::find_or_claim(oid) else {
            continue;
        };
        let database = known.entry(oid).or_insert_with(Database::new);
        if let Some(wait) = database.tend(entry, &name) {
            next = next.min(wait);
        }
    }
    next
}

impl Database {
    fn new() -> Self {
        Self { worker: None, failures: 0, not_before: Instant::now(), complained: false }
    }

    /// Starts the worker if there should be one and is none. Returns when to look again, if soon.
    fn tend(&mut self, entry: &Entry, name: &str) -> Option<Duration> {
        if entry.pid().is_some() || self.is_starting() {
            return None;
        }
        if self.worker.take().is_some() {
            self.ended(entry);
        }
        let announced = entry.take_announcement();
        if announced {
            self.failures = 0;
            self.not_before = Instant::now();
        } else if entry.state() == State::Absent {
            return None;
        }
        let wait = self.not_before.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            return Some(wait);
        }
        self.start(entry, name);
        self.worker.is_none().then_some(self.not_before.saturating_duration_since(Instant::now()))
    }

    /// Between being asked for and appearing on the board.
    fn is_starting(&self) -> bool {
        match &self.worker {
            Some(worker) => !matches!(worker.pid(), Err(BackgroundWorkerStatus::Stopped)),
            None => false,
        }
    }

    fn ended(&mut self, entry: &Entry) {
        let worked = entry.take_worked();
        self.failures = match entry.state() {
            State::Absent => 0,
            _ if worked => 1,
            _ => self.failures.saturating_add(1),
        };
        self.not_before = Instant::now() + self.wait();
    }

    fn wait(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(10);
        (SHORTEST_WAIT * 2u32.pow(doublings)).min(LONGEST_WAIT)
    }

    fn start(&mut self, entry: &Entry, name: &str) {
        let started = BackgroundWorkerBuilder::new("pg_webhook worker")
            .set_library("pg_webhook")
            .set_function("webhook_worker_main")
            .enable_shmem_access(None)
            .enable_spi_access()
            .set_argument(entry.database().into_datum())
            .set_notify_pid(server::pid())
            .load_dynamic();
        match started {
            Ok(worker) => {
                self.worker = Some(worker);
                self.complained = false;
            }
            Err(_) => {
                self.failures = self.failures.saturating_add(1);
                self.not_before = Instant::now() + self.wait();
                entry.set_state(State::NoSlot);
                if !std::mem::replace(&mut self.complained, true) {
                    ErrorReport::new(
                        PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                        format!("pg_webhook: no background worker slot for database \"{name}\""),
                        function_name!(),
                    )
                    .set_hint("Increase max_worker_processes: pg_webhook needs one for each database that has it, and one.")
                    .report(PgLogLevel::LOG);
                }
            }
        }
    }
}
