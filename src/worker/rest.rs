//! When the leader works and how long it waits.

use std::time::{Duration, Instant, SystemTime};

use super::leader::Leader;
use super::look::Cancelled;
use crate::delivery::pool::OUTCOMES;
use crate::domain::time::Timestamp;
use crate::pg::{interrupt, settings};

/// The time between two turns is ten times what the last one took, within these bounds: many small turns
/// would cost the writers more than a few larger ones cost anybody in waiting.
const SPACING: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(5));

/// And up to this while many transactions commit: the more there are, the more their sessions want the
/// processors. It grows with their square, so that those who have hundreds a second hardly wait.
const SPACING_OF_MANY: Duration = Duration::from_millis(50);

/// Transactions with events, a second.
const MANY: f64 = 5000.0;

/// How often the queue is looked at without a wake: two-phase commits announce nothing.
pub(super) const POLL: Duration = Duration::from_secs(5);

/// How often it is looked whether a lane without room is behind by now: nothing tells.
const HANGING: Duration = Duration::from_millis(100);

impl Leader {
    /// Waits for whatever comes first. Never blocks anywhere else.
    pub(super) fn rest(&mut self, began: Instant) {
        let spacing = self.spacing(began);
        let timeout = self.time_to_rest();
        if timeout.is_zero() {
            pgrx::check_for_interrupts!();
        } else {
            interrupt::wait(Some(self.pool.bell()), timeout);
        }
        if !self.may_read_on() {
            std::thread::sleep(spacing.saturating_sub(began.elapsed()));
        }
    }

    fn spacing(&mut self, began: Instant) -> Duration {
        let (events, transactions) =
            (self.events.per_second(began), self.transactions.per_second(began));
        let least = (began.elapsed() * 10).clamp(SPACING.0, SPACING.1);
        if self.windows.unread() {
            return least;
        }
        let busy = SPACING_OF_MANY.mul_f64((transactions / MANY).powi(2).min(1.0));
        // Longer, and the threads would wait for their outcomes to be collected.
        let room = Duration::from_secs_f64(OUTCOMES as f64 / 2.0 / events.max(1.0));
        busy.min(room).max(least)
    }

    fn time_to_rest(&mut self) -> Duration {
        let outcomes = self.pool.uncollected() > 0 || self.schedule.has_untried();
        // A wait for a lock within the turn takes the latch's signal with it; the flag stays.
        let more = self.may_read_on() || self.cancelled == Cancelled::Many;
        if more || outcomes || self.entry.is_woken() {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let clock = Timestamp::from(SystemTime::now());
        let enabled = settings::enabled();
        let schedule = if enabled { self.schedule.next_wake(now, clock) } else { None };
        let poll = POLL.saturating_sub(self.polled.elapsed());
        let push = self.schedule.push_due_in(now);
        let room = (enabled && self.windows.unread()).then_some(HANGING);
        let times = [Some(poll), self.flush_wait(now), schedule, push, room];
        times.into_iter().flatten().min().unwrap_or(POLL)
    }

    /// There is something to read and room for it.
    pub(super) fn may_read_on(&self) -> bool {
        settings::enabled() && self.windows.unread() && self.schedule.has_room()
    }

    /// Something is under way, or to be read, or due.
    pub(super) fn has_work(&self) -> bool {
        self.schedule.len() > 0 || self.windows.unread() || self.look_is_due()
    }

    pub(super) fn look_is_due(&self) -> bool {
        let clock = Timestamp::from(SystemTime::now());
        self.may_read_on()
            || self.cancelled == Cancelled::Many
            || settings::enabled()
                && self.schedule.next_wake(Instant::now(), clock) == Some(Duration::ZERO)
    }
}
