//! Which workers make room when databases wait for a slot.
//!
//! First those that have nothing to do, the one that has been idle for longest first. Where all have something to do, the
//! one that has run for longest, once somebody has waited for some seconds: no database waits for as long as another one has
//! work.

use std::time::{Duration, Instant, SystemTime};

use crate::host::board::{self, Entry};
use crate::host::state::Leave;
use domain::time::Timestamp;

/// How long a database waits before one that has work makes room. With the time that such a worker has to end what is
/// under way it makes up most of the 10 s that a database waits at most.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Asks workers to leave for those that have waited since these times; says whether any wait.
pub(super) fn make_room(waiting: &[Instant]) -> bool {
    board::set_waiting(!waiting.is_empty());
    if waiting.is_empty() {
        return false;
    }
    let running: Vec<&Entry> = board::entries().filter(|entry| entry.pid().is_some()).collect();
    let (staying, leaving): (Vec<&Entry>, Vec<&Entry>) =
        running.into_iter().partition(|entry| entry.leave() == Leave::Stay);
    let needed = waiting.len().saturating_sub(leaving.len());
    let (mut idle, mut busy): (Vec<&Entry>, Vec<&Entry>) =
        staying.into_iter().partition(|entry| entry.idle_since().is_some());
    idle.sort_by_key(|entry| entry.idle_since());
    idle.iter().take(needed).for_each(|entry| entry.ask_to_leave(Leave::IfIdle));
    let impatient = waiting.iter().filter(|since| since.elapsed() >= PATIENCE).count();
    let more = impatient.saturating_sub(leaving.len() + idle.len());
    busy.retain(|entry| has_had_a_turn(entry));
    busy.sort_by_key(|entry| entry.started());
    busy.iter().take(more).for_each(|entry| entry.ask_to_leave(Leave::Soon));
    true
}

/// One that has just come would leave before it has sent anything, and wait behind all others again. A clock that was set
/// back keeps nobody in its place.
fn has_had_a_turn(entry: &Entry) -> bool {
    let now = Timestamp::from(SystemTime::now());
    let since = Timestamp(entry.started());
    since > now || now.since(since) >= PATIENCE
}
