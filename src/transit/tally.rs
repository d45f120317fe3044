//! What is counted of deliveries until it is written down.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, Instant};

use crate::event::Settlement;
use domain::histogram::Histogram;
use domain::key::WebhookId;
use domain::verdict::Verdict;

/// How often counts are written while something is counted. A crash forgets what has been counted since. Oftener, and where somebody
/// holds an old snapshot each version of a row makes the next one dearer.
const PACE: Duration = Duration::from_secs(1);

/// The most rows that are written each time, of some 1.2 kB. More, and many webhooks with few deliveries each cost more than their
/// deliveries do; with fewer their counts are late.
const AT_ONCE: usize = 50;

/// Of a webhook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests.
    pub attempts: i64,
    /// Those of them that an answer came to, whatever it was.
    pub answered: i64,
    /// Deliveries that were made.
    pub delivered: i64,
    /// Those that were given up.
    pub dead: i64,
    /// How long requests took.
    pub requests: Histogram,
    /// How long it took until deliveries were made, from the change on.
    pub deliveries: Histogram,
}

impl Tally {
    fn add(&mut self, settlement: &Settlement) {
        let attempt = &settlement.attempt;
        // What is dead without a request is the attempt number 0.
        if attempt.number > 0 {
            self.attempts += 1;
            self.answered += i64::from(attempt.result.is_ok());
            self.requests.add(attempt.took);
        }
        match attempt.verdict {
            Verdict::Delivered => {
                self.delivered += 1;
                let made = attempt.started.after(attempt.took);
                self.deliveries.add(made.since(settlement.since));
            }
            Verdict::Dead => self.dead += 1,
            Verdict::Retry(_) | Verdict::Failed => {}
        }
    }
}

/// What is to be written of webhooks.
pub type Due = Vec<(WebhookId, Tally)>;

/// Of all webhooks.
#[derive(Debug)]
pub struct Tallies {
    /// What has not been written.
    kept: BTreeMap<WebhookId, Tally>,
    written: Instant,
    /// The last one of those that were written.
    last: WebhookId,
}

impl Tallies {
    /// Nothing has been counted. What comes first is written at once.
    pub fn new(now: Instant) -> Self {
        let written = now.checked_sub(PACE).unwrap_or(now);
        Self { kept: BTreeMap::new(), written, last: WebhookId(i32::MAX) }
    }

    /// How long until what has been counted is to be written.
    pub fn due_in(&self, now: Instant) -> Option<Duration> {
        let wait = PACE.saturating_sub(now.saturating_duration_since(self.written));
        (!self.kept.is_empty()).then_some(wait)
    }

    /// What is to be written now, with these `settlements`: of some webhooks, and the next time of those after them.
    pub fn due(&self, settlements: &[Settlement], now: Instant) -> Due {
        if now.saturating_duration_since(self.written) < PACE {
            return Due::new();
        }
        let counted = settlements.iter().map(|settlement| settlement.attempt.webhook);
        let webhooks: BTreeSet<WebhookId> = self.kept.keys().copied().chain(counted).collect();
        let next = webhooks.range((Bound::Excluded(self.last), Bound::Unbounded));
        let next = next.chain(webhooks.range(..=self.last)).take(AT_ONCE);
        let kept = |webhook: &WebhookId| self.kept.get(webhook).cloned().unwrap_or_default();
        let mut due: Due = next.map(|webhook| (*webhook, kept(webhook))).collect();
        for settlement in settlements {
            let webhook = settlement.attempt.webhook;
            if let Some((_, tally)) = due.iter_mut().find(|(of, _)| *of == webhook) {
                tally.add(settlement);
            }
        }
        due
    }

    /// All that has not been written.
    pub fn all(&self) -> Due {
        self.kept.clone().into_iter().collect()
    }

    /// These `settlements` have been written, and what was `due` with them.
    pub fn count(&mut self, settlements: &[Settlement], due: &Due, now: Instant) {
        for (webhook, _) in due {
            self.kept.remove(webhook);
        }
        if let Some((last, _)) = due.last() {
            self.last = *last;
            self.written = now;
        }
        for settlement in settlements {
            let webhook = settlement.attempt.webhook;
            if due.iter().all(|(of, _)| *of != webhook) {
                self.kept.entry(webhook).or_default().add(settlement);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Attempt, Origin};
    use domain::failure::{ErrorClass, Failure};
    use domain::key::DeliveryId;
    use domain::snapshot::Xid8;
    use domain::time::Timestamp;
    use domain::verdict::Answer;

    fn settlement(webhook: i32, verdict: Verdict) -> Settlement {
        let answer = Answer {
            status: 200,
            retry_after: None,
            request: None,
            points_to: None,
            body: String::new(),
        };
        let failure = Failure::new(ErrorClass::Timeout, "no answer".to_owned());
        let delivered = verdict == Verdict::Delivered;
        let attempt = Attempt {
            delivery: DeliveryId(1),
            xid: Xid8(1),
            webhook: WebhookId(webhook),
            event_slot: None,
            number: 1,
            started: Timestamp(2_000_000),
            took: Duration::from_millis(3),
            result: Arc::new(if delivered { Ok(answer) } else { Err(failure) }),
            batch: None,
            verdict,
        };
        Settlement {
            attempt,
            origin: Origin::Pending { slot: None },
            since: Timestamp(1_000_000),
            first_attempt_at: Timestamp(2_000_000),
            attempts: 1,
            next_at: None,
            batch: None,
            pause: None,
            turn: None,
        }
    }

    fn later(now: Instant, millis: u64) -> Instant {
        now + Duration::from_millis(millis)
    }

    #[test]
    fn counts_what_attempts_mean() {
        let now = Instant::now();
        let mut unsent = settlement(1, Verdict::Dead);
        unsent.attempt.number = 0;
        let all = [
            settlement(1, Verdict::Delivered),
            settlement(1, Verdict::Retry(Duration::ZERO)),
            settlement(1, Verdict::Dead),
            unsent,
        ];
        let due = Tallies::new(now).due(&all, now);
        let [(WebhookId(1), tally)] = &due[..] else { panic!("{due:?}") };
        let Tally { attempts, answered, delivered, dead, .. } = *tally;
        assert_eq!((attempts, answered, delivered, dead), (3, 1, 1, 2));
        assert_eq!((tally.requests.sum, tally.deliveries.sum), (9_000, 1_003_000));
    }

    #[test]
    fn nothing_is_counted_twice_or_left_out() {
        let now = Instant::now();
        let mut tallies = Tallies::new(now);
        let mut written: BTreeMap<WebhookId, i64> = BTreeMap::new();
        let mut random = fastrand::Rng::with_seed(5);
        let mut made = 0;
        for turn in 0..2_000 {
            let now = later(now, turn * 100);
            let webhooks = (0..random.usize(0..20)).map(|_| random.i32(1..200));
            let all: Vec<_> = webhooks.map(|id| settlement(id, Verdict::Delivered)).collect();
            let due = tallies.due(&all, now);
            assert!(due.len() <= AT_ONCE);
            if random.u8(0..4) == 0 {
                continue; // it could not be written
            }
            made += all.len() as i64;
            for (webhook, tally) in &due {
                *written.entry(*webhook).or_default() += tally.delivered;
            }
            tallies.count(&all, &due, now);
        }
        let left: i64 = tallies.all().iter().map(|(_, tally)| tally.delivered).sum();
        assert_eq!(written.values().sum::<i64>() + left, made);
        assert!(written.len() > 190, "each has its turn: {}", written.len());
    }

    #[test]
    fn what_comes_first_is_written_at_once_and_then_each_second() {
        let now = Instant::now();
        let mut tallies = Tallies::new(now);
        let one = [settlement(1, Verdict::Delivered)];
        assert_eq!(tallies.due_in(now), None);
        let due = tallies.due(&one, now);
        assert_eq!(due.len(), 1);
        tallies.count(&one, &due, now);
        assert_eq!(tallies.due_in(now), None, "it is written");
        assert!(tallies.due(&one, later(now, 400)).is_empty());
        tallies.count(&one, &Due::new(), later(now, 400));
        assert_eq!(tallies.due_in(later(now, 400)), Some(Duration::from_millis(600)));
        assert_eq!(tallies.due(&[], later(now, 1000))[0].1.delivered, 1);
    }
}
