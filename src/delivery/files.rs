//! How many connections the process's limit of open files has room for.
//!
//! PostgreSQL opens files of its own in the same process and fails where it cannot. So the worker takes
//! no more connections than leaves it enough: requests in flight come first, and idle connections are
//! kept only in what room is left.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Open files that are left to the server in a worker. Fewer, and its own fail to open.
const RESERVED: usize = 200;

/// Idle connections that get room before requests in flight do, as far as there is some. Fewer, and each request to a busy endpoint
/// makes a new connection.
const LEAST_IDLE: usize = 100;

/// The most open files that a worker asks for, which is more than any settings need.
const ENOUGH: u64 = 65_536;

/// Connections that are open in this process.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// While connections are fewer than this, they are kept for a second use.
static KEPT: AtomicUsize = AtomicUsize::new(LEAST_IDLE);

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub struct Open(());

impl Open {
    /// One more.
    pub fn count() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes room for `wanted` requests in flight, as far as the limit goes, and returns for how many there
/// is. Raises the process's limit to what the system allows it.
pub fn make_room(wanted: usize) -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return wanted;
    };
    let most = hard.min(ENOUGH).max(soft);
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, most, hard) {
        Ok(()) => most,
        Err(_) => soft,
    };
    let (in_flight, kept) = divide(limit, wanted);
    KEPT.store(kept, Ordering::Relaxed);
    in_flight
}

/// Requests in flight, and connections that may be kept.
fn divide(limit: u64, wanted: usize) -> (usize, usize) {
    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(RESERVED);
    let in_flight = wanted.min(room.saturating_sub(LEAST_IDLE)).max(1);
    (in_flight, room.saturating_sub(in_flight))
}

/// Whether a connection may be kept when its request is done.
pub fn may_keep() -> bool {
    OPEN.load(Ordering::Relaxed) < KEPT.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_in_flight_and_idle_connections_fit_together() {
        for limit in [0, 64, 256, 1024, 65_536] {
            for wanted in [1, 100, 1000] {
                let (in_flight, kept) = divide(limit, wanted);
                assert!((1..=wanted).contains(&in_flight));
                assert!(in_flight + kept <= (limit as usize).saturating_sub(RESERVED).max(1));
            }
        }
        assert_eq!(divide(1024, 100), (100, 724));
        assert_eq!(divide(1024, 1000), (724, 100));
    }
}
