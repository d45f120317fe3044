//! The time of a run: by what it judges, and what is written down of it.

use std::time::{Instant, SystemTime};

use pgrx::prelude::*;

use domain::clock::{Clock, Reading};
use domain::time::Timestamp;
use domain::timeline::Timeline;
use transit::moment::Moment;

/// The clock of the queue, which goes on as it did, whoever sets the machine's meanwhile.
pub(super) struct Time {
    clock: Clock,
    timeline: Timeline,
}

impl Time {
    pub(super) fn new(clock: Clock, timeline: Timeline) -> Self {
        Self { clock, timeline }
    }

    /// The time of the queue.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.read(Instant::now()).time()
    }

    /// The same, with what else the time is.
    pub(super) fn moment(&self) -> Moment {
        let now = Instant::now();
        Moment { now, wall: SystemTime::now(), clock: self.clock.read(now).time() }
    }

    /// How times of the backlog are read.
    pub(super) fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// What is to be written of the clock. Also whether the machine's has been set since the last look, which is to be
    /// written soon.
    pub(super) fn look(&mut self) -> (Reading, bool) {
        let (wall, now) = (Timestamp::from(SystemTime::now()), Instant::now());
        let set = self.clock.look(wall, now);
        if let Some(by) = set {
            log!("pg_webhook: the clock has been set by {} seconds", by / 1_000_000);
        }
        (self.clock.read(now), set.is_some())
    }
}
