//! When the leader polls for what is to be sent, and for how long it lets events gather before.

use std::time::{Duration, Instant};

use domain::batching;
use domain::flow::Flow;
use domain::processors::{Processors, Ticks};

/// The longest that a due retry waits for a batch of new events to fill. Longer, and retries are late while the server is busy;
/// shorter, and each of them cuts a batch short.
const CLAIMING: Duration = Duration::from_millis(50);

/// From this wait on the leader asks how busy the processors are, which costs some ten microseconds each half second on a machine
/// with two. Shorter, and a leader with little to do pays for it; longer, and events wait while processors are idle.
const WORTH_A_LOOK: Duration = Duration::from_millis(2);

/// The polls of one leader.
pub struct Pacing {
    /// When it last polled although nobody had woken it.
    unasked: Instant,
    polled: Instant,
    /// How long to let events gather after that.
    delay: Duration,
    behind: bool,
    /// Events and their transactions, as they are read.
    events: Flow,
    transactions: Flow,
    processors: Processors,
}

impl Pacing {
    /// The first poll is due: nobody wakes for what was there before.
    pub fn new(now: Instant) -> Self {
        Self {
            unasked: now,
            polled: now,
            delay: Duration::ZERO,
            behind: true,
            events: Flow::new(now),
            transactions: Flow::new(now),
            processors: Processors::default(),
        }
    }

    /// There may be events that only a poll finds, and nobody wakes for them again.
    pub fn fall_behind(&mut self) {
        self.behind = true;
    }

    /// Whether somebody has woken this run, or its start did, and no poll has succeeded since.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// Nothing gathers before the next poll.
    pub fn hurry(&mut self) {
        self.delay = Duration::ZERO;
    }

    /// For how long events gather.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Before this, events gather: not for as long where something `is_due`.
    pub fn next_poll(&self, is_due: bool) -> Instant {
        self.polled + if is_due { self.delay.min(CLAIMING) } else { self.delay }
    }

    /// How long until it polls although nobody has woken it, which it does at each `interval`.
    pub fn unasked_in(&self, now: Instant, interval: Duration) -> Duration {
        interval.saturating_sub(now.saturating_duration_since(self.unasked))
    }

    /// It polls although nobody has woken it.
    pub fn ask_nobody(&mut self, now: Instant) {
        self.unasked = now;
    }

    /// So many events of so many transactions have been read.
    pub fn count(&mut self, events: usize, transactions: usize) {
        self.events.add(events);
        self.transactions.add(transactions);
    }

    /// A poll has succeeded, and events gather for `delay`.
    pub fn polled(&mut self, now: Instant, delay: Duration) {
        self.polled = now;
        self.behind = false;
        self.delay = delay;
    }

    /// How many transactions and events come in a second by now.
    pub fn rates(&mut self, now: Instant) -> (f64, f64) {
        (self.transactions.per_second(now), self.events.per_second(now))
    }

    /// For how long events should gather that come at these rates, on so many processors, `longest` at most. What the
    /// processors have done is asked for rarely.
    pub fn batch(
        &mut self,
        now: Instant,
        (transactions, events): (f64, f64),
        processors: usize,
        longest: Duration,
        ticks: impl FnOnce() -> Option<Ticks>,
    ) -> Duration {
        let delay = |busy| batching::delay(transactions, events, processors, busy, longest);
        let most = delay(1.0);
        // Whoever has little to do does not even ask.
        if most < WORTH_A_LOOK {
            return most;
        }
        delay(self.processors.busy(now, ticks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(300);

    #[test]
    fn it_begins_behind_and_is_not_after_a_poll() {
        let now = Instant::now();
        let mut pacing = Pacing::new(now);
        assert!(pacing.is_behind() && pacing.next_poll(false) == now);
        pacing.polled(now, LONGEST);
        assert!(!pacing.is_behind());
        assert_eq!(pacing.next_poll(false), now + LONGEST);
        assert_eq!(pacing.next_poll(true), now + CLAIMING, "what is due waits for less");
        pacing.hurry();
        assert_eq!(pacing.next_poll(false), now);
    }

    #[test]
    fn it_polls_at_each_interval() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut pacing = Pacing::new(now);
        assert_eq!(pacing.unasked_in(now + second, 5 * second), 4 * second);
        assert_eq!(pacing.unasked_in(now + 9 * second, 5 * second), Duration::ZERO);
        pacing.ask_nobody(now + 9 * second);
        assert_eq!(pacing.unasked_in(now + 9 * second, 5 * second), 5 * second);
    }

    #[test]
    fn whoever_has_little_to_do_asks_nothing() {
        let begun = Instant::now();
        let mut pacing = Pacing::new(begun);
        let at = |millis| begun + Duration::from_millis(millis);
        pacing.count(10, 10);
        let rates = pacing.rates(at(1000));
        assert_eq!(pacing.batch(at(1000), rates, 2, LONGEST, || unreachable!()), Duration::ZERO);
        for millis in 1001..3000 {
            pacing.count(4, 4);
            pacing.rates(at(millis));
        }
        let rates = pacing.rates(at(3000));
        let delay = pacing.batch(at(3000), rates, 2, LONGEST, || None);
        assert!((LONGEST / 2..=LONGEST).contains(&delay), "how busy they are cannot be known");
    }
}
