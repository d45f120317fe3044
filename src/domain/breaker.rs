//! The circuit breaker of one endpoint.
//!
//! Closed: events go out freely. After [`TRIPS_AT`] failures in a row it opens: nothing goes out
//! until a wait is over, then one probe does. A success closes it, a failed probe opens it again for
//! longer. An answer that refuses an event (see [`super::verdict::blames_endpoint`]) is as good as a success here.
//! Events that wait behind an open breaker are not attempted and keep their own attempts.

use std::time::{Duration, Instant};

use super::backoff;
use super::key::DeliveryId;

/// Failures in a row that open the breaker; an endpoint queue holds at the same number. Fewer, and one bad moment stops an
/// endpoint; more, and a dead one costs so many attempts more.
pub const TRIPS_AT: u32 = 5;

/// An open breaker probes at least this often, so that an endpoint that comes back is found.
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What the breaker lets through now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// Any number of requests.
    Any,
    /// One request, whose outcome decides.
    Probe,
    /// None before this time.
    NoneBefore(Instant),
    /// None until the probe that is in flight has ended.
    NoneWhileProbing,
}

/// Consecutive failures of one endpoint and what follows from them.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    /// `opened` counts from 1 since it was last closed.
    Open {
        opened: u32,
        next_probe: Instant,
    },
    Probing {
        opened: u32,
        delivery: DeliveryId,
    },
}

impl Breaker {
    /// A breaker that remembers the failures of an earlier run: beyond the threshold it starts with
    /// a probe.
    pub fn with_failures(failures: u32, now: Instant) -> Self {
        let state = if failures < TRIPS_AT {
            State::Closed
        } else {
            State::Open { opened: 1, next_probe: now }
        };
        Self { failures, state }
    }

    /// Failures in a row, for [`Self::with_failures`].
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// What may be sent at `now`.
    pub fn allows(&self, now: Instant) -> Allowance {
        match self.state {
            State::Closed => Allowance::Any,
            State::Open { next_probe, .. } if next_probe <= now => Allowance::Probe,
            State::Open { next_probe, .. } => Allowance::NoneBefore(next_probe),
            State::Probing { .. } => Allowance::NoneWhileProbing,
        }
    }

    /// Where nothing goes out before a time, a probe may go at `at` already: somebody has changed something about the endpoint. Returns
    /// whether that is so.
    pub fn try_at(&mut self, at: Instant) -> bool {
        let State::Open { next_probe, .. } = &mut self.state else {
            return false;
        };
        *next_probe = at.min(*next_probe);
        true
    }

    /// `delivery` was sent as the probe.
    pub fn probe_sent(&mut self, delivery: DeliveryId) {
        if let State::Open { opened, .. } = self.state {
            self.state = State::Probing { opened, delivery };
        }
    }

    /// `delivery` came back unsent at `now`; if it was the probe, another may go.
    pub fn unsent(&mut self, delivery: DeliveryId, now: Instant) {
        match self.state {
            State::Probing { opened, delivery: probe } if probe == delivery => {
                self.state = State::Open { opened, next_probe: now };
            }
            _ => {}
        }
    }

    /// A request was answered by an endpoint that is alive.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// `delivery` failed at `now`. `base` and `jitter` are those of [`backoff::wait`]. Failures of
    /// requests that were in flight when the breaker opened count, but do not prolong it.
    pub fn failed(&mut self, delivery: DeliveryId, now: Instant, base: Duration, jitter: f64) {
        self.failures = self.failures.saturating_add(1);
        let opened = match self.state {
            State::Closed if self.failures >= TRIPS_AT => 1,
            State::Probing { opened, delivery: probe } if probe == delivery => opened + 1,
            _ => return,
        };
        let wait = backoff::wait(opened, base, jitter).min(LONGEST_WAIT);
        self.state = State::Open { opened, next_probe: now + wait };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(5);

    fn tripped(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..TRIPS_AT {
            assert_eq!(breaker.allows(now), Allowance::Any);
            breaker.failed(DeliveryId(1), now, BASE, 0.0);
        }
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..3 * TRIPS_AT {
            breaker.failed(DeliveryId(1), now, BASE, 0.0);
            breaker.succeeded();
        }
        assert_eq!(breaker.allows(now), Allowance::Any);
        assert_eq!(tripped(now).allows(now), Allowance::NoneBefore(now + BASE));
    }

    #[test]
    fn one_probe_at_a_time_and_a_success_closes() {
        let now = Instant::now();
        let mut breaker = tripped(now);
        let later = now + BASE;
        assert_eq!(breaker.allows(later), Allowance::Probe);
        breaker.probe_sent(DeliveryId(1));
        assert_eq!(breaker.allows(later), Allowance::NoneWhileProbing);
        breaker.succeeded();
        assert_eq!(breaker.allows(later), Allowance::Any);
        assert_eq!(breaker.failures, 0);
    }

    #[test]
    fn a_failed_probe_waits_longer_up_to_the_cap() {
        let mut now = Instant::now();
        let mut breaker = tripped(now);
        for expected in [5, 10, 20, 40, 80, 160, 300, 300] {
            let Allowance::NoneBefore(at) = breaker.allows(now) else { panic!() };
            assert_eq!((at - now).as_secs(), expected);
            now = at;
            breaker.probe_sent(DeliveryId(1));
            breaker.failed(DeliveryId(1), now, BASE, 0.0);
        }
    }

    #[test]
    fn answers_that_were_in_flight_when_it_opened_do_not_prolong_it() {
        let now = Instant::now();
        let mut breaker = tripped(now);
        for late in 2..100 {
            breaker.failed(DeliveryId(late), now, BASE, 0.0);
        }
        assert_eq!(breaker.allows(now), Allowance::NoneBefore(now + BASE));
        breaker.probe_sent(DeliveryId(1));
        breaker.failed(DeliveryId(100), now, BASE, 0.0);
        assert_eq!(breaker.allows(now), Allowance::NoneWhileProbing);
        breaker.unsent(DeliveryId(1), now);
        assert_eq!(breaker.allows(now), Allowance::Probe);
    }

    #[test]
    fn what_somebody_changes_is_tried_at_once() {
        let now = Instant::now();
        let mut breaker = tripped(now);
        assert!(breaker.try_at(now));
        assert_eq!(breaker.allows(now), Allowance::Probe);
        breaker.probe_sent(DeliveryId(1));
        assert!(!breaker.try_at(now));
        assert_eq!(breaker.allows(now), Allowance::NoneWhileProbing, "one at a time");
        breaker.failed(DeliveryId(1), now, BASE, 0.0);
        assert_eq!(breaker.allows(now), Allowance::NoneBefore(now + 2 * BASE));
        let mut closed = Breaker::default();
        assert!(!closed.try_at(now));
        assert_eq!(closed.allows(now), Allowance::Any);
    }

    #[test]
    fn a_restart_keeps_what_was_known() {
        let now = Instant::now();
        assert_eq!(Breaker::with_failures(TRIPS_AT, now).allows(now), Allowance::Probe);
        assert_eq!(Breaker::with_failures(1, now).allows(now), Allowance::Any);
    }
}
