//! What is seen to besides sending: the ring rotates, the backlog is kept within its bounds and added up, and what ended webhooks have
//! left is taken away.

use std::time::{Duration, Instant};

use super::adding::Adding;
use super::backlog::Backlog;
use super::overdue::News;
use super::removing::Removing;
use super::rotation::Rotating;
use super::tidying::Tidying;
use super::time::Time;
use super::walking::Walking;
use crate::host::txn::TxnError;
use crate::log::retention::Rotation;
use crate::pg::identity::Extension;
use crate::pg::spi::Session;
use crate::queue::order::Passed;
use crate::queue::walk::Place;
use crate::registry::health::Reached;
use delivery::client::Client;
use domain::time::Timestamp;
use transit::schedule::Schedule;

/// Each at its time.
pub(super) struct Upkeep {
    rotating: Rotating,
    tidying: Tidying,
    removing: Removing,
    walking: Walking,
    adding: Adding,
}

impl Upkeep {
    /// There may be work from an earlier run, which has left the walk at `place`. `clock`: in the time of the queue.
    pub(super) fn new(now: Instant, place: Option<Place>, clock: Timestamp) -> Self {
        Self {
            rotating: Rotating::default(),
            tidying: Tidying::new(now),
            removing: Removing::new(now),
            walking: Walking::new(now, place, clock),
            adding: Adding::new(now),
        }
    }

    /// The ring is to be read, although nothing is sent.
    pub(super) fn is_draining(&self) -> bool {
        self.rotating.is_draining()
    }

    /// Definitions have changed, or whether anything is sent.
    pub(super) fn ask(&mut self, sends: bool) {
        self.removing.ask();
        self.walking.ask(sends);
    }

    /// Webhooks have ended with their owners.
    pub(super) fn ask_to_tidy(&mut self) {
        self.tidying.ask();
    }

    /// What waits may be beyond a bound by now.
    pub(super) fn repeat_walk(&mut self) {
        self.walking.repeat();
    }

    /// Deliveries have come to a stage of the backlog, or left one: so many rows at most say so.
    pub(super) fn note_moved(&mut self, rows: usize) {
        self.adding.note(rows);
    }

    /// Somebody may have brought many at once.
    pub(super) fn ask_to_add(&mut self) {
        self.adding.ask();
    }

    /// Rotates the ring when it is time.
    pub(super) fn rotate(
        &mut self,
        extension: Extension,
        now: Instant,
        time: &Time,
        backlog: &Backlog,
        sends: bool,
    ) -> Result<Option<Rotation>, TxnError> {
        // A rotation deletes rows of the backlog as well, which somebody has locked.
        if !backlog.again_in(now).is_zero() {
            return Ok(None);
        }
        let rotation = self.rotating.work(extension, now, time.now(), sends)?;
        if matches!(rotation, Some(Rotation::Rotated(_))) {
            // Dead letters may go that the ring has held.
            self.walking.repeat();
            self.adding.ask();
        }
        Ok(rotation)
    }

    /// Everything else.
    pub(super) fn work(
        &mut self,
        extension: Extension,
        now: Instant,
        time: &Time,
        schedule: &Schedule<Client>,
        backlog: &mut Backlog,
    ) -> Result<(), TxnError> {
        self.tidying.work(extension, now)?;
        self.removing.work(extension, now)?;
        let is_due = self.walking.due_in(Instant::now()).is_zero();
        if is_due && backlog.again_in(now).is_zero() {
            self.walking.step(extension, time, schedule, backlog)?;
            self.adding.note(1);
        }
        if backlog.again_in(now).is_zero() {
            self.adding.work(extension, Instant::now(), backlog)?;
        }
        Ok(())
    }

    /// What is due since this was last asked, because bounds have taken those before it.
    pub(super) fn passed(&mut self) -> Passed {
        self.walking.passed()
    }

    /// Which bounds of what waits have been reached since this was last asked.
    pub(super) fn reached(&mut self) -> Vec<Reached> {
        self.walking.reached()
    }

    /// Of which webhooks what waits has begun to be overdue, or is so no more, since this was last asked.
    pub(super) fn overdue(&mut self) -> Vec<News> {
        self.walking.overdue()
    }

    /// What the walk has to make up for, because there was no worker.
    pub(super) fn catch_up(
        &mut self,
        extension: Extension,
        time: &Time,
        schedule: &Schedule<Client>,
        backlog: &mut Backlog,
    ) -> Result<(), TxnError> {
        while self.walking.lags() {
            self.walking.step(extension, time, schedule, backlog)?;
        }
        Ok(())
    }

    /// How long until there is something to do.
    pub(super) fn due_in(&self, now: Instant, backlog: &Backlog) -> Option<Duration> {
        let locked = backlog.again_in(now);
        let adding = self.adding.due_in(now).map(|wait| wait.max(locked));
        let walking = self.walking.due_in(now).max(locked);
        [self.removing.due_in(now), adding, Some(walking)].into_iter().flatten().min()
    }

    /// The same, where no worker is there meanwhile that changes anything.
    pub(super) fn due_at_rest(&self, now: Instant, clock: Timestamp) -> Option<Duration> {
        let walking = self.walking.due_at_rest(now, clock);
        let times = [self.tidying.due_in(now), self.removing.due_in(now), walking];
        times.into_iter().flatten().min()
    }

    /// Leaves the walk's place to the next run.
    pub(super) fn leave(&self, session: &Session, clock: Timestamp) {
        self.walking.leave(session, clock);
    }
}
