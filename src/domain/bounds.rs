//! How much of a webhook may wait.
//!
//! The backlog is walked from the newest row to the oldest, so a row is beyond a bound when those that are newer have
//! reached it: what has to go are the oldest, and nothing has to be remembered from one walk to the next. What comes while
//! a walk is on its way is counted by the next one.
//!
//! A walk also says before which time the next one would find nothing that goes because of its age.

use std::collections::HashMap;
use std::time::Duration;

use super::key::WebhookId;
use super::overdue::Left;
use super::time::Timestamp;

/// A bound, and whether it is the webhook's own or that of the server's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound<T> {
    /// How much.
    pub most: T,
    /// Whose it is.
    pub own: bool,
}

/// The bounds of a webhook. Events that wait and dead letters are counted apart, each against the same numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Rows.
    pub events: Bound<u64>,
    /// Of their bodies.
    pub bytes: Bound<u64>,
    /// For which an event may wait.
    pub age: Bound<Duration>,
    /// For which a dead letter is kept.
    pub retention: Bound<Duration>,
}

/// Of a row of the backlog, what counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Whose.
    pub webhook: WebhookId,
    /// Of its body.
    pub bytes: u64,
    /// For how long it has waited, or has been dead.
    pub age: Duration,
    /// It is a dead letter.
    pub dead: bool,
}

/// So much of a webhook.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Rows.
    pub events: u64,
    /// Of their bodies.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, row: Row) {
        self.events = self.events.saturating_add(1);
        self.bytes = self.bytes.saturating_add(row.bytes);
    }
}

/// What a walk has counted of a webhook.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// What waits.
    pub waiting: Tally,
    /// Dead letters.
    pub dead: Tally,
    /// What goes on to wait.
    pub left: Left,
}

/// One walk.
#[derive(Debug)]
pub struct Walk {
    bounds: HashMap<WebhookId, Bounds>,
    counted: HashMap<WebhookId, Counted>,
    soonest: Timestamp,
}

impl Default for Walk {
    fn default() -> Self {
        Self::resumed(HashMap::new(), Timestamp::INFINITY)
    }
}

impl Walk {
    /// One that has come so far.
    pub fn resumed(counted: HashMap<WebhookId, Counted>, soonest: Timestamp) -> Self {
        Self { bounds: HashMap::new(), counted, soonest }
    }

    /// What it has counted so far, of each webhook.
    pub fn counted(&self) -> &HashMap<WebhookId, Counted> {
        &self.counted
    }

    /// Before this no row passes a bound of time, neither one that it has left nor one that has come since it began, and there is nothing
    /// else to be found.
    pub fn soonest(&self) -> Timestamp {
        self.soonest
    }

    /// There is something else for it to find at this time.
    pub fn expect(&mut self, at: Timestamp) {
        self.soonest = self.soonest.min(at);
    }

    /// The bounds are these from `now` on. What has been counted stays.
    pub fn set_bounds(&mut self, bounds: HashMap<WebhookId, Bounds>, now: Timestamp) {
        let times = bounds.values().map(|it| it.age.most.min(it.retention.most));
        let first = times.min().map_or(Timestamp::INFINITY, |shortest| now.after(shortest));
        self.soonest = self.soonest.min(first);
        self.bounds = bounds;
    }

    /// Counts the next older row, unless it is too old, and says why it goes, if it does: an event that waits becomes a
    /// dead letter, and a dead letter ends. Rows of a webhook without bounds, which has been deleted, are left alone.
    pub fn judge(&mut self, row: Row, now: Timestamp) -> Option<String> {
        let bounds = self.bounds.get(&row.webhook)?;
        let longest = if row.dead { bounds.retention } else { bounds.age };
        let Some(left) = longest.most.checked_sub(row.age) else {
            return Some(longest.passed(row.dead));
        };
        self.soonest = self.soonest.min(now.after(left));
        let counted = self.counted.entry(row.webhook).or_default();
        let tally = if row.dead { &mut counted.dead } else { &mut counted.waiting };
        tally.add(row);
        let reason = bounds.exceeded(*tally, row.dead);
        if !row.dead && reason.is_none() {
            counted.left.add(now.before(row.age));
        }
        reason
    }

    /// This one has become a dead letter.
    pub fn died(&mut self, row: Row) {
        self.counted.entry(row.webhook).or_default().dead.add(row);
    }
}

impl Bounds {
    fn exceeded(&self, tally: Tally, dead: bool) -> Option<String> {
        let (class, what) = match dead {
            true => ("", "dead letters are kept"),
            false => ("backlog_full: ", "events wait"),
        };
        if tally.events > self.events.most {
            let (most, from) = (self.events.most, self.events.name("max_backlog"));
            return Some(format!("{class}more than {most} {what} ({from})"));
        }
        if tally.bytes > self.bytes.most {
            let (most, from) = (self.bytes.most, self.bytes.name("max_backlog_bytes"));
            return Some(format!("{class}{what} with more than {most} bytes ({from})"));
        }
        None
    }
}

impl Bound<Duration> {
    fn passed(&self, dead: bool) -> String {
        let most = span(self.most);
        match dead {
            true => format!("older than {most} ({})", self.name("dead_letter_retention")),
            false => format!(
                "expired: it has waited for longer than {most} ({})",
                self.name("max_backlog_age")
            ),
        }
    }
}

impl<T> Bound<T> {
    /// The webhook's own, if it has one, or else that of the server's setting.
    pub fn new(own: Option<T>, setting: T) -> Self {
        Self { own: own.is_some(), most: own.unwrap_or(setting) }
    }

    /// Where somebody can change it.
    fn name(&self, setting: &str) -> String {
        match self.own {
            true => format!("the webhook's {setting}"),
            false => format!("pg_webhook.{setting}"),
        }
    }
}

/// In days, where it is whole ones.
fn span(time: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match time.as_secs() {
        seconds if seconds >= DAY && seconds.is_multiple_of(DAY) => {
            format!("{} days", seconds / DAY)
        }
        seconds => format!("{seconds} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const NOW: Timestamp = Timestamp(1_000_000);

    const fn own<T>(most: T) -> Bound<T> {
        Bound { most, own: true }
    }

    fn walk(events: u64, bytes: u64) -> Walk {
        let age = Bound { most: 48 * HOUR, own: false };
        let bounds = Bounds { events: own(events), bytes: own(bytes), age, retention: own(HOUR) };
        let mut walk = Walk::default();
        walk.set_bounds(
            HashMap::from([(WebhookId(1), bounds.clone()), (WebhookId(2), bounds)]),
            NOW,
        );
        walk
    }

    const fn waiting(webhook: i32) -> Row {
        Row { webhook: WebhookId(webhook), bytes: 100, age: Duration::ZERO, dead: false }
    }

    const fn dead(webhook: i32) -> Row {
        Row { dead: true, ..waiting(webhook) }
    }

    #[test]
    fn the_newest_stay() {
        let mut walk = walk(2, 10_000);
        assert_eq!(walk.judge(waiting(1), NOW), None);
        assert_eq!(walk.judge(waiting(1), NOW), None);
        let full = "backlog_full: more than 2 events wait (the webhook's max_backlog)";
        assert_eq!(walk.judge(waiting(1), NOW).as_deref(), Some(full));
        assert_eq!(walk.judge(waiting(2), NOW), None, "another one has bounds of its own");
        assert_eq!(walk.judge(waiting(3), NOW), None, "and a deleted one none");
    }

    #[test]
    fn bytes_count_as_well() {
        let mut walk = walk(10, 250);
        let beyond = [waiting(1), waiting(1), waiting(1)].map(|row| walk.judge(row, NOW));
        let full =
            "backlog_full: events wait with more than 250 bytes (the webhook's max_backlog_bytes)";
        assert_eq!(beyond, [None, None, Some(full.to_owned())]);
        let small = Row { bytes: 0, ..waiting(1) };
        assert!(walk.judge(small, NOW).is_some(), "what is older goes before what is newer");
    }

    #[test]
    fn what_is_old_goes_however_little_there_is() {
        let mut walk = walk(10, 10_000);
        let old = Row { age: 49 * HOUR, ..waiting(1) };
        let reason = "expired: it has waited for longer than 2 days (pg_webhook.max_backlog_age)";
        assert_eq!(walk.judge(old, NOW).as_deref(), Some(reason));
        let old = Row { age: 2 * HOUR, ..dead(1) };
        let reason = "older than 3600 seconds (the webhook's dead_letter_retention)";
        assert_eq!(walk.judge(old, NOW).as_deref(), Some(reason));
    }

    #[test]
    fn what_is_too_old_takes_no_place_of_others() {
        let mut walk = walk(1, 10_000);
        assert!(walk.judge(Row { age: 49 * HOUR, ..waiting(1) }, NOW).is_some());
        assert_eq!(walk.judge(waiting(1), NOW), None);
        assert!(walk.judge(Row { age: 2 * HOUR, ..dead(1) }, NOW).is_some());
        assert_eq!(walk.judge(dead(1), NOW), None);
    }

    #[test]
    fn dead_letters_are_counted_apart() {
        let mut walk = walk(1, 10_000);
        assert_eq!(walk.judge(waiting(1), NOW), None);
        assert_eq!(walk.judge(dead(1), NOW), None);
        assert!(walk.judge(dead(1), NOW).is_some());
        assert!(walk.judge(waiting(1), NOW).is_some());
    }

    #[test]
    fn only_what_has_become_a_dead_letter_counts_as_one() {
        let mut walk = walk(1, 10_000);
        assert_eq!(walk.judge(waiting(1), NOW), None);
        assert!(walk.judge(waiting(1), NOW).is_some(), "but it is under way");
        assert_eq!(walk.judge(dead(1), NOW), None);
        walk.died(waiting(1));
        assert!(walk.judge(dead(1), NOW).is_some());
    }

    #[test]
    fn bounds_that_change_hold_for_the_rest() {
        let mut walk = walk(1, 10_000);
        assert_eq!(walk.judge(waiting(1), NOW), None);
        let mut bounds = walk.bounds.clone();
        bounds.get_mut(&WebhookId(1)).expect("it has some").events.most = 2;
        walk.set_bounds(bounds, NOW);
        assert_eq!(walk.judge(waiting(1), NOW), None);
        assert!(walk.judge(waiting(1), NOW).is_some());
    }

    #[test]
    fn one_that_goes_on_later_has_counted_the_same() {
        let mut walk = walk(1, 10_000);
        let bounds = walk.bounds.clone();
        assert_eq!(walk.judge(waiting(1), NOW), None);
        assert_eq!(walk.judge(dead(1), NOW), None);
        let mut later = Walk::resumed(walk.counted().clone(), walk.soonest());
        later.set_bounds(bounds, NOW.after(HOUR));
        assert_eq!(later.soonest(), walk.soonest());
        assert!(later.judge(waiting(1), NOW).is_some() && later.judge(dead(1), NOW).is_some());
    }

    #[test]
    fn knows_what_is_left_and_since_when_it_waits() {
        let mut walk = walk(2, 10_000);
        let since = |hours: u32| Row { age: hours * HOUR, ..waiting(1) };
        // Of these the third is beyond a bound, and the fourth too old.
        for row in [since(1), since(3), since(2), since(49), dead(1)] {
            walk.judge(row, NOW);
        }
        let left = walk.counted()[&WebhookId(1)].left;
        assert_eq!((left.events, left.age(NOW)), (2, 3 * HOUR));
        walk.judge(dead(2), NOW);
        assert_eq!(walk.counted()[&WebhookId(2)].left, Left::default());
    }

    #[test]
    fn knows_when_the_first_row_is_too_old() {
        assert_eq!(Walk::default().soonest(), Timestamp::INFINITY);
        let mut walk = walk(10, 10_000);
        assert_eq!(walk.soonest(), NOW.after(HOUR), "one that dies at this moment");
        let old = Row { age: 48 * HOUR - Duration::from_secs(1), ..waiting(1) };
        assert_eq!(walk.judge(old, NOW), None);
        assert_eq!(walk.soonest(), NOW.after(Duration::from_secs(1)));
        assert_eq!(walk.judge(dead(1), NOW), None);
        assert_eq!(walk.soonest(), NOW.after(Duration::from_secs(1)));
    }
}
