//! What a process of ours does, as `pg_stat_activity` shows it.

use std::ffi::CStr;
use std::ptr;

use pgrx::pg_sys;

/// It does `what` from now on, which stays there as the last thing that it did.
pub fn begin(what: &'static CStr) {
    // SAFETY: sets a variable of this process, which is shown as the beginning; and a text with its end, which is copied, cut to
    // what `track_activity_query_size` leaves.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, what.as_ptr());
    }
}

/// It waits for something to do.
pub fn end() {
    // SAFETY: without a text the one that is there stays.
    unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, ptr::null()) };
}
