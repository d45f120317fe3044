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
}

/// The same, with what has not been written of it.
pub(super) struct Record {
    health: Health,
    news: Option<News>,
    written: Option<Instant>,
    /// When the last one would have been written if all had been `FAILURES` apart.
    spaced: Option<Instant>,
}

/// What has not been written, the most urgent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    Success,
    Failure,
    Turn,
}

impl Record {
    /// Of an endpoint that has failed so many times, so many of them since it last showed itself alive.
    pub(super) fn new(webhook: WebhookId, fail_count: u32, unwell: u32) -> Self {
        let health = Health {
            webhook,
            fail_count,
            unwell,
            last_success_at: None,
            last_failure_at: None,
            last_error: None,
        };
        Self { health, news: None, written: None, spaced: None }
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
        self.health.last_success_at = Some(at);
    }

    /// It has failed once more, `unwell` times since it last showed itself alive.
    pub(super) fn failed(&mut self, at: Timestamp, error: String, unwell: u32) {
        self.note(if self.health.fail_count == 0 { News::Turn } else { News::Failure });
        self.health.fail_count = self.health.fail_count.saturating_add(1);
        self.health.unwell = unwell;
        self.health.last_failure_at = Some(at);
        self.health.last_error = Some(error);
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
            _ => record.failed(NOW, String::new(), failures),
        }
        let due = record.due_in(now).expect("something is new").as_millis();
        (due, record.take(now).map(|health| health.fail_count))
    }

    #[test]
    fn it_is_written_sooner_if_there_is_news() {
        let begin = Instant::now();
        let mut record = Record::new(WebhookId(1), 0, 0);
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
        let mut record = Record::new(WebhookId(1), 0, 0);
        let mut written = 0;
        for millis in 0..100_000 {
            let failures = u32::from(millis % 2 == 0);
            written += u32::from(ends(&mut record, begin, failures, millis).1.is_some());
        }
        assert!((105..=115).contains(&written), "{written} in 100 s");
    }

    #[test]
    fn in_a_hurry_it_is_written_at_once() {
        let now = Instant::now();
        let mut record = Record::new(WebhookId(1), 0, 0);
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
}
