//! Threads that may live in a PostgreSQL process.

use std::io;
use std::thread::{Builder, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow};

/// Enough for a TLS handshake in a build without optimisation; only what is touched is ever mapped.
const STACK: usize = 512 * 1024;

/// Starts a thread that never receives a signal: handlers of the process run on the main thread only.
///
/// # Errors
///
/// The operating system's limit on threads or memory.
pub fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    // A thread inherits the mask of the one that starts it.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let started = Builder::new().name(name.to_owned()).stack_size(STACK).spawn(run);
    before.thread_set_mask()?;
    started
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;

    #[test]
    fn signals_are_blocked_in_the_thread_and_unchanged_outside() {
        let before = SigSet::thread_get_mask().unwrap();
        let inside = spawn("test", || SigSet::thread_get_mask().unwrap()).unwrap().join().unwrap();
        for signal in
            [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGURG, Signal::SIGUSR1, Signal::SIGINT]
        {
            assert!(inside.contains(signal), "{signal}");
        }
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
    }
}
