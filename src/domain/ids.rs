//! Delivery ids: readings of a clock that never stands still and never goes back.
//!
//! An id is the microseconds since 2020, or one more than the id before where that is not less. Of the
//! changes of one row the later one therefore has the larger id, because it is drawn while the row is
//! locked. What makes an id unique for all time is the *mark*: a number in a sequence of the database,
//! written to the write-ahead log, that no id has reached yet. Whoever needs an id that is not below it raises the mark
//! first. A crash, a failover, a copy or a clock that is set back forget the last id, never the mark, and
//! the ids after them begin there.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use super::time::Timestamp;

/// The largest id: what a JSON number holds exactly in JavaScript.
pub const LARGEST: i64 = (1 << 53) - 1;

/// 2020-01-01, in the microseconds of [`Timestamp`].
const EPOCH: i64 = 631_152_000_000_000;

/// The latest time that ids follow, in microseconds since 2020: the year 2162. From there on they count
/// by one, so that a clock that is wrong by centuries cannot use them up.
const LATEST: i64 = 1 << 52;

/// How far ahead of the clock the mark is set, in microseconds: one write to the write-ahead log in so long. After a crash
/// ids run ahead of the clock by this, and by [`ROOM`] more for each further crash before the clock has caught up. Less, and
/// the mark is written more often; more, and ids are further ahead.
const LEAD: i64 = 10_000_000;

/// Ids that a mark leaves room for at least, where they are ahead of the clock.
const ROOM: i64 = 100_000;

/// All ids have been given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all ids are used up")]
pub struct UsedUp;

/// Where the mark is kept, locked against everybody else.
pub trait Ledger {
    /// The mark: no id that has been given is as large.
    fn mark(&self) -> i64;

    /// Sets it. An id below it may be given when this returns.
    fn raise(&mut self, mark: i64);
}

/// `time` as ids count it.
pub fn reading(time: Timestamp) -> i64 {
    time.0.saturating_sub(EPOCH).clamp(1, LATEST)
}

/// When an id was drawn, unless ids were ahead of the clock.
pub fn drawn(id: i64) -> Timestamp {
    Timestamp(id.saturating_add(EPOCH))
}

/// The id after `last` at a reading of the clock.
fn next(last: i64, now: i64) -> i64 {
    now.max(last.saturating_add(1))
}

/// The mark that lets `id` be given.
fn mark_for(id: i64, now: i64) -> Result<i64, UsedUp> {
    if id > LARGEST {
        return Err(UsedUp);
    }
    Ok((now + LEAD).max(id + ROOM).min(LARGEST + 1))
}

/// An id where no memory is shared: the mark is the clock.
///
/// # Errors
///
/// There is none left.
pub fn draw_alone(now: i64, ledger: &mut impl Ledger) -> Result<i64, UsedUp> {
    let id = next(ledger.mark().saturating_sub(1), now);
    if id > LARGEST {
        return Err(UsedUp);
    }
    ledger.raise(id + 1);
    Ok(id)
}

/// The clock of one database, in memory that all its sessions share. All zero is one that nobody has used.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Clock {
    /// The last id.
    last: AtomicI64,
    /// Ids below it may be given without a look at the sequence.
    mark: AtomicI64,
    /// The sequence, by its oid, that holds this mark or a larger one.
    sequence: AtomicU32,
}

impl Clock {
    /// The next id; `None` where the mark of `sequence` is in the way.
    pub fn draw(&self, sequence: u32, now: i64) -> Option<i64> {
        if self.sequence.load(Ordering::Acquire) != sequence {
            return None;
        }
        let mark = self.mark.load(Ordering::Acquire);
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let id = next(last, now);
            if id >= mark {
                return None;
            }
            match self.last.compare_exchange_weak(last, id, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(id),
                Err(found) => last = found,
            }
        }
    }

    /// The next id, after raising the mark, which is in `ledger`, the locked `sequence`.
    ///
    /// # Errors
    ///
    /// There is none left.
    pub fn draw_raising(
        &self,
        sequence: u32,
        now: i64,
        ledger: &mut impl Ledger,
    ) -> Result<i64, UsedUp> {
        loop {
            // Whoever had the lock before has raised it as well, perhaps.
            if let Some(id) = self.draw(sequence, now) {
                return Ok(id);
            }
            let before = ledger.mark().saturating_sub(1);
            let last = self.last.fetch_max(before, Ordering::AcqRel).max(before);
            let mark = mark_for(next(last, now), now)?;
            ledger.raise(mark);
            if self.sequence.load(Ordering::Acquire) != sequence {
                // The extension has been made anew: the mark of the other sequence means nothing here.
                self.mark.store(0, Ordering::Release);
                self.sequence.store(sequence, Ordering::Release);
            }
            self.mark.store(mark, Ordering::Release);
        }
    }

    /// Nobody has used it: the next to do so is of another database.
    pub fn forget(&self) {
        self.mark.store(0, Ordering::Release);
        self.sequence.store(0, Ordering::Release);
        self.last.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;

    use super::*;

    const SEQUENCE: u32 = 16_400;
    const SECOND: i64 = 1_000_000;
    const DAY: i64 = 86_400 * SECOND;
    /// Some time in 2026.
    const NOW: i64 = 2500 * DAY;

    /// A sequence as it is made, and how often it has been written.
    struct Kept {
        mark: i64,
        writes: usize,
    }

    impl Kept {
        fn new() -> Self {
            Self { mark: 1, writes: 0 }
        }
    }

    impl Ledger for Kept {
        fn mark(&self) -> i64 {
            self.mark
        }

        fn raise(&mut self, mark: i64) {
            assert!(mark > self.mark, "it never goes back: {mark} after {}", self.mark);
            self.mark = mark;
            self.writes += 1;
        }
    }

    fn draw(clock: &Clock, now: i64, kept: &mut Kept) -> i64 {
        let id = clock
            .draw(SEQUENCE, now)
            .unwrap_or_else(|| clock.draw_raising(SEQUENCE, now, kept).unwrap());
        assert!(id < kept.mark, "{id} was given without a mark");
        id
    }

    #[test]
    fn follows_the_clock() {
        let (clock, mut kept) = (Clock::default(), Kept::new());
        assert_eq!(draw(&clock, NOW, &mut kept), NOW);
        assert_eq!(draw(&clock, NOW, &mut kept), NOW + 1);
        assert_eq!(draw(&clock, NOW - DAY, &mut kept), NOW + 2);
        assert_eq!(draw(&clock, NOW + DAY, &mut kept), NOW + DAY);
        assert_eq!(draw(&clock, NOW, &mut kept), NOW + DAY + 1);
    }

    #[test]
    fn counts_from_2020() {
        assert_eq!(reading(Timestamp(EPOCH + 7)), 7);
        assert_eq!(drawn(7), Timestamp(EPOCH + 7));
        assert_eq!(reading(Timestamp(0)), 1);
        assert_eq!(reading(Timestamp(i64::MIN)), 1);
        assert_eq!(reading(Timestamp::INFINITY), LATEST);
    }

    #[test]
    fn writes_the_mark_seldom() {
        let (clock, mut kept) = (Clock::default(), Kept::new());
        for tenth in 0..600 {
            draw(&clock, NOW + tenth * SECOND / 10, &mut kept);
        }
        assert!((5..=7).contains(&kept.writes), "{} writes in a minute", kept.writes);
        let before = kept.writes;
        for _ in 0..1_000_000 {
            draw(&clock, NOW - DAY, &mut kept);
        }
        assert!(kept.writes - before <= 10, "{} for a million", kept.writes - before);
    }

    #[test]
    fn no_crash_and_no_step_of_the_clock_repeats_an_id() {
        let mut random = fastrand::Rng::with_seed(11);
        let (mut clock, mut kept) = (Clock::default(), Kept::new());
        let (mut now, mut last) = (NOW, 0);
        for _ in 0..100_000 {
            match random.u32(0..1000) {
                0..3 => clock = Clock::default(),
                3 => now -= random.i64(0..2 * DAY),
                4 => now += random.i64(0..DAY),
                _ => now += random.i64(0..SECOND / 100),
            }
            let id = draw(&clock, now, &mut kept);
            assert!(id > last, "{id} after {last}");
            last = id;
        }
    }

    #[test]
    fn ids_run_ahead_of_the_clock_by_little() {
        let (mut kept, mut now) = (Kept::new(), NOW);
        for _ in 0..1000 {
            // The server crashes a thousand times within ten seconds.
            let clock = Clock::default();
            draw(&clock, now, &mut kept);
            now += SECOND / 100;
        }
        // Each start that finds the mark ahead of the clock leaves room once.
        assert!(kept.mark <= now + LEAD + 1000 * ROOM);
        let id = draw(&Clock::default(), now + 200 * SECOND, &mut kept);
        assert_eq!(id, now + 200 * SECOND, "the clock has caught up");
    }

    #[test]
    fn one_without_shared_memory_and_one_with_it_take_turns() {
        let mut kept = Kept::new();
        let mut last = 0;
        for round in 0..100 {
            let now = NOW + round * SECOND;
            let clock = Clock::default();
            for id in [
                draw_alone(now, &mut kept).unwrap(),
                draw_alone(now, &mut kept).unwrap(),
                draw(&clock, now, &mut kept),
                draw(&clock, now, &mut kept),
            ] {
                assert!(id > last, "{id} after {last}");
                last = id;
            }
        }
    }

    #[test]
    fn another_sequence_has_a_mark_of_its_own() {
        let (clock, mut first, mut second) = (Clock::default(), Kept::new(), Kept::new());
        let before = draw(&clock, NOW, &mut first);
        assert_eq!(clock.draw(SEQUENCE + 1, NOW), None);
        let id = clock.draw_raising(SEQUENCE + 1, NOW, &mut second).unwrap();
        assert!(id > before && id < second.mark);
        // The extension was made anew in a transaction that was rolled back.
        assert_eq!(clock.draw(SEQUENCE, NOW), None);
        assert!(clock.draw_raising(SEQUENCE, NOW, &mut first).unwrap() > id);
        clock.forget();
        assert_eq!(clock.draw(SEQUENCE, NOW), None);
        assert!(draw(&clock, NOW, &mut first) > id, "it begins at the mark");
    }

    #[test]
    fn ends_where_json_is_not_exact_any_more() {
        let (clock, mut kept) = (Clock::default(), Kept { mark: LARGEST - 1, writes: 0 });
        assert_eq!(draw(&clock, NOW, &mut kept), LARGEST - 1);
        assert_eq!(draw(&clock, NOW, &mut kept), LARGEST);
        assert_eq!(clock.draw_raising(SEQUENCE, NOW, &mut kept), Err(UsedUp));
        assert_eq!(draw_alone(NOW, &mut kept), Err(UsedUp));
        let mut beyond = Kept { mark: i64::MAX, writes: 0 };
        assert_eq!(Clock::default().draw_raising(SEQUENCE, NOW, &mut beyond), Err(UsedUp));
        let mut below = Kept { mark: i64::MIN, writes: 0 };
        assert_eq!(Clock::default().draw_raising(SEQUENCE, NOW, &mut below), Ok(NOW));
        assert_eq!(LARGEST as f64 as i64, LARGEST);
    }

    #[test]
    fn many_threads_never_get_the_same_and_each_gets_larger_ones() {
        let clock = Clock::default();
        let kept = Mutex::new(Kept::new());
        let all: Vec<Vec<i64>> = std::thread::scope(|scope| {
            let run = |number: i64| {
                let (clock, kept) = (&clock, &kept);
                scope.spawn(move || {
                    (0..50_000)
                        .map(|turn| {
                            // Their clocks differ, and the mark is in the way again and again.
                            let now = NOW + number * 100 + turn * 1000;
                            clock.draw(SEQUENCE, now).unwrap_or_else(|| {
                                let mut kept = kept.lock().unwrap();
                                clock.draw_raising(SEQUENCE, now, &mut *kept).unwrap()
                            })
                        })
                        .collect()
                })
            };
            let threads: Vec<_> = (0..4).map(run).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let distinct: HashSet<i64> = all.iter().flatten().copied().collect();
        assert_eq!(distinct.len(), 200_000);
        assert!(all.iter().all(|own| own.is_sorted()));
        assert!(distinct.iter().all(|id| *id < kept.lock().unwrap().mark));
    }
}
