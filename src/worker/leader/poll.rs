//! Polling for what is to be sent: one short transaction that reads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::Leader;
use crate::host::txn::{self, TxnError};
use crate::pg::debug::debug;
use crate::pg::spi::Session;
use crate::pg::{memory, snapshot};
use crate::queue::order::{self, Passed};
use crate::queue::{batch, pending, ring};
use crate::registry::{endpoint, health, owner};
use crate::worker::definitions;
use crate::worker::reader::Page;
use domain::failure::{ErrorClass, Failure};
use domain::key::{BatchId, DeliveryId, WebhookId};
use domain::time::Timestamp;
use domain::verdict::Verdict;
use transit::event::{Attempt, Origin, Settlement, Spill};
use transit::schedule::Decision;
use transit::window::RECOVERY;

/// Pages of the ring in one transaction, so that it stays short.
const PAGES: usize = 4;

impl Leader {
    /// Reads changed definitions, due events of the backlog and new events of the ring, and hands them
    /// to the threads when the transaction has ended.
    pub(super) fn poll(&mut self, unasked: bool) -> Result<(), TxnError> {
        // Before the snapshot: what that does not see has not committed by then.
        let began = Timestamp::from(self.time.moment().wall);
        let mut passed = Passed::default();
        let result = txn::run(c"reads what is to be sent", self.extension, |session| {
            let changed = definitions::take_changed();
            if unasked || changed {
                self.database.check(session, self.extension);
            }
            if changed {
                self.read_definitions(session);
            }
            let free = self.ledger.backlog_mut().acquire(Instant::now());
            if self.jobs.look(session, Instant::now()) {
                self.withdraw();
            }
            let clock = self.time.now();
            passed.extend(self.reader.rearm(session, clock, free));
            let (schedule, ledger) = (&mut self.schedule, &mut self.ledger);
            passed.extend(self.reader.cancel(session, schedule, ledger, free, clock));
            if free && self.database.is_switched_on() {
                self.claim(session);
            }
            if self.reads() {
                self.reader.open(session, snapshot::current(), began);
                self.read(session);
            }
        });
        // Whatever was taken is ours to send, even if the transaction failed after it.
        self.quarantine.declare(self.extension, self.schedule.single())?;
        self.sender.send(&mut self.schedule, self.time.moment());
        self.pass(passed);
        if result.is_err() {
            definitions::set_changed();
        }
        result
    }

    /// What jobs keep from being sent leaves the memory, unless it is under way.
    fn withdraw(&mut self) {
        let kept = self.schedule.candidates().filter(|(it, ..)| self.jobs.keeps(*it));
        let kept: Vec<_> = kept.map(|(it, xid, _)| (it.id, xid)).collect();
        let now = Instant::now();
        let withdrawn = kept.iter().flat_map(|(id, xid)| self.schedule.withdraw(*id, *xid, now));
        self.ledger.spill(withdrawn.collect::<Vec<_>>());
    }

    pub(super) fn read_definitions(&mut self, session: &Session) {
        definitions::watch_owners(session);
        let buried = owner::bury(session);
        for name in &buried {
            log!("pg_webhook: webhook \"{name}\" is deleted, because its owner is gone");
        }
        if !buried.is_empty() {
            self.upkeep.ask_to_tidy();
        }
        let mut routes = endpoint::load(session, None);
        self.entry.set_state(self.database.read(session));
        let sends = self.database.is_switched_on() && self.database.sends();
        self.upkeep.ask(sends);
        if !sends {
            routes.iter_mut().for_each(|route| route.sending = false);
        }
        debug!(
            "{} webhooks, {} of which send",
            routes.len(),
            routes.iter().filter(|r| r.sending).count()
        );
        let all = routes.iter().map(|route| route.webhook).collect();
        // Read after all of them: one that is found here alone has just been made so, and one that were found there alone would be taken
        // for one that somebody has disabled since.
        self.notices.look(all, health::halted(session), Instant::now());
        let recalled = self.schedule.set_routes(routes, self.sender.client(), Instant::now);
        self.ledger.spill(recalled);
        let ordered = self.schedule.ordered();
        if !ordered.is_empty() {
            self.reader.expect_order();
        }
        self.ordering.look(ordered);
        if let Some(slot) = ring::current_slot(session) {
            self.ledger.set_slot(slot);
        }
    }

    /// Takes due events of the backlog.
    fn claim(&mut self, session: &Session) {
        let (now, clock) = (Instant::now(), self.time.now());
        let mut claims = self.schedule.claims(now, clock);
        if claims.is_empty() {
            return;
        }
        let (timeline, id) = (self.time.timeline(), self.database.id());
        let mut found = pending::claim(session, timeline, &mut claims, clock, id);
        self.jobs.keep(found.iter_mut().flatten().map(|(_, event)| event));
        let sent = self.schedule.wanted_batches(found.iter().flatten().map(|(_, event)| event));
        let mut whole = batch::whole(session, timeline, sent, id);
        self.jobs.keep(whole.values_mut().flat_map(|it| &mut it.events));
        // Without one of them it is another batch.
        whole.retain(|_, it| it.events.iter().all(|event| event.body.is_some()));
        if !whole.is_empty() {
            memory::ensure(batch::ROOM);
        }
        let draw = |known: Option<BatchId>| batch::draw(id, known);
        let rows: usize = found.iter().map(Vec::len).sum();
        debug!("{rows} due events of {} webhooks, from the backlog", claims.len());
        let mut exhausted = Vec::new();
        for (claim, found) in claims.iter().zip(found) {
            if self.schedule.claimed(claim, found, &mut whole, draw, now) {
                exhausted.push(claim.webhook);
            }
        }
        self.bring_along(session);
        if !exhausted.is_empty() {
            for (webhook, due) in pending::next_due(session, &exhausted, clock) {
                self.schedule.set_next_due(webhook, due);
            }
        }
    }

    /// Of what is delivered in order those behind the ones that have been claimed come along, so that a key does not wait for a claim each
    /// time.
    fn bring_along(&mut self, session: &Session) {
        let heads = self.schedule.take_heads();
        let count = heads.len();
        let most = |webhook| self.schedule.followers(webhook, count) as i64;
        let heads: Vec<(DeliveryId, i64)> =
            heads.into_iter().map(|(head, webhook)| (head, most(webhook))).collect();
        let (timeline, id) = (self.time.timeline(), self.database.id());
        for mut line in order::followers(session, timeline, &heads, id) {
            self.jobs.keep(line.events.iter_mut());
            self.schedule.follow(line.head, line.key, line.events);
        }
    }

    /// Reads new events, a few pages of them.
    fn read(&mut self, session: &Session) {
        let (mut bytes, mut fresh) = (0, false);
        // What is left of older windows has its turn beside what the newest brings: it would wait as long as much comes there. Each has
        // half a page then.
        let shared = self.reader.has_older();
        for page in 0..PAGES {
            let turn = page == 1 && shared && fresh && !self.ledger.backlog().is_full();
            let is_enough = self.ledger.has_many_spills() || bytes >= ring::PAGE_BYTES;
            // Some events are outcomes by themselves.
            if self.ledger.room() == 0 || is_enough && !turn {
                return;
            }
            let now = Instant::now();
            fresh = page == 0 && self.reader.has_fresh() && self.schedule.has_room_for_fresh(now);
            let half = shared && (fresh || turn);
            let most = if half { ring::PAGE / 2 } else { ring::PAGE };
            let Some(read) = self.read_page(session, fresh, most, now) else {
                return;
            };
            bytes += read.bytes;
            self.take(session, read);
        }
    }

    /// Reads a page of the ring, if there is one and room for it.
    fn read_page(
        &mut self,
        session: &Session,
        fresh: bool,
        most: usize,
        now: Instant,
    ) -> Option<Page> {
        let skip = || self.schedule.spilling(now);
        let which = (fresh, self.may_read_on());
        let mut page = self.reader.read(session, which, most, skip, self.database.id())?;
        self.jobs.keep(page.events.iter_mut());
        if page.window == RECOVERY {
            page.events.retain(|event| !self.ledger.has_claimed(event.id, event.xid));
        }
        Some(page)
    }

    /// Decides what becomes of the events of a page.
    fn take(&mut self, session: &Session, page: Page) {
        let Page { window, mut events, handled, last, .. } = page;
        if !events.is_empty() {
            self.ledger.progress();
        }
        self.pacing.count(events.len(), events.chunk_by(|a, b| a.xid == b.xid).count());
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
        debug!("{} events of window {window}", events.len());
        let now = Instant::now();
        let outstanding = events.len();
        for event in events {
            let decision = match event.spill() {
                Some(spill) if handled.has_taken_id_of(&event) => Decision::Doubled(spill),
                _ => self.schedule.offer(event, now),
            };
            match decision {
                Decision::Taken => {}
                Decision::Doubled(spill) => self.ledger.double(spill),
                Decision::Spilled(spill) => self.ledger.spill([spill]),
                Decision::Dead(event, webhook, reason) => self.bury(event, webhook, reason),
            }
        }
        self.reader.took(window, outstanding, last);
    }

    /// An event that is dead without an attempt.
    pub(super) fn bury(&mut self, event: Spill, webhook: WebhookId, reason: String) {
        let at = self.time.moment();
        let attempt = Attempt {
            delivery: event.id,
            xid: event.xid,
            webhook,
            event_slot: Some(event.slot),
            number: 0,
            started: Timestamp::from(at.wall),
            took: Duration::ZERO,
            result: Arc::new(Err(Failure::new(ErrorClass::Internal, reason))),
            batch: None,
            verdict: Verdict::Dead,
        };
        let settlement = Settlement {
            attempt,
            origin: Origin::Ring { slot: event.slot, window: event.window },
            since: Timestamp::from(at.wall),
            first_attempt_at: at.clock,
            attempts: 0,
            next_at: Some(Timestamp::INFINITY),
            batch: None,
            pause: None,
            turn: None,
        };
        let holds = self.schedule.holds(webhook);
        self.notices.settle(&settlement, holds, at.now);
        self.ledger.settle(settlement, at.now);
    }
}
