//! Work whose failure must not be the transaction's.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::{CaughtError, ErrorReportWithLevel};
use pgrx::prelude::*;

use super::{context, reserve};

/// Runs `work` in a subtransaction. Where it raises one of `tolerated`, that is undone and the result
/// is `None`; any other error goes on its way.
pub fn tolerating<R>(tolerated: &[PgSqlErrorCode], work: impl FnOnce() -> R) -> Option<R> {
    attempt(|error| tolerated.contains(&error.sql_error_code()), work).ok()
}

/// Runs `work` in a subtransaction, which is over in any case: one that an error left open would be taken for a
/// savepoint of the user's, and the session would wait for its ROLLBACK.
///
/// # Errors
///
/// One that `tolerated` says yes to; what `work` has done is undone then. Any other goes on its way.
pub fn attempt<R>(
    tolerated: impl Fn(&ErrorReportWithLevel) -> bool,
    work: impl FnOnce() -> R,
) -> Result<R, ErrorReportWithLevel> {
    match run(work, End::Kept) {
        Ok(result) => Ok(result),
        Err(CaughtError::PostgresError(error) | CaughtError::ErrorReport(error))
            if tolerated(&error) =>
        {
            reserve::renew();
            Err(error)
        }
        Err(other) => other.rethrow(),
    }
}

/// Runs `work` in a subtransaction that is undone, with its locks. What it returns holds nothing that goes with that.
///
/// Any error goes on its way, with the line of its context that is ours.
pub fn undone<R>(work: impl FnOnce() -> R) -> R {
    context::kept(|| match run(work, End::Undone) {
        Ok(result) => result,
        Err(error) => error.rethrow(),
    })
}

/// What becomes of a subtransaction in which no error was raised.
#[derive(PartialEq)]
enum End {
    Kept,
    Undone,
}

fn run<R>(work: impl FnOnce() -> R, end: End) -> Result<R, CaughtError> {
    // SAFETY: in a transaction. Context, owner and the stack of error contexts are put back as PL/pgSQL does
    // around its exception blocks, whether the error goes on or not.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        let callbacks = pg_sys::error_context_stack;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = PgTryBuilder::new(AssertUnwindSafe(|| Ok(work()))).catch_others(Err).execute();
        pg_sys::error_context_stack = callbacks;
        pg_sys::MemoryContextSwitchTo(context);
        match result {
            Ok(_) if end == End::Kept => pg_sys::ReleaseCurrentSubTransaction(),
            _ => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}
