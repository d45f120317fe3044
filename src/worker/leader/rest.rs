//! When the leader works and how long it waits.

use std::time::{Duration, Instant};

use super::Leader;
use crate::host::state::Leave;
use crate::pg::{interrupt, settings};
use domain::processors::Ticks;

/// Two turns are ten times as long apart as the last one took, within these bounds. Shorter, and many small turns cost writers
/// more than a few larger ones cost anybody in waiting; longer, and a batch that has come waits for nothing.
const SPACING: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(5));

/// How often the leader looks, while events gather, whether something cannot wait for a batch. Nobody wakes it meanwhile.
const STEP: Duration = Duration::from_millis(5);

/// How often it is looked whether an endpoint queue without room is behind by now: nothing tells.
const HANGING: Duration = Duration::from_millis(100);

const _: () = assert!(SPACING.0.as_micros() < SPACING.1.as_micros());

impl Leader {
    /// Waits for whatever comes first, at the end of a turn.
    pub(super) fn rest(&self, began: Instant) {
        let next = began + (began.elapsed() * 10).clamp(SPACING.0, SPACING.1);
        let timeout = self.time_to_rest();
        if timeout.is_zero() {
            interrupt::serve();
        } else {
            interrupt::wait(Some(self.sender.wakeup()), timeout);
        }
        if !self.may_read_on() {
            self.gather(next);
        }
    }

    /// Lets events and outcomes gather until the next turn, which begins at `next` at the earliest.
    fn gather(&self, next: Instant) {
        loop {
            let now = Instant::now();
            let push = self.schedule.push_due_in(now);
            let hurry = interrupt::ending()
                || interrupt::reloading()
                || self.entry.is_asked()
                || self.sender.has_many_outcomes()
                || push == Some(Duration::ZERO);
            let end = if hurry { next } else { next.max(self.next_poll()) };
            // Jobs do not wait for events.
            let jobs = self.jobs.due_in(now, self.ledger.backlog()).map(|wait| now + wait);
            let end = jobs.map_or(end, |due| end.min(next.max(due)));
            let left = end.saturating_duration_since(now);
            if left.is_zero() {
                return;
            }
            let push = push.filter(|push| !push.is_zero());
            std::thread::sleep(left.min(STEP).min(push.unwrap_or(STEP)));
            interrupt::serve();
        }
    }

    /// Before this, events gather.
    pub(super) fn next_poll(&self) -> Instant {
        self.pacing.next_poll(self.poll_is_due())
    }

    /// For how long events gather after a poll.
    pub(super) fn batch_delay(&mut self, now: Instant) -> Duration {
        let (rates, longest) = (self.pacing.rates(now), settings::batch_delay());
        // Nobody waits for what a poll finds then.
        if !self.database.is_switched_on() {
            return longest;
        }
        if self.reader.has_unread() {
            return Duration::ZERO;
        }
        let ours = self.sender.processors();
        let look = || Ticks::parse(&std::fs::read_to_string("/proc/stat").ok()?, ours);
        self.pacing.batch(now, rates, ours, longest, look)
    }

    fn time_to_rest(&self) -> Duration {
        let outcomes = self.sender.has_outcomes() || self.schedule.has_untried();
        // A wait for a lock within the turn takes the latch's signal with it; the flag stays.
        // One that is behind looks before it leaves.
        let sent_away = self.entry.leave() != Leave::Stay && !self.pacing.is_behind();
        let told =
            self.entry.is_woken() || self.entry.is_asked() || interrupt::ending() || sent_away;
        if self.has_more() || outcomes || told {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let interval = settings::poll_interval();
        let unasked = Some(self.pacing.unasked_in(now, interval));
        let claims = self.claims_due_in(now);
        let push = self.schedule.push_due_in(now);
        let room = (self.reads() && self.reader.has_unread()).then_some(HANGING);
        let upkeep = self.upkeep.due_in(now, self.ledger.backlog());
        let notices = self.notices.due_in(now);
        let jobs = self.jobs.due_in(now, self.ledger.backlog());
        let backlog = self.ledger.backlog();
        let works = self.reads() && self.ordering.has_work(&self.reader);
        let order = works.then(|| backlog.again_in(now).max(self.ordering.rests_for(now)));
        let forms = self.schedule.forms_in(now).filter(|_| self.leaving.is_none());
        let times =
            [unasked, self.flush_in(now), claims, push, room, upkeep, notices, jobs, forms, order];
        times.into_iter().flatten().min().unwrap_or(interval)
    }

    /// The ring is read.
    pub(super) fn reads(&self) -> bool {
        self.database.is_switched_on() || self.upkeep.is_draining() || self.jobs.reads(&self.reader)
    }

    /// There is something to read and room for it.
    pub(super) fn may_read_on(&self) -> bool {
        self.reads()
            && self.reader.has_unread()
            && (self.schedule.has_room() || self.reader.is_crowded())
            && !self.ledger.backlog().is_full()
            && self.ledger.room() > 0
    }

    /// The last poll has left something that the next one can take.
    fn has_more(&self) -> bool {
        self.may_read_on() || self.reader.has_many_cancelled() || self.may_put_in_order()
    }

    /// Something is under way, or to be read, or due.
    pub(super) fn has_work(&self) -> bool {
        let unread = self.reader.has_unread() || self.reader.has_unordered();
        !self.schedule.is_empty() || unread || self.poll_is_due()
    }

    /// A poll would find something, whoever has woken it or not.
    pub(super) fn poll_is_due(&self) -> bool {
        self.has_more() || self.claims_due_in(Instant::now()) == Some(Duration::ZERO)
    }

    /// How long until there is something to be claimed; `None` where nothing is known of.
    fn claims_due_in(&self, now: Instant) -> Option<Duration> {
        let on = self.database.is_switched_on();
        let due = self.schedule.next_wake(now, self.time.now()).filter(|_| on);
        due.map(|due| due.max(self.ledger.backlog().again_in(now)))
    }
}
