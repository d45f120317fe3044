//! Wakes whoever waits for a file descriptor, once for any number of reasons.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Readable from [`Self::wake`] to [`Self::clear`].
pub struct Wakeup {
    event: EventFd,
    woken: AtomicBool,
}

impl Wakeup {
    /// One that has not been used.
    ///
    /// # Errors
    ///
    /// The operating system's limit on file descriptors.
    pub fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self { event, woken: AtomicBool::new(false) })
    }

    /// There is something to see.
    pub fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // Fails only when the counter is full, which wakes as well.
            let _ = self.event.write(1);
        }
    }

    /// For whoever looks after this: what comes from now on wakes again.
    pub fn clear(&self) {
        if self.woken.load(Ordering::Acquire) {
            let _ = self.event.read();
            self.woken.store(false, Ordering::Release);
        }
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn wakes(wakeup: &Wakeup) -> bool {
        let mut files = [PollFd::new(wakeup.as_fd(), PollFlags::POLLIN)];
        poll(&mut files, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn wakes_until_it_is_cleared_however_often_it_was_used() {
        let wakeup = Wakeup::new().unwrap();
        assert!(!wakes(&wakeup));
        for _ in 0..2 {
            wakeup.wake();
            wakeup.wake();
            assert!(wakes(&wakeup));
            wakeup.clear();
            assert!(!wakes(&wakeup));
        }
    }
}
