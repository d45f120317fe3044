//! Looking for what is to be sent: one short transaction that reads.

use std::time::{Duration, Instant, SystemTime};

use pgrx::prelude::*;

use super::leader::{Leader, standing};
use crate::pg::spi::Session;
use crate::pg::txn::{self, TxnError};
use crate::pg::{arrival, settings, snapshot, wal};
use crate::queue::installation;
use crate::queue::pending;
use crate::queue::ring::{self, Handled};
use crate::registry::{self, endpoint, owner};
use domain::failure::{ErrorClass, Failure};
use domain::time::Timestamp;
use domain::verdict::Verdict;
use domain::version;
use transit::event::{Origin, Settlement, Spill};
use transit::schedule::Decision;
use transit::window::RECOVERY;

/// Pages of the ring in one transaction, so that it stays short.
const PAGES: usize = 4;

/// Cancelled deliveries that are settled in one transaction, for the same reason.
const CANCELLED: i64 = 5000;

/// Whether there are cancelled deliveries to be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// None since the last look for them.
    None,
    /// That has to be looked for, whenever there is a look.
    Perhaps,
    /// More than one look takes.
    Many,
}

impl Leader {
    /// Reads changed definitions, due events of the slow lane and new events of the ring, and hands them
    /// to the threads when the transaction has ended.
    pub(super) fn look(&mut self, polling: bool) -> Result<(), TxnError> {
        let (extension, now) = (self.extension, Instant::now());
        let result = txn::run(extension, |session| {
            if polling {
                // Nobody tells.
                self.updated =
                    txn::version(session, extension).is_some_and(|v| version::misfit(&v).is_some());
                if self.installation.is_here {
                    // By a session that has read late that the server is called so again.
                    arrival::forget(self.installation.since);
                }
            }
            if registry::take_changed() {
                self.read_definitions(session);
            }
            let free = self.has_backlog(now);
            self.cancel(session, free);
            if free && settings::enabled() {
                self.claim(session);
            }
            if self.reads() {
                self.windows.extend(snapshot::current());
                let mut bytes = 0;
                for page in 0..PAGES {
                    // Writing down what is spilled costs more than reading it did.
                    let spilled = self.spills.len() >= ring::PAGE || self.backlog.is_full();
                    // Some events are outcomes by themselves.
                    let full = spilled || self.room_for_outcomes() == 0;
                    if full || bytes >= ring::PAGE_BYTES {
                        break;
                    }
                    let Some(read) = self.read_page(session, page == 0) else {
                        break;
                    };
                    bytes += read;
                }
            }
        });
        // Whatever was taken is ours to send, even if the transaction failed after it.
        self.declare_suspect()?;
        self.send();
        if result.is_err() {
            registry::set_changed();
        }
        result
    }

    fn read_definitions(&mut self, session: &Session) {
        self.removing.ask();
        self.walking.ask();
        owner::watch(session);
        for name in owner::bury(session) {
            log!("pg_webhook: webhook \"{name}\" is deleted, because its owner is gone");
            self.untidy = Some(Instant::now());
        }
        self.unarmed = endpoint::unarmed(session, None);
        let mut routes = endpoint::load(session, None);
        // As it is now, which is after those: whoever has armed it meanwhile has forgotten what this look still sees.
        let own = &self.installation;
        let found = snapshot::with_latest(|| installation::find(session));
        let is_here = found.as_ref().is_some_and(|found| found.is_here);
        self.displaced =
            found.is_none_or(|found| found.id != own.id || found.is_here != own.is_here);
        self.entry.set_state(standing(is_here, self.unarmed));
        if !settings::enabled() || self.displaced || !own.is_here {
            routes.iter_mut().for_each(|route| route.sending = false);
        }
        let recalled = self.schedule.set_routes(routes, &self.client, Instant::now());
        self.spill(recalled.spilled);
        recalled.cancelled.iter().for_each(|event| self.windows.settled(event.window));
        if let Some(slot) = ring::current_slot(session) {
            self.slot = slot;
        }
    }

    /// What has been cancelled since the last look leaves the memory, unless it is under way, and is
    /// never due again, once the backlog is `free`. Whatever this does not see yet, reading and claiming do not take.
    fn cancel(&mut self, session: &Session, free: bool) {
        if self.cancelled == Cancelled::None {
            return;
        }
        let mut cancelled = pending::cancelled(session, CANCELLED);
        if cancelled.is_empty() {
            self.cancelled = Cancelled::None;
            return;
        }
        let is_full = cancelled.len() == CANCELLED as usize;
        if is_full {
            // Those that could be sent meanwhile do not wait behind the others.
            cancelled.extend(pending::cancelled_of(session, self.schedule.deliveries()));
        }
        let now = Instant::now();
        let withdrawn: Vec<_> = cancelled
            .iter()
            .filter_map(|(id, xid)| self.schedule.withdraw(*id, *xid, now))
            .collect();
        self.spill(withdrawn);
        if !free {
            self.cancelled = Cancelled::Perhaps;
            return;
        }
        let settled = pending::settle(session, cancelled);
        // Some wait for the ring to be read: then there is no hurry.
        let hurry = is_full && settled > 0;
        self.cancelled = if hurry { Cancelled::Many } else { Cancelled::Perhaps };
    }

    fn claim(&mut self, session: &Session) {
        let (now, clock) = (Instant::now(), self.time());
        let mut claims = self.schedule.claims(now, clock);
        if claims.is_empty() {
            return;
        }
        let found =
            pending::claim(session, &self.timeline, &mut claims, clock, &self.installation.id);
        let mut exhausted = Vec::new();
        for (claim, found) in claims.iter().zip(found) {
            if self.schedule.claimed(claim, found, now) {
                exhausted.push(claim.webhook);
            }
        }
        if !exhausted.is_empty() {
            for (webhook, due) in pending::next_due(session, &exhausted, clock) {
                self.schedule.set_next_due(webhook, due);
            }
        }
    }

    /// Reads a page of the ring, if there is one and room for it. Returns the bytes of its bodies.
    fn read_page(&mut self, session: &Session, fresh_first: bool) -> Option<usize> {
        let now = Instant::now();
        let fresh = fresh_first && self.schedule.has_room_for_fresh(now);
        let fresh = fresh.then(|| self.windows.fresh()).flatten();
        let oldest = || self.may_read_on().then(|| self.windows.oldest()).flatten();
        let (window, scan) = fresh.or_else(oldest)?;
        let skip = self.schedule.spilling(now);
        let ring::Page { mut events, last, bytes } =
            ring::read(session, window, scan, &skip, &self.installation.id);
        let mut handled = Handled::default();
        if window == RECOVERY {
            handled = ring::handled(session, &events);
            events.retain(|event| !handled.has(event));
        }
        let begun = &self.begun;
        wal::flush_commits(events.iter().map(|event| event.xid).filter(|xid| !begun.sees(*xid)));
        self.progressed |= !events.is_empty();
        self.events.add(events.len());
        self.transactions.add(events.chunk_by(|a, b| a.xid == b.xid).count());
        if events.iter().any(|event| !self.schedule.knows(event.webhook)) {
            // Commits are visible a moment before they are told. Whoever is still unknown in the snapshot
            // that sees its event has been deleted.
            self.read_definitions(session);
            events.iter().for_each(|event| self.schedule.learn(event.webhook));
        }
        let taken = self.schedule.page(events.len());
        let last = if taken < events.len() {
            let last = &events[taken - 1];
            Some((last.xid, last.id))
        } else {
            last
        };
        events.truncate(taken);
        let mut outstanding = 0;
        for event in events {
            let decision = match event.spill() {
                Some(spill) if handled.has_taken_id_of(&event) => Decision::Doubled(spill),
                _ => self.schedule.offer(event, now),
            };
            match decision {
                Decision::Taken => outstanding += 1,
                Decision::Doubled(spill) => {
                    outstanding += 1;
                    self.doubled.push(spill);
                }
                Decision::Spilled(spill) => {
                    outstanding += 1;
                    self.spill([spill]);
                }
                Decision::Dead(event, webhook, reason) => {
                    outstanding += 1;
                    self.bury(event, webhook, reason);
                }
                Decision::Cancelled => {}
            }
        }
        self.windows.took(window, outstanding, last);
        Some(bytes)
    }

    /// An event that is dead without an attempt.
    fn bury(&mut self, event: Spill, webhook: i32, reason: String) {
        let at = Timestamp::from(SystemTime::now());
        self.settlements.push(Settlement {
            delivery: event.id,
            xid: event.xid,
            webhook,
            origin: Origin::Ring { slot: event.slot, window: event.window },
            attempt: 0,
            started: at,
            took: Duration::ZERO,
            first_attempt_at: self.time(),
            result: Err(Failure::new(ErrorClass::Internal, reason)),
            verdict: Verdict::Dead,
            next_at: Some(Timestamp::INFINITY),
            gone: None,
            orphan: false,
        });
        self.unwritten_since.get_or_insert_with(Instant::now);
    }

    /// Hands over what has been taken.
    pub(super) fn send(&mut self) {
        for (lane, messages) in self.schedule.take_outbox(self.moment()) {
            if let Err(error) = self.pool.send(&lane, messages) {
                log!("pg_webhook: could not start a thread: {error}; requests wait");
            }
        }
    }
}
