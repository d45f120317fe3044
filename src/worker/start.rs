//! The start of a database's worker: what its session needs, and what an earlier run has left.

use std::ffi::CStr;
use std::time::{Instant, SystemTime};

use pgrx::prelude::*;

use super::backlog::Backlog;
use super::database::Database;
use super::leader::{Begun, Leader};
use super::{Exit, LONGEST_PAUSE, SHORTEST_PAUSE, definitions, obstacle, quarantine};
use crate::host::board::{self, Entry};
use crate::host::state::{Leave, State, Visit};
use crate::host::txn::{self, TxnError};
use crate::host::{arrival, lock, quit};
use crate::log::attempt::Log;
use crate::pg::identity::Extension;
use crate::pg::spi::Session;
use crate::pg::{compat, guc, interrupt, memory, server};
use crate::queue::cursor::{self, Start};
use crate::queue::{batch, installation, pending, ring};
use domain::clock::{Clock, Reading};
use domain::time::Timestamp;
use domain::timeline::Absence;
use domain::version::{self, Fit};

/// How long it waits for a lock. Longer, and what others do to the schema of one database holds up first visits of the others.
const LOCK_TIMEOUT: (&CStr, &CStr) = (c"lock_timeout", c"2s");

/// What a session of the worker needs, whatever the database or the role is set to. Plans are kept from
/// when the tables were empty, so the planner is told what they will look like: by index, always.
const SESSION: [(&CStr, &CStr); 19] = [
    (c"application_name", c"pg_webhook"),
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"TimeZone", c"UTC"),
    (c"standard_conforming_strings", c"on"),
    (c"statement_timeout", c"0"),
    LOCK_TIMEOUT,
    (c"idle_in_transaction_session_timeout", c"0"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_isolation", c"read committed"),
    (c"default_transaction_deferrable", c"off"),
    // as durable as a commit of this server alone can be, without waiting for a standby
    (c"synchronous_commit", c"local"),
    (c"row_security", c"on"),
    // Triggers that others have put on our tables do not fire, nor do those of foreign keys.
    (c"session_replication_role", c"replica"),
    (c"plan_cache_mode", c"force_generic_plan"),
    (c"jit", c"off"),
    (c"enable_seqscan", c"off"),
    (c"enable_bitmapscan", c"off"),
    (c"enable_hashjoin", c"off"),
    (c"enable_mergejoin", c"off"),
];

/// Runs in `database` until it has nothing to do there or fails.
pub(super) fn run(database: pg_sys::Oid) -> Exit {
    board::arrive(database);
    // What else there is to wait for in connecting is not waited for longer than for anything later.
    guc::fix(LOCK_TIMEOUT.0, LOCK_TIMEOUT.1);
    lock::release_at_exit();
    if lock::as_if_connecting(database, || server::connect_to(database)).is_none() {
        board::turn_back(database);
        return Exit::Finished;
    }
    interrupt::reload_if_asked();
    memory::return_large_blocks();
    let session = SESSION.iter().chain(&compat::TIMEOUTS);
    session.for_each(|(name, value)| guc::fix(name, value));
    // Whoever announces the database does so when CREATE EXTENSION is visible. An announcement from before the launcher asked
    // for this worker was taken then, so this look, which comes later, sees the extension. One from after that is kept: it
    // outlives `Absent`, the entry is not given back, and the launcher starts another worker. One that dies before this look
    // leaves the state that the launcher has set, `Starting`, which is as good as an announcement.
    let Some((extension, version)) = txn::installed() else {
        match board::find(database) {
            Some(entry) => entry.set_state(State::Absent),
            None => board::note_visit(database, Visit::Absent),
        }
        return Exit::Finished;
    };
    let Some(entry) = board::find_or_claim(database) else {
        board::note_visit(database, Visit::Full);
        return Exit::Finished;
    };
    if !lock::become_leader() {
        // The one before is still on its way out.
        return Exit::Failed;
    }
    if let Some(misfit) = version::misfit(&version) {
        if entry.state() != State::VersionMismatch {
            log!("pg_webhook: {misfit}");
        }
        entry.set_state(State::VersionMismatch);
        return Exit::Finished;
    }
    if version::fit(&version) == Fit::Older {
        let own = version::LIBRARY;
        log!(
            "pg_webhook: the extension has version {version}, the library {own}, which works with both: ALTER EXTENSION pg_webhook UPDATE"
        );
    }
    board::enter_worker(entry, Timestamp::from(SystemTime::now()).0);
    match begin(extension, entry, &version) {
        Ok(mut leader) => leader.lead(),
        Err(exit) => exit,
    }
}

/// Reads what an earlier run has left. Waits where that cannot be read.
fn begin(extension: Extension, entry: &'static Entry, version: &str) -> Result<Leader, Exit> {
    let (mut pause, mut told) = (SHORTEST_PAUSE, String::new());
    loop {
        interrupt::reload_if_asked();
        // Whoever mends it later wakes again.
        entry.take_wake();
        let trouble = match txn::run(c"reads what an earlier run has left", extension, |session| {
            look(session, entry, version)
        }) {
            Ok(Some(begun)) => {
                if !told.is_empty() {
                    log!("pg_webhook: the worker begins");
                }
                entry.set_idle(false);
                entry.set_needed_from(Timestamp(0));
                quit::watch();
                // From here on the end of this run is to be written down.
                interrupt::put_off_end();
                return Leader::new(extension, entry, begun);
            }
            Ok(None) => "a row of webhook.cursor, ring or installation is missing".to_owned(),
            Err(TxnError::ExtensionGone) => {
                entry.set_state(State::Absent);
                return Err(Exit::Finished);
            }
            Err(TxnError::Ending) => return Err(Exit::Failed),
            Err(TxnError::Failed(message)) => obstacle::explained(&message),
        };
        entry.set_error(&trouble);
        if told != trouble {
            log!("pg_webhook: the worker cannot begin: {trouble}; trying again");
            told = trouble;
        }
        // Nothing but a statement of a user's changes anything about it.
        entry.set_idle(true);
        if entry.leave() != Leave::Stay {
            entry.rest(Timestamp::from(SystemTime::now()).after(LONGEST_PAUSE));
            return Err(Exit::Finished);
        }
        interrupt::pause(pause, || entry.leave() != Leave::Stay);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What an earlier run has left; `None` where a row of ours has been removed by hand.
fn look(session: &Session, entry: &Entry, version: &str) -> Option<Begun> {
    let installation = installation::find(session)?;
    if installation.is_here {
        // It was called otherwise for a while. What comes along with a later copy is another matter.
        arrival::forget(installation.since);
    } else {
        arrival::note(installation.since);
    }
    definitions::listen();
    let mut start = cursor::begin(session)?;
    let now = Instant::now();
    let reading = start.left.resumed(Timestamp::from(SystemTime::now()));
    let cautious = quarantine::judge(session, &start, reading.time());
    resume(session, &mut start, reading, entry.needed_from());
    batch::recover(session, reading.time());
    let clock = Clock::new(reading, now);
    let (slot, log) = (ring::current_slot(session)?, Log::open(session));
    let backlog = Backlog::new(pending::table(session));
    let database = Database::new(session, installation, version.to_owned());
    Some(Begun { database, start, cautious, clock, slot, log, backlog })
}

/// Goes on where the run before has left the clock, and writes down for how long there was nobody although there was a need
/// from `needed_from` on.
fn resume(session: &Session, start: &mut Start, reading: Reading, needed_from: Timestamp) {
    let needed_from = Reading { at: needed_from, ..start.left };
    let from = start.left.time().max(needed_from.time());
    let absence = Absence { from, until: reading.time() };
    if absence.matters() {
        start.timeline.add(absence, pending::earliest(session));
        cursor::save_absences(session, &start.timeline.absences);
    }
    cursor::save(session, None, reading);
}
