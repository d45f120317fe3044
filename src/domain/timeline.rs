//! The times in which nobody could try, by which no retry ends.
//!
//! They are, as all that is due, in the time of the queue ([`super::clock`]). Such a time changes no row: it is left out
//! where a row is read that has been due in it. That row has not been written since, because whatever is written is due
//! later.

use super::clock::NOTICED;
use super::time::{Timestamp, micros};

/// Absences that are told apart; beyond it the two oldest become one. There are so many where something stays due that nobody
/// tries, for a webhook that is paused, say. With fewer, what came due between the two is judged less exactly.
const MOST: usize = 32;

/// A time in which nobody could try, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// When somebody was at work for the last time.
    pub from: Timestamp,
    /// And again.
    pub until: Timestamp,
}

/// How times of the backlog are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline {
    /// The oldest first.
    pub absences: Vec<Absence>,
}

impl Timeline {
    /// When the first attempt was, less what the event, which has been due since `due`, has waited for somebody to try.
    pub fn first_attempt(&self, at: Timestamp, due: Timestamp) -> Timestamp {
        let waited = self.absences.iter().map(|absence| absence.since(due));
        at.moved(waited.fold(0, i64::saturating_add))
    }

    /// Somebody is back. `earliest`: of all that waits; nothing needs an absence that was over then.
    pub fn add(&mut self, absence: Absence, earliest: Option<Timestamp>) {
        self.absences.push(absence);
        self.absences.retain(|absence| earliest.is_some_and(|due| absence.since(due) > 0));
        if let [first, second, ..] = self.absences[..]
            && self.absences.len() > MOST
        {
            // For what has been due since before both it is as long, and nearly so for what came due in between.
            let from = Timestamp(second.from.0.saturating_sub(first.since(first.from)));
            self.absences.splice(..2, [Absence { from, until: second.until }]);
        }
    }
}

impl Absence {
    /// Not where it is too short to tell from a worker that came in time.
    pub fn matters(&self) -> bool {
        self.since(self.from) > 0
    }

    /// Of it, the microseconds after `due`; none where that is too little to tell from a worker that came in time.
    fn since(&self, due: Timestamp) -> i64 {
        let waited = self.until.0.saturating_sub(self.from.max(due).0);
        if waited > micros(NOTICED) { waited } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    const fn absence(from: i64, until: i64) -> Absence {
        Absence { from: at(from), until: at(until) }
    }

    #[test]
    fn counts_what_was_due_and_nobody_tried() {
        let line = Timeline { absences: vec![absence(100, 200), absence(300, 400)] };
        let first = |due| line.first_attempt(at(10), at(due));
        assert_eq!(first(50), at(210), "both");
        assert_eq!(first(150), at(160), "half of one, and the other");
        assert_eq!(first(250), at(110));
        assert_eq!(first(391), at(10), "in time");
        assert_eq!(first(500), at(10));
        assert_eq!(line.first_attempt(at(10), Timestamp::INFINITY), at(10));
    }

    #[test]
    fn keeps_what_something_has_been_due_in() {
        let mut line = Timeline::default();
        line.add(absence(100, 200), None);
        assert_eq!(line.absences, []);
        line.add(absence(100, 200), Some(at(195)));
        assert_eq!(line.absences, [], "somebody came in time");
        line.add(absence(300, 400), Some(at(50)));
        line.add(absence(500, 600), Some(at(50)));
        assert_eq!(line.absences, [absence(300, 400), absence(500, 600)]);
        line.add(absence(700, 800), Some(at(450)));
        assert_eq!(line.absences, [absence(500, 600), absence(700, 800)]);
    }

    #[test]
    fn forgets_none_where_there_are_many() {
        let mut line = Timeline::default();
        for number in 1..=100 {
            line.add(absence(number * 100, number * 100 + 50), Some(at(1)));
        }
        assert_eq!(line.absences.len(), MOST);
        assert_eq!(line.first_attempt(at(0), at(1)), at(50 * 100));
        assert_eq!(line.first_attempt(at(0), at(9_999)), at(50));
    }
}
