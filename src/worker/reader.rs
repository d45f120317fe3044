//! Reading: which events of the ring have been looked at, and which deliveries somebody has cancelled.

use super::ledger::Ledger;
use crate::pg::spi::Session;
use crate::pg::wal;
use crate::queue::pending;
use crate::queue::ring::{self, Handled};
use delivery::client::Client;
use domain::job::Scope;
use domain::key::{DeliveryId, WebhookId};
use domain::snapshot::{Snapshot, Xid8};
use domain::time::Timestamp;
use transit::event::Event;
use transit::schedule::Schedule;
use transit::window::{RECOVERY, Windows};

use std::time::Instant;

/// Cancelled deliveries that are settled in one transaction: some ten milliseconds, for which everything else waits.
const CANCELLED: i64 = 5000;

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
        Self { windows: Windows::new(settled), begun, cancelled: Cancelled::Perhaps }
    }

    /// What has committed by `now`, which is current at this time, may be read.
    pub(super) fn open(&mut self, now: Snapshot, at: Timestamp) {
        self.windows.extend(now, at);
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
        fresh: bool,
        oldest: bool,
        skip: impl FnOnce() -> Vec<WebhookId>,
        installation: &str,
    ) -> Option<Page> {
        let fresh = fresh.then(|| self.windows.fresh()).flatten();
        let oldest = || oldest.then(|| self.windows.oldest()).flatten();
        let (window, scan) = fresh.or_else(oldest)?;
        let ring::Page { mut events, last, bytes } =
            ring::read(session, window, scan, &skip(), installation);
        let mut handled = Handled::default();
        if window == RECOVERY {
            handled = ring::handled(session, &events);
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
    }

    /// More has been cancelled than one poll takes.
    pub(super) fn has_many_cancelled(&self) -> bool {
        self.cancelled == Cancelled::Many
    }

    /// What has been cancelled since the last poll leaves the memory, unless it is under way, and is
    /// never due again, once the backlog is `free`. Whatever this does not see yet, reading and claiming do not take.
    pub(super) fn cancel(
        &mut self,
        session: &Session,
        schedule: &mut Schedule<Client>,
        ledger: &mut Ledger,
        free: bool,
    ) {
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
            cancelled.extend(pending::cancelled_of(session, schedule.ids()));
        }
        let now = Instant::now();
        let withdrawn: Vec<_> =
            cancelled.iter().flat_map(|(id, xid)| schedule.withdraw(*id, *xid, now)).collect();
        // Before anything that can fail: nothing else knows of them now.
        ledger.spill(withdrawn);
        self.cancelled = Cancelled::Perhaps;
        let all = cancelled.len();
        let settled = if free { pending::settle(session, cancelled) } else { 0 };
        // Some wait for the ring to be read: then there is no hurry. There can be more bodies than are moved at once.
        if settled > 0 && (is_full || settled < all) {
            self.cancelled = Cancelled::Many;
        }
    }
}
