//! The statements of code of others. Queries and changes of rows are none of these, and are judged by nothing but rights.

use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

use pgrx::prelude::*;

use crate::pg::ffi;

/// What may be run: what says something, sets what is rolled back, or runs other statements, each of which is judged
/// again. All else locks or changes more than rows, or is of the session.
const ALLOWED: [pg_sys::NodeTag; 9] = [
    pg_sys::NodeTag::T_VariableSetStmt,
    pg_sys::NodeTag::T_VariableShowStmt,
    pg_sys::NodeTag::T_NotifyStmt,
    pg_sys::NodeTag::T_CallStmt,
    pg_sys::NodeTag::T_DoStmt,
    pg_sys::NodeTag::T_ExplainStmt,
    pg_sys::NodeTag::T_DeclareCursorStmt,
    pg_sys::NodeTag::T_FetchStmt,
    pg_sys::NodeTag::T_CopyStmt,
];

/// Who was asked to run utility statements before us.
static NEXT: OnceLock<pg_sys::ProcessUtility_hook_type> = OnceLock::new();

/// From now on all others are refused. Once per process.
pub(super) fn guard() {
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
        if super::is_running() {
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
    // SAFETY: the caller's; the name is one of the program's.
    unsafe {
        let mut statement = statement;
        if pgrx::is_a(statement, pg_sys::NodeTag::T_ExplainStmt) {
            let query = (*statement.cast::<pg_sys::ExplainStmt>()).query;
            // What it runs is asked for nowhere else.
            let inner = (*query.cast::<pg_sys::Query>()).utilityStmt;
            if !inner.is_null() {
                statement = inner;
            }
        }
        if !ALLOWED.iter().any(|tag| pgrx::is_a(statement, *tag)) {
            let name = pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(statement));
            super::refuse(&CStr::from_ptr(name).to_string_lossy());
        }
        // It sets what is closed to all else.
        if pgrx::is_a(statement, pg_sys::NodeTag::T_VariableSetStmt)
            && (*statement.cast::<pg_sys::VariableSetStmt>()).kind
                == pg_sys::VariableSetKind::VAR_RESET_ALL
        {
            super::refuse("RESET ALL");
        }
    }
}
