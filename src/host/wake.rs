//! Waking at commit: the worker when there may be events, the launcher when there may be an extension.
//!
//! A trigger fires for every row, so arming is one store; the callback is registered once per
//! backend. It runs after the commit, where nothing may fail: it stores numbers and sets a latch.
//! A rollback to a savepoint leaves it armed. PREPARE TRANSACTION drops it, and nobody knows any more at COMMIT PREPARED
//! what the transaction has done: so that wakes whoever there is.

use std::cell::Cell;
use std::ffi::c_void;

use pgrx::pg_sys;

use super::board;
use super::state::State;
use crate::pg::{identity, server};

thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    static WORKER: Cell<bool> = const { Cell::new(false) };
    static DEFINITIONS: Cell<bool> = const { Cell::new(false) };
    static CANCELLED: Cell<bool> = const { Cell::new(false) };
    static LAUNCHER: Cell<bool> = const { Cell::new(false) };
    static DATABASES: Cell<bool> = const { Cell::new(false) };
}

/// Wakes this database's worker when the transaction commits.
pub fn worker_at_commit() {
    WORKER.set(true);
    register();
}

/// Has this database's worker read the definitions again when the transaction commits. The
/// invalidation that tells other processes is sent a moment after the wake, too late for the worker's
/// next poll.
pub fn definitions_at_commit() {
    DEFINITIONS.set(true);
    worker_at_commit();
}

/// Has this database's worker look for cancelled deliveries when the transaction commits.
pub fn cancelled_at_commit() {
    CANCELLED.set(true);
    worker_at_commit();
}

/// Has the launcher look at this database when the transaction commits.
pub fn launcher_at_commit() {
    LAUNCHER.set(true);
    register();
}

/// Has the launcher look at the databases when the transaction ends: which there are, and which are not needed without a worker
/// any more.
pub fn databases_at_end() {
    DATABASES.set(true);
    register();
}

/// COMMIT PREPARED has succeeded in this database.
pub fn prepared_committed() {
    let database = server::database();
    match board::find(database) {
        Some(entry) if entry.state() != State::Absent => {
            entry.set_cancelled();
            entry.wake();
        }
        _ if identity::extension().is_some() => board::announce(database),
        _ => {}
    }
}

fn register() {
    if !REGISTERED.replace(true) {
        // SAFETY: the callback lives as long as the library, which is never unloaded.
        unsafe { pg_sys::RegisterXactCallback(Some(at_end_of_transaction), std::ptr::null_mut()) };
    }
}

fn wake_for_databases() {
    if DATABASES.replace(false) {
        board::wake_launcher();
    }
}

/// Neither allocates nor raises: after a commit an error would end the whole server.
unsafe extern "C-unwind" fn at_end_of_transaction(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_COMMIT => {
            let database = server::database();
            if LAUNCHER.replace(false) {
                board::announce(database);
            }
            let changed = DEFINITIONS.replace(false);
            let cancelled = CANCELLED.replace(false);
            wake_for_databases();
            // A copy of a database that has the extension has been on no board yet.
            if WORKER.replace(false)
                && let Some(entry) = board::find_or_claim(database)
            {
                if changed {
                    entry.set_changed();
                }
                if cancelled {
                    entry.set_cancelled();
                }
                entry.wake();
            }
        }
        XACT_EVENT_ABORT | XACT_EVENT_PREPARE => {
            LAUNCHER.set(false);
            wake_for_databases();
            DEFINITIONS.set(false);
            CANCELLED.set(false);
            WORKER.set(false);
        }
        _ => {}
    }
}
