//! Writing where somebody may be in the way in the backlog: what goes there is kept apart from what does not, and who is in the
//! way is told.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::backlog::Held;
use super::leader::Leader;
use super::obstacle;
use domain::verdict::Verdict;
use transit::event::Settlement;

/// Somebody in the way for a shorter time is not worth a word.
const TELLING: Duration = Duration::from_secs(2);

/// Of events that have stayed in memory, so many are written in one transaction, for which whatever else there is waits: some
/// milliseconds with small bodies. With fewer it takes longer until all are back.
const AT_ONCE: usize = 100;

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
        let locked = kept.reason.as_deref().is_none_or(obstacle::is_lock);
        // Nothing is sent in a copy, and whoever has it there may be about to arm that.
        if locked && !self.installation.is_here {
            return;
        }
        let why = match (locked, &kept.reason) {
            (false, Some(reason)) => reason.clone(),
            _ => obstacle::of_backlog(),
        };
        backlog.said = format!("new events are sent, retries wait: {why}");
        self.entry.set_error(&backlog.said);
        log!("pg_webhook: {}", backlog.said);
    }
}
