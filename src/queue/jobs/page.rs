//! Pages of jobs: which deliveries come next, and what is done about them.

use super::{Job, Place, Progress, Step};
use crate::pg::composite::Record;
use crate::pg::heap::{self, Put};
use crate::pg::spi::{Row, Rows, Session, arg, sql};
use domain::job::Kind;
use domain::key::{DeliveryId, WebhookId};
use domain::snapshot::Xid8;
use domain::status::Status;
use domain::time::Timestamp;

/// Deliveries that a page looks at: some milliseconds. The transaction that it is in ends with the page in which its time is over.
const PAGE: i64 = 250;

/// A page ends with the body that goes beyond so many bytes. With more, others wait longer for a page of large ones.
const PAGE_BYTES: i64 = 1024 * 1024;

/// The same of events of the ring, of which most are passed over: eight milliseconds where those of a transaction lie far apart.
const RING_PAGE: i64 = 2_000;

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

/// Which page.
pub struct Portion {
    /// Of so many deliveries at most.
    pub most: i64,
    /// What is done with it.
    pub mode: Mode,
    /// In the ring, up to the first delivery that is to be replayed and of none of these.
    pub webhooks: Vec<WebhookId>,
    /// What is cancelled is so from then on.
    pub now: Timestamp,
}

/// What came of a page.
pub struct Page {
    /// Where the next one begins; `None` where there is nothing more at its place.
    pub next: Option<Place>,
    /// What has been done, or with [`Mode::Look`] would be.
    pub progress: Progress,
    /// The webhook that the next delivery is of, which is none of those that were named.
    pub wanted: Option<WebhookId>,
}

/// A delivery that something is done about.
#[derive(Clone, Copy)]
struct Delivery {
    id: DeliveryId,
    xid: Xid8,
    /// Of the ring; `None` where it is in the backlog.
    slot: Option<i16>,
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

/// Stages of deliveries in the backlog, see `sql/queue.sql`, that are one of these statuses.
fn stages(status: Option<Status>) -> Vec<i16> {
    match status {
        None => vec![0, 1, 2, 4],
        Some(Status::Pending) => vec![0],
        Some(Status::Retrying) => vec![1],
        Some(Status::Held) => vec![4],
        Some(Status::Dead) => vec![2],
        Some(Status::Cancelled) => vec![3],
        Some(Status::Delivered) => Vec::new(),
    }
}

impl Delivery {
    fn of(row: Row<'_>) -> Option<Self> {
        Some(Self { id: row.get("id")?, xid: row.value("xid"), slot: row.get("slot") })
    }
}

/// As arguments of a statement.
fn columns(deliveries: &[Delivery]) -> (Vec<DeliveryId>, Vec<Xid8>, Vec<Option<i16>>) {
    let ids = deliveries.iter().map(|it| it.id).collect();
    let (xids, slots) = deliveries.iter().map(|it| (it.xid, it.slot)).unzip();
    (ids, xids, slots)
}

/// What rows of the backlog have besides: the stage that they were at, for who counts them. To look for the old row of each is to compare
/// each with all others of the page.
const WAS: &str = "was";

/// Writes what rows say is to be there. Returns how many rows that are.
fn put(rows: &Rows<'_>, is_to_be: impl Fn(&Row<'_>) -> bool) -> i64 {
    let mut count = 0;
    let put = rows.iter().filter(|row| is_to_be(row)).filter_map(|row| {
        let Record(new) = row.get("row")?;
        count += 1;
        Some(Put { relation: row.value("relation"), before: row.get("position"), row: new })
    });
    heap::put_all(put, Some(WAS));
    count
}

impl Page {
    /// Behind the last row that has been looked at, if there was one.
    fn of(rows: &Rows<'_>, place: Place, progress: Progress) -> Self {
        let row = rows.first().expect("one row");
        let next = row.get("place").map(|after| Place { after, ..place });
        let progress =
            Progress { seen: row.value("seen_rows"), skipped: row.value("skipped"), ..progress };
        Self { next, progress, wanted: None }
    }
}

impl Job {
    /// Sees to the page at `place`, which is not over.
    pub fn page(&self, session: &Session, place: Place, portion: Portion) -> Page {
        let portion = Portion { most: portion.most.clamp(1, PAGE), ..portion };
        match (self.kind, self.webhook_at(place)) {
            (Kind::Replay, webhook) => self.replay(session, place, webhook, portion),
            (Kind::Cancel, Some(webhook)) => self.cancel(session, place, webhook, &portion),
            (_, Some(webhook)) => self.erase_from_backlog(session, place, webhook, &portion),
            (_, None) => self.erase_from_ring(session, place, &portion),
        }
    }

    fn cancel(
        &self,
        session: &Session,
        place: Place,
        webhook: WebhookId,
        portion: &Portion,
    ) -> Page {
        let (most, bytes) = (arg(portion.most), arg(PAGE_BYTES));
        let (stages, now) = (arg(stages(self.status)), arg(portion.now));
        let args = [arg(self.id), arg(webhook), most, arg(place.after), bytes, stages, now];
        let rows = session.run(sql!("queue/cancel_page"), &args);
        let done = put(&rows, |_| true);
        Page::of(&rows, place, Progress { done, ..Progress::default() })
    }

    fn replay(
        &self,
        session: &Session,
        place: Place,
        webhook: Option<WebhookId>,
        portion: Portion,
    ) -> Page {
        let Portion { most, mode, webhooks, .. } = portion;
        let (most, bytes) = (arg(most), arg(PAGE_BYTES));
        let (id, after) = (arg(self.id), arg(place.after));
        let rows = match self.step_at(place) {
            Some(Step::Backlog) => {
                let (status, mode) = (arg(self.status.map(Status::name)), arg(mode.name()));
                let args = [id, arg(webhook), most, after, bytes, status, mode];
                session.run(sql!("queue/replay_backlog_page"), &args)
            }
            Some(Step::Log) => {
                let args = [id, arg(webhook), most, after, bytes, arg(mode.name())];
                session.run(sql!("queue/replay_log_page"), &args)
            }
            _ => {
                let sought = arg(self.sought(place));
                let args = [id, arg(webhooks), most, after, bytes, arg(place.xid), sought];
                session.run(sql!("queue/replay_ring_page"), &args)
            }
        };
        let chosen: Vec<Delivery> = rows.iter().filter_map(Delivery::of).collect();
        let done = match mode {
            Mode::Do if !chosen.is_empty() => replay(session, &chosen),
            _ => chosen.len() as i64,
        };
        let row = rows.first().expect("one row");
        // Those that are sent again in their places.
        let done = done + row.get::<i64>("rearmed").unwrap_or(0);
        let bytes = rows.iter().filter_map(|row| row.get::<i32>("bytes")).map(i64::from).sum();
        let page = Page::of(&rows, place, Progress { done, bytes, ..Progress::default() });
        let wanted = row.get("wanted");
        let next = page.next.or(wanted.map(|_: WebhookId| place));
        let xid = row.get("place_xid").unwrap_or(place.xid);
        Page { next: next.map(|next| Place { xid, ..next }), wanted, ..page }
    }

    fn erase_from_backlog(
        &self,
        session: &Session,
        place: Place,
        webhook: WebhookId,
        portion: &Portion,
    ) -> Page {
        let (most, after, bytes) = (arg(portion.most), arg(place.after), arg(PAGE_BYTES));
        let args = [arg(self.id), arg(webhook), most, after, bytes, arg(portion.now)];
        let rows = session.run(sql!("queue/erase_backlog_page"), &args);
        let done = put(&rows, |_| true);
        let erased: Vec<Delivery> = rows.iter().filter_map(Delivery::of).collect();
        // It has been looked into.
        erase_events(session, &erased, None);
        erase_attempts(session, &erased);
        Page::of(&rows, place, Progress { done, ..Progress::default() })
    }

    fn erase_from_ring(&self, session: &Session, place: Place, portion: &Portion) -> Page {
        let most = portion.most;
        let args = [arg(self.id), arg(RING_PAGE), arg(place.after), arg(place.xid), arg(most)];
        let rows = session.run(sql!("queue/erase_ring_page"), &args);
        let (mut bytes, mut found, mut last) = (0, Vec::new(), None);
        for row in rows.iter() {
            if bytes >= PAGE_BYTES {
                break;
            }
            last = Some(row);
            if row.value("covered") {
                bytes += i64::from(row.value::<i32>("bytes"));
                found.extend(Delivery::of(row));
            }
        }
        let (erased, skipped) = erase_events(session, &found, Some(self.id));
        erase_attempts(session, &erased);
        let done = erased.len() as i64;
        let seen = last.map_or(0, |row| row.value("number"));
        let next = last.map(|row| Place { xid: row.value("xid"), after: row.value("id"), ..place });
        Page { next, progress: Progress { seen, done, bytes: 0, skipped }, wanted: None }
    }
}

/// Writes deliveries into the ring once more. Returns how many it were.
fn replay(session: &Session, deliveries: &[Delivery]) -> i64 {
    let (ids, xids, slots) = columns(deliveries);
    let rows = session.run(sql!("queue/replay"), &[arg(ids), arg(xids), arg(slots)]);
    put(&rows, |_| true)
}

/// Of the bodies of events in the ring those that the path of `job` finds something in, or all. Returns which ones, and how many cannot
/// be looked into.
fn erase_events(
    session: &Session,
    deliveries: &[Delivery],
    job: Option<DeliveryId>,
) -> (Vec<Delivery>, i64) {
    if deliveries.is_empty() {
        return (Vec::new(), 0);
    }
    let (ids, xids, slots) = columns(deliveries);
    let args = [arg(ids), arg(xids), arg(slots), arg(job)];
    let rows = session.run(sql!("queue/erase_events"), &args);
    let is_found = |row: &Row<'_>| row.get("found") == Some(true);
    put(&rows, is_found);
    let erased: Vec<Delivery> = rows.iter().filter(is_found).filter_map(Delivery::of).collect();
    let skipped = (rows.count() - erased.len()) as i64;
    (erased, skipped)
}

/// The answers and errors that the log has of them.
fn erase_attempts(session: &Session, deliveries: &[Delivery]) {
    if !deliveries.is_empty() {
        let (ids, xids, _) = columns(deliveries);
        let rows = session.run(sql!("queue/erase_attempts"), &[arg(ids), arg(xids)]);
        put(&rows, |_| true);
    }
}
