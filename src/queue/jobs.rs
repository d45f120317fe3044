//! Jobs as rows: what is asked for, how far it is, and pages of what is done. When that happens is `worker/jobs.rs`'s.

mod page;

use std::collections::HashSet;

use crate::pg::identity::Caller;
use crate::pg::spi::{Arg, Row, Session, arg, sql};
use crate::pg::table;
use domain::ids;
use domain::job::{Kind, Scope};
use domain::key::{DeliveryId, WebhookId};
use domain::refusal::Refusal;
use domain::snapshot::Xid8;
use domain::status::Status;
use domain::time::Timestamp;
pub use page::{Mode, Portion};

/// Jobs of one role that have not ended. Each delivery that is read is compared with those of its webhook.
const MOST: i64 = 100;

/// Jobs that have ended and are shown.
const ENDED: i64 = 1_000;

/// What is asked for.
pub struct Request {
    /// What is to be done.
    pub kind: Kind,
    /// Of this webhook; `None` for all that the caller manages.
    pub webhook: Option<WebhookId>,
    /// With this status; `None` for any that it can be done with.
    pub status: Option<Status>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this one.
    pub until: Option<Timestamp>,
    /// With bodies that this finds something in, a jsonpath; `None` for all.
    pub path: Option<String>,
}

/// Writes a job down for the worker. Returns its id.
///
/// # Errors
///
/// [`Refusal::TooManyJobs`].
pub fn ask(session: &Session, caller: &Caller, request: &Request) -> Result<DeliveryId, Refusal> {
    let asked = session.run(sql!("queue/asked"), &[arg(caller.role)]);
    if asked.first().is_some_and(|row| row.value::<i64>("count") >= MOST) {
        return Err(Refusal::TooManyJobs(MOST));
    }
    let Request { kind, webhook, status, since, until, path } = request;
    let args = [
        arg(kind.name()),
        arg(*webhook),
        arg(caller.role),
        arg(status.map(Status::name)),
        arg(DeliveryId(since.map_or(0, ids::reading))),
        arg(until.map_or(DeliveryId::LAST, |until| DeliveryId(ids::reading(until)))),
        arg(*since),
        arg(*until),
    ];
    let rows = session.run(sql!("queue/ask"), &args);
    let id: DeliveryId = rows.first().expect("the row that was written").value("id");
    if let Some(path) = path {
        session.run(sql!("queue/ask_path"), &[arg(id), arg(path.as_str())]);
    }
    Ok(id)
}

/// A job that has not ended.
pub struct Job {
    /// Its number.
    pub id: DeliveryId,
    /// What is to be done.
    pub kind: Kind,
    /// For these, in this order.
    pub webhooks: Vec<WebhookId>,
    /// With this status, or any.
    pub status: Option<Status>,
    /// What it covers of them.
    pub scope: Scope,
    /// How far it is.
    pub place: Place,
    /// Where it goes on later, each of them with one webhook.
    pub aside: Vec<Place>,
    /// Somebody has stopped it.
    pub stopped: bool,
}

/// Where deliveries are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// In the backlog, of one webhook after the other.
    Backlog,
    /// In the log, as well.
    Log,
    /// In the ring, those that are nowhere else, of all webhooks at once.
    Ring,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// At which of its steps; behind the last one where it is over.
    step: usize,
    /// With which of its webhooks; `None` for all at once.
    webhook: Option<usize>,
    /// Behind this transaction.
    xid: Xid8,
    /// Behind this delivery.
    after: DeliveryId,
}

impl Place {
    /// As rows have it.
    fn new(step: i32, position: i32, xid: Xid8, after: DeliveryId) -> Option<Self> {
        let webhook = usize::try_from(position).ok()?.checked_sub(1);
        Some(Self { step: usize::try_from(step - 1).ok()?, webhook, xid, after })
    }

    fn step(self) -> i32 {
        self.step as i32 + 1
    }

    /// 0 for all.
    fn position(self) -> i32 {
        self.webhook.map_or(0, |webhook| webhook as i32 + 1)
    }

    /// As arguments of a statement about `job`.
    fn args(self, job: DeliveryId) -> Vec<Arg> {
        let (step, position) = (arg(self.step()), arg(self.position()));
        vec![arg(job), step, position, arg(self.xid), arg(self.after)]
    }
}

/// What has been done at once.
#[derive(Debug, Default, Clone, Copy)]
pub struct Progress {
    /// Deliveries that were looked at.
    pub seen: i64,
    /// Something was done about so many.
    pub done: i64,
    /// With so many bytes of bodies.
    pub bytes: i64,
    /// So many were left out.
    pub skipped: i64,
}

impl std::ops::AddAssign for Progress {
    fn add_assign(&mut self, other: Self) {
        self.seen += other.seen;
        self.done += other.done;
        self.bytes += other.bytes;
        self.skipped += other.skipped;
    }
}

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All has been done.
    Done,
    /// Somebody has stopped it.
    Stopped,
    /// It cannot be done.
    Failed,
}

impl Job {
    fn steps(&self) -> &'static [Step] {
        match (self.kind, self.status) {
            (Kind::Replay, Some(Status::Delivered)) => &[Step::Log, Step::Ring],
            (Kind::Erase, _) => &[Step::Backlog, Step::Ring],
            _ => &[Step::Backlog],
        }
    }

    /// Where it begins.
    pub fn beginning(&self) -> Place {
        self.beginning_of(0)
    }

    fn beginning_of(&self, step: usize) -> Place {
        match self.steps().get(step) {
            Some(Step::Ring) => {
                Place { step, webhook: None, xid: Xid8(0), after: DeliveryId::FIRST }
            }
            _ => self.beginning_with(step, 0),
        }
    }

    fn beginning_with(&self, step: usize, webhook: usize) -> Place {
        let after = DeliveryId(self.scope.first.0 - 1);
        Place { step, webhook: Some(webhook), xid: Xid8(0), after }
    }

    /// Where it looks at `place`; `None` where it is over.
    fn step_at(&self, place: Place) -> Option<Step> {
        let step = self.steps().get(place.step).copied()?;
        (step == Step::Ring || place.webhook? < self.webhooks.len()).then_some(step)
    }

    /// Nothing comes any more.
    pub fn is_over(&self, place: Place) -> bool {
        self.webhooks.is_empty() || self.step_at(place).is_none()
    }

    /// The webhook at `place`, where it goes by webhooks there.
    pub fn webhook_at(&self, place: Place) -> Option<WebhookId> {
        let by_webhooks = self.step_at(place)? != Step::Ring;
        self.webhooks.get(place.webhook?).copied().filter(|_| by_webhooks)
    }

    /// The one that has been left aside there.
    pub fn webhook_of(&self, aside: Place) -> Option<WebhookId> {
        self.webhooks.get(aside.webhook?).copied()
    }

    /// What comes behind all that there is at `place`.
    pub fn leave(&self, place: Place) -> Place {
        let next = place.webhook.map(|webhook| webhook + 1);
        match next.filter(|next| self.webhook_at(place).is_some() && *next < self.webhooks.len()) {
            Some(next) => self.beginning_with(place.step, next),
            None => self.beginning_of(place.step + 1),
        }
    }

    /// Leaves `webhook` at its place aside, to go on with the others. In the ring these are all that are not left aside there.
    pub fn set_aside(&mut self, webhook: WebhookId) {
        let number = self.webhooks.iter().position(|of| *of == webhook);
        self.aside.push(Place { webhook: number, ..self.place });
        if self.webhook_at(self.place).is_some() {
            self.place = self.leave(self.place);
        }
    }

    /// Those that it looks for in the ring at `place`.
    fn sought(&self, place: Place) -> Vec<WebhookId> {
        let here = self.aside.iter().filter(|it| it.step == place.step);
        let aside: HashSet<usize> = here.filter_map(|it| it.webhook).collect();
        let is_sought = |number| match place.webhook {
            Some(only) => only == number,
            None => !aside.contains(&number),
        };
        let numbered = self.webhooks.iter().enumerate();
        numbered.filter(|(number, _)| is_sought(*number)).map(|(_, webhook)| *webhook).collect()
    }

    /// Writes down where it is at `now`, what has been done since that was written last, and what is left aside, which was `before`.
    pub fn save(&self, session: &Session, before: &[Place], now: Timestamp, progress: Progress) {
        let mut args = self.place.args(self.id);
        let Progress { seen, done, skipped, .. } = progress;
        args.extend([arg(seen), arg(done), arg(skipped), arg(now)]);
        session.run(sql!("queue/advance_job"), &args);
        if self.aside == before {
            return;
        }
        let was: HashSet<&Place> = before.iter().collect();
        for place in self.aside.iter().filter(|place| !was.contains(place)) {
            session.run(sql!("queue/set_aside"), &place.args(self.id));
        }
        let there: HashSet<_> = self.aside.iter().map(|it| (it.step, it.webhook)).collect();
        for gone in before.iter().filter(|it| !there.contains(&(it.step, it.webhook))) {
            let args = [arg(self.id), arg(gone.step()), arg(gone.position())];
            session.run(sql!("queue/take_up"), &args);
        }
    }

    /// It waits because of `error`, until it is saved the next time.
    pub fn wait(&self, session: &Session, error: &str) {
        session.run(sql!("queue/job_waits"), &[arg(self.id), arg(error)]);
    }

    /// It has ended at `now`, because of `error` where there is one.
    pub fn end(&self, session: &Session, end: End, error: Option<&str>, now: Timestamp) {
        let result = match end {
            End::Done => "done",
            End::Stopped => "stopped",
            End::Failed => "failed",
        };
        let args = [arg(self.id), arg(result), arg(error), arg(now), arg(ENDED - 1)];
        session.run(sql!("queue/end_job"), &args);
        session.run(sql!("queue/forget_aside"), &[arg(self.id)]);
        if self.kind == Kind::Erase {
            session.run(sql!("queue/forget_path"), &[arg(self.id)]);
        }
    }
}

/// The jobs that have not ended, the oldest first.
pub fn unfinished(session: &Session) -> Vec<Job> {
    let rows = session.run(sql!("queue/jobs"), &[]);
    let mut jobs: Vec<Job> = rows.iter().filter_map(job).collect();
    // At almost every poll: nothing is left aside without a job.
    if jobs.is_empty() {
        return jobs;
    }
    for row in session.run(sql!("queue/aside"), &[]).iter() {
        let id: DeliveryId = row.value("job");
        let job = jobs.iter_mut().find(|job| job.id == id);
        if let Some((job, place)) = job.zip(place(row)) {
            job.aside.push(place);
        }
    }
    jobs
}

fn place(row: Row<'_>) -> Option<Place> {
    let (step, position) = (row.value("step"), row.value("position"));
    Place::new(step, position, row.value("place_xid"), row.value("place"))
}

/// `None` for one that an administrator has written.
fn job(row: Row<'_>) -> Option<Job> {
    let scope = Scope {
        first: row.value("first"),
        end: row.value("end"),
        seen: row.value::<String>("seen").parse().ok()?,
        caller: row.value("caller"),
    };
    Some(Job {
        id: row.value("id"),
        kind: row.value::<String>("kind").parse().ok()?,
        webhooks: row.value("webhooks"),
        status: row.get::<String>("status").and_then(|status| status.parse().ok()),
        scope,
        place: place(row)?,
        aside: Vec::new(),
        stopped: row.value("stopped"),
    })
}

/// The table of jobs.
pub const TABLE: &str = "webhook.job";

/// The first of the tables that jobs write to that somebody keeps others from writing to, if there is one. Those before it are locked until the
/// transaction ends.
pub fn locked(session: &Session) -> Option<String> {
    let tables = session.read(sql!("queue/own_tables"), &[]);
    let locked = tables.iter().find(|row| !table::lock_at_once(row.value("oid")));
    locked.map(|row| row.value("name"))
}

/// What has been counted of the backlog of a webhook.
pub struct Waiting {
    /// Behind which delivery it goes on, where that was not all.
    pub after: Option<DeliveryId>,
    /// How many wait.
    pub events: i64,
    /// With so many bytes of bodies.
    pub bytes: i64,
}

/// Rows of the backlog that are counted at once: a millisecond or two.
const COUNTED: i64 = 2_000;

/// Counts what waits in the backlog of `webhook` behind `after`, some rows of it.
pub fn count(session: &Session, webhook: WebhookId, after: DeliveryId) -> Waiting {
    let args = [arg(webhook), arg(COUNTED), arg(after)];
    let rows = session.read(sql!("queue/count_waiting"), &args);
    let row = rows.first().expect("one row");
    let all = row.value::<i64>("seen_rows") < COUNTED;
    Waiting {
        after: row.get("place").filter(|_| !all),
        events: row.value("waiting"),
        bytes: row.value("bytes"),
    }
}
