//! Turning the ring over: the oldest slot is emptied as TRUNCATE does it and becomes the current one.
//!
//! The ring has eight slots, so one is in use and seven hold the retention. A slot is emptied when the
//! cursor is past all in it; what is not finished by then is in the slow lane with its payload.

use std::time::Duration;

use crate::pg::guc::Local;
use crate::pg::settings;
use crate::pg::spi::{Session, arg, sql};
use crate::pg::table::{self, Lock, Table};
use crate::registry;

/// Slots of the ring.
const SLOTS: i16 = 8;

/// What a turn came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// The current slot is young.
    NotDue,
    /// The slot that would be next holds events that are not settled.
    Blocked,
    /// This slot is current now.
    Turned(i16),
}

/// How often to ask, for the retention as it is set now.
pub fn interval() -> Duration {
    (period() / 4).clamp(Duration::from_secs(1), Duration::from_secs(60))
}

/// The time for which a slot is current.
fn period() -> Duration {
    settings::log_retention() / (SLOTS as u32 - 1)
}

/// Turns the ring if it is time.
///
/// Raises an error where the slot cannot be locked at once: somebody reads it.
pub fn turn(session: &Session) -> Turn {
    let Some((slot, age, settled)) = state(session) else {
        return Turn::Blocked;
    };
    if age < period() {
        return Turn::NotDue;
    }
    if !settled {
        return Turn::Blocked;
    }
    let next = (slot + 1) % SLOTS;
    if !empty(session, next) {
        return Turn::Blocked;
    }
    session.run(sql!("log/turn"), &[arg(next)]);
    session.run(sql!("log/purge"), &[arg(settings::log_retention().as_secs_f64())]);
    registry::changed();
    Turn::Turned(next)
}

/// How long until it is time.
pub fn due_in(session: &Session) -> Duration {
    // A slot that could not be emptied is tried again.
    let age = state(session).map_or(Duration::ZERO, |(_, age, _)| age);
    period().saturating_sub(age).max(interval())
}

/// The current slot, its age, and whether the next one is settled. In a snapshot of its own.
fn state(session: &Session) -> Option<(i16, Duration, bool)> {
    let rows = session.run(sql!("log/ring"), &[]);
    let row = rows.first()?;
    Some((
        row.value(1),
        Duration::from_secs(row.value::<i64>(2).max(0).unsigned_abs()),
        row.value(3),
    ))
}

/// A writer that still uses the slot holds a lock on it until it commits. So once the lock is ours,
/// everything written is visible and nothing more comes: only then the check means something.
fn empty(session: &Session, slot: i16) -> bool {
    let _timeout = Local::set(c"lock_timeout", c"50ms");
    let rows = session.read(sql!("log/slot"), &[arg(slot)]);
    let tables: Vec<_> =
        rows.iter().filter_map(|row| Table::open(row.value(1), Lock::Drop)).collect();
    let settled = state(session).is_some_and(|(_, _, settled)| settled);
    if settled {
        table::empty(&tables);
    }
    settled
}
