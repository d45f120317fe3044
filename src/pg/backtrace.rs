//! Keeping backtraces out of what clients see.

use std::{env, fs};

/// Whether and how Rust code captures backtraces.
const LIBRARIES: &str = "RUST_LIB_BACKTRACE";
const PROGRAMS: &str = "RUST_BACKTRACE";

/// Where the environment of the server asks for backtraces, pgrx appends one to the DETAIL of each error that
/// PostgreSQL raises in a call of ours, with the paths of the build. Takes effect if it comes before the first error.
pub fn disable() {
    let is_asked_for = env::var_os(LIBRARIES).or(env::var_os(PROGRAMS)).is_some();
    if is_asked_for && is_single_threaded() {
        // SAFETY: no other thread reads the environment meanwhile, because there is none.
        unsafe { env::set_var(LIBRARIES, "0") };
    }
}

/// So are all processes of the server, unless some other library has started a thread.
fn is_single_threaded() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}
