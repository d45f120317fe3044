//! An error's CONTEXT: the line that says where it comes from.
//!
//! pgrx has no way to give one, and drops that of an error which it carries through our code. The server asks
//! its stack of callbacks for it when it raises the error in the end, so one of ours is put there before.

use std::cell::RefCell;
use std::ffi::{CString, c_void};
use std::ptr;

use pgrx::pg_sys::panic::ErrorReport;
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

unsafe extern "C-unwind" fn say(_argument: *mut c_void) {
    LINE.with_borrow(|line| ffi::error_context(line));
}
