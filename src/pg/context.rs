//! An error's CONTEXT: the line that says where it comes from.
//!
//! pgrx has no way to give one, and drops that of an error which it carries through our code. The server asks
//! its stack of callbacks for it when it raises the error in the end, so one of ours is put there before.

use std::cell::RefCell;
use std::ffi::{CString, c_void};
use std::panic::AssertUnwindSafe;
use std::ptr;

use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;

use super::ffi;

thread_local! {
    static LINE: RefCell<CString> = RefCell::default();
}

/// On the stack of callbacks from [`raise`] until the server has raised the error.
static mut CALLBACK: pg_sys::ErrorContextCallback = pg_sys::ErrorContextCallback {
    previous: ptr::null_mut(),
    callback: Some(say),
    arg: ptr::null_mut(),
};

/// Raises an error whose context says `line`.
pub fn raise(report: ErrorReport, line: &str) -> ! {
    LINE.set(CString::new(line).unwrap_or_default());
    // SAFETY: main thread. The callbacks that are on the stack belong to those who have called us, and are there until
    // the error has gone by them. Whoever catches it before puts back the stack that was there.
    unsafe {
        CALLBACK.previous = pg_sys::error_context_stack;
        pg_sys::error_context_stack = &raw mut CALLBACK;
    }
    report.report(PgLogLevel::ERROR);
    unreachable!("an error does not return")
}

/// Runs `work`. The context of an error says `line`, whoever raises it.
pub fn within<R>(line: &str, work: impl FnOnce() -> R) -> R {
    // SAFETY: a variable of the main thread.
    let before = unsafe { pg_sys::error_context_stack };
    PgTryBuilder::new(AssertUnwindSafe(work))
        .catch_others(|caught| {
            // SAFETY: as above: what was there, and still is, when `work` began.
            unsafe { pg_sys::error_context_stack = before };
            again(caught, line)
        })
        .execute()
}

/// Raises it once more, with that line where it is an error.
fn again(caught: CaughtError, line: &str) -> ! {
    match caught {
        CaughtError::PostgresError(error) | CaughtError::ErrorReport(error) => {
            let message = error.message().to_owned();
            let mut report = ErrorReport::new(error.sql_error_code(), message, function_name!());
            if let Some(detail) = error.detail() {
                report = report.set_detail(detail);
            }
            if let Some(hint) = error.hint() {
                report = report.set_hint(hint);
            }
            raise(report, line)
        }
        other => other.rethrow(),
    }
}

/// Runs `work`, which raises again what it has caught, by which the context is lost: where an error has been raised with a line, here or
/// by [`within`], it is put there once more.
pub fn kept<R>(work: impl FnOnce() -> R) -> R {
    LINE.take();
    // SAFETY: a variable of the main thread.
    let before = unsafe { pg_sys::error_context_stack };
    PgTryBuilder::new(AssertUnwindSafe(work))
        .catch_others(|caught| {
            let line = LINE.take();
            // SAFETY: as in [`within`].
            unsafe { pg_sys::error_context_stack = before };
            if line.is_empty() {
                caught.rethrow();
            }
            again(caught, &line.to_string_lossy())
        })
        .execute()
}

unsafe extern "C-unwind" fn say(_argument: *mut c_void) {
    LINE.with_borrow(|line| ffi::error_context(line));
}
