//! Utility statements of all sessions, as they pass by us: before one, whether code of others may run it and whether a worker is
//! in its way; after it, who has to hear of it.

use std::ffi::c_char;
use std::sync::OnceLock;

use pgrx::prelude::*;

use super::{adoption, board, hold, subscription, wake};
use crate::pg::{ffi, foreign};

/// Who was asked to run utility statements before us.
static NEXT: OnceLock<pg_sys::ProcessUtility_hook_type> = OnceLock::new();

/// From now on all pass by here. Once per process.
pub fn watch() {
    // SAFETY: main thread, while the library is loaded.
    unsafe {
        if NEXT.set(pg_sys::ProcessUtility_hook).is_ok() {
            pg_sys::ProcessUtility_hook = Some(run);
        }
    }
}

/// Not guarded: an error of the statement goes by here, where nothing is to be dropped, as the server made it. pgrx
/// would make another one of it, without its context.
#[allow(clippy::too_many_arguments, reason = "the server's hook")]
unsafe extern "C-unwind" fn run(
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
        let node = (*statement).utilityStmt;
        foreign::judge(node);
        let prepared = commits_prepared(node);
        let subscribes = subscription::is_changed_by(node);
        if board::preloaded() {
            hold::before(node, context);
        }
        adoption::before(node);
        next(statement, text, read_only, context, parameters, environment, destination, completion);
        if subscribes {
            subscription::after(node);
        }
        if prepared && board::preloaded() {
            committed();
        }
    }
}

/// # Safety
///
/// `node` is a utility statement.
unsafe fn commits_prepared(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the caller's; the tag says what it is.
    unsafe {
        (*node).type_ == pg_sys::NodeTag::T_TransactionStmt
            && (*node.cast::<pg_sys::TransactionStmt>()).kind
                == pg_sys::TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn committed() {
    wake::prepared_committed();
}
