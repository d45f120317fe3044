//! Jobs as rows: what is asked for, and pages of what is done. When that happens is `worker/jobs.rs`'s.

use crate::pg::heap;
use crate::pg::identity::Caller;
use crate::pg::spi::{Row, Rows, Session, arg, sql};
use domain::ids;
use domain::job::{Kind, Scope};
use domain::key::{DeliveryId, WebhookId};
use domain::refusal::Refusal;
use domain::snapshot::Xid8;
use domain::status::Status;
use domain::time::Timestamp;

/// Jobs of one role that have not ended. Each delivery that is read is compared with those of its webhook.
const MOST: i64 = 100;

/// Jobs that have ended and are shown.
const ENDED: i64 = 1_000;

/// Deliveries that a page looks at: some milliseconds. The transaction that it is in ends with the page in which its time is over.
const PAGE: i64 = 250;

/// A page ends with the body that goes beyond so many bytes. With more, others wait longer for a page of large ones.
const PAGE_BYTES: i64 = 1024 * 1024;

/// The same of events of the ring, of which most are passed over.
const RING_PAGE: i64 = 1_000;

/// Of these so many are looked into and erased at once: writing each anew, with its attempts, takes longer than all else of a job.
const ERASED: i64 = 50;

/// Stages of deliveries in the backlog, see `sql/queue.sql`, that are one of these statuses.
fn stages(status: Option<Status>) -> Vec<i16> {
    match status {
        None => vec![0, 1, 2],
        Some(Status::Pending) => vec![0],
        Some(Status::Retrying) => vec![1],
        Some(Status::Dead) => vec![2],
        Some(Status::Cancelled) => vec![3],
        Some(Status::Delivered) => Vec::new(),
    }
}

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
    /// Somebody has stopped it.
    pub stopped: bool,
}

/// Where deliveries are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// In the backlog, of one webhook after the other.
    Backlog,
    /// In the log, as well.
    Log,
    /// In the ring, those that are nowhere else, of all webhooks at once.
    Ring,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// At which of its steps.
    step: usize,
    /// At which of its webhooks.
    webhook: usize,
    /// Behind this transaction.
    xid: Xid8,
    /// Behind this delivery.
    after: DeliveryId,
}

/// What is done with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What is to be done with it.
    Do,
    /// Nothing: it is left out.
    LeaveOut,
    /// It is looked whether there would be something to do.
    Look,
}

/// What came of a page.
pub struct Page {
    /// Where the next one begins; `None` where this was the last one.
    pub next: Option<Place>,
    /// What has been done, or with [`Mode::Look`] would be.
    pub progress: Progress,
    /// The webhook that the next delivery is of, which is none of those that were named.
    pub wanted: Option<WebhookId>,
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

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Do => "do",
            Self::LeaveOut => "leave out",
            Self::Look => "look",
        }
    }
}

impl Page {
    /// There is nothing any more.
    const LAST: Self = Self {
        next: None,
        progress: Progress { seen: 0, done: 0, bytes: 0, skipped: 0 },
        wanted: None,
    };
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
        self.beginning_of(0, 0)
    }

    fn beginning_of(&self, step: usize, webhook: usize) -> Place {
        let (xid, after) = match self.steps().get(step) {
            Some(Step::Ring) => (Xid8(0), DeliveryId::FIRST),
            _ => (Xid8(0), DeliveryId(self.scope.first.0 - 1)),
        };
        Place { step, webhook, xid, after }
    }

    /// The webhook at `place`, where it goes by webhooks there.
    pub fn webhook_at(&self, place: Place) -> Option<WebhookId> {
        let by_webhooks = *self.steps().get(place.step)? != Step::Ring;
        self.webhooks.get(place.webhook).copied().filter(|_| by_webhooks)
    }

    /// What comes behind all that there is at `place`.
    fn leave(&self, place: Place) -> Option<Place> {
        let more = self.webhook_at(place).is_some() && place.webhook + 1 < self.webhooks.len();
        let next = match more {
            true => self.beginning_of(place.step, place.webhook + 1),
            false => self.beginning_of(place.step + 1, 0),
        };
        (next.step < self.steps().len()).then_some(next)
    }

    /// Sees to the page at `place`, at `now`, of so many deliveries at most. In the ring, up to the first one that is of none of
    /// `webhooks`.
    pub fn page(
        &self,
        session: &Session,
        place: Place,
        most: i64,
        mode: Mode,
        webhooks: Vec<WebhookId>,
        now: Timestamp,
    ) -> Page {
        let rows = match self.kind {
            _ if self.webhooks.is_empty() => None,
            Kind::Cancel => self.cancel(session, place, most, now),
            Kind::Replay => self.replay(session, place, most, mode, webhooks),
            Kind::Erase => Some(self.erase(session, place, most, now)),
        };
        let Some(rows) = rows else {
            return Page::LAST;
        };
        let row = rows.first().expect("one row");
        let wanted = row.get("wanted");
        let next = match row.get("place") {
            Some(after) => {
                Some(Place { xid: row.get("place_xid").unwrap_or(place.xid), after, ..place })
            }
            None if wanted.is_some() => Some(place),
            None => self.leave(place),
        };
        let progress = Progress {
            seen: row.value("seen_rows"),
            done: row.value("done"),
            bytes: row.value("bytes"),
            skipped: row.value("skipped"),
        };
        Page { next, progress, wanted }
    }

    fn cancel<'s>(
        &self,
        session: &'s Session,
        place: Place,
        most: i64,
        now: Timestamp,
    ) -> Option<Rows<'s>> {
        let webhook = self.webhook_at(place)?;
        let (most, bytes) = (arg(most.clamp(1, PAGE)), arg(PAGE_BYTES));
        let stages = arg(stages(self.status));
        let args = [arg(self.id), arg(webhook), most, arg(place.after), bytes, stages, arg(now)];
        Some(session.run(sql!("queue/cancel_page"), &args))
    }

    fn replay<'s>(
        &self,
        session: &'s Session,
        place: Place,
        most: i64,
        mode: Mode,
        webhooks: Vec<WebhookId>,
    ) -> Option<Rows<'s>> {
        let (most, bytes) = (arg(most.clamp(1, PAGE)), arg(PAGE_BYTES));
        let (id, after) = (arg(self.id), arg(place.after));
        let sql = match self.steps()[place.step] {
            Step::Ring => {
                let args = [id, arg(webhooks), most, after, bytes, arg(place.xid)];
                return Some(session.run(sql!("queue/replay_ring_page"), &args));
            }
            Step::Log => sql!("queue/replay_log_page"),
            Step::Backlog => sql!("queue/replay_backlog_page"),
        };
        let webhook = arg(self.webhook_at(place)?);
        let (status, mode) = (arg(self.status.map(Status::name)), arg(mode.name()));
        Some(session.run(sql, &[id, webhook, most, after, bytes, status, mode]))
    }

    fn erase<'s>(&self, session: &'s Session, place: Place, most: i64, now: Timestamp) -> Rows<'s> {
        let (id, after, bytes) = (arg(self.id), arg(place.after), arg(PAGE_BYTES));
        let rows = match self.webhook_at(place) {
            Some(webhook) => {
                let most = arg(most.clamp(1, ERASED));
                let args = [id, arg(webhook), most, after, bytes, arg(now)];
                session.run(sql!("queue/erase_backlog_page"), &args)
            }
            None => {
                let most = arg(most.clamp(1, RING_PAGE));
                let args = [id, most, after, bytes, arg(place.xid), arg(ERASED)];
                session.run(sql!("queue/erase_ring_page"), &args)
            }
        };
        let row = rows.first().expect("one row");
        let (ids, xids): (Vec<DeliveryId>, Vec<i64>) = (row.value("ids"), row.value("xids"));
        if !ids.is_empty() {
            for erase in [sql!("queue/erase_events"), sql!("queue/erase_attempts")] {
                let before = session.run(erase, &[arg(ids.clone()), arg(xids.clone())]);
                before
                    .iter()
                    .for_each(|row| heap::remove(row.value("relation"), row.value("position")));
            }
        }
        rows
    }

    /// Writes down that it is at `place`, at `now`, and what has been done since that was written last.
    pub fn save(&self, session: &Session, place: Place, now: Timestamp, progress: Progress) {
        let args = [
            arg(self.id),
            arg(place.step as i32 + 1),
            arg(place.webhook as i32 + 1),
            arg(place.xid),
            arg(place.after),
            arg(progress.seen),
            arg(progress.done),
            arg(progress.skipped),
            arg(now),
        ];
        session.run(sql!("queue/advance_job"), &args);
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
        if self.kind == Kind::Erase {
            session.run(sql!("queue/forget_path"), &[arg(self.id)]);
        }
    }
}

/// The jobs that have not ended, the oldest first.
pub fn unfinished(session: &Session) -> Vec<Job> {
    let rows = session.run(sql!("queue/jobs"), &[]);
    rows.iter().filter_map(job).collect()
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
        place: Place {
            step: usize::try_from(row.value::<i32>("step") - 1).ok()?,
            webhook: usize::try_from(row.value::<i32>("position") - 1).ok()?,
            xid: row.value("place_xid"),
            after: row.value("place"),
        },
        stopped: row.value("stopped"),
    })
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
