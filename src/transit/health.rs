//! How an endpoint has been answering, and when that is written down.

use std::time::{Duration, Instant};

use domain::key::WebhookId;
use domain::time::Timestamp;

/// How often an endpoint's health is written while it fails, and while it just goes on. Oftener, and where somebody holds an old
/// snapshot each version of the row makes the next one dearer; less often, and health is late.
const FAILURES: Duration = Duration::from_secs(1);
const SUCCESSES: Duration = Duration::from_secs(10);

/// A change between healthy and failing is written immediately, but at most once a second over this time.
const TURNS: Duration = Duration::from_secs(10);

/// How long a run has to see a webhook fail before it is paused for that. Shorter, and one whose endpoint comes back a little later
/// than the server is paused; longer, and one that begins to fail is paused late where `disable_after` is shorter.
const SETTLING: Duration = Duration::from_secs(300);

/// How an endpoint has been answering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whose.
    pub webhook: WebhookId,
    /// Consecutive failures.
    pub fail_count: u32,
    /// Those since the endpoint last showed itself alive.
    pub unwell: u32,
    /// The last success of this run.
    pub last_success_at: Option<Timestamp>,
    /// The last failure of this run.
    pub last_failure_at: Option<Timestamp>,
    /// What it was.
    pub last_error: Option<String>,
    /// The first failure since the last success, or since the webhook was last changed.
    pub failing_since: Option<Timestamp>,
    /// No request starts before this.
    pub held_until: Option<Timestamp>,
    /// Events wait because of the rate at which requests may start.
    pub throttled: bool,
}

/// The same, with what has not been written of it.
pub(super) struct Record {
    health: Health,
    news: Option<News>,
    written: Option<Instant>,
    /// When the last one would have been written if all had been `FAILURES` apart.
    spaced: Option<Instant>,
    /// The first failure of this run since then, and how long it had failed before.
    first: Option<(Instant, Duration)>,
}

/// What has not been written, the most urgent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    Success,
    Failure,
    Turn,
}

impl Record {
    /// Of an endpoint that has failed so many times, so many of them since it last showed itself alive, and `since` then without a
    /// success; and of which it is written down that it is throttled, or not.
    pub(super) fn new(
        webhook: WebhookId,
        fail_count: u32,
        unwell: u32,
        since: Option<Timestamp>,
        throttled: bool,
    ) -> Self {
        let health = Health {
            webhook,
            fail_count,
            unwell,
            last_success_at: None,
            last_failure_at: None,
            last_error: None,
            failing_since: since,
            held_until: None,
            throttled,
        };
        Self { health, news: None, written: None, spaced: None, first: None }
    }

    /// The webhook is another one now: how long it has failed before counts for nothing, and it is tried.
    pub(super) fn begin_anew(&mut self) {
        self.health.failing_since = None;
        self.first = None;
        if self.health.held_until.take().is_some() {
            self.note(News::Turn);
        }
    }

    /// It has failed for so long without a success. A run that has just begun looks for a while first: endpoints can have been away
    /// together with the server. A clock that is set while the worker runs counts for nothing.
    pub(super) fn fails_for(&self, long: Duration, now: Instant) -> bool {
        self.first.is_some_and(|(first, before)| {
            let in_run = now.saturating_duration_since(first);
            before + in_run >= long && in_run >= long.min(SETTLING)
        })
    }

    /// Consecutive failures.
    pub(super) fn fail_count(&self) -> u32 {
        self.health.fail_count
    }

    /// It has answered well.
    pub(super) fn succeeded(&mut self, at: Timestamp) {
        self.note(if self.health.fail_count > 0 { News::Turn } else { News::Success });
        self.health.fail_count = 0;
        self.health.unwell = 0;
        self.health.held_until = None;
        self.health.last_success_at = Some(at);
        self.health.failing_since = None;
        self.first = None;
    }

    /// It has failed once more, `unwell` times since it last showed itself alive, and gets nothing until `held_until`.
    pub(super) fn failed(
        &mut self,
        at: Timestamp,
        error: String,
        unwell: u32,
        held_until: Option<Timestamp>,
        now: Instant,
    ) {
        self.note(if self.health.fail_count == 0 { News::Turn } else { News::Failure });
        self.health.fail_count = self.health.fail_count.saturating_add(1);
        self.health.unwell = unwell;
        self.health.last_failure_at = Some(at);
        self.health.last_error = Some(error);
        let since = *self.health.failing_since.get_or_insert(at);
        self.first.get_or_insert((now, at.since(since)));
        self.health.held_until = held_until;
    }

    /// Its events wait because of its rate, or do not.
    pub(super) fn throttle(&mut self, throttled: bool) {
        if self.health.throttled != throttled {
            self.health.throttled = throttled;
            self.note(News::Turn);
        }
    }

    pub(super) fn is_throttled(&self) -> bool {
        self.health.throttled
    }

    fn note(&mut self, news: News) {
        self.news = self.news.max(Some(news));
    }

    /// How long until what is new is to be written.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        let after = |pace: Duration| {
            let passed = self.written.map_or(pace, |at| now.saturating_duration_since(at));
            pace.saturating_sub(passed)
        };
        let ahead = || self.spaced.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        self.news.map(|news| match news {
            News::Success => after(SUCCESSES),
            News::Failure => after(FAILURES),
            News::Turn => ahead().saturating_sub(TURNS),
        })
    }

    /// What is to be written now.
    pub(super) fn take(&mut self, now: Instant) -> Option<Health> {
        if !self.due_in(now)?.is_zero() {
            return None;
        }
        self.news = None;
        self.written = Some(now);
        self.spaced = Some(self.spaced.map_or(now, |at| at.max(now)) + FAILURES);
        Some(self.health.clone())
    }

    /// If there is anything new, it is to be written at once.
    pub(super) fn hurry(&mut self) {
        self.written = None;
        self.spaced = None;
    }

    /// What was taken could not be written.
    pub(super) fn put_back(&mut self) {
        self.note(News::Turn);
        self.hurry();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(0);

    /// After `millis` of an attempt: how long what is new has to wait, and what is written.
    fn ends(
        record: &mut Record,
        begin: Instant,
        failures: u32,
        millis: u64,
    ) -> (u128, Option<u32>) {
        let now = begin + Duration::from_millis(millis);
        match failures {
            0 => record.succeeded(NOW),
            _ => record.failed(NOW, String::new(), failures, None, now),
        }
        let due = record.due_in(now).expect("something is new").as_millis();
        (due, record.take(now).map(|health| health.fail_count))
    }

    #[test]
    fn it_is_written_sooner_if_there_is_news() {
        let begin = Instant::now();
        let mut record = Record::new(WebhookId(1), 0, 0, None, false);
        assert_eq!(record.due_in(begin), None);
        let mut ends = |failures, millis| ends(&mut record, begin, failures, millis);
        assert_eq!(ends(0, 0), (0, Some(0)), "the first");
        assert_eq!(ends(0, 100), (9900, None), "as before");
        assert_eq!(ends(1, 200), (0, Some(1)), "a turn");
        assert_eq!(ends(2, 300), (900, None));
        assert_eq!(ends(3, 1200), (0, Some(3)));
        assert_eq!(ends(0, 1300), (0, Some(0)), "well again");
        assert_eq!(ends(0, 11_200), (100, None));
    }

    #[test]
    fn many_turns_are_not_written_one_by_one() {
        let begin = Instant::now();
        let mut record = Record::new(WebhookId(1), 0, 0, None, false);
        let mut written = 0;
        for millis in 0..100_000 {
            let failures = u32::from(millis % 2 == 0);
            written += u32::from(ends(&mut record, begin, failures, millis).1.is_some());
        }
        assert!((105..=115).contains(&written), "{written} in 100 s");
    }

    #[test]
    fn it_is_written_when_its_rate_begins_to_matter_and_when_it_ends() {
        let begin = Instant::now();
        let mut record = Record::new(WebhookId(1), 0, 0, None, false);
        record.throttle(false);
        assert_eq!(record.due_in(begin), None, "as before");
        record.throttle(true);
        assert!(record.take(begin).is_some_and(|health| health.throttled));
        record.throttle(true);
        assert_eq!(record.due_in(begin), None, "as before");
        record.throttle(false);
        assert!(record.take(begin).is_some_and(|health| !health.throttled));
    }

    #[test]
    fn who_is_well_again_is_held_no_longer() {
        let now = Instant::now();
        let mut record = Record::new(WebhookId(1), 0, 0, None, false);
        record.failed(NOW, String::new(), 5, Some(Timestamp(9)), now);
        assert_eq!(record.take(now).expect("a turn").held_until, Some(Timestamp(9)));
        record.succeeded(NOW);
        assert_eq!(record.take(now).expect("a turn").held_until, None);
    }

    #[test]
    fn in_a_hurry_it_is_written_at_once() {
        let now = Instant::now();
        let mut record = Record::new(WebhookId(1), 0, 0, None, false);
        record.hurry();
        assert_eq!(record.take(now), None, "nothing is new");
        record.succeeded(NOW);
        assert!(record.take(now).is_some());
        record.succeeded(NOW);
        assert_eq!(record.take(now), None);
        record.hurry();
        let last = record.take(now);
        assert!(last.is_some());
        record.put_back();
        assert_eq!(record.take(now), last, "it could not be written");
    }

    #[test]
    fn how_long_it_has_failed() {
        let begin = Instant::now();
        let day = Duration::from_secs(86_400);
        let after = |seconds: u64| {
            (Timestamp(0).after(Duration::from_secs(seconds)), begin + Duration::from_secs(seconds))
        };
        let fail = |record: &mut Record, seconds| {
            let (at, now) = after(seconds);
            record.failed(at, String::new(), 1, None, now);
            record.fails_for(day, now)
        };
        let mut record = Record::new(WebhookId(1), 0, 0, None, false);
        assert!(!fail(&mut record, 10) && !fail(&mut record, 86_409) && fail(&mut record, 86_410));
        record.succeeded(after(86_411).0);
        assert!(!fail(&mut record, 90_000), "it begins anew");
        record.begin_anew();
        assert!(!fail(&mut record, 180_000) && fail(&mut record, 180_000 + 86_400));
        // In an earlier run: this one looks for five minutes first.
        let mut record = Record::new(WebhookId(1), 7, 7, Some(Timestamp(0)), false);
        assert!(
            !fail(&mut record, 90_000) && !fail(&mut record, 90_299) && fail(&mut record, 90_300)
        );
    }
}
