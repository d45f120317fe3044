//! When the leader works and how long it waits.

use std::time::{Duration, Instant};

use super::leader::Leader;
use super::look::Cancelled;
use crate::pg::state::Leave;
use crate::pg::{interrupt, settings};
use delivery::pool::OUTCOMES;
use domain::batching;
use domain::processors::Ticks;

/// The time between two turns is ten times what the last one took, within these bounds: many small turns
/// would cost the writers more than a few larger ones cost anybody in waiting.
const SPACING: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(5));

/// What is due in the slow lane, and has room, waits no longer for a batch of the ring.
const CLAIMING: Duration = Duration::from_millis(50);

/// How often is seen to what cannot wait for a batch. Nobody wakes the leader meanwhile.
const STEP: Duration = Duration::from_millis(5);

/// How often it is looked whether a lane without room is behind by now: nothing tells.
const HANGING: Duration = Duration::from_millis(100);

/// A wait for which it is worth asking how busy the processors are: each half second, some ten microseconds where there are two.
const WORTH_A_LOOK: Duration = Duration::from_millis(2);

impl Leader {
    /// Waits for whatever comes first. Never blocks anywhere else.
    pub(super) fn rest(&mut self, began: Instant) {
        let next = began + (began.elapsed() * 10).clamp(SPACING.0, SPACING.1);
        let timeout = self.time_to_rest();
        if timeout.is_zero() {
            interrupt::serve();
        } else {
            interrupt::wait(Some(self.pool.bell()), timeout);
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
                // Soon the threads would wait for their outcomes to be collected.
                || self.pool.uncollected() >= OUTCOMES / 2
                || push == Some(Duration::ZERO);
            let end = if hurry { next } else { next.max(self.next_look()) };
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
    pub(super) fn next_look(&self) -> Instant {
        let delay = match self.look_is_due() {
            true => self.delay.min(CLAIMING),
            false => self.delay,
        };
        self.looked + delay
    }

    /// For how long after a look.
    pub(super) fn batch_delay(&mut self, now: Instant) -> Duration {
        let (transactions, events) =
            (self.transactions.per_second(now), self.events.per_second(now));
        // Nobody waits for what a look finds then.
        if !settings::enabled() {
            return settings::batch_delay();
        }
        if self.windows.unread() {
            return Duration::ZERO;
        }
        let (ours, longest) = (self.pool.processors(), settings::batch_delay());
        let delay = |busy| batching::delay(transactions, events, ours, busy, longest);
        let most = delay(1.0);
        // Whoever has little to do does not even look.
        if most < WORTH_A_LOOK {
            return most;
        }
        let look = || Ticks::parse(&std::fs::read_to_string("/proc/stat").ok()?, ours);
        delay(self.processors.busy(now, look))
    }

    fn time_to_rest(&mut self) -> Duration {
        let outcomes = self.pool.uncollected() > 0 || self.schedule.has_untried();
        // A wait for a lock within the turn takes the latch's signal with it; the flag stays.
        // One that is behind looks before it leaves.
        let sent_away = self.entry.leave() != Leave::Stay && !self.behind;
        let told =
            self.entry.is_woken() || self.entry.is_asked() || interrupt::ending() || sent_away;
        if self.has_more() || outcomes || told {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let schedule = self.claims_due_in(now);
        let interval = settings::poll_interval();
        let poll = interval.saturating_sub(self.polled.elapsed());
        let push = self.schedule.push_due_in(now);
        let room = (self.reads() && self.windows.unread()).then_some(HANGING);
        let removing = self.removing.due_in(now);
        let walking = Some(self.walking.due_in(now).max(self.backlog.again_in(now)));
        let times = [Some(poll), self.flush_wait(now), schedule, push, room, removing, walking];
        times.into_iter().flatten().min().unwrap_or(interval)
    }

    /// The ring is read.
    pub(super) fn reads(&self) -> bool {
        settings::enabled() || self.draining
    }

    /// There is something to read and room for it.
    pub(super) fn may_read_on(&self) -> bool {
        self.reads()
            && self.windows.unread()
            && (self.schedule.has_room() || self.windows.is_crowded())
            && !self.backlog.is_full()
            && self.room_for_outcomes() > 0
    }

    /// The last look has left something that the next one can take.
    fn has_more(&self) -> bool {
        self.may_read_on() || self.cancelled == Cancelled::Many
    }

    /// Something is under way, or to be read, or due.
    pub(super) fn has_work(&self) -> bool {
        !self.schedule.is_empty() || self.windows.unread() || self.look_is_due()
    }

    pub(super) fn look_is_due(&self) -> bool {
        self.has_more() || self.claims_due_in(Instant::now()) == Some(Duration::ZERO)
    }

    /// How long until there is something to be claimed; `None` where nothing is known of.
    fn claims_due_in(&self, now: Instant) -> Option<Duration> {
        let due = self.schedule.next_wake(now, self.time()).filter(|_| settings::enabled());
        due.map(|due| due.max(self.backlog.again_in(now)))
    }
}
