//! Code of others: functions that users have written and that run because we call them.
//!
//! As whom, and what they may leave behind. They run as a role that has chosen them, where they can become no other,
//! in a subtransaction, and with settings that are rolled back, as PostgreSQL runs the functions of an index.
//! `SECURITY_RESTRICTED_OPERATION` keeps them from roles and temporary tables. Here is the rest, each where the server
//! asks us: [`statements`], [`functions`] that would leave something behind, and the [`path`] on which they find names.
//! Cursors are kept apart. What stays possible: to write rows and to lock them, NOTIFY, nextval and advisory locks of
//! the transaction.

mod functions;
mod path;
mod settings;
mod statements;

use std::cell::Cell;

use pgrx::pg_sys::panic::{ErrorReport, ErrorReportWithLevel};
use pgrx::prelude::*;

use self::functions::Watched;
pub use self::functions::stranger;
use self::settings::Closed;
pub use self::statements::judge;
use super::output::Kept;
use super::{cursor, reserve, rights, subtransaction};

/// Calls of code of others, one in the other, as where a transform writes to a table that is watched. An error of the
/// innermost is one of its event alone, so that this, and not the end of the stack, is the end of an endless chain.
const DEEPEST: u32 = 16;

/// Where the server finds that a transaction cannot go on beside another: the files of its source that say so.
const SERIALIZATION: [&str; 7] = [
    "execMain.c",
    "heapam_handler.c",
    "nodeLockRows.c",
    "nodeModifyTable.c",
    "predicate.c",
    "ri_triggers.c",
    "trigger.c",
];

thread_local! {
    /// How many calls are under way, one in the other.
    static RUNNING: Cell<u32> = const { Cell::new(0) };

    /// The role for which the innermost of them calls nothing but its own functions and those of superusers.
    static JUDGED: Cell<Option<pg_sys::Oid>> = const { Cell::new(None) };
}

/// From now on the server asks us about what code of others does. Once per process.
pub fn guard() {
    functions::judge();
    path::guard();
}

/// Whether code of others is running.
pub fn is_running() -> bool {
    RUNNING.get() > 0
}

/// Runs `work`, which calls code of others, as `role`.
///
/// # Errors
///
/// One of that code; what it has done is undone then. Where the statement is cancelled, the session ended or the
/// transaction to be repeated, that error goes on its way.
pub fn run<R>(role: pg_sys::Oid, work: impl FnOnce() -> R) -> Result<R, ErrorReportWithLevel> {
    begin(role, None, work)
}

/// As [`run`], where nothing says yet that `role` could have chosen what is called: a function of somebody else, whatever
/// reaches it, is an error.
///
/// # Errors
///
/// As for [`run`].
pub fn run_judged<R>(
    role: pg_sys::Oid,
    work: impl FnOnce() -> R,
) -> Result<R, ErrorReportWithLevel> {
    functions::forget_plans();
    begin(role, Some(role), work)
}

fn begin<R>(
    role: pg_sys::Oid,
    judged: Option<pg_sys::Oid>,
    work: impl FnOnce() -> R,
) -> Result<R, ErrorReportWithLevel> {
    let _output = Kept::now();
    subtransaction::attempt(
        |error| !is_the_servers(error),
        || {
            let _running = Running::begin(judged);
            let _hidden = cursor::hide();
            let result = reserve::with_reserve(|| rights::as_restricted(role, work));
            cursor::close_opened();
            functions::insist();
            result
        },
    )
}

/// Whether an error is one of the session or of other transactions, and not of the code that runs: that can give any
/// SQLSTATE to its own, or pass on one of another server. So the place counts at which it was raised.
fn is_the_servers(error: &ErrorReportWithLevel) -> bool {
    let raised_by = |function| error.function_name() == Some(function);
    match error.sql_error_code() {
        PgSqlErrorCode::ERRCODE_QUERY_CANCELED => raised_by("ProcessInterrupts"),
        PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED => raised_by("DeadLockReport"),
        PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE => SERIALIZATION.contains(&error.file()),
        _ => false,
    }
}

struct Running {
    judged: Option<pg_sys::Oid>,
    _outermost: Option<(Watched, Closed)>,
}

impl Running {
    /// Raises an error where there are too many already.
    fn begin(judged: Option<pg_sys::Oid>) -> Self {
        if RUNNING.get() >= DEEPEST {
            let code = PgSqlErrorCode::ERRCODE_STATEMENT_TOO_COMPLEX;
            let message = "transforms and casts call each other too deeply";
            ErrorReport::new(code, message, function_name!()).report(PgLogLevel::ERROR);
        }
        let outermost = (RUNNING.get() == 0).then(|| (Watched::begin(), Closed::begin()));
        RUNNING.set(RUNNING.get() + 1);
        Self { judged: JUDGED.replace(judged), _outermost: outermost }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get() - 1);
        JUDGED.set(self.judged);
    }
}

/// Raises the error of what is refused, worded as PostgreSQL words what it refuses itself.
fn refuse(what: &str) -> ! {
    let message = format!("cannot execute {what} within security-restricted operation");
    let code = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;
    ErrorReport::new(code, message, function_name!()).report(PgLogLevel::ERROR);
    unreachable!("an error does not return")
}
