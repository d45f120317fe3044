//! Where runners wait for a place: one line for each pace, so that slow endpoints, however many, never
//! hold every place.
//!
//! There are as many places as requests may be in flight. Fast runners go first. Of those that may hang, endpoints of which
//! nothing is known and slow ones, a slow one gets another place only while they hold less than half of the places, a new one
//! less than three quarters: what hangs until its timeout hangs in its own part of the pool, and leaves room to new
//! ones. Endpoints that take their time and answer hold half at most, and find a place beside those that hang: with them they
//! leave an eighth to the fast ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::lane::{Lane, Pace};

/// The runners that wait, and the places that are taken.
#[derive(Default)]
pub struct Line {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    fast: VecDeque<Runner>,
    steady: VecDeque<Runner>,
    unknown: VecDeque<Runner>,
    slow: VecDeque<Runner>,
    /// Places that are taken by fast endpoints, by those that take their time, and by those that may hang.
    on_fast: usize,
    on_steady: usize,
    on_hanging: usize,
}

/// A claim on a place, and since when.
struct Runner {
    lane: Arc<Lane>,
    since: Instant,
}

/// A runner that has a place; dropping it gives the place back.
pub struct Turn {
    line: Arc<Line>,
    pace: Pace,
    /// Whose messages are to be sent.
    pub lane: Arc<Lane>,
}

impl Line {
    /// Puts a runner of `lane` at the end.
    pub fn join(&self, lane: Arc<Lane>) {
        let pace = lane.pace();
        let mut state = self.lock();
        state.of(pace).push_back(Runner { lane, since: Instant::now() });
    }

    /// Runners that wait.
    pub fn len(&self) -> usize {
        let state = self.lock();
        state.fast.len() + state.steady.len() + state.unknown.len() + state.slow.len()
    }

    /// How long the next runner, for which there is one of `places` places, has waited.
    pub fn lag(&self, places: usize) -> Option<Duration> {
        let mut state = self.lock();
        let pace = state.next(places)?;
        state.of(pace).front().map(|runner| runner.since.elapsed())
    }

    /// Whether more than `places` are taken.
    pub fn is_crowded(&self, places: usize) -> bool {
        self.lock().taken() > places
    }

    /// The next runner, if one may have one of `places` places.
    pub fn next(self: &Arc<Self>, places: usize) -> Option<Turn> {
        let mut state = self.lock();
        let pace = state.next(places)?;
        let Runner { lane, .. } = state.of(pace).pop_front()?;
        *state.taken_by(pace) += 1;
        drop(state);
        Some(Turn { line: Arc::clone(self), pace, lane })
    }

    /// Every update leaves the state whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(&mut self, pace: Pace) -> &mut VecDeque<Runner> {
        match pace {
            Pace::Fast => &mut self.fast,
            Pace::Steady => &mut self.steady,
            Pace::Unknown => &mut self.unknown,
            Pace::Slow => &mut self.slow,
        }
    }

    fn taken_by(&mut self, pace: Pace) -> &mut usize {
        match pace {
            Pace::Fast => &mut self.on_fast,
            Pace::Steady => &mut self.on_steady,
            Pace::Unknown | Pace::Slow => &mut self.on_hanging,
        }
    }

    fn taken(&self) -> usize {
        self.on_fast + self.on_steady + self.on_hanging
    }

    /// The line whose first runner may have a place now.
    fn next(&self, places: usize) -> Option<Pace> {
        let within = |taken, eighths| taken < part(places, eighths);
        // Where there are few places an eighth of them is none.
        let for_new = part(places, 6).min(part(places, 7) - 1).max(1);
        if self.taken() >= places {
            None
        } else if !self.fast.is_empty() {
            Some(Pace::Fast)
        } else if !within(self.on_steady + self.on_hanging, 7) {
            None
        } else if !self.unknown.is_empty() && self.on_hanging < for_new {
            Some(Pace::Unknown)
        } else if !self.steady.is_empty() && within(self.on_steady, 4) {
            Some(Pace::Steady)
        } else if !self.slow.is_empty() && within(self.on_hanging, 4) {
            Some(Pace::Slow)
        } else {
            None
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.line.lock();
        *state.taken_by(self.pace) -= 1;
    }
}

/// So many eighths, at least one.
fn part(places: usize, eighths: usize) -> usize {
    (places * eighths / 8).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Endpoint, example};

    const PLACES: usize = 8;

    fn lane(webhook: i32, took: Option<Duration>) -> Arc<Lane> {
        let endpoint = Endpoint::new(&example::client(), example::destination());
        let lane = Lane::new(webhook, Arc::new(endpoint.expect("an endpoint")));
        if let Some(took) = took {
            lane.note(false, took);
        }
        Arc::new(lane)
    }

    /// As many as find a place.
    fn all(line: &Arc<Line>) -> Vec<Turn> {
        std::iter::from_fn(|| line.next(PLACES)).collect()
    }

    fn webhooks(turns: &[Turn]) -> Vec<i32> {
        turns.iter().map(|turn| turn.lane.webhook()).collect()
    }

    #[test]
    fn slow_endpoints_hold_their_part_and_no_more() {
        let line = Arc::new(Line::default());
        let slow = lane(1, Some(Duration::from_secs(10)));
        let fast = lane(3, Some(Duration::ZERO));
        for _ in 0..PLACES {
            line.join(Arc::clone(&slow));
        }
        let slow = all(&line);
        assert_eq!(webhooks(&slow), [1; 4], "half of eight");
        line.join(lane(2, None));
        line.join(lane(2, None));
        line.join(lane(2, None));
        let unknown = all(&line);
        assert_eq!(webhooks(&unknown), [2; 2], "with them three quarters");
        line.join(fast);
        let fast = all(&line);
        assert_eq!(webhooks(&fast), [3], "there is always room");
        drop(slow);
        let left = all(&line);
        assert_eq!(
            webhooks(&left),
            [2, 1],
            "slow ones while those who may hang are less than half"
        );
        assert_eq!(line.len(), 3);
    }

    #[test]
    fn whoever_answers_finds_a_place_beside_those_that_hang() {
        let line = Arc::new(Line::default());
        let steady = lane(2, Some(Duration::from_millis(300)));
        let hanging: Vec<_> = (10..18).map(|webhook| lane(webhook, None)).collect();
        hanging.iter().for_each(|lane| line.join(Arc::clone(lane)));
        let hanging = all(&line);
        assert_eq!(hanging.len(), 6, "three quarters of eight");
        line.join(Arc::clone(&steady));
        line.join(Arc::clone(&steady));
        let first = all(&line);
        assert_eq!(webhooks(&first), [2], "with them seven eighths");
        line.join(lane(3, Some(Duration::ZERO)));
        assert_eq!(webhooks(&all(&line)), [3], "there is always room");
    }

    #[test]
    fn however_few_places_there_are_one_is_for_each_that_answers() {
        for places in 1..=PLACES {
            let line = Arc::new(Line::default());
            (10..20).for_each(|webhook| line.join(lane(webhook, None)));
            let next = || std::iter::from_fn(|| line.next(places)).collect::<Vec<_>>();
            let hanging = next();
            line.join(lane(2, Some(Duration::from_millis(300))));
            let steady = next();
            line.join(lane(3, Some(Duration::ZERO)));
            let fast = next();
            assert!(!hanging.is_empty());
            assert_eq!(steady.len(), usize::from(places >= 3), "{places}");
            assert_eq!(fast.len(), usize::from(places >= 2), "{places}");
        }
    }

    #[test]
    fn those_that_answer_leave_places_to_slow_ones() {
        let line = Arc::new(Line::default());
        let steady = lane(1, Some(Duration::from_millis(300)));
        let slow = lane(2, Some(Duration::from_secs(10)));
        (0..PLACES).for_each(|_| line.join(Arc::clone(&steady)));
        let steady = all(&line);
        assert_eq!(webhooks(&steady), [1; 4], "half of eight");
        (0..PLACES).for_each(|_| line.join(Arc::clone(&slow)));
        assert_eq!(webhooks(&all(&line)), [2; 3], "with them seven eighths");
    }

    #[test]
    fn all_places_are_for_the_fast_ones() {
        let line = Arc::new(Line::default());
        let fast = lane(1, Some(Duration::ZERO));
        for _ in 0..=PLACES {
            line.join(Arc::clone(&fast));
        }
        let turns = all(&line);
        assert_eq!(turns.len(), PLACES);
        assert!(line.lag(PLACES).is_none(), "it has no place to wait for");
        assert!(line.is_crowded(PLACES - 1) && !line.is_crowded(PLACES));
        drop(turns);
        assert!(line.lag(PLACES).is_some());
    }

    #[test]
    fn one_slow_attempt_may_be_an_accident() {
        let lane = lane(1, None);
        let (soon, late) = (Duration::ZERO, Duration::from_secs(10));
        let paces = [soon, late, late, soon, late, late, late, soon].map(|took| {
            lane.note(false, took);
            lane.pace()
        });
        let mut expected = [Pace::Fast; 8];
        expected[6] = Pace::Slow;
        expected[7] = Pace::Slow;
        assert_eq!(paces, expected);
    }
}
