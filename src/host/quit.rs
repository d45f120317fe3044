//! Which workers the postmaster has ended, because another process of the server had crashed.
//!
//! After a crash of one process the postmaster tells all others to quit and makes the shared memory anew, so that what is
//! there does not outlive it. This does: memory that the postmaster makes once and its children inherit. A worker that has
//! crashed itself, in whatever way, leaves nothing here.

use std::ffi::c_int;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::pg_sys;

use super::board;
use crate::pg::{compat, ffi, server};

/// The databases whose workers have been ended so and have not begun again; the others are 0.
type Ended = [AtomicU32; board::DATABASES];

static ENDED: OnceLock<&'static Ended> = OnceLock::new();

/// Makes the memory; called while the postmaster preloads the library. Without it every end is taken for a crash.
pub fn init() {
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: new memory of zeroes, which is never given back. It holds atomics only, for which any content is good.
    let ended = unsafe {
        let memory = libc::mmap(ptr::null_mut(), size_of::<Ended>(), access, kind, -1, 0);
        if memory == libc::MAP_FAILED {
            return;
        }
        &*memory.cast::<Ended>()
    };
    // There is one postmaster, which preloads once.
    let _ = ENDED.set(ended);
}

/// Whether the last worker of this database has been ended so.
pub fn ended() -> bool {
    let database = server::database().to_u32();
    all().iter().any(|cell| cell.load(Ordering::Relaxed) == database)
}

/// From now on it is noted when this process is ended so, and no earlier end counts. To be called when it is written down
/// that a run has begun: one that is ended before does not come between.
pub fn watch() {
    let database = server::database().to_u32();
    for cell in all() {
        let _ = cell.compare_exchange(database, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
    // SAFETY: the handler stores a number and then does what the server's own does.
    unsafe { compat::on_signal(pg_sys::SIGQUIT, note) };
}

/// What is known of databases that are no more makes room.
pub fn forget_dropped(is_there: impl Fn(pg_sys::Oid) -> bool) {
    for cell in all() {
        let database = cell.load(Ordering::Relaxed);
        if database != 0 && !is_there(database.into()) {
            let _ = cell.compare_exchange(database, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

unsafe extern "C-unwind" fn note(signal: c_int) {
    let database = server::database().to_u32();
    for cell in all() {
        let claimed = cell.compare_exchange(0, database, Ordering::Relaxed, Ordering::Relaxed);
        if claimed.map_or_else(|found| found == database, |_| true) {
            break;
        }
    }
    // SAFETY: the server's handler, which ends the process.
    unsafe { ffi::SignalHandlerForCrashExit(signal) }
}

fn all() -> &'static [AtomicU32] {
    ENDED.get().map_or(&[], |ended| &ended[..])
}
