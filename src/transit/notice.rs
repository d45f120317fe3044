//! What somebody is to be told of webhooks: that one fails or does so no more, that deliveries are dead, that one is
//! paused, that what waits has waited for too long.
//!
//! Of a kind at most one a minute for each webhook. What changes meanwhile is told as it is then; what is counted is counted on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use domain::breaker::TRIPS_AT;
use domain::key::{DeliveryId, WebhookId};

/// The time between two of a kind about one webhook. Shorter, and an endpoint that comes and goes fills the log; longer, and it is
/// told late.
const EVERY: Duration = Duration::from_secs(60);

/// How many are told at once, each of which can become some events, and the time between. With more, and with less between them,
/// deliveries wait for it where many webhooks fail at the same moment; otherwise these are told later.
const AT_ONCE: usize = 5;
const SPACING: Duration = Duration::from_millis(100);

/// Webhooks of which it is remembered what has been told. Beyond that those of which nothing is to be told are forgotten.
const MOST: usize = 10_000;

/// Failures in a row that make a webhook one that fails: as many as open its breaker, whatever they were.
pub const FAILS_AT: u32 = TRIPS_AT;

/// How a webhook's endpoint has turned by an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It has failed so many times in a row, which is often enough.
    Failing(u32),
    /// It has succeeded after that.
    Recovered,
}

impl Turn {
    /// By what a row of so many failures has become.
    pub fn between(before: u32, after: u32) -> Option<Self> {
        match after {
            0 => (before >= FAILS_AT).then_some(Self::Recovered),
            _ => (after >= FAILS_AT).then_some(Self::Failing(after)),
        }
    }
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// So many attempts in a row have failed, the last one by this.
    Failing(u32, String),
    /// An attempt has succeeded after that.
    Recovered,
    /// So many deliveries have been given up since it was last told, the last one for this reason; it is known which it was, or not.
    Dead(u64, Option<DeliveryId>, String),
    /// A dead letter, the last of so many since it was last told, holds up those behind it in their order, for this reason.
    Held(u64, DeliveryId, String),
    /// It has been paused, by this role or for this reason.
    Paused(Option<String>, Option<String>),
    /// It has been disabled.
    Disabled,
    /// So much of it waits, and has for longer than it should.
    Overdue(Waiting),
}

/// What waits of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Events.
    pub count: u64,
    /// For how long the oldest has waited.
    pub age: Duration,
    /// For how long it may before this is told.
    pub limit: Duration,
}

/// What there is at most one of a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Failing,
    Recovered,
    Dead,
    Held,
    Paused,
    Disabled,
    Overdue,
}

impl Notice {
    fn kind(&self) -> Kind {
        match self {
            Self::Failing(..) => Kind::Failing,
            Self::Recovered => Kind::Recovered,
            Self::Dead(..) => Kind::Dead,
            Self::Held(..) => Kind::Held,
            Self::Paused(..) => Kind::Paused,
            Self::Disabled => Kind::Disabled,
            Self::Overdue(_) => Kind::Overdue,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// As it is.
    failing: Option<(u32, String)>,
    dead: Option<(u64, Option<DeliveryId>, String)>,
    held: Option<(u64, DeliveryId, String)>,
    paused: Option<(Option<String>, Option<String>)>,
    disabled: bool,
    overdue: Option<Waiting>,
    /// As it was told.
    told_failing: bool,
    /// A turn has been seen in this run.
    turned: bool,
    /// When each kind was last told.
    told_at: BTreeMap<Kind, Instant>,
}

impl State {
    /// What is to be told, and when.
    fn news(&self, now: Instant) -> Vec<(Instant, Notice)> {
        let turn = match (&self.failing, self.told_failing) {
            (Some((failures, error)), false) => Some(Notice::Failing(*failures, error.clone())),
            (None, true) => Some(Notice::Recovered),
            _ => None,
        };
        let dead = self.dead.clone().map(|(count, last, reason)| Notice::Dead(count, last, reason));
        let held = self.held.clone().map(|(count, last, reason)| Notice::Held(count, last, reason));
        let paused = self.paused.clone().map(|(by, reason)| Notice::Paused(by, reason));
        let disabled = self.disabled.then_some(Notice::Disabled);
        let overdue = self.overdue.map(Notice::Overdue);
        let notices = [turn, dead, held, paused, disabled, overdue].into_iter().flatten();
        let free_at = |kind| self.told_at.get(&kind).map_or(now, |at| *at + EVERY);
        notices.map(|notice| (free_at(notice.kind()), notice)).collect()
    }

    fn told(&mut self, notice: &Notice, now: Instant) {
        self.told_at.insert(notice.kind(), now);
        match notice {
            Notice::Failing(..) => self.told_failing = true,
            Notice::Recovered => self.told_failing = false,
            Notice::Dead(..) => self.dead = None,
            Notice::Held(..) => self.held = None,
            Notice::Paused(..) => self.paused = None,
            Notice::Disabled => self.disabled = false,
            Notice::Overdue(_) => self.overdue = None,
        }
    }

    /// Nothing would be told otherwise if it were forgotten.
    fn is_over(&self, now: Instant) -> bool {
        let long_ago = self.told_at.values().all(|at| *at + EVERY <= now);
        self.failing.is_none() && self.news(now).is_empty() && long_ago
    }
}

/// Of all webhooks.
#[derive(Debug, Default)]
pub struct Notices {
    states: BTreeMap<WebhookId, State>,
    /// When something is to be told.
    next: Option<Instant>,
    /// Nothing is before this, whatever comes.
    rested: Option<Instant>,
}

impl Notices {
    /// Its endpoint has turned, by an attempt that ended with `error` if that failed. What another run has found is not told again.
    pub fn turned(&mut self, webhook: WebhookId, turn: Turn, error: &str, now: Instant) {
        self.change(webhook, now, |state| {
            let known = std::mem::replace(&mut state.turned, true);
            match turn {
                Turn::Failing(failures) => {
                    state.told_failing |= !known && failures > FAILS_AT;
                    state.failing = Some((failures, error.to_owned()));
                }
                Turn::Recovered => {
                    state.told_failing |= !known;
                    state.failing = None;
                }
            }
        });
    }

    /// So many of its deliveries are dead, the `last` of them for this reason.
    pub fn died(
        &mut self,
        webhook: WebhookId,
        count: u64,
        last: Option<DeliveryId>,
        reason: &str,
        now: Instant,
    ) {
        self.change(webhook, now, |state| {
            let before = state.dead.as_ref().map_or(0, |(count, ..)| *count);
            state.dead = Some((before + count, last, reason.to_owned()));
        });
    }

    /// A dead letter of it holds up those behind it in their order.
    pub fn held(&mut self, webhook: WebhookId, delivery: DeliveryId, reason: &str, now: Instant) {
        self.change(webhook, now, |state| {
            let before = state.held.as_ref().map_or(0, |(count, ..)| *count);
            state.held = Some((before + 1, delivery, reason.to_owned()));
        });
    }

    /// It has been paused, by this role or for this reason.
    pub fn paused(
        &mut self,
        webhook: WebhookId,
        by: Option<String>,
        reason: Option<String>,
        now: Instant,
    ) {
        self.change(webhook, now, |state| state.paused = Some((by, reason)));
    }

    /// It has been disabled.
    pub fn disabled(&mut self, webhook: WebhookId, now: Instant) {
        self.change(webhook, now, |state| state.disabled = true);
    }

    /// What waits of it has begun to be overdue, or is so no more.
    pub fn waits(&mut self, webhook: WebhookId, overdue: Option<Waiting>, now: Instant) {
        self.change(webhook, now, |state| state.overdue = overdue);
    }

    fn change(&mut self, webhook: WebhookId, now: Instant, change: impl FnOnce(&mut State)) {
        if self.states.len() >= MOST {
            self.states.retain(|_, state| !state.is_over(now));
        }
        let state = self.states.entry(webhook).or_default();
        change(state);
        let news = state.news(now).into_iter().map(|(at, _)| at);
        self.next = news.chain(self.next).min();
    }

    /// How long until something is to be told.
    pub fn due_in(&self, now: Instant) -> Option<Duration> {
        self.due_at().map(|at| at.saturating_duration_since(now))
    }

    fn due_at(&self) -> Option<Instant> {
        self.next.map(|at| self.rested.map_or(at, |rested| at.max(rested)))
    }

    /// What is to be told now. It counts as told: what is lost of it is lost.
    pub fn take(&mut self, now: Instant) -> Vec<(WebhookId, Notice)> {
        if self.due_at().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let news = |(webhook, state): (&WebhookId, &State)| {
            let webhook = *webhook;
            state
                .news(now)
                .into_iter()
                .map(move |(at, notice)| (at, webhook, notice))
                .collect::<Vec<_>>()
        };
        let mut all: Vec<_> = self.states.iter().flat_map(news).collect();
        all.sort_by_key(|(at, ..)| *at);
        let due = all.iter().take(AT_ONCE).take_while(|(at, ..)| *at <= now).count();
        let later = all.split_off(due);
        self.next = later.first().map(|(at, ..)| *at);
        if due > 0 {
            self.rested = Some(now + SPACING);
        }
        for (_, webhook, notice) in &all {
            if let Some(state) = self.states.get_mut(webhook) {
                state.told(notice, now);
            }
        }
        all.into_iter().map(|(_, webhook, notice)| (webhook, notice)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOK: WebhookId = WebhookId(1);

    fn after(begin: Instant, seconds: u64) -> Instant {
        begin + Duration::from_secs(seconds)
    }

    fn failing(failures: u32) -> Notice {
        Notice::Failing(failures, "no".to_owned())
    }

    #[test]
    fn a_turn_is_told_once_and_its_end() {
        let begin = Instant::now();
        let mut notices = Notices::default();
        assert_eq!(Turn::between(3, 4), None);
        for failures in 5..20 {
            let turn = Turn::between(failures - 1, failures).unwrap();
            notices.turned(HOOK, turn, "no", after(begin, failures.into()));
            let told = notices.take(after(begin, failures.into()));
            let expected = if failures == 5 { vec![(HOOK, failing(5))] } else { vec![] };
            assert_eq!(told, expected, "{failures}");
        }
        notices.turned(HOOK, Turn::between(19, 0).unwrap(), "", after(begin, 20));
        assert_eq!(notices.take(after(begin, 20)), [(HOOK, Notice::Recovered)]);
        assert_eq!(Turn::between(0, 0), None);
        assert_eq!(notices.due_in(after(begin, 21)), None);
    }

    #[test]
    fn what_comes_and_goes_is_told_as_it_is_a_minute_later() {
        let begin = Instant::now();
        let mut notices = Notices::default();
        let mut told = Vec::new();
        for second in 0..600 {
            let turn = if second % 2 == 0 { Turn::Failing(5) } else { Turn::Recovered };
            notices.turned(HOOK, turn, "no", after(begin, second));
            told.extend(notices.take(after(begin, second)));
        }
        let failed = told.iter().filter(|(_, notice)| *notice == failing(5)).count();
        assert!((9..=10).contains(&failed), "{told:?}");
        assert!(told.len() <= 20, "{told:?}");
        // It has recovered at last, and in the end that is what was told.
        told.extend(notices.take(after(begin, 700)));
        assert_eq!(told.last(), Some(&(HOOK, Notice::Recovered)));
        assert_eq!(notices.due_in(after(begin, 700)), None);
    }

    #[test]
    fn what_is_dead_is_counted_until_it_is_told() {
        let begin = Instant::now();
        let mut notices = Notices::default();
        let dead = |count, id| (HOOK, Notice::Dead(count, Some(DeliveryId(id)), "no".to_owned()));
        notices.died(HOOK, 1, Some(DeliveryId(1)), "no", begin);
        assert_eq!(notices.take(begin), [dead(1, 1)]);
        for id in 2..12 {
            notices.died(HOOK, 1, Some(DeliveryId(id)), "no", after(begin, 1));
            assert_eq!(notices.take(after(begin, 1)), []);
        }
        assert_eq!(notices.due_in(after(begin, 1)), Some(Duration::from_secs(59)));
        assert_eq!(notices.take(after(begin, 60)), [dead(10, 11)]);
    }

    #[test]
    fn another_run_is_not_told_again() {
        let begin = Instant::now();
        let mut notices = Notices::default();
        notices.turned(HOOK, Turn::Failing(17), "no", begin);
        assert_eq!(notices.take(begin), []);
        notices.turned(HOOK, Turn::Recovered, "", begin);
        assert_eq!(notices.take(begin), [(HOOK, Notice::Recovered)]);
        let other = WebhookId(2);
        notices.turned(other, Turn::Recovered, "", begin);
        assert_eq!(notices.take(begin), [], "that of the other one");
        assert_eq!(notices.take(begin + SPACING), [(other, Notice::Recovered)]);
    }

    #[test]
    fn many_are_told_one_after_the_other_and_forgotten() {
        let begin = Instant::now();
        let mut notices = Notices::default();
        for number in 0..MOST as i32 + 5 {
            notices.paused(WebhookId(number), None, Some("410".to_owned()), begin);
        }
        let (mut told, mut now) = (0, begin);
        while let Some(wait) = notices.due_in(now) {
            now += wait;
            let some = notices.take(now).len();
            assert!(some <= AT_ONCE);
            told += some;
            assert_eq!(notices.take(now), []);
        }
        assert_eq!(told, MOST + 5);
        let begin = now;
        notices.disabled(HOOK, after(begin, 61));
        assert_eq!(notices.states.len(), 1);
    }

    #[test]
    fn what_is_overdue_no_more_before_it_is_told_is_not_told() {
        let begin = Instant::now();
        let mut notices = Notices::default();
        let limit = Duration::from_secs(3600);
        let waiting = |count| Waiting { count, age: 2 * limit, limit };
        notices.waits(HOOK, Some(waiting(1)), begin);
        assert_eq!(notices.take(begin), [(HOOK, Notice::Overdue(waiting(1)))]);
        notices.waits(HOOK, None, after(begin, 10));
        notices.waits(HOOK, Some(waiting(2)), after(begin, 20));
        assert_eq!(notices.take(after(begin, 20)), [], "within the same minute");
        notices.waits(HOOK, None, after(begin, 30));
        assert_eq!(notices.take(after(begin, 60)), []);
        notices.waits(HOOK, Some(waiting(3)), after(begin, 70));
        assert_eq!(notices.take(after(begin, 70)), [(HOOK, Notice::Overdue(waiting(3)))]);
    }

    #[test]
    fn what_comes_meanwhile_shortens_no_rest() {
        let begin = Instant::now();
        let mut notices = Notices::default();
        let mut told = 0;
        for milli in 0..1000 {
            let now = begin + Duration::from_millis(milli);
            notices.turned(WebhookId(milli as i32), Turn::Failing(FAILS_AT), "no", now);
            told += notices.take(now).len();
        }
        assert!(told <= 10 * AT_ONCE, "{told} in a second");
    }
}
