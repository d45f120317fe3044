//! The processes: a launcher for the server and a worker for each database that has the extension.
//!
//! The postmaster starts the launcher ([`launcher`]), which starts a worker where one is needed ([`known`], [`places`]), which
//! begins ([`start`]) and leads ([`leader`]). Here it is decided when something happens; what happens is the business of the
//! rooms below. What always holds is said in the head of `queue/mod.rs`.

mod adding;
mod backlog;
mod complaints;
mod database;
mod definitions;
mod hint;
mod jobs;
mod known;
mod launcher;
mod leader;
mod ledger;
mod notices;
mod obstacle;
mod ordering;
mod overdue;
mod places;
mod quarantine;
mod reader;
mod removing;
mod rotation;
mod sender;
mod start;
mod tidying;
mod time;
mod unlogged;
mod upkeep;
mod walking;

use std::time::Duration;

use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::prelude::*;

use crate::pg::{interrupt, server};

/// How long a worker pauses after an error, doubled each time up to the longest. Shorter, and an error that stays keeps it busy
/// and fills the log; longer, and events wait longer when its cause is gone.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How a worker's main function ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// There is nothing to do in this database.
    Finished,
    /// To be started again.
    Failed,
}

/// Registers the launcher; called while the postmaster preloads the library.
pub fn register_launcher() {
    BackgroundWorkerBuilder::new("pg_webhook launcher")
        .set_library("pg_webhook")
        .set_function("webhook_launcher_main")
        .enable_shmem_access(None)
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        // It queries no database, but this is what lets a process connect to the shared catalogs.
        .enable_spi_access()
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

/// Main function of the launcher.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn webhook_launcher_main(_argument: pg_sys::Datum) {
    interrupt::install(c"PgWebhookLauncher");
    launcher::run();
}

/// Main function of a database's worker; the argument is the database's oid.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn webhook_worker_main(argument: pg_sys::Datum) {
    interrupt::install(c"PgWebhookWorker");
    let database = pg_sys::Oid::from(argument.value() as u32);
    if start::run(database) == Exit::Failed {
        server::fail();
    }
}
