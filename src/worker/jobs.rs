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
//! 4. Jobs take turns, a few milliseconds each, and rest between them.
//! 5. What keeps a job from going on keeps nobody else from it, nor the job from what else there is to do.

mod room;
mod task;

use std::collections::HashMap;
use std::ffi::CStr;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::backlog::Backlog;
use super::obstacle;
use super::reader::Reader;
use crate::host::txn::{self, TxnError};
use crate::pg::debug::debug;
use crate::pg::guc::Local;
use crate::pg::identity::Extension;
use crate::pg::interrupt;
use crate::pg::spi::Session;
use crate::queue::jobs::{self, End};
use domain::job::{Kind, Scope};
use domain::key::{DeliveryId, WebhookId};
use domain::snapshot::Snapshot;
use domain::time::Timestamp;
use task::{AGAIN, Step, Task};
use transit::event::{Candidate, Event};

/// So much of the time that a transaction has taken passes before the next one: an eighth, or a half of one that has taken `LONG`,
/// which only what users write as a path does. With less, events of others wait for the processor; with more, jobs take longer.
const SPACING: u32 = 8;
const SPACING_OF_LONG: u32 = 2;
const LONG: Duration = Duration::from_millis(30);

/// How long it pauses after an error, times the number of those in a row.
const PAUSE: Duration = Duration::from_secs(1);

/// After so many errors in a row a job has failed: a minute or so.
const MOST_ERRORS: u32 = 10;

/// How long one pauses in a copy that nobody has armed. Arming it wakes the worker, so this is only for when nobody tells.
const UNARMED: Duration = Duration::from_secs(60);

/// How long a replay waits for somebody who replays or cancels the same delivery. Everything else waits as long.
const PATIENCE: &CStr = c"10ms";

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
    /// Webhooks of jobs that have ended.
    ended: Vec<WebhookId>,
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
            ended: Vec::new(),
        }
    }

    /// There may be another one, or one may have been stopped.
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    /// Nothing is to be done for any at the moment, as far as is known.
    pub(super) fn are_idle(&self, now: Instant) -> bool {
        self.tasks.iter().all(|task| task.is_idle(now))
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
                Some(task) => task.renewed(job, now),
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

    /// Webhooks of jobs that have ended since this was last asked.
    pub(super) fn take_ended(&mut self) -> Vec<WebhookId> {
        std::mem::take(&mut self.ended)
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
        let before = (task.job.place, task.job.aside.clone());
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
        self.due = Instant::now() + took / if took < LONG { SPACING } else { SPACING_OF_LONG };
        if !matches!(done, Ok(Some(_))) {
            // What has been counted of a transaction that was rolled back is none.
            task.rooms.forget();
            (task.job.place, task.job.aside) = before;
            task.aside = None;
        }
        match done {
            Ok(None) => {
                backlog.keep(None);
                task.waits_for_table(extension)?;
            }
            Ok(Some(Step::Ended(end))) => self.drop(at, end),
            Ok(Some(step)) => task.went(step, began, took),
            Err(message) if obstacle::is_lock(&message) && task.waits_for_table(extension)? => {}
            Err(message) if task.takes_care(&message) => {}
            Err(message) => self.fail(extension, at, &message, clock)?,
        }
        Ok(())
    }

    /// A copy that nobody has armed replays nothing: it would be sent beside the original's.
    pub(super) fn rest(&mut self, at: usize) {
        let task = &mut self.tasks[at];
        self.last = task.job.id;
        task.rests(Instant::now() + UNARMED);
    }

    /// Whether this one writes what is to be sent, and has not been stopped.
    pub(super) fn sends(&self, at: usize) -> bool {
        self.tasks[at].job.kind == Kind::Replay && !self.tasks[at].job.stopped
    }

    fn drop(&mut self, at: usize, end: End) {
        let task = self.tasks.remove(at);
        debug!("job {} has ended: {end:?}", task.job.id);
        self.ended.extend(task.job.webhooks.iter().copied());
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
        task.errors += 1;
        if task.errors == 1 {
            log!("pg_webhook: job {} waits: {message}; trying again", task.job.id);
        }
        task.due = Instant::now() + PAUSE * task.errors.min(MOST_ERRORS);
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
