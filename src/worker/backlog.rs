//! The backlog's table, where somebody may be in the way: VACUUM FULL has it for as long as it takes.
//!
//! New events do not wait for that. What goes to the backlog is kept in memory meanwhile, apart from what can be written, and
//! nothing is claimed. A stop waits for the backlog, because what has been answered is lost with the memory.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use crate::pg::guc::Local;
use crate::pg::table;
use transit::event::{Settlement, Spill};

/// When to try again. Each time new events wait for [`PATIENCE`] at most.
const AGAIN: Duration = Duration::from_millis(500);

/// How long to wait for a row that somebody has locked.
const PATIENCE: &CStr = c"100ms";

/// Events in memory that are to go there, 40 bytes each. With more the ring is not read on.
const MOST: usize = 100_000;

/// What goes to the backlog and could not be written there.
#[derive(Default)]
pub(super) struct Held {
    pub(super) settlements: Vec<Settlement>,
    pub(super) spills: Vec<Spill>,
}

/// Whether the backlog can be written to.
pub(super) struct Backlog {
    table: pg_sys::Oid,
    pub(super) held: Held,
    pub(super) kept: Option<Kept>,
    /// It is waited for.
    needed: bool,
    /// What has been said and is not over.
    pub(super) said: String,
}

/// It could not be written to.
pub(super) struct Kept {
    pub(super) since: Instant,
    pub(super) asked: Instant,
    pub(super) reason: Option<String>,
}

impl Backlog {
    pub(super) fn new(table: pg_sys::Oid) -> Self {
        Self { table, held: Held::default(), kept: None, needed: false, said: String::new() }
    }

    /// Nobody keeps others from the table until the transaction ends. Does not wait, unless it has to.
    pub(super) fn is_free(&self) -> bool {
        self.needed || table::lock_at_once(self.table)
    }

    /// As long as the result lives, a row that somebody has locked is not waited for.
    pub(super) fn impatient(&self) -> Option<Local> {
        (!self.needed).then(|| Local::set_alone(c"lock_timeout", PATIENCE))
    }

    /// What goes there may stay in memory.
    pub(super) fn may_wait(&self) -> bool {
        !self.needed
    }

    /// From now on it is waited for.
    pub(super) fn need(&mut self) {
        self.needed = true;
    }

    /// How long until it is worth trying again.
    pub(super) fn again_in(&self, now: Instant) -> Duration {
        let asked = self.kept.as_ref().filter(|_| !self.needed).map(|kept| kept.asked);
        asked.map_or(Duration::ZERO, |at| (at + AGAIN).saturating_duration_since(now))
    }

    /// Somebody is in the way, be it for another `reason` than a lock on the table.
    pub(super) fn is_kept(&mut self, reason: Option<String>) {
        let asked = Instant::now();
        let since = self.kept.as_ref().map_or(asked, |kept| kept.since);
        self.kept = Some(Kept { since, asked, reason });
    }

    /// Nobody is in the way any more.
    pub(super) fn is_had(&mut self) {
        if self.holds_nothing() {
            self.kept = None;
        }
    }

    /// Attempts that are kept in memory.
    pub(super) fn held(&self) -> usize {
        self.held.settlements.len()
    }

    /// Nothing is kept in memory.
    pub(super) fn holds_nothing(&self) -> bool {
        self.held.settlements.is_empty() && self.held.spills.is_empty()
    }

    /// No more may be.
    pub(super) fn is_full(&self) -> bool {
        self.held.spills.len() >= MOST
    }

    /// What has been said and is not over; empty, where that is nothing.
    pub(super) fn said(&self) -> &str {
        &self.said
    }
}
