//! Signals and waiting in a background worker.
//!
//! pgrx's own handlers neither end a worker that waits inside the server nor reload its settings, so
//! the server's are used: SIGTERM as `die`, SIGHUP as a flag that [`reload_if_asked`] acts on. SIGINT
//! is how a timer of the server's ends a wait; from anybody else (pg_cancel_backend) it is ignored, because
//! there is no user's query to cancel.
//!
//! A process that has something to write down at its end puts that off ([`put_off_end`]): SIGTERM then ends the
//! transaction that runs, if it waits for anything, and the process when it calls [`finish`].

use std::cell::Cell;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::compat;
use super::ffi;

thread_local! {
    /// What pg_stat_activity shows while this process waits.
    static WAIT_EVENT: Cell<u32> = const { Cell::new(pg_sys::PG_WAIT_EXTENSION) };
}

/// A transaction runs that SIGTERM ends.
static IN_TRANSACTION: AtomicBool = AtomicBool::new(false);

/// What is left to be done is being done.
static FINISHING: AtomicBool = AtomicBool::new(false);

/// Installs the handlers and lets signals in; `waiting` names what this process waits for, in pg_stat_activity.
/// First thing in a worker's main function: until then signals are blocked and kept, but for a SIGHUP from before the server has
/// made the process ignore it. So the configuration is read once more.
pub fn install(waiting: &'static CStr) {
    WAIT_EVENT.set(compat::wait_event(waiting));
    // SAFETY: two handlers of the server itself and one that does what the server's own does, installed before signals
    // are unblocked. They run on this thread only, because the others block all signals.
    unsafe {
        compat::on_signal(pg_sys::SIGTERM, ffi::die);
        compat::on_signal(pg_sys::SIGHUP, ffi::SignalHandlerForConfigReload);
        compat::on_signal(pg_sys::SIGINT, end_wait);
        pg_sys::BackgroundWorkerUnblockSignals();
        (&raw mut pg_sys::ConfigReloadPending).write_volatile(1);
    }
}

/// The timers leave a mark and signal their own process.
unsafe extern "C-unwind" fn end_wait(signal: i32) {
    // SAFETY: reads marks and sets flags and a latch, which the server's own handlers do as well. Nothing here
    // allocates, locks or raises an error, and the server's handlers keep errno.
    unsafe {
        if ffi::get_timeout_indicator(ffi::LOCK_TIMEOUT, false) {
            ffi::StatementCancelHandler(signal);
        }
        if ffi::get_timeout_indicator(ffi::STATEMENT_TIMEOUT, false) {
            ffi::die(signal);
        }
    }
}

/// From now on SIGTERM ends transactions, and the process at its next [`finish`].
pub fn put_off_end() {
    // SAFETY: the handler sets flags and the latch. What it cancels is a statement within [`in_transaction`] only, whose error is
    // caught there.
    unsafe { compat::on_signal(pg_sys::SIGTERM, end_soon) };
}

/// Outside a transaction nobody would catch the error that a statement ends with. A second signal asks for nothing that the
/// first one has not.
unsafe extern "C-unwind" fn end_soon(signal: i32) {
    if ending() {
        return;
    }
    // SAFETY: as above.
    unsafe {
        ffi::SignalHandlerForShutdownRequest(signal);
        if IN_TRANSACTION.load(Ordering::Relaxed) {
            ffi::StatementCancelHandler(signal);
        }
    }
}

/// Runs a transaction that SIGTERM ends, unless it is one of the last. `None` where SIGTERM has come before.
/// `transaction` catches errors.
pub fn in_transaction<R>(transaction: impl FnOnce() -> R) -> Option<R> {
    end_with_postmaster();
    IN_TRANSACTION.store(true, Ordering::Relaxed);
    let result = (!is_cut_short()).then(transaction);
    IN_TRANSACTION.store(false, Ordering::Relaxed);
    // SAFETY: a flag of this thread; set once too often it would end the process outside of any transaction.
    unsafe { (&raw mut pg_sys::QueryCancelPending).write_volatile(0) };
    result
}

/// SIGTERM has come and ends transactions.
pub fn is_cut_short() -> bool {
    ending() && !FINISHING.load(Ordering::Relaxed)
}

/// Waits until the latch is set, `wakeup` is readable or `timeout` is over, whichever is first, and then
/// serves interrupts. Ends the process when the postmaster is gone. Rounds `timeout` up to a millisecond.
pub fn wait(wakeup: Option<BorrowedFd<'_>>, timeout: Duration) {
    let mut events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    if wakeup.is_some() {
        events |= pg_sys::WL_SOCKET_READABLE;
    }
    let millis = timeout.as_nanos().div_ceil(1_000_000).min(3_600_000) as i64;
    // SAFETY: our own latch, and a descriptor that is open for the duration of the call.
    unsafe {
        pg_sys::WaitLatchOrSocket(
            pg_sys::MyLatch,
            events as i32,
            wakeup.map_or(pg_sys::PGINVALID_SOCKET, |wakeup| wakeup.as_raw_fd()),
            millis,
            WAIT_EVENT.get(),
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    serve();
}

/// Waits for `time`, whoever sets the latch meanwhile, as each commit with events does, or until the process is to end, is to
/// reload its settings, or `told` says so.
pub fn pause(time: Duration, told: impl Fn() -> bool) {
    let end = Instant::now() + time;
    while !ending() && !reloading() && !told() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        wait(None, left);
    }
}

/// Serves interrupts: barriers of other processes, and an end that is not put off. Ends the process when the postmaster is gone.
pub fn serve() {
    pgrx::check_for_interrupts!();
    end_with_postmaster();
}

/// Who has always something to do, and so never waits as the server does, would outlive the postmaster; and the server does not
/// start again before the last process is gone. As the server ends one that waits.
fn end_with_postmaster() {
    // SAFETY: reads from a pipe that this process has since it was forked.
    if !unsafe { ffi::PostmasterIsAliveInternal() } {
        compat::exit(1);
    }
}

/// SIGTERM has come, and the process ends at the next [`finish`].
pub fn ending() -> bool {
    // SAFETY: reads a flag that a signal handler sets.
    unsafe { (&raw const pg_sys::ShutdownRequestPending).read_volatile() != 0 }
}

/// Ends the process if SIGTERM has come, after `last`, or where that waits for anything when `limit` is over.
pub fn finish(limit: Duration, last: impl FnOnce()) {
    if !ending() {
        return;
    }
    FINISHING.store(true, Ordering::Relaxed);
    // SAFETY: the server's own timer, which nothing else uses here, and its handler. `last` returns: what it does in the
    // database is in transactions that catch errors.
    unsafe {
        ffi::enable_timeout_after(ffi::STATEMENT_TIMEOUT, limit.as_millis() as i32);
        last();
        ffi::die(pg_sys::SIGTERM as i32);
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

/// Waits in a user's session until `wakeup` is readable. Serves interrupts meanwhile: a cancel or a
/// termination does not return.
pub fn wait_in_session(wakeup: BorrowedFd<'_>) {
    let event = compat::wait_event(c"PgWebhookTest");
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_SOCKET_READABLE | pg_sys::WL_EXIT_ON_PM_DEATH;
    loop {
        // SAFETY: our own latch, and a descriptor that is open for the duration of the call.
        let happened = unsafe {
            let happened = pg_sys::WaitLatchOrSocket(
                pg_sys::MyLatch,
                events as i32,
                wakeup.as_raw_fd(),
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

/// Waits in a user's session for `time`, or a little less where something else wakes it. Serves interrupts, as [`wait_in_session`]
/// does.
pub fn sleep_in_session(time: Duration) {
    let event = compat::wait_event(c"PgWebhookJob");
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: our own latch.
    unsafe {
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, time.as_millis() as i64, event);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pgrx::check_for_interrupts!();
}

/// What a worker does as long as this lives ends with the error of a lock that is waited for for too long, if it has not ended in time
/// and looks for interrupts.
pub struct Limit;

/// Begins it. No lock is waited for with a limit of its own meanwhile.
pub fn limit(time: Duration) -> Limit {
    // SAFETY: the server's own timer, of which `end_wait` knows.
    unsafe { ffi::enable_timeout_after(ffi::LOCK_TIMEOUT, time.as_millis() as i32) };
    Limit
}

impl Drop for Limit {
    fn drop(&mut self) {
        // SAFETY: the same timer, which signals this process before it is over; and flags that signal handlers set.
        unsafe {
            ffi::disable_timeout(ffi::LOCK_TIMEOUT, true);
            if ffi::get_timeout_indicator(ffi::LOCK_TIMEOUT, true) {
                // Nobody has looked for interrupts since, and what comes next would be cancelled for nothing.
                (&raw mut pg_sys::QueryCancelPending).write_volatile(0);
                // SIGTERM may have asked for the same.
                if is_cut_short() && IN_TRANSACTION.load(Ordering::Relaxed) {
                    (&raw mut pg_sys::QueryCancelPending).write_volatile(1);
                    (&raw mut pg_sys::InterruptPending).write_volatile(1);
                }
            }
        }
    }
}
