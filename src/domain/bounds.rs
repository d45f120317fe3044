//! How much of a webhook may wait.
//!
//! The slow lane is walked from the newest row to the oldest, so a row is beyond a bound when those that are newer have
//! reached it: what has to go are the oldest, and nothing has to be remembered from one walk to the next. What comes while
//! a walk is on its way is counted by the next one.

use std::collections::HashMap;
use std::time::Duration;

/// A bound, and whether it is the webhook's own or that of the server's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound<T> {
    /// How much.
    pub most: T,
    /// Whose it is.
    pub own: bool,
}

/// Those of a webhook. Events that wait and dead letters are counted apart, each by the same numbers.
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

/// Of a row of the slow lane, what counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Whose.
    pub webhook: i32,
    /// Of its body.
    pub bytes: u64,
    /// For how long it has waited, or has been dead.
    pub age: Duration,
    /// It is a dead letter.
    pub dead: bool,
}

/// What is beyond a bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beyond {
    /// An event, which becomes a dead letter with this error.
    Sheds(String),
    /// A dead letter, which ends, for this reason.
    Expires(String),
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    events: u64,
    bytes: u64,
}

impl Tally {
    fn add(&mut self, row: Row) {
        self.events = self.events.saturating_add(1);
        self.bytes = self.bytes.saturating_add(row.bytes);
    }
}

/// What one walk has counted.
#[derive(Debug, Default)]
pub struct Walk {
    bounds: HashMap<i32, Bounds>,
    waiting: HashMap<i32, Tally>,
    dead: HashMap<i32, Tally>,
}

impl Walk {
    /// The bounds are these from now on. What has been counted stays.
    pub fn set_bounds(&mut self, bounds: HashMap<i32, Bounds>) {
        self.bounds = bounds;
    }

    /// Counts the next older row, and says what becomes of it, if anything. Rows of other webhooks than those that have
    /// bounds are left to whoever forgets deleted ones.
    pub fn judge(&mut self, row: Row) -> Option<Beyond> {
        let bounds = self.bounds.get(&row.webhook)?;
        let tallies = if row.dead { &mut self.dead } else { &mut self.waiting };
        let tally = tallies.entry(row.webhook).or_default();
        tally.add(row);
        if row.dead {
            return bounds.of_dead(*tally, row.age).map(Beyond::Expires);
        }
        let reason = bounds.of_waiting(*tally, row.age)?;
        self.dead.entry(row.webhook).or_default().add(row);
        Some(Beyond::Sheds(reason))
    }
}

impl Bounds {
    fn of_waiting(&self, tally: Tally, age: Duration) -> Option<String> {
        if age > self.age.most {
            let (most, from) = (span(self.age.most), self.age.name("max_backlog_age"));
            return Some(format!("expired: it has waited for longer than {most} ({from})"));
        }
        self.number(tally, "events wait").map(|reason| format!("backlog_full: {reason}"))
    }

    fn of_dead(&self, tally: Tally, age: Duration) -> Option<String> {
        if age > self.retention.most {
            let (most, from) =
                (span(self.retention.most), self.retention.name("dead_letter_retention"));
            return Some(format!("older than {most} ({from})"));
        }
        self.number(tally, "dead letters are kept")
    }

    fn number(&self, tally: Tally, what: &str) -> Option<String> {
        if tally.events > self.events.most {
            let (most, from) = (self.events.most, self.events.name("max_backlog"));
            return Some(format!("more than {most} {what} ({from})"));
        }
        if tally.bytes > self.bytes.most {
            let (most, from) = (self.bytes.most, self.bytes.name("max_backlog_bytes"));
            return Some(format!("{what} with more than {most} bytes ({from})"));
        }
        None
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

    const fn own<T>(most: T) -> Bound<T> {
        Bound { most, own: true }
    }

    fn walk(events: u64, bytes: u64) -> Walk {
        let age = Bound { most: 48 * HOUR, own: false };
        let bounds = Bounds { events: own(events), bytes: own(bytes), age, retention: own(HOUR) };
        let mut walk = Walk::default();
        walk.set_bounds(HashMap::from([(1, bounds.clone()), (2, bounds)]));
        walk
    }

    const fn waiting(webhook: i32) -> Row {
        Row { webhook, bytes: 100, age: Duration::ZERO, dead: false }
    }

    const fn dead(webhook: i32) -> Row {
        Row { dead: true, ..waiting(webhook) }
    }

    #[test]
    fn the_newest_stay() {
        let mut walk = walk(2, 10_000);
        assert_eq!(walk.judge(waiting(1)), None);
        assert_eq!(walk.judge(waiting(1)), None);
        let full = "backlog_full: more than 2 events wait (the webhook's max_backlog)";
        assert_eq!(walk.judge(waiting(1)), Some(Beyond::Sheds(full.to_owned())));
        assert_eq!(walk.judge(waiting(2)), None, "another one has bounds of its own");
        assert_eq!(walk.judge(waiting(3)), None, "and a deleted one none");
    }

    #[test]
    fn bytes_count_as_well() {
        let mut walk = walk(10, 250);
        let beyond = [waiting(1), waiting(1), waiting(1)].map(|row| walk.judge(row));
        let full =
            "backlog_full: events wait with more than 250 bytes (the webhook's max_backlog_bytes)";
        assert_eq!(beyond, [None, None, Some(Beyond::Sheds(full.to_owned()))]);
        let small = Row { bytes: 0, ..waiting(1) };
        assert!(walk.judge(small).is_some(), "what is older goes before what is newer");
    }

    #[test]
    fn what_is_old_goes_however_little_there_is() {
        let mut walk = walk(10, 10_000);
        let old = Row { age: 49 * HOUR, ..waiting(1) };
        let reason = "expired: it has waited for longer than 2 days (pg_webhook.max_backlog_age)";
        assert_eq!(walk.judge(old), Some(Beyond::Sheds(reason.to_owned())));
        let old = Row { age: 2 * HOUR, ..dead(1) };
        let reason = "older than 3600 seconds (the webhook's dead_letter_retention)";
        assert_eq!(walk.judge(old), Some(Beyond::Expires(reason.to_owned())));
    }

    #[test]
    fn dead_letters_are_counted_apart() {
        let mut walk = walk(1, 10_000);
        assert_eq!(walk.judge(waiting(1)), None);
        assert_eq!(walk.judge(dead(1)), None);
        assert!(matches!(walk.judge(dead(1)), Some(Beyond::Expires(_))));
        assert!(matches!(walk.judge(waiting(1)), Some(Beyond::Sheds(_))));
    }

    #[test]
    fn what_has_been_shed_is_a_dead_letter() {
        let mut walk = walk(1, 10_000);
        let beyond = [waiting(1), waiting(1), dead(1)].map(|row| walk.judge(row));
        assert!(matches!(beyond, [None, Some(Beyond::Sheds(_)), Some(Beyond::Expires(_))]));
    }

    #[test]
    fn bounds_that_change_hold_for_the_rest() {
        let mut walk = walk(1, 10_000);
        assert_eq!(walk.judge(waiting(1)), None);
        let mut bounds = walk.bounds.clone();
        bounds.get_mut(&1).expect("it has some").events.most = 2;
        walk.set_bounds(bounds);
        assert_eq!(walk.judge(waiting(1)), None);
        assert!(walk.judge(waiting(1)).is_some());
    }
}
