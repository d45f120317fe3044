//! The backlog's table, where somebody may be in the way: VACUUM FULL has it for as long as it takes.
//!
//! New events do not wait for that. What goes to the backlog is kept in memory meanwhile, apart from what can be written, and
//! nothing is claimed. A stop waits for the backlog, because what has been answered is lost with the memory.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::leader::Leader;
use crate::domain::verdict::Verdict;
use crate::pg::guc::Local;
use crate::pg::table;
use crate::pg::txn;
use crate::queue::event::{Settlement, Spill};
use crate::queue::pending;

/// When to try again. Each time new events wait for [`PATIENCE`] at most.
const AGAIN: Duration = Duration::from_millis(500);

/// How long to wait for a row that somebody has locked.
const PATIENCE: &CStr = c"100ms";

/// What an error says of which that was the cause.
const LOCKED: &str = "LOCK_NOT_AVAILABLE";

/// Somebody in the way for a shorter time is not worth a word.
const TELLING: Duration = Duration::from_secs(2);

/// Of these, so many are written in one transaction, for which whatever else there is waits: with small bodies some
/// milliseconds.
const AT_ONCE: usize = 100;

/// Events in memory that are to go there, 40 bytes each. With more the ring is not read on.
const MOST: usize = 100_000;

/// What goes to the backlog and could not be written there.
#[derive(Default)]
pub(super) struct Held {
    settlements: Vec<Settlement>,
    spills: Vec<Spill>,
}

/// Whether the backlog can be written to.
pub(super) struct Backlog {
    table: pg_sys::Oid,
    held: Held,
    kept: Option<Kept>,
    /// It is waited for.
    needed: bool,
    /// What has been said and is not over.
    said: String,
}

/// It could not be written to.
struct Kept {
    since: Instant,
    asked: Instant,
    reason: Option<String>,
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

/// Whether it is written to the backlog, too, or removed from there. With the attempt at once: an event that is dead or
/// delivered in the log alone would be forgotten, or sent again, after a crash in between.
fn goes_there(settlement: &Settlement) -> bool {
    settlement.origin.is_pending() || settlement.verdict != Verdict::Delivered
}

impl Leader {
    /// The backlog may be read and changed in the transaction that runs.
    pub(super) fn has_backlog(&mut self, now: Instant) -> bool {
        // Nothing is taken from there before what has been is back.
        if !self.backlog.holds_nothing() || !self.backlog.again_in(now).is_zero() {
            return false;
        }
        let free = self.backlog.is_free();
        match free {
            true => self.backlog.is_had(),
            false => self.backlog.is_kept(None),
        }
        free
    }

    /// Something that is to be written goes to the backlog.
    pub(super) fn needs_backlog(&self) -> bool {
        !self.spills.is_empty() || self.settlements.iter().any(goes_there)
    }

    /// What goes to the backlog stays in memory.
    pub(super) fn hold_back(&mut self, reason: Option<String>) {
        self.backlog.is_kept(reason);
        let (there, others) =
            std::mem::take(&mut self.settlements).into_iter().partition(goes_there);
        self.settlements = others;
        let held = &mut self.backlog.held;
        held.settlements.extend::<Vec<_>>(there);
        held.spills.append(&mut self.spills);
        if self.settlements.is_empty() {
            self.unwritten_since = None;
        }
    }

    /// What has stayed in memory is to be written, if it is time. What is left in memory at a stop is found in the ring.
    pub(super) fn take_back(&mut self, now: Instant) {
        if self.backlog.again_in(now).is_zero() {
            let Held { settlements, spills } = &mut self.backlog.held;
            self.settlements.append(settlements);
            self.spills.extend(spills.drain(..spills.len().min(AT_ONCE)));
        }
    }

    /// Says who is in the way, once until it is over.
    pub(super) fn tell_of_backlog(&mut self) {
        let backlog = &mut self.backlog;
        let Some(kept) = &backlog.kept else {
            if !std::mem::take(&mut backlog.said).is_empty() {
                log!("pg_webhook: the backlog is written to again");
                self.entry.set_error("");
            }
            return;
        };
        let lasting = kept.asked.duration_since(kept.since) >= TELLING;
        if !backlog.said.is_empty() || !lasting {
            return;
        }
        let locked = kept.reason.as_ref().is_none_or(|reason| reason.contains(LOCKED));
        let why = match (locked, &kept.reason) {
            (false, Some(reason)) => reason.clone(),
            _ => {
                let holders = txn::run(self.extension, pending::holders);
                let by = holders.ok().flatten().map_or_else(String::new, |by| format!(" by {by}"));
                format!(
                    "webhook.pending is locked{by}: let that end, or end it with pg_terminate_backend"
                )
            }
        };
        backlog.said = format!("new events are sent, retries wait: {why}");
        self.entry.set_error(&backlog.said);
        log!("pg_webhook: {}", backlog.said);
    }
}
