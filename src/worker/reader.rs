//! Reading: which events of the ring have been looked at, and which deliveries somebody has cancelled.

use super::ledger::Ledger;
use crate::pg::spi::Session;
use crate::pg::wal;
use crate::queue::order::{self, Lined, Passed};
use crate::queue::pending;
use crate::queue::ring::{self, Handled};
use delivery::client::Client;
use domain::job::Scope;
use domain::key::{DeliveryId, WebhookId};
use domain::snapshot::{Snapshot, Xid8};
use domain::time::Timestamp;
use transit::event::{Event, Spill};
use transit::order::{Found, Sorting};
use transit::schedule::Schedule;
use transit::schedule::ordered::{self, Admission, Ordered};
use transit::window::{RECOVERY, Windows};

use std::time::Instant;

/// Cancelled deliveries that are settled in one transaction: some ten milliseconds, for which everything else waits.
const CANCELLED: i64 = 5000;

/// Pages of the ring that are looked through in one transaction for what is delivered in order: some ten milliseconds.
const LOOKS: usize = 4;

/// Events that are delivered in order and are read at once, with their bodies, where there was room for fewer than that the last time.
/// With more they are read for nothing; with fewer a lot of room takes longer to be filled.
const LEAST: usize = 32;

/// Whether there are cancelled deliveries to be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancelled {
    /// None since they were last looked for.
    None,
    /// That has to be looked for, whenever there is a poll.
    Perhaps,
    /// More than one poll takes.
    Many,
}

/// What has been read.
pub(super) struct Reader {
    windows: Windows,
    /// Everything that this sees was on disk when the run began.
    begun: Snapshot,
    cancelled: Cancelled,
    /// The same of dead letters that are to be sent again in their places.
    armed: Cancelled,
    /// There may be events that are delivered in order, once there have been.
    ordered: bool,
    /// What has been found of them in a window, and of which it is that is to come into the backlog now.
    sorting: Sorting,
    sorted: Option<u64>,
    /// So many of them are read at once: fewer after a page of which not all had room.
    at_once: usize,
}

/// What is in memory, for whoever decides what comes there.
pub(super) struct Memory<'a> {
    pub(super) schedule: &'a Schedule<Client>,
    /// Takes its body from an event that is not to be sent.
    pub(super) keep: &'a dyn Fn(&mut Event),
    /// Whose events these are.
    pub(super) installation: &'a str,
}

/// What has been decided of events that are delivered in order.
#[derive(Default)]
pub(super) struct Admitted {
    /// How many of what has been found are done with.
    pub(super) count: usize,
    /// These come into memory.
    pub(super) straight: Vec<Ordered>,
    /// What goes to the backlog.
    pub(super) lined: Lined,
    /// Other deliveries have the ids of these.
    pub(super) doubled: Vec<Spill>,
    /// Where the next one cannot be decided yet, why, whose it is, and its keys.
    pub(super) stop: Option<(Admission, WebhookId, Vec<i64>)>,
}

/// A page of the ring, all of which is on disk.
pub(super) struct Page {
    pub(super) window: u64,
    pub(super) events: Vec<Event>,
    /// Which of them other deliveries have the ids of.
    pub(super) handled: Handled,
    /// The position of the last one, `None` where the scan has come to its end.
    pub(super) last: Option<(Xid8, DeliveryId)>,
    /// Of its bodies.
    pub(super) bytes: usize,
}

impl Reader {
    /// Goes on where everything that `settled` sees is settled. Everything that `begun` sees is on disk.
    pub(super) fn new(settled: Snapshot, begun: Snapshot) -> Self {
        Self {
            windows: Windows::new(settled),
            begun,
            cancelled: Cancelled::Perhaps,
            armed: Cancelled::Perhaps,
            ordered: false,
            sorting: Sorting::default(),
            sorted: None,
            at_once: ring::PAGE,
        }
    }

    /// What has committed by `now`, which is current at this time, may be read.
    pub(super) fn open(&mut self, session: &Session, now: Snapshot, at: Timestamp) {
        // Looked up after the snapshot: whose events that sees has had an order by then.
        self.ordered = self.ordered || order::is_ordered(session);
        self.windows.extend(now, at, self.ordered);
    }

    /// There may be events that are delivered in order.
    pub(super) fn expect_order(&mut self) {
        self.ordered = true;
    }

    /// Something is to come into the backlog in its order.
    pub(super) fn has_unordered(&self) -> bool {
        self.sorted.is_some() || self.windows.ordered().is_some()
    }

    /// What an earlier run has not brought there is to.
    pub(super) fn recovers_order(&self) -> bool {
        self.windows.recovers_order()
    }

    /// Looks through windows for what is delivered in order, and decides what becomes of a page of it. What goes to the backlog is there
    /// when the transaction has committed, which is to be told by [`Self::admitted`].
    pub(super) fn read_ordered(
        &mut self,
        session: &Session,
        clock: Timestamp,
        memory: &Memory<'_>,
    ) -> Option<Admitted> {
        for _ in 0..LOOKS {
            if self.sorted.is_some() {
                break;
            }
            let (window, scan) = self.windows.ordered()?;
            let (found, last) = order::look_through(session, scan);
            found.into_iter().for_each(|found| self.sorting.add(found));
            if self.windows.looked_through(window, last) {
                self.sorting.sort();
                self.sorted = Some(window);
                self.finish_window();
            }
        }
        let window = self.sorted?;
        let page = self.sorting.page(self.at_once, ring::PAGE_BYTES);
        let admitted = self.admit(session, window, &page, clock, memory);
        self.at_once = match admitted.stop {
            Some((Admission::Crowded, ..)) => (2 * admitted.count).clamp(LEAST, ring::PAGE),
            _ => ring::PAGE,
        };
        Some(admitted)
    }

    /// Decides what becomes of the events of a page, and brings into the backlog what goes there.
    fn admit(
        &self,
        session: &Session,
        window: u64,
        page: &[Found],
        clock: Timestamp,
        memory: &Memory<'_>,
    ) -> Admitted {
        let handled = match window {
            RECOVERY => ring::handled(session, page.iter().map(|found| found.id).collect()),
            _ => Handled::default(),
        };
        let left = |found: &&Found| !handled.has_one(found.id, found.xid);
        let left: Vec<Found> = page.iter().filter(left).copied().collect();
        let mut read = order::read(session, window, &left, memory.installation);
        read.values_mut().for_each(|ordered| (memory.keep)(&mut ordered.event));
        let (now, open) = (Instant::now(), self.windows.since(window));
        let (mut so_far, mut stored) = (ordered::Page::default(), Vec::new());
        let mut admitted =
            Admitted { straight: Vec::with_capacity(page.len()), ..Admitted::default() };
        for found in page {
            if handled.has_one(found.id, found.xid) {
                admitted.count += 1;
                continue;
            }
            // Of one that has been erased meanwhile there is nothing to be sent.
            if let Some(mut ordered) = read.remove(&(found.id, found.xid)) {
                match memory.schedule.admit(&ordered, &mut so_far, now) {
                    Admission::Straight => {
                        let since = &mut ordered.event.since;
                        *since = (*since).max(open.unwrap_or(*since));
                        admitted.straight.push(ordered);
                    }
                    Admission::Stored => stored.push(*found),
                    Admission::Doubled => admitted.doubled.extend(ordered.event.spill()),
                    stop => {
                        admitted.stop = Some((stop, ordered.event.webhook, ordered.keys));
                        break;
                    }
                }
            }
            admitted.count += 1;
        }
        let begun = &self.begun;
        let xids = admitted.straight.iter().map(|it| it.event.xid);
        wal::flush_commits(xids.filter(|xid| !begun.sees(*xid)));
        admitted.lined = order::line_up(session, window, &stored, clock);
        admitted
    }

    /// So many more are in memory or in the backlog, and so many of them are to be settled.
    pub(super) fn admitted(&mut self, count: usize, outstanding: usize) {
        self.sorting.took(count);
        if let Some(window) = self.sorted {
            self.windows.owe(window, outstanding);
        }
        self.finish_window();
    }

    /// The next window comes when all that was found of this one is in the backlog.
    fn finish_window(&mut self) {
        let Some(window) = self.sorted.filter(|_| self.sorting.is_empty()) else {
            return;
        };
        self.sorted = None;
        match self.sorting.finish() {
            true => self.windows.ordered_done(window),
            false => self.windows.repeat_ordered(window),
        }
    }

    /// Dead letters that somebody has armed again wait in their places.
    pub(super) fn rearm(&mut self, session: &Session, clock: Timestamp, free: bool) -> Passed {
        if self.armed == Cancelled::None || !self.ordered {
            return Passed::default();
        }
        if !free {
            self.armed = Cancelled::Perhaps;
            return Passed::default();
        }
        let (passed, more) = order::rearm(session, clock);
        self.armed = if more { Cancelled::Many } else { Cancelled::None };
        passed
    }

    /// Nothing has been read of the newest window.
    pub(super) fn has_fresh(&self) -> bool {
        self.windows.fresh().is_some()
    }

    /// A window that is not the newest has not been read to its end.
    pub(super) fn has_older(&self) -> bool {
        self.windows.oldest().is_some_and(|(window, _)| window != self.windows.newest())
    }

    /// Something has not been read.
    pub(super) fn has_unread(&self) -> bool {
        self.windows.unread()
    }

    /// So much has not that it is read whatever endpoints take.
    pub(super) fn is_crowded(&self) -> bool {
        self.windows.is_crowded()
    }

    /// All that `seen` sees has been read.
    pub(super) fn has_read(&self, seen: &Snapshot) -> bool {
        self.windows.has_read(seen)
    }

    /// All that a job can be for has been read: its caller's own events are not among what that saw.
    pub(super) fn has_read_scope(&self, scope: &Scope) -> bool {
        self.has_read(&scope.seen) && self.windows.has_read_of(scope.caller)
    }

    /// All that has been read is settled.
    pub(super) fn is_done(&self) -> bool {
        self.windows.is_done()
    }

    /// An event of `window` is settled.
    pub(super) fn settle(&mut self, window: u64) {
        self.windows.settled(window);
    }

    /// Up to where everything is settled, if that has moved since the last call.
    pub(super) fn advance(&mut self) -> Option<&Snapshot> {
        self.windows.advance()
    }

    /// The first window of which not all is settled.
    pub(super) fn first_window(&self) -> Option<u64> {
        self.windows.first()
    }

    /// What has been read is in this window or in an older one.
    pub(super) fn newest_window(&self) -> u64 {
        self.windows.newest()
    }

    /// Reads the next page: the first one of the newest window where `fresh` allows it, or else one of the oldest where `oldest`
    /// does.
    /// Bodies of those to `skip` are not read.
    pub(super) fn read(
        &self,
        session: &Session,
        (fresh, oldest): (bool, bool),
        most: usize,
        skip: impl FnOnce() -> Vec<WebhookId>,
        installation: &str,
    ) -> Option<Page> {
        let fresh = fresh.then(|| self.windows.fresh()).flatten();
        let oldest = || oldest.then(|| self.windows.oldest()).flatten();
        let (window, scan) = fresh.or_else(oldest)?;
        let ring::Page { mut events, last, bytes } =
            ring::read(session, (window, scan), most, &skip(), installation);
        let mut handled = Handled::default();
        if window == RECOVERY {
            handled = ring::handled(session, events.iter().map(|event| event.id).collect());
            events.retain(|event| !handled.has(event));
        }
        let open = self.windows.since(window);
        for event in &mut events {
            event.since = event.since.max(open.unwrap_or(event.since));
        }
        let begun = &self.begun;
        wal::flush_commits(events.iter().map(|event| event.xid).filter(|xid| !begun.sees(*xid)));
        Some(Page { window, events, handled, last, bytes })
    }

    /// A page of `window` has been taken up to `last`, of which so many events are to be settled.
    pub(super) fn took(
        &mut self,
        window: u64,
        outstanding: usize,
        last: Option<(Xid8, DeliveryId)>,
    ) {
        self.windows.took(window, outstanding, last);
    }

    /// Somebody may have cancelled deliveries.
    pub(super) fn look_for_cancelled(&mut self) {
        self.cancelled = Cancelled::Perhaps;
        self.armed = Cancelled::Perhaps;
    }

    /// More has been cancelled, or is to be sent again, than one poll takes.
    pub(super) fn has_many_cancelled(&self) -> bool {
        self.cancelled == Cancelled::Many || self.armed == Cancelled::Many
    }

    /// What has been cancelled since the last poll leaves the memory, unless it is under way, and is
    /// never due again, once the backlog is `free`. Whatever this does not see yet, reading and claiming do not take.
    pub(super) fn cancel(
        &mut self,
        session: &Session,
        schedule: &mut Schedule<Client>,
        ledger: &mut Ledger,
        free: bool,
        clock: Timestamp,
    ) -> Passed {
        if self.cancelled == Cancelled::None {
            return Passed::default();
        }
        let mut cancelled = pending::cancelled(session, CANCELLED);
        if cancelled.is_empty() {
            self.cancelled = Cancelled::None;
            return Passed::default();
        }
        let is_full = cancelled.len() == CANCELLED as usize;
        if is_full {
            // Those that could be sent meanwhile do not wait behind the others.
            cancelled.extend(pending::cancelled_of(session, schedule.ids()));
        }
        let now = Instant::now();
        let withdrawn: Vec<_> =
            cancelled.iter().flat_map(|(id, xid)| schedule.withdraw(*id, *xid, now)).collect();
        // Before anything that can fail: nothing else knows of them now.
        ledger.spill(withdrawn);
        self.cancelled = Cancelled::Perhaps;
        let all = cancelled.len();
        // What is under way is finished when it is back.
        let gone = cancelled.iter().map(|(id, _)| *id).filter(|id| !schedule.has(*id));
        let gone: Vec<DeliveryId> = if self.ordered { gone.collect() } else { Vec::new() };
        let settled = if free { pending::settle(session, cancelled) } else { 0 };
        let stays = |it: DeliveryId| schedule.has(it);
        let passed =
            if free { order::pass(session, &gone, clock, stays) } else { Passed::default() };
        // Some wait for the ring to be read: then there is no hurry. There can be more bodies than are moved at once.
        if settled > 0 && (is_full || settled < all) {
            self.cancelled = Cancelled::Many;
        }
        passed
    }
}
