//! The event ring: appending to it and reading windows of it.

use std::collections::HashMap;

use pgrx::pg_sys;

use super::installation;
use crate::host::ids;
use crate::pg::heap::{self, Field, column};
use crate::pg::snapshot;
use crate::pg::spi::{Row, Session, arg, sql};
use domain::key::{DeliveryId, WebhookId};
use domain::snapshot::Xid8;
use domain::time::Timestamp;
use transit::event::{Event, Origin, Spill};
use transit::window::Scan;

/// Events in a page.
pub const PAGE: usize = 500;

/// Bytes of bodies in a page, or in all claims of a poll, which end with the event that goes beyond. So much is read, or
/// written to the backlog, in some tens of milliseconds, for which whatever else there is waits.
pub const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Where events are written: the current slot of the ring.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The slot.
    pub slot: i16,
    /// Its table.
    pub relation: pg_sys::Oid,
    /// The sequence that holds the mark of delivery ids.
    pub sequence: pg_sys::Oid,
}

/// An event to be written.
#[derive(Debug)]
pub struct NewEvent<'a> {
    /// From [`next_id`].
    pub id: DeliveryId,
    /// When it happened.
    pub created_at: Timestamp,
    /// Whose it is.
    pub webhook: WebhookId,
    /// Operation or type.
    pub event_type: &'a str,
    /// Schema and name.
    pub table: Option<(&'a str, &'a str)>,
    /// The id of the event that it repeats; `None` for an event of its own.
    pub event_id: Option<&'a str>,
    /// The exact body.
    pub payload: &'a str,
    /// Why it is not one to be sent: its transform has failed.
    pub failure: Option<&'a str>,
    /// By which it is ordered; `None` where it is in no order.
    pub keys: Option<Vec<i64>>,
    /// The dead letter whose place in the order it takes.
    pub replaces: Option<DeliveryId>,
}

/// The id of the next delivery, which is of this time. Needs no right on the sequence.
pub fn next_id(target: &Target, now: Timestamp) -> DeliveryId {
    ids::next(target.sequence, now)
}

/// Has the ids so far outlive a crash of the server although nothing commits: one is about to be sent.
pub fn secure_ids(target: &Target) {
    ids::secure(target.sequence);
}

/// Writes an event into the ring, in the current transaction. Needs no right on the table.
pub fn append(target: &Target, event: NewEvent<'_>) {
    let (schema, table) = event.table.unzip();
    heap::insert(
        target.relation,
        [
            Field::needed(column!(c"xid"), arg(snapshot::top_xid())),
            Field::needed(column!(c"id"), arg(event.id)),
            Field::needed(column!(c"created_at"), arg(event.created_at)),
            Field::needed(column!(c"webhook"), arg(event.webhook)),
            Field::needed(column!(c"slot"), arg(target.slot)),
            Field::needed(column!(c"event_type"), arg(event.event_type)),
            Field::extra(column!(c"schema_name"), arg(schema)),
            Field::extra(column!(c"table_name"), arg(table)),
            Field::needed(column!(c"event_id"), arg(event.event_id)),
            Field::needed(column!(c"payload"), arg(event.payload)),
            Field::needed(column!(c"failure"), arg(event.failure)),
            Field::extra(column!(c"keys"), arg(event.keys)),
            Field::extra(column!(c"replaces"), arg(event.replaces)),
        ],
    );
}

/// The id by which receivers know the event of a delivery.
pub fn event_id(installation: &str, delivery: DeliveryId) -> String {
    format!("evt_{installation}_{delivery}")
}

/// The event that receivers know by this id has been made here for another delivery than this one, which repeats that.
pub(super) fn is_of_another(installation: &str, delivery: DeliveryId, event_id: &str) -> bool {
    made_for(installation, event_id).is_some_and(|it| it != delivery)
}

/// The delivery whose event receivers know by this id, where that was made here.
pub fn delivery_of(session: &Session, event_id: &str) -> Option<DeliveryId> {
    made_for(&installation::find(session)?.id, event_id)
}

fn made_for(installation: &str, event_id: &str) -> Option<DeliveryId> {
    let (_, number) = event_id.rsplit_once('_')?;
    let delivery = DeliveryId(number.parse().ok()?);
    (self::event_id(installation, delivery) == event_id).then_some(delivery)
}

/// The slot that is written to.
pub fn current_slot(session: &Session) -> Option<i16> {
    let rows = session.read(sql!("queue/slot"), &[]);
    rows.first().map(|row| row.value("slot"))
}

/// `slots` hold events that have been delivered and are not in the log.
pub fn note_unlogged(session: &Session, slots: &[i16]) {
    if !slots.is_empty() {
        session.run(sql!("queue/unlogged"), &[arg(slots.to_vec())]);
    }
}

/// What has been read at once.
pub struct Page {
    /// In order.
    pub events: Vec<Event>,
    /// The position of the last one, where there may be more.
    pub last: Option<(Xid8, DeliveryId)>,
    /// Of their bodies; of those that have been left out, as they are stored.
    pub bytes: usize,
}

/// Reads one page of window `window`, of `most` events; bodies of `skip` are left out.
pub fn read(
    session: &Session,
    (window, scan): (u64, &Scan),
    most: usize,
    skip: &[WebhookId],
    installation: &str,
) -> Page {
    let limit = most as i64;
    let rows = match scan {
        Scan::Range { after, below, upper, lower } => session.read(
            sql!("queue/range"),
            &[
                arg(after.0),
                arg(after.1),
                arg(*below),
                arg(upper),
                arg(lower),
                arg(limit),
                arg(skip.to_vec()),
            ],
        ),
        Scan::Transaction { xid, after } => session.read(
            sql!("queue/transaction"),
            &[arg(*xid), arg(*after), arg(limit), arg(skip.to_vec())],
        ),
    };
    let mut bytes = 0;
    let mut events: Vec<Event> = Vec::with_capacity(rows.count());
    for row in rows.iter() {
        if bytes >= PAGE_BYTES {
            break;
        }
        let left_out: i32 = row.value("left_out");
        let event = event(row, window, installation);
        bytes += event.body.as_ref().map_or(left_out.unsigned_abs() as usize, String::len);
        events.push(event);
    }
    let is_cut = events.len() == most || events.len() < rows.count();
    let last = events.last().filter(|_| is_cut).map(|event| (event.xid, event.id));
    Page { events, last, bytes }
}

pub(super) fn event(row: Row<'_>, window: u64, installation: &str) -> Event {
    let (id, xid): (DeliveryId, Xid8) = (row.value("id"), row.value("xid"));
    let name: Option<String> = row.get("event_id");
    Event {
        id,
        xid,
        written: xid,
        webhook: row.value("webhook"),
        origin: Origin::Ring { slot: row.value("slot"), window },
        attempts: 0,
        first_attempt_at: None,
        since: domain::ids::drawn(id.0),
        replay: name.as_deref().is_some_and(|it| is_of_another(installation, id, it)),
        event_id: name.unwrap_or_else(|| event_id(installation, id)),
        body: row.get("payload"),
        failure: row.get("failure"),
        batch: None,
    }
}

/// The deliveries with these ids that an earlier run has finished or moved to the backlog.
pub fn handled(session: &Session, ids: Vec<DeliveryId>) -> Handled {
    let rows = session.read(sql!("queue/handled"), &[arg(ids)]);
    let mut transactions: HashMap<DeliveryId, Vec<Xid8>> = HashMap::new();
    for row in rows.iter() {
        transactions.entry(row.value("delivery")).or_default().push(row.value("xid"));
    }
    Handled { transactions }
}

/// Deliveries that need nothing more.
#[derive(Default)]
pub struct Handled {
    /// Those that wrote their events, by id: more than one where ids have been given twice.
    transactions: HashMap<DeliveryId, Vec<Xid8>>,
}

impl Handled {
    /// The event of the ring is one of these deliveries.
    pub fn has(&self, event: &Event) -> bool {
        self.has_one(event.id, event.xid)
    }

    /// The event of this id that this transaction wrote is.
    pub fn has_one(&self, id: DeliveryId, xid: Xid8) -> bool {
        self.transactions.get(&id).is_some_and(|xids| xids.contains(&xid))
    }

    /// The event is none of them, and one has its id.
    pub fn has_taken_id_of(&self, event: &Event) -> bool {
        self.transactions.contains_key(&event.id) && !self.has(event)
    }
}

/// Writes events of the ring, whose ids other deliveries have, once more under ids of their own.
pub fn renew(session: &Session, events: &[Spill]) {
    if events.is_empty() {
        return;
    }
    let args = [
        arg(events.iter().map(|event| event.slot).collect::<Vec<_>>()),
        arg(events.iter().map(|event| event.xid).collect::<Vec<_>>()),
        arg(events.iter().map(|event| event.id).collect::<Vec<_>>()),
    ];
    session.run(sql!("queue/renew"), &args);
}
