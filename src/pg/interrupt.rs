//! Signals and waiting in a background worker.
//!
//! pgrx's own handlers neither end a worker that waits inside the server nor reload its settings, so
//! the server's are used: SIGTERM as `die`, SIGHUP as a flag that [`reload_if_asked`] acts on. SIGINT
//! is how `lock_timeout` ends a wait; from anybody else (pg_cancel_backend) it is ignored, because there
//! is no user's query to cancel.

use std::cell::Cell;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use pgrx::pg_sys;

use super::compat;
use super::ffi;

thread_local! {
    /// What pg_stat_activity shows while this process waits.
    static WAIT_EVENT: Cell<u32> = const { Cell::new(pg_sys::PG_WAIT_EXTENSION) };
}

/// Installs the handlers and lets signals in; `waiting` names what this process waits for, in pg_stat_activity.
/// First thing in a worker's main function: until then signals are blocked and kept.
pub fn install(waiting: &'static CStr) {
    WAIT_EVENT.set(compat::wait_event(waiting));
    // SAFETY: two handlers of the server itself and one that does what the server's own does, installed before signals
    // are unblocked. They run on this thread only, because the others block all signals.
    unsafe {
        compat::on_signal(pg_sys::SIGTERM, ffi::die);
        compat::on_signal(pg_sys::SIGHUP, ffi::SignalHandlerForConfigReload);
        compat::on_signal(pg_sys::SIGINT, end_lock_wait);
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// The timer of `lock_timeout` leaves a mark and signals its own process.
unsafe extern "C-unwind" fn end_lock_wait(signal: i32) {
    // SAFETY: reads a mark and sets flags and a latch, which the server's own handlers do as well. Nothing here
    // allocates, locks or raises an error, and the server's handler keeps errno.
    unsafe {
        if ffi::get_timeout_indicator(ffi::LOCK_TIMEOUT, false) {
            ffi::StatementCancelHandler(signal);
        }
    }
}

/// Waits until the latch is set, `bell` is readable or `timeout` is over, whichever is first, and then
/// serves interrupts. Ends the process when the postmaster is gone. Rounds `timeout` up to a millisecond.
pub fn wait(bell: Option<BorrowedFd<'_>>, timeout: Duration) {
    let mut events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    if bell.is_some() {
        events |= pg_sys::WL_SOCKET_READABLE;
    }
    let millis = timeout.as_nanos().div_ceil(1_000_000).min(3_600_000) as i64;
    // SAFETY: our own latch, and a descriptor that is open for the duration of the call.
    unsafe {
        pg_sys::WaitLatchOrSocket(
            pg_sys::MyLatch,
            events as i32,
            bell.map_or(pg_sys::PGINVALID_SOCKET, |bell| bell.as_raw_fd()),
            millis,
            WAIT_EVENT.get(),
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    serve();
}

/// Serves interrupts: barriers of other processes. SIGTERM waits for [`finish`].
pub fn serve() {
    if !ending() {
        pgrx::check_for_interrupts!();
    }
}

/// SIGTERM has come. The process ends at the next [`finish`], or at the next point inside the server
/// where it looks.
pub fn ending() -> bool {
    // SAFETY: reads a flag that a signal handler sets.
    unsafe { (&raw const pg_sys::ProcDiePending).read_volatile() != 0 }
}

/// Runs `last` with SIGTERM put off, then ends the process if it had come. A second SIGTERM ends it
/// at once.
pub fn finish(last: impl FnOnce()) {
    if !ending() {
        return;
    }
    // SAFETY: flags of this thread, each written in one piece; a handler may set them again at any moment, which is
    // the wish to end at once. `last` returns: what it does in the database is in transactions that catch errors.
    unsafe {
        (&raw mut pg_sys::ProcDiePending).write_volatile(0);
        last();
        (&raw mut pg_sys::ProcDiePending).write_volatile(1);
        (&raw mut pg_sys::InterruptPending).write_volatile(1);
    }
    pgrx::check_for_interrupts!();
}

/// SIGHUP has come, and [`reload_if_asked`] has not been called since.
pub fn reloading() -> bool {
    // SAFETY: reads a flag that a signal handler sets.
    unsafe { (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0 }
}

/// Rereads the configuration file if SIGHUP asked for it; says whether it did.
pub fn reload_if_asked() -> bool {
    if !reloading() {
        return false;
    }
    // SAFETY: main thread, outside a transaction.
    unsafe {
        (&raw mut pg_sys::ConfigReloadPending).write_volatile(0);
        pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
    }
    true
}

/// Waits in a user's session until `bell` is readable. Serves interrupts meanwhile: a cancel or a
/// termination does not return.
pub fn wait_in_session(bell: BorrowedFd<'_>) {
    let event = compat::wait_event(c"PgWebhookTest");
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_SOCKET_READABLE | pg_sys::WL_EXIT_ON_PM_DEATH;
    loop {
        // SAFETY: our own latch, and a descriptor that is open for the duration of the call.
        let happened = unsafe {
            let happened = pg_sys::WaitLatchOrSocket(
                pg_sys::MyLatch,
                events as i32,
                bell.as_raw_fd(),
                -1,
                event,
            );
            pg_sys::ResetLatch(pg_sys::MyLatch);
            happened
        };
        pgrx::check_for_interrupts!();
        if happened as u32 & pg_sys::WL_SOCKET_READABLE != 0 {
            return;
        }
    }
}
