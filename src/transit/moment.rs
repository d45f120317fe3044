//! What the time is.

use std::time::{Instant, SystemTime};

use domain::time::Timestamp;

/// One moment by each of the clocks that count.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The machine's, that nobody sets: how long something takes.
    pub now: Instant,
    /// That on the wall: what an attempt's row says.
    pub wall: SystemTime,
    /// The queue's ([`domain::clock`]): when something is due.
    pub clock: Timestamp,
}
