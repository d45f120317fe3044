//! A job at work: what it does in one transaction, and what it waits for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::room::{Counted, Rooms};
use crate::host::txn::{self, TxnError};
use crate::host::wake;
use crate::pg::identity::Extension;
use crate::pg::spi::Session;
use crate::queue::jobs::{self, End, Job, Mode, Place, Portion, Progress};
use crate::worker::obstacle;
use domain::job::{Kind, has_status};
use domain::key::WebhookId;
use domain::status::Status;
use domain::time::Timestamp;
use transit::event::Candidate;

/// The time of a transaction is over after this, but for the page that has begun: mostly that is one. Longer, and new events wait for as
/// long, twice where what a replay writes is more than a page of the ring and they are behind it; shorter, and small pages cost a commit
/// each.
const TIME: Duration = Duration::from_millis(4);

/// How often it is looked whether what a job covers has been read, and what of it was under way is back.
pub(super) const AGAIN: Duration = Duration::from_millis(50);

/// How long a replay pauses for a webhook of which half of what may wait does. Shorter, and what waits is counted more often; longer,
/// and an endpoint that takes much waits for more.
const FULL: Duration = Duration::from_secs(2);

/// How long a job pauses for a table that somebody has locked. Shorter, and it is looked for more often; longer, and the job stays longer
/// than the lock does.
const LOCKED: Duration = Duration::from_millis(500);

/// Deliveries that are replayed one by one before and after one that is in somebody's hands. With more it takes longer; with fewer a
/// page that holds several such has to be tried more often.
const CAREFUL: u32 = 50;

/// Deliveries that are looked into and erased at once, at most. With more, others wait longer; with fewer, each page costs more than what
/// it does.
const BODIES: i64 = 200;

/// How long a page of bodies may be looked into, and one alone. What users write as a path can take for ever; with less a path that is
/// good for all but one body fails on a busy machine.
const LOOKING: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(300));

/// Where a transaction that looks into bodies has taken no longer, the next page has twice as many. With more, pages come to take too long
/// again and again, and what they have done until then is lost; with less, pages stay small.
const EASY: Duration = Duration::from_millis(25);

/// A job at work.
pub(super) struct Task {
    pub(super) job: Job,
    /// At its end there is nothing more to be done: all that it covers was in the backlog, or had ended, when this pass began.
    pub(super) complete: bool,
    /// The pass has come to its end.
    pub(super) waits: bool,
    pub(super) rooms: Rooms,
    care: Care,
    /// So many bodies are looked into at once.
    bodies: i64,
    /// It goes on with what has been left aside: which of that.
    pub(super) aside: Option<usize>,
    /// What has been left aside is not taken up again before.
    rests: HashMap<WebhookId, Instant>,
    pub(super) errors: u32,
    /// Why it waits, as far as that has been said.
    said: Option<String>,
    /// Until it is due there is nothing that it could do.
    idle: bool,
    /// Not before.
    pub(super) due: Instant,
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

/// What came of a transaction.
pub(super) enum Step {
    /// It goes on.
    Goes,
    /// The same, when something has been read.
    Asks,
    /// The same, at that time: all that is left waits for others.
    Rests(Instant),
    /// It begins again, when all that it covers is in the backlog.
    Waits,
    Ended(End),
}

impl Task {
    pub(super) fn new(job: Job, now: Instant) -> Self {
        Self {
            job,
            complete: false,
            waits: false,
            rooms: Rooms::default(),
            care: Care::None,
            bodies: BODIES,
            aside: None,
            rests: HashMap::new(),
            errors: 0,
            said: None,
            idle: false,
            due: now,
        }
    }

    /// As its row is by now, which may say that somebody has stopped it.
    pub(super) fn renewed(self, job: Job, now: Instant) -> Self {
        let due = if job.stopped { now } else { self.due };
        let (place, aside) = (self.job.place, self.job.aside);
        Self { job: Job { place, aside, ..job }, due, ..self }
    }

    /// It keeps deliveries from being sent.
    pub(super) fn guards(&self) -> bool {
        self.job.kind.guards() && self.job.status != Some(Status::Dead)
    }

    pub(super) fn covers(&self, it: Candidate) -> bool {
        has_status(self.job.status, it.tried) && self.job.scope.covers(it.id, it.written)
    }

    pub(super) fn went(&mut self, step: Step, began: Instant, took: Duration) {
        self.errors = 0;
        self.said = None;
        self.idle = false;
        self.due = began;
        if took < EASY {
            self.bodies = (self.bodies * 2).min(BODIES);
        }
        match step {
            Step::Goes | Step::Ended(_) => {}
            Step::Asks => self.due = began + AGAIN,
            Step::Rests(until) => self.rests(until),
            Step::Waits => {
                self.waits = true;
                self.due = began + AGAIN;
            }
        }
    }

    /// Until then there is nothing that it could do.
    pub(super) fn rests(&mut self, until: Instant) {
        (self.due, self.idle) = (until, true);
    }

    /// Nothing at the moment.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.idle && self.due > now
    }

    /// Whether somebody has locked a table of ours: then it waits for that, and says so.
    pub(super) fn waits_for_table(&mut self, extension: Extension) -> Result<bool, TxnError> {
        let (job, said) = (&self.job, &self.said);
        let found = txn::tried(c"looks for a lock", extension, |session| {
            let table = jobs::locked(session)?;
            let error = format!("waits: somebody has locked {table}");
            // Nor is it written into a table that is locked.
            if said.as_ref() != Some(&error) && table != jobs::TABLE {
                job.wait(session, &error);
            }
            Some(error)
        })?;
        let Ok(Some(error)) = found else {
            return Ok(false);
        };
        if self.said.as_ref() != Some(&error) {
            log!("pg_webhook: job {} {error}", self.job.id);
            self.said = Some(error);
        }
        self.rests(Instant::now() + LOCKED);
        Ok(true)
    }

    /// Whether the error is that somebody else has a delivery: then it is found out which, and that one is left out. Or that bodies have
    /// been looked into for too long: then fewer are.
    pub(super) fn takes_care(&mut self, error: &str) -> bool {
        if !obstacle::is_lock(error) {
            return false;
        }
        match (self.job.kind, self.care) {
            (Kind::Replay, Care::None) => self.care = Care::Single(CAREFUL),
            (Kind::Replay, Care::Single(_)) => self.care = Care::LeaveOut,
            (Kind::Erase, _) if self.bodies > 1 => self.bodies = (self.bodies / 4).max(1),
            _ => return false,
        }
        true
    }

    /// How long a transaction may take that looks into bodies.
    pub(super) fn limit(&self) -> Duration {
        if self.bodies > 1 { TIME + LOOKING.0 } else { LOOKING.1 }
    }

    pub(super) fn step(
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
        let before = self.job.aside.clone();
        let mut progress = Progress::default();
        let step = loop {
            let Some(place) = self.place(Instant::now()) else {
                break self.ends();
            };
            let asks = self.page(session, place, clock, in_memory, &mut progress);
            if asks {
                break Step::Asks;
            }
            if began.elapsed() >= TIME || self.care != Care::None {
                break Step::Goes;
            }
        };
        if matches!(step, Step::Waits) {
            self.job.place = self.job.beginning();
        }
        if self.job.kind == Kind::Replay && progress.done > 0 {
            wake::worker_at_commit();
        }
        self.job.save(session, &before, clock, progress);
        if let Step::Ended(end) = step {
            self.job.end(session, end, None, clock);
        }
        step
    }

    /// Where it goes on: with what it has not come to, and then with what has been left aside and need not rest any more.
    fn place(&mut self, now: Instant) -> Option<Place> {
        if self.rooms.counting().is_none() {
            let over = self.job.is_over(self.job.place);
            self.aside = over.then(|| self.rested(now)).flatten();
        }
        match self.aside {
            Some(at) => Some(self.job.aside[at]),
            None => Some(self.job.place).filter(|place| !self.job.is_over(*place)),
        }
    }

    /// Of what has been left aside and need not rest any more that which has rested longest: none waits for ever behind others.
    fn rested(&self, now: Instant) -> Option<usize> {
        let rests = self.job.aside.iter().map(|place| self.rest_of(*place)).enumerate();
        let due = rests.filter(|(_, rest)| rest.is_none_or(|until| until <= now));
        due.min_by_key(|(_, rest)| *rest).map(|(at, _)| at)
    }

    fn rest_of(&self, place: Place) -> Option<Instant> {
        self.rests.get(&self.job.webhook_of(place)?).copied()
    }

    /// What comes when there is no place where it could go on.
    fn ends(&self) -> Step {
        let rests = self.job.aside.iter().filter_map(|place| self.rest_of(*place));
        match rests.min() {
            Some(until) => Step::Rests(until),
            None if self.complete => Step::Ended(End::Done),
            None => Step::Waits,
        }
    }

    /// It goes on at `next` when it goes on where it is now, or has come to the end of that.
    fn leave(&mut self, next: Option<Place>) {
        match (self.aside, next) {
            (Some(at), Some(next)) => self.job.aside[at] = next,
            (Some(at), None) => drop(self.job.aside.remove(at)),
            (None, Some(next)) => self.job.place = next,
            (None, None) => self.job.place = self.job.leave(self.job.place),
        }
    }

    /// Sees to the page at `place`, or to what has to be known before it. Returns whether something has to be read for that.
    fn page(
        &mut self,
        session: &Session,
        place: Place,
        clock: Timestamp,
        in_memory: i64,
        progress: &mut Progress,
    ) -> bool {
        if let Some((webhook, _)) = self.rooms.counting() {
            if self.rooms.count(session, in_memory) == Counted::Full {
                if self.aside.is_none() {
                    self.job.set_aside(webhook);
                }
                self.rests.insert(webhook, Instant::now() + FULL);
            }
            return false;
        }
        let webhook = self.job.webhook_at(place).filter(|_| self.job.kind == Kind::Replay);
        let (most, mode) = match (self.job.kind, webhook) {
            (Kind::Cancel, _) => (i64::MAX, Mode::Do),
            (Kind::Erase, _) => (self.bodies, Mode::Do),
            (Kind::Replay, None) => (self.rooms.least(), Mode::Do),
            (Kind::Replay, Some(webhook)) => match (self.rooms.of(webhook), self.care) {
                (None, _) => (i64::MAX, Mode::Look),
                (Some(left), Care::None) => (left, Mode::Do),
                (_, Care::Single(_)) => (1, Mode::Do),
                (_, Care::LeaveOut) => (1, Mode::LeaveOut),
            },
        };
        let portion = Portion { most, mode, webhooks: self.rooms.known(), now: clock };
        let page = self.job.page(session, place, portion);
        let wanted = webhook.filter(|_| mode == Mode::Look && page.progress.done > 0);
        if let Some(webhook) = wanted {
            self.rooms.want(webhook);
            return true;
        }
        self.rooms.take(webhook, page.progress.done, page.progress.bytes);
        if mode != Mode::Look {
            self.care = self.care.after();
        }
        *progress += page.progress;
        self.leave(page.next);
        if let Some(webhook) = page.wanted {
            self.rooms.want(webhook);
        }
        page.wanted.is_some()
    }
}
