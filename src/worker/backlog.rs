//! The backlog's table, where somebody may be in the way: VACUUM FULL has it for as long as it takes.
//!
//! New events do not wait for that. What goes to the backlog is kept in memory meanwhile, apart from what can be written, and
//! nothing is claimed. A stop waits for the backlog, because what has been answered is lost with the memory.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::obstacle;
use crate::pg::guc::Local;
use crate::pg::table;
use domain::key::DeliveryId;
use domain::snapshot::Xid8;
use transit::event::{Settlement, Spill};
use transit::schedule::ordered::Parted;

/// The time after which a locked backlog is tried again. Shorter, and new events wait more often, for up to [`PATIENCE`] each
/// time; longer, and retries stay longer than the lock does.
const AGAIN: Duration = Duration::from_millis(500);

/// How long a transaction waits for a row of the backlog that somebody has locked. New events wait as long.
const PATIENCE: &CStr = c"100ms";

/// The most events of the ring that are remembered, with 32 bytes each, until the backlog can be written to. With more the ring
/// is not read on.
const MOST: usize = 100_000;

/// Events that have stayed in memory are written so many at a time, which takes some milliseconds with small bodies. Everything
/// else waits for such a transaction, so with more others wait longer, and with fewer it takes longer until all are back.
const AT_ONCE: usize = 100;

const _: () = assert!(AT_ONCE < MOST);

/// The time after which a lock on the backlog is told in the log. VACUUM and short statements of an administrator are shorter.
const TELLING: Duration = Duration::from_secs(2);

/// Whether the backlog can be written to.
pub(super) struct Backlog {
    table: pg_sys::Oid,
    /// What goes there and could not be written.
    settlements: Vec<Settlement>,
    spills: Vec<Spill>,
    parted: Parted,
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
        let (settlements, spills, parted) = Default::default();
        Self { table, settlements, spills, parted, kept: None, needed: false, said: String::new() }
    }

    /// Keeps others from locking the table until the transaction ends; `false` where somebody has. Does not wait for that,
    /// unless it has to.
    pub(super) fn lock(&self) -> bool {
        self.needed || table::lock_at_once(self.table)
    }

    /// As [`Self::lock`], for what reads and changes rows there that others of ours may not be behind. Remembers what came
    /// of it.
    pub(super) fn acquire(&mut self, now: Instant) -> bool {
        // Nothing is taken from there before what has been is back.
        if !self.holds_nothing() || !self.again_in(now).is_zero() {
            return false;
        }
        let locked = self.lock();
        match locked {
            true => self.release(),
            false => self.keep(None),
        }
        locked
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
    pub(super) fn keep(&mut self, reason: Option<String>) {
        let asked = Instant::now();
        let since = self.kept.as_ref().map_or(asked, |kept| kept.since);
        self.kept = Some(Kept { since, asked, reason });
    }

    /// Nobody is in the way any more.
    pub(super) fn release(&mut self) {
        if self.holds_nothing() {
            self.kept = None;
        }
    }

    /// These stay in memory.
    pub(super) fn hold(
        &mut self,
        settlements: Vec<Settlement>,
        mut spills: Vec<Spill>,
        parted: Parted,
    ) {
        self.settlements.extend(settlements);
        self.spills.append(&mut spills);
        self.parted.extend(parted);
    }

    /// What has stayed in memory is to be written, if it is time. What is left in memory at a stop is found in the ring.
    pub(super) fn take_back(&mut self, now: Instant) -> (Vec<Settlement>, Vec<Spill>, Parted) {
        if !self.again_in(now).is_zero() {
            return Default::default();
        }
        let spills = self.spills.drain(..self.spills.len().min(AT_ONCE));
        // What is in order is there before what has become of it.
        let parted = std::mem::take(&mut self.parted);
        (std::mem::take(&mut self.settlements), spills.collect(), parted)
    }

    /// Attempts that are kept in memory.
    pub(super) fn held(&self) -> usize {
        self.settlements.len()
    }

    /// Nothing is kept in memory.
    pub(super) fn holds_nothing(&self) -> bool {
        self.settlements.is_empty() && self.spills.is_empty() && self.parted.is_empty()
    }

    /// What is delivered in order is kept in memory.
    pub(super) fn holds_ordered(&self) -> bool {
        !self.parted.is_empty()
    }

    /// Some of what is kept is such an event of the ring.
    pub(super) fn holds(&self, which: impl Fn(DeliveryId, Xid8) -> bool) -> bool {
        let attempts = self.settlements.iter().map(|it| (it.attempt.delivery, it.attempt.xid));
        let spills = self.spills.iter().chain(&self.parted.lined).map(|it| (it.id, it.xid));
        attempts.chain(spills).any(|(id, xid)| which(id, xid))
    }

    /// No more may be.
    pub(super) fn is_full(&self) -> bool {
        self.spills.len() >= MOST
    }

    /// What has been said and is not over; empty, where that is nothing.
    pub(super) fn said(&self) -> &str {
        &self.said
    }

    /// Says who is in the way, once until it is over. Returns what is said now, where that is something else than before. A
    /// `copy` sends nothing, and whoever has locked it there may be about to arm that.
    pub(super) fn tell(&mut self, copy: bool) -> Option<&str> {
        let Some(kept) = &self.kept else {
            if std::mem::take(&mut self.said).is_empty() {
                return None;
            }
            log!("pg_webhook: the backlog is written to again");
            return Some(&self.said);
        };
        let lasting = kept.asked.duration_since(kept.since) >= TELLING;
        if !self.said.is_empty() || !lasting {
            return None;
        }
        let locked = kept.reason.as_deref().is_none_or(obstacle::is_lock);
        if locked && copy {
            return None;
        }
        let why = match (locked, &kept.reason) {
            (false, Some(reason)) => reason.clone(),
            _ => obstacle::of_backlog(),
        };
        self.said = format!("new events are sent, retries wait: {why}");
        log!("pg_webhook: {}", self.said);
        Some(&self.said)
    }
}
