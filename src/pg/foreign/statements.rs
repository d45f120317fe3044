//! The statements of code of others. Queries and changes of rows are none of these, and are judged by nothing but rights.

use std::ffi::CStr;

use pgrx::prelude::*;

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

/// Raises an error where code of others is running and may not run `statement`.
///
/// # Safety
///
/// `statement` is a utility statement.
#[pg_guard]
pub unsafe extern "C-unwind" fn judge(statement: *mut pg_sys::Node) {
    if !super::is_running() {
        return;
    }
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
