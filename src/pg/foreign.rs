//! Code of others: functions that users have written and that run because we call them.
//!
//! As whom, and what they may leave behind. They run as a role that has chosen them, where they can become no other,
//! in a subtransaction, and with settings that are rolled back, as PostgreSQL runs the functions of an index.
//! `SECURITY_RESTRICTED_OPERATION` keeps them from roles, temporary tables, prepared statements, held cursors and
//! LISTEN; here is the rest: what a statement leaves in the session or changes for the rest of the transaction is
//! refused (a type in the session's temporary schema goes before the one of pg_catalog that it is called after), and
//! cursors are kept apart. What stays possible: to write rows, NOTIFY, nextval, setseed and advisory locks.

use std::cell::Cell;
use std::ffi::{CStr, c_char};

use pgrx::pg_sys::panic::{ErrorReport, ErrorReportWithLevel};
use pgrx::prelude::*;

use super::output::Kept;
use super::{cursor, ffi, identity, subtransaction};

/// Calls of code of others, one in the other, as where a transform writes to a table that is watched. An error of the
/// innermost is one of its event alone, so that this, and not the end of the stack, is the end of an endless chain.
const DEEPEST: u32 = 16;

thread_local! {
    /// How many calls are under way, one in the other.
    static RUNNING: Cell<u32> = const { Cell::new(0) };
}

/// Runs `work`, which calls code of others, as `role`.
///
/// # Errors
///
/// One of that code; what it has done is undone then. Where the statement is cancelled, the session ended or the
/// transaction to be repeated, that error goes on its way.
pub fn run<R>(role: pg_sys::Oid, work: impl FnOnce() -> R) -> Result<R, ErrorReportWithLevel> {
    let _output = Kept::now();
    subtransaction::attempt(is_its_own, || {
        let _running = Running::begin();
        let _hidden = cursor::hide();
        let result = identity::as_restricted(role, work);
        cursor::close_opened();
        result
    })
}

/// Whether an error is one of the code that raises it, and not of the session or of other transactions.
fn is_its_own(code: PgSqlErrorCode) -> bool {
    let class = |code: PgSqlErrorCode| code as i32 & 0xfff;
    ![PgSqlErrorCode::ERRCODE_OPERATOR_INTERVENTION, PgSqlErrorCode::ERRCODE_TRANSACTION_ROLLBACK]
        .map(class)
        .contains(&class(code))
}

struct Running;

impl Running {
    /// Raises an error where there are too many already.
    fn begin() -> Self {
        if RUNNING.get() >= DEEPEST {
            let code = PgSqlErrorCode::ERRCODE_STATEMENT_TOO_COMPLEX;
            let message = "transforms and casts call each other too deeply";
            ErrorReport::new(code, message, function_name!()).report(PgLogLevel::ERROR);
        }
        RUNNING.set(RUNNING.get() + 1);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get() - 1);
    }
}

/// Who was asked to run utility statements before us.
static NEXT: std::sync::OnceLock<pg_sys::ProcessUtility_hook_type> = std::sync::OnceLock::new();

/// From now on statements that leave something behind are refused to code of others. Once per process.
pub fn guard_statements() {
    // SAFETY: main thread, while the library is loaded.
    unsafe {
        if NEXT.set(pg_sys::ProcessUtility_hook).is_ok() {
            pg_sys::ProcessUtility_hook = Some(run_utility);
        }
    }
}

/// Not guarded: an error of the statement goes by here, where nothing is to be dropped, as the server made it. pgrx
/// would make another one of it, without its context.
#[allow(clippy::too_many_arguments, reason = "the server's hook")]
unsafe extern "C-unwind" fn run_utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    let next = NEXT.get().copied().flatten().unwrap_or(ffi::standard_ProcessUtility);
    // SAFETY: as PostgreSQL calls us.
    unsafe {
        if RUNNING.get() > 0 {
            judge((*statement).utilityStmt);
        }
        next(statement, text, read_only, context, parameters, environment, destination, completion);
    }
}

/// # Safety
///
/// `statement` is a utility statement.
#[pg_guard]
unsafe extern "C-unwind" fn judge(statement: *mut pg_sys::Node) {
    // SAFETY: the caller's.
    let (defines, name) = unsafe {
        let level = pg_sys::GetCommandLogLevel(statement);
        let lasting = [pg_sys::NodeTag::T_ConstraintsSetStmt, pg_sys::NodeTag::T_LoadStmt];
        let defines = level == pg_sys::LogStmtLevel::LOGSTMT_DDL
            || lasting.iter().any(|tag| pgrx::is_a(statement, *tag));
        let tag = pg_sys::CreateCommandTag(statement);
        (defines, CStr::from_ptr(pg_sys::GetCommandTagName(tag)).to_string_lossy())
    };
    if defines {
        // As PostgreSQL words it for what it refuses itself.
        let message = format!("cannot execute {name} within security-restricted operation");
        let code = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;
        ErrorReport::new(code, message, function_name!()).report(PgLogLevel::ERROR);
    }
}
