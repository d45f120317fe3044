//! The ring's rotation: the oldest slot is emptied as TRUNCATE does it and becomes the current one.
//!
//! The ring has eight slots, so one is in use and seven hold the retention. A slot is emptied when the
//! cursor is past all in it; what is not finished by then is in the backlog with its payload.

use std::time::Duration;

use crate::pg::guc::Local;
use crate::pg::settings;
use crate::pg::spi::{Session, arg, sql};
use crate::pg::table::{self, Lock, Table};
use crate::registry;
use domain::time::Timestamp;

/// Slots of the ring, each with a table of events and one of attempts, as `sql/queue.sql` makes them: one is written to, and
/// the others hold the retention. With more, less is kept beyond that, and a look at all of them costs more.
pub const SLOTS: i16 = 8;

/// What came of a look whether the ring is to rotate.
#[derive(Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The current slot is young, and has room.
    NotDue,
    /// The slot that would be next holds events that are not settled.
    Blocked,
    /// This slot is current now.
    Rotated(i16),
}

/// How often to ask, for the retention as it is set now. What is written meanwhile is how much larger than its share a slot
/// becomes.
pub fn interval() -> Duration {
    again().min(Duration::from_secs(5))
}

/// How long to wait until a slot that could not be emptied is tried again, where nothing else needs the worker.
fn again() -> Duration {
    (period() / 4).clamp(Duration::from_secs(1), Duration::from_secs(60))
}

/// The time for which a slot is current.
fn period() -> Duration {
    settings::log_retention() / (SLOTS as u32 - 1)
}

/// Rotates the ring if it is time. `now` in the time of the queue, here and below.
///
/// Raises an error where a table of the slot cannot be locked in a moment: somebody reads it, or writes to it.
pub fn rotate(session: &Session, now: Timestamp) -> Rotation {
    let Some(ring) = state(session, now) else {
        return Rotation::Blocked;
    };
    if ring.due_in() > Duration::ZERO {
        return Rotation::NotDue;
    }
    if !ring.settled {
        return Rotation::Blocked;
    }
    let next = (ring.slot + 1) % SLOTS;
    if !empty(session, next, now) {
        return Rotation::Blocked;
    }
    session.run(sql!("log/rotate"), &[arg(next), arg(now)]);
    session.run(sql!("log/purge"), &[arg(settings::log_retention().as_secs_f64()), arg(now)]);
    registry::changed();
    Rotation::Rotated(next)
}

/// How long until it is time.
pub fn due_in(session: &Session, now: Timestamp) -> Duration {
    // A slot that could not be emptied is tried again.
    state(session, now).map_or(Duration::ZERO, |ring| ring.due_in()).max(again())
}

/// Who holds a lock on the slot that comes next, if anybody does; and how large the log is.
pub fn holders(session: &Session) -> (Option<String>, String) {
    let rows = session.read(sql!("log/holders"), &[arg(SLOTS)]);
    rows.first().map_or((None, String::new()), |row| (row.get("holders"), row.value("size")))
}

/// Writes down why the ring does not rotate; `None`: it does.
pub fn set_blocked(session: &Session, reason: Option<&str>) {
    session.run(sql!("log/blocked"), &[arg(reason)]);
}

/// The ring as it is now.
struct Ring {
    /// The current slot.
    slot: i16,
    /// Since it became that.
    age: Duration,
    /// Of its tables, in bytes.
    size: u64,
    /// Nothing in the next slot waits.
    settled: bool,
}

impl Ring {
    /// How long until it is to rotate.
    fn due_in(&self) -> Duration {
        let full = self.size >= settings::log_max_size() / SLOTS as u64;
        if full { Duration::ZERO } else { period().saturating_sub(self.age) }
    }
}

/// In a snapshot of its own.
fn state(session: &Session, now: Timestamp) -> Option<Ring> {
    let rows = session.run(sql!("log/ring"), &[arg(now), arg(SLOTS)]);
    let row = rows.first()?;
    Some(Ring {
        slot: row.value("slot"),
        age: Duration::from_secs(row.value::<i64>("age").max(0).unsigned_abs()),
        size: row.value::<i64>("size").unsigned_abs(),
        settled: row.value("settled"),
    })
}

/// A writer that still uses the slot holds a lock on it until it commits. So once the lock is ours,
/// everything written is visible and nothing more comes: only then the check means something.
fn empty(session: &Session, slot: i16, now: Timestamp) -> bool {
    let _timeout = Local::set(c"lock_timeout", c"50ms");
    let rows = session.read(sql!("log/slot"), &[arg(slot)]);
    let tables: Vec<_> =
        rows.iter().filter_map(|row| Table::open(row.value("relation"), Lock::Drop)).collect();
    let settled = state(session, now).is_some_and(|ring| ring.settled);
    if settled {
        table::empty(&tables);
    }
    settled
}
