//! Wakes whoever waits for a file descriptor, once for any number of reasons.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Readable from [`Self::ring`] to [`Self::silence`].
pub struct Bell {
    event: EventFd,
    rung: AtomicBool,
}

impl Bell {
    /// A silent one.
    ///
    /// # Errors
    ///
    /// The operating system's limit on file descriptors.
    pub fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self { event, rung: AtomicBool::new(false) })
    }

    /// There is something to see.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Fails only when the counter is full, which wakes as well.
            let _ = self.event.write(1);
        }
    }

    /// For whoever looks after this: what comes from now on rings again.
    pub fn silence(&self) {
        if self.rung.load(Ordering::Acquire) {
            let _ = self.event.read();
            self.rung.store(false, Ordering::Release);
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn is_heard(bell: &Bell) -> bool {
        let mut files = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
        poll(&mut files, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn is_heard_until_it_is_silenced_however_often_it_rang() {
        let bell = Bell::new().unwrap();
        assert!(!is_heard(&bell));
        for _ in 0..2 {
            bell.ring();
            bell.ring();
            assert!(is_heard(&bell));
            bell.silence();
            assert!(!is_heard(&bell));
        }
    }
}
