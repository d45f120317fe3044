//! The worker's transactions.
//!
//! pgrx's wrapper does not abort on an error; this one does, and reports it to its caller as a value,
//! so that one bad turn is one bad turn.

use std::ffi::CStr;
use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use super::lock;
use crate::pg::activity;
use crate::pg::identity::{self, Extension};
use crate::pg::interrupt;
use crate::pg::rights;
use crate::pg::spi::{self, Session, arg, sql};

/// Why a transaction did not commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TxnError {
    /// DROP EXTENSION has committed.
    ExtensionGone,
    /// This process is to end.
    Ending,
    /// An error of the server, or a panic of ours.
    Failed(String),
}

/// Runs `work` in a READ COMMITTED transaction of its own, as the owner of our tables, with DROP
/// EXTENSION kept out, and commits. Rows of `work` must not leave it. `pg_stat_activity` shows `what` meanwhile.
///
/// # Errors
///
/// Nothing of it has happened.
pub fn run<R>(
    what: &'static CStr,
    extension: Extension,
    work: impl FnOnce(&Session) -> R,
) -> Result<R, TxnError> {
    activity::begin(what);
    let result = transaction(|| {
        if !lock::hold_extension(extension) {
            return Err(TxnError::ExtensionGone);
        }
        Ok(as_owner(work))
    });
    // SAFETY: outside a transaction.
    // Without it autovacuum would never learn of the worker's writes.
    unsafe { pg_sys::pgstat_report_stat(false) };
    activity::end();
    result
}

/// As [`run`], where DROP EXTENSION is not kept out: for what reads the server's catalogs only, and must not wait for anybody.
///
/// # Errors
///
/// What has been read is not known.
pub fn unheld<R>(work: impl FnOnce(&Session) -> R) -> Result<R, TxnError> {
    transaction(|| Ok(as_owner(work)))
}

/// In a transaction.
fn as_owner<R>(work: impl FnOnce(&Session) -> R) -> R {
    // SAFETY: in a transaction; popped below, or by the abort.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
    let result = rights::as_owner(|| spi::connect(work));
    // SAFETY: as above.
    unsafe { pg_sys::PopActiveSnapshot() };
    result
}

/// As [`run`], for what may fail without the whole turn: then with the reason.
///
/// # Errors
///
/// Whatever ends the turn: nothing of it has happened.
pub fn tried<R>(
    what: &'static CStr,
    extension: Extension,
    work: impl FnOnce(&Session) -> R,
) -> Result<Result<R, String>, TxnError> {
    match run(what, extension, work) {
        Ok(result) => Ok(Ok(result)),
        Err(TxnError::Failed(message)) => Ok(Err(message)),
        Err(error) => Err(error),
    }
}

/// Runs `work` in a transaction of its own and commits, or aborts where it has failed or SIGTERM has come.
fn transaction<R>(work: impl FnOnce() -> Result<R, TxnError>) -> Result<R, TxnError> {
    match interrupt::in_transaction(|| attempt(work)) {
        Some(Err(TxnError::Failed(_))) if interrupt::is_cut_short() => Err(TxnError::Ending),
        Some(result) => result,
        None => Err(TxnError::Ending),
    }
}

fn attempt<R>(work: impl FnOnce() -> Result<R, TxnError>) -> Result<R, TxnError> {
    // SAFETY: called from the worker's loop, outside a transaction; each step has its counterpart below
    // or in the abort.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
    }
    let result = PgTryBuilder::new(AssertUnwindSafe(|| {
        let result = work()?;
        // SAFETY: as above. An error inside the commit is caught here as well.
        unsafe { pg_sys::CommitTransactionCommand() };
        Ok(result)
    }))
    .catch_others(|caught| Err(TxnError::Failed(message(&caught))))
    .execute();
    if result.is_err() {
        // SAFETY: it has not committed; the abort cleans up whatever there is.
        unsafe { pg_sys::AbortCurrentTransaction() };
    }
    result
}

/// The extension of this database and its version, `None` where it has none. In a transaction of its
/// own.
pub fn installed() -> Option<(Extension, String)> {
    // SAFETY: called from the worker's start, outside a transaction.
    unsafe {
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
    let found = identity::extension().and_then(|extension| {
        spi::connect(|session| version(session, extension)).map(|version| (extension, version))
    });
    // SAFETY: as above.
    unsafe {
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
    }
    found
}

/// The version of the extension, unless it is gone.
pub fn version(session: &Session, extension: Extension) -> Option<String> {
    session
        .read(sql!("host/version"), &[arg(extension.oid)])
        .first()
        .map(|row| row.value("extversion"))
}

/// As [`identity::qualified`], outside a transaction. As it is, where the catalog cannot be read.
pub fn qualified(text: &str) -> String {
    transaction(|| Ok(identity::qualified(text))).unwrap_or_else(|_| text.to_owned())
}

fn message(caught: &CaughtError) -> String {
    match caught {
        CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. } => {
            let hint = report.hint().map_or_else(String::new, |hint| format!(": {hint}"));
            format!("{} ({:?}){hint}", report.message(), report.sql_error_code())
        }
    }
}
