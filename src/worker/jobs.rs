//! Jobs: what the worker does with many deliveries because somebody has asked for it, a few at a time.
//!
//! # What always holds
//!
//! 1. A job covers what its caller could see ([`domain::job`]), whatever comes later, so it has an end. Which of these have the status
//!    that it names shows when the worker comes to each.
//! 2. From the poll on that finds a job no delivery is sent that it cancels: what is in memory and not under way is withdrawn, and
//!    what is read or claimed is not sent. That is so until all of it has been read and is in the backlog, where the job finds it, or
//!    has ended.
//! 3. What is done about deliveries, and how far the job is by that, are written in one transaction: a crash repeats nothing.
//! 4. Jobs take turns, a few milliseconds each, and rest as long.

mod room;

use std::collections::HashMap;
use std::ffi::CStr;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::backlog::Backlog;
use super::obstacle;
use super::reader::Reader;
use crate::host::txn::{self, TxnError};
use crate::host::wake;
use crate::pg::debug::debug;
use crate::pg::guc::Local;
use crate::pg::identity::Extension;
use crate::pg::interrupt;
use crate::pg::spi::Session;
use crate::queue::jobs::{self, End, Job, Mode, Place, Progress};
use domain::job::{Kind, Scope, has_status};
use domain::key::{DeliveryId, WebhookId};
use domain::snapshot::Snapshot;
use domain::status::Status;
use domain::time::Timestamp;
use room::{Counted, Rooms};
use transit::event::{Candidate, Event};

/// The time of a transaction is over after this, but for the page that has begun. Longer, and new events wait for as long; shorter,
/// and each page costs a commit.
const TIME: Duration = Duration::from_millis(8);

/// So many times as long as a transaction has taken passes before the next one. With less, events of others wait for the
/// processor; with more, jobs take longer.
const SPACING: u32 = 1;

/// How often it is looked whether what a job covers has been read, and what of it was under way is back.
const AGAIN: Duration = Duration::from_millis(50);

/// How long it pauses after an error, times the number of those in a row.
const PAUSE: Duration = Duration::from_secs(1);

/// After so many errors in a row a job has failed: a minute or so.
const MOST_ERRORS: u32 = 10;

/// How long a replay pauses where half of what may wait does, or in a copy that nobody has armed. Shorter, and what waits is counted
/// more often; longer, and an endpoint that takes much waits for more.
const FULL: Duration = Duration::from_secs(2);

/// How long a replay waits for somebody who replays or cancels the same delivery. Everything else waits as long.
const PATIENCE: &CStr = c"10ms";

/// Deliveries that are replayed one by one before and after one that is in somebody's hands. With more it takes longer; with fewer a
/// page that holds several such has to be tried more often.
const CAREFUL: u32 = 50;

/// How long a page of bodies may be looked into, and one alone. What users write as a path can take for ever; with less a path that is
/// good for all but one body fails on a busy machine.
const LOOKING: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(300));

/// Why a job fails whose path takes longer.
const TOO_LONG: &str =
    "the path takes longer than 300 ms for a body, or somebody has locked what is to be erased";

/// What a job asks before it goes on.
pub(super) enum Asked<'a> {
    /// Whether all that it covers is in the backlog, or has ended, and, where that is true, none of it is under way.
    Covered(&'a Scope, bool),
    /// Whether all that this sees has been read, and how much of that webhook is in memory.
    Read(WebhookId, &'a Snapshot),
}

/// The jobs that have not ended.
pub(super) struct Jobs {
    /// There may be others.
    asked: bool,
    tasks: Vec<Task>,
    /// Of each webhook, those that keep deliveries from being sent.
    guards: HashMap<WebhookId, Vec<usize>>,
    /// Whose turn was last.
    last: DeliveryId,
    due: Instant,
    /// Webhooks whose deliveries have been left in the backlog for a job that has ended otherwise.
    left: Vec<WebhookId>,
}

/// A job at work.
struct Task {
    job: Job,
    /// At its end there is nothing more to be done: all that it covers was in the backlog, or had ended, when this pass began.
    complete: bool,
    /// The pass has come to its end.
    waits: bool,
    rooms: Rooms,
    care: Care,
    errors: u32,
    /// Not before.
    due: Instant,
}

/// Of deliveries that somebody else may be replaying or cancelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    /// None: so far nobody has.
    None,
    /// One by one, so many.
    Single(u32),
    /// The next one is left to whoever has it.
    LeaveOut,
}

impl Care {
    /// What comes after a page.
    fn after(self) -> Self {
        match self {
            Self::None | Self::Single(0) => Self::None,
            Self::Single(left) => Self::Single(left - 1),
            Self::LeaveOut => Self::Single(CAREFUL),
        }
    }
}

impl Task {
    fn new(job: Job, now: Instant) -> Self {
        let (rooms, care) = (Rooms::default(), Care::None);
        Self { job, complete: false, waits: false, rooms, care, errors: 0, due: now }
    }

    /// It keeps deliveries from being sent.
    fn guards(&self) -> bool {
        self.job.kind.guards() && self.job.status != Some(Status::Dead)
    }

    fn covers(&self, it: Candidate) -> bool {
        has_status(self.job.status, it.tried) && self.job.scope.covers(it.id, it.written)
    }
}

impl Jobs {
    /// There may be some from an earlier run.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            asked: true,
            tasks: Vec::new(),
            guards: HashMap::new(),
            last: DeliveryId::FIRST,
            due: now,
            left: Vec::new(),
        }
    }

    /// There may be another one, or one may have been stopped.
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    /// None is to be done, as far as is known.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Looks for new ones, if there may be some. Returns whether what is in memory is to be compared with them.
    pub(super) fn look(&mut self, session: &Session, now: Instant) -> bool {
        if !self.asked {
            return false;
        }
        let mut known: HashMap<DeliveryId, Task> =
            self.tasks.drain(..).map(|task| (task.job.id, task)).collect();
        let mut new = false;
        for job in jobs::unfinished(session) {
            let task = match known.remove(&job.id) {
                Some(task) => {
                    let due = if job.stopped { now } else { task.due };
                    Task { job: Job { place: task.job.place, ..job }, due, ..task }
                }
                None => {
                    new = true;
                    debug!(
                        "job {}: {} for {} webhooks",
                        job.id,
                        job.kind.name(),
                        job.webhooks.len()
                    );
                    Task::new(job, now)
                }
            };
            self.tasks.push(task);
        }
        self.asked = false;
        self.guard();
        new
    }

    /// Notes who keeps deliveries from being sent.
    fn guard(&mut self) {
        self.guards.clear();
        for (at, task) in self.tasks.iter().enumerate().filter(|(_, task)| task.guards()) {
            for webhook in &task.job.webhooks {
                self.guards.entry(*webhook).or_default().push(at);
            }
        }
    }

    /// Whether a job keeps this one from being sent.
    pub(super) fn keeps(&self, it: Candidate) -> bool {
        let guards = self.guards.get(&it.webhook);
        guards.is_some_and(|tasks| tasks.iter().any(|at| self.tasks[*at].covers(it)))
    }

    /// Takes their bodies from those that are not to be sent.
    pub(super) fn keep<'a>(&self, events: impl Iterator<Item = &'a mut Event>) {
        if self.guards.is_empty() {
            return;
        }
        for event in events {
            if self.keeps(event.candidate()) {
                event.body = None;
            }
        }
    }

    /// Something is to be read for them, although nothing is sent.
    pub(super) fn reads(&self, reader: &Reader) -> bool {
        self.tasks.iter().any(|task| match task.job.kind.guards() {
            true => !reader.has_read_scope(&task.job.scope),
            false => task.rooms.counting().is_some_and(|(_, written)| !reader.has_read(written)),
        })
    }

    /// Webhooks whose backlog holds what may be sent after all.
    pub(super) fn take_left(&mut self) -> Vec<WebhookId> {
        std::mem::take(&mut self.left)
    }

    /// How long until there is something to do; `None` where there is nothing.
    pub(super) fn due_in(&self, now: Instant, backlog: &Backlog) -> Option<Duration> {
        let wait = |task: &Task| {
            let wait = task.due.max(self.due).saturating_duration_since(now);
            // To end one takes nothing from there.
            if task.job.stopped { wait } else { wait.max(backlog.again_in(now)) }
        };
        self.tasks.iter().map(wait).min()
    }

    /// The one whose turn it is, if it is time: of the least number behind that of the last one.
    pub(super) fn next(&self, now: Instant, backlog: &Backlog) -> Option<usize> {
        if self.due_in(now, backlog) != Some(Duration::ZERO) {
            return None;
        }
        let free = backlog.again_in(now).is_zero();
        let is_due = |task: &Task| task.due <= now && (free || task.job.stopped);
        let due = self.tasks.iter().enumerate().filter(|(_, task)| is_due(task));
        due.min_by_key(|(_, task)| (task.job.id <= self.last, task.job.id)).map(|(at, _)| at)
    }

    /// What this one asks, if it does.
    pub(super) fn asks(&self, at: usize) -> Option<Asked<'_>> {
        let task = &self.tasks[at];
        if task.job.kind.guards() {
            let asks = task.waits || task.job.place == task.job.beginning();
            let erases = task.job.kind == Kind::Erase;
            return asks.then_some(Asked::Covered(&task.job.scope, erases));
        }
        task.rooms.counting().map(|(webhook, written)| Asked::Read(webhook, written))
    }

    /// Whether this one covers a delivery that is to be sent.
    pub(super) fn covers(&self, at: usize, it: Candidate) -> bool {
        let is_its = self.guards.get(&it.webhook).is_some_and(|tasks| tasks.contains(&at));
        is_its && self.tasks[at].covers(it)
    }

    /// Has this one do something. What it asks is so where this is `ready`, with so much `in_memory`.
    pub(super) fn work(
        &mut self,
        at: usize,
        (ready, in_memory): (bool, i64),
        extension: Extension,
        clock: Timestamp,
        backlog: &mut Backlog,
    ) -> Result<(), TxnError> {
        let began = Instant::now();
        let task = &mut self.tasks[at];
        self.last = task.job.id;
        let begins = task.job.place == task.job.beginning();
        // An answer that comes later would not be erased.
        let waits =
            task.waits || task.rooms.counting().is_some() || begins && task.job.kind == Kind::Erase;
        if waits && !ready && !task.job.stopped {
            task.due = began + AGAIN;
            return Ok(());
        }
        task.waits = false;
        if begins {
            task.complete = ready || !task.job.kind.guards();
        }
        let before = task.job.place;
        let done = txn::tried(c"does a job for many deliveries", extension, |session| {
            let free = task.job.stopped || backlog.lock();
            let _impatient = match task.job.kind {
                Kind::Replay => Some(Local::set_alone(c"lock_timeout", PATIENCE)),
                Kind::Cancel => backlog.impatient(),
                Kind::Erase => Some(Local::set_alone(c"lock_timeout", c"0")),
            };
            let _limit = (task.job.kind == Kind::Erase).then(|| interrupt::limit(task.limit()));
            free.then(|| task.step(session, clock, began, in_memory))
        })?;
        let took = began.elapsed();
        self.due = Instant::now() + took * SPACING;
        if !matches!(done, Ok(Some(_))) {
            task.job.place = before;
        }
        match done {
            Ok(None) => backlog.keep(None),
            Ok(Some(Step::Ended(end))) => self.drop(at, end),
            Ok(Some(step)) => task.went(step, began),
            Err(message) if task.takes_care(&message) => {}
            Err(message) => self.fail(extension, at, &message, clock)?,
        }
        Ok(())
    }

    /// A copy that nobody has armed replays nothing: it would be sent beside the original's.
    pub(super) fn rest(&mut self, at: usize) {
        let task = &mut self.tasks[at];
        self.last = task.job.id;
        task.due = Instant::now() + FULL;
    }

    /// Whether this one writes what is to be sent, and has not been stopped.
    pub(super) fn sends(&self, at: usize) -> bool {
        self.tasks[at].job.kind == Kind::Replay && !self.tasks[at].job.stopped
    }

    fn drop(&mut self, at: usize, end: End) {
        let task = self.tasks.remove(at);
        debug!("job {} has ended: {end:?}", task.job.id);
        if task.guards() && (end != End::Done || task.job.kind == Kind::Erase) {
            self.left.extend(task.job.webhooks);
        }
        self.guard();
    }

    /// Nothing has been done, because of an error.
    fn fail(
        &mut self,
        extension: Extension,
        at: usize,
        message: &str,
        clock: Timestamp,
    ) -> Result<(), TxnError> {
        let task = &mut self.tasks[at];
        let too_long = task.job.kind == Kind::Erase && obstacle::is_lock(message);
        let message = if too_long { TOO_LONG } else { message };
        // What has been counted of a transaction that was rolled back is none.
        task.rooms.forget();
        task.errors += 1;
        if task.errors == 1 {
            log!("pg_webhook: job {} waits: {message}; trying again", task.job.id);
        }
        task.due = Instant::now() + PAUSE * task.errors;
        if task.errors < MOST_ERRORS {
            return Ok(());
        }
        log!("pg_webhook: job {} has failed: {message}", task.job.id);
        let end = |session: &Session| task.job.end(session, End::Failed, Some(message), clock);
        if txn::tried(c"ends a job", extension, end)?.is_ok() {
            self.drop(at, End::Failed);
        }
        Ok(())
    }
}

/// What came of a transaction.
enum Step {
    /// It goes on there.
    Goes(Place),
    /// The same, when something has been read.
    Asks(Place),
    /// The same, when less waits.
    Full(Place),
    /// It begins again, when all that it covers is in the backlog.
    Waits,
    Ended(End),
}

impl Task {
    fn went(&mut self, step: Step, began: Instant) {
        self.errors = 0;
        let (place, pause) = match step {
            Step::Goes(place) => (place, Duration::ZERO),
            Step::Asks(place) => (place, AGAIN),
            Step::Full(place) => (place, FULL),
            Step::Waits => {
                self.waits = true;
                (self.job.beginning(), AGAIN)
            }
            Step::Ended(_) => return,
        };
        self.job.place = place;
        self.due = began + pause;
    }

    /// Whether the error is that somebody else has a delivery: then it is found out which, and that one is left out.
    fn takes_care(&mut self, error: &str) -> bool {
        if !obstacle::is_lock(error) {
            return false;
        }
        self.care = match (self.job.kind, self.care) {
            (Kind::Replay | Kind::Erase, Care::None) => Care::Single(CAREFUL),
            (Kind::Replay, Care::Single(_)) => Care::LeaveOut,
            _ => return false,
        };
        self.rooms.forget();
        true
    }

    /// How long a transaction may take that looks into bodies.
    fn limit(&self) -> Duration {
        if self.care == Care::None { TIME + LOOKING.0 } else { LOOKING.1 }
    }

    fn step(
        &mut self,
        session: &Session,
        clock: Timestamp,
        began: Instant,
        in_memory: i64,
    ) -> Step {
        if self.job.stopped {
            self.job.end(session, End::Stopped, None, clock);
            return Step::Ended(End::Stopped);
        }
        let mut progress = Progress::default();
        let step = loop {
            match self.page(session, clock, in_memory, &mut progress) {
                Step::Goes(place) if began.elapsed() < TIME && self.care == Care::None => {
                    self.job.place = place;
                }
                step => break step,
            }
        };
        let place = match step {
            Step::Goes(place) | Step::Asks(place) | Step::Full(place) => place,
            Step::Waits => self.job.beginning(),
            Step::Ended(_) => self.job.place,
        };
        if self.job.kind == Kind::Replay && progress.done > 0 {
            wake::worker_at_commit();
        }
        self.job.save(session, place, clock, progress);
        if let Step::Ended(end) = step {
            self.job.end(session, end, None, clock);
        }
        step
    }

    /// Sees to the next page, or to what has to be known before it.
    fn page(
        &mut self,
        session: &Session,
        clock: Timestamp,
        in_memory: i64,
        progress: &mut Progress,
    ) -> Step {
        let (job, place) = (&self.job, self.job.place);
        if self.rooms.counting().is_some() {
            return match self.rooms.count(session, in_memory) {
                Counted::Partly | Counted::Room => Step::Goes(place),
                Counted::Full => Step::Full(place),
            };
        }
        let webhook = job.webhook_at(place).filter(|_| job.kind == Kind::Replay);
        let (most, mode) = match (self.care, webhook, job.kind) {
            (Care::None, _, Kind::Erase) | (_, _, Kind::Cancel) => (i64::MAX, Mode::Do),
            (_, _, Kind::Erase) => (1, Mode::Do),
            (_, None, Kind::Replay) => (self.rooms.least(), Mode::Do),
            (care, Some(webhook), Kind::Replay) => match (self.rooms.of(webhook), care) {
                (None, _) => (i64::MAX, Mode::Look),
                (Some(left), Care::None) => (left, Mode::Do),
                (_, Care::Single(_)) => (1, Mode::Do),
                (_, Care::LeaveOut) => (1, Mode::LeaveOut),
            },
        };
        let page = job.page(session, place, most, mode, self.rooms.known(), clock);
        let wanted = webhook.filter(|_| mode == Mode::Look && page.progress.done > 0);
        if let Some(webhook) = wanted {
            self.rooms.want(webhook);
            return Step::Asks(place);
        }
        self.rooms.take(webhook, page.progress.done, page.progress.bytes);
        if mode != Mode::Look {
            self.care = self.care.after();
        }
        *progress += page.progress;
        match (page.wanted, page.next) {
            (Some(webhook), next) => {
                self.rooms.want(webhook);
                Step::Asks(next.unwrap_or(place))
            }
            (None, Some(next)) => Step::Goes(next),
            (None, None) if self.complete => Step::Ended(End::Done),
            (None, None) => Step::Waits,
        }
    }
}
