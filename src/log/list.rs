//! Lists of deliveries, the newest first, however many there are.
//!
//! Of each kind (`sql/status.sql`) as many are read as are asked for, in the order of an index; then they are merged. Each kind has
//! a statement of its own, so that none is planned that is not asked for: a session's first page takes as long as planning does.

use std::collections::HashMap;
use std::ffi::CStr;

use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys;

use crate::pg::guc::Local;
use crate::pg::spi::{Arg, Row, Session, Sql, arg, sql};
use crate::queue::{installation, ring};
use domain::key::{DeliveryId, WebhookId};
use domain::status::Status;

/// All of it is found by indexes, in their order. The planner does not know that where it has no statistics, or old ones, nor how few
/// rows a page has.
const BY_INDEX: [(&CStr, &CStr); 7] = [
    (c"enable_seqscan", c"off"),
    (c"enable_bitmapscan", c"off"),
    (c"enable_sort", c"off"),
    (c"enable_hashjoin", c"off"),
    (c"enable_mergejoin", c"off"),
    (c"enable_incremental_sort", c"off"),
    (c"jit", c"off"),
];

/// Stages of deliveries in the backlog: see `sql/queue.sql`.
const UNTRIED: i16 = 0;
const RETRIED: i16 = 1;
const DEAD: i16 = 2;
const CANCELLED: i16 = 3;
const HELD: i16 = 4;

/// Which deliveries.
#[derive(Clone, Copy)]
pub struct Page {
    /// Of this webhook; `None` for all that the reader may see.
    pub webhook: Option<WebhookId>,
    /// With this status, or any.
    pub status: Option<Status>,
    /// The first id that may be among them.
    pub first: DeliveryId,
    /// Before this id.
    pub end: DeliveryId,
    /// So many at most.
    pub most: i32,
}

/// A delivery as users see it.
pub struct Delivery {
    /// The id of its row.
    pub id: DeliveryId,
    /// Whose.
    pub webhook_id: Uuid,
    /// The name of that.
    pub webhook: String,
    /// The id by which receivers know the event.
    pub event_id: String,
    /// Operation or type.
    pub event_type: String,
    /// Of the table.
    pub schema_name: Option<String>,
    /// Whose row it is about.
    pub table_name: Option<String>,
    /// The body, for whoever may see that, unless it has been erased.
    pub payload: Option<String>,
    /// Where it stands.
    pub status: String,
    /// Made so far.
    pub attempts: i32,
    /// Of the last answer; 0 where there was none.
    pub status_code: Option<i16>,
    /// The beginning of it, for the same.
    pub response_body: Option<String>,
    /// How long the last attempt took.
    pub duration_us: Option<i64>,
    /// Why it is not delivered: the kind of reason.
    pub error_class: Option<String>,
    /// The reason.
    pub error: Option<String>,
    /// When it happened.
    pub created_at: TimestampWithTimeZone,
    /// When it is due.
    pub next_attempt_at: Option<TimestampWithTimeZone>,
    /// When it was answered with 2xx.
    pub delivered_at: Option<TimestampWithTimeZone>,
}

/// The deliveries of `page` that `role` may see, the newest first. `all`: it may see those of all webhooks.
pub fn page(session: &Session, role: pg_sys::Oid, page: Page, all: bool) -> Vec<Delivery> {
    let _planner = Local::set_all(&BY_INDEX);
    let mut list = List::new(session, role, page);
    let (live, deleted) =
        (list.webhooks(|webhook| !webhook.deleted), list.webhooks(|webhook| webhook.deleted));
    let both = [&live[..], &deleted[..]].concat();
    match page.status {
        None if all && page.webhook.is_none() => {
            list.add(sql!("log/ended"), &[]);
            list.add(sql!("log/waiting"), &[]);
            list.add_fresh(&both, &["pending", "dead", "cancelled"]);
        }
        None => {
            list.add_of(sql!("log/ended_of"), &both, &[arg(true)]);
            list.add_waiting(&both, &[UNTRIED, RETRIED, DEAD, CANCELLED, HELD], None);
            list.add_fresh(&both, &["pending", "dead", "cancelled"]);
        }
        Some(Status::Delivered) => list.add_of(sql!("log/ended_of"), &both, &[arg(false)]),
        Some(Status::Pending) => {
            list.add_waiting(&live, &[UNTRIED], Some("pending"));
            list.add_fresh(&live, &["pending"]);
        }
        Some(Status::Retrying) => list.add_waiting(&live, &[RETRIED], Some("retrying")),
        Some(Status::Held) => {
            list.add_waiting(&live, &[HELD], Some("held"));
            list.add_asked(&live, &[DEAD], "rearmed");
        }
        Some(Status::Dead) => {
            list.add_of(sql!("log/failed_of"), &both, &[]);
            list.add_waiting(&both, &[DEAD], Some("dead"));
            list.add_fresh(&both, &["dead"]);
        }
        Some(Status::Cancelled) => {
            list.add_waiting(&both, &[CANCELLED], None);
            list.add_asked(&live, &[UNTRIED, RETRIED, DEAD, HELD], "cancelled");
            list.add_fresh(&live, &["cancelled"]);
            // What waited is cancelled with its webhook.
            list.add_waiting(&deleted, &[UNTRIED, RETRIED, HELD], None);
            list.add_asked(&deleted, &[DEAD], "cancelled");
            list.add_fresh(&deleted, &["pending", "cancelled"]);
        }
    }
    if matches!(page.status, None | Some(Status::Delivered)) && has_unlogged(session) {
        list.add_of(sql!("log/unlogged_of"), &both, &[]);
    }
    list.found
}

fn has_unlogged(session: &Session) -> bool {
    session.read(sql!("log/has_unlogged"), &[]).first().is_some_and(|row| row.value("has_unlogged"))
}

/// A webhook that the reader may see.
pub struct Seen {
    /// What it is called.
    pub name: String,
    /// It has been deleted.
    pub deleted: bool,
    /// The reader may see bodies and answers, too.
    pub with_contents: bool,
}

/// The webhooks that `role` may see, by their uuids: `webhook` alone, or all of them.
pub fn seen(
    session: &Session,
    role: pg_sys::Oid,
    webhook: Option<WebhookId>,
) -> HashMap<Uuid, Seen> {
    let rows = session.look_up(sql!("log/seen"), &[arg(role), arg(webhook)]);
    let seen = |row: Row<'_>| {
        let seen = Seen {
            name: row.value("name"),
            deleted: row.value("deleted"),
            with_contents: row.value("with_contents"),
        };
        (row.value("uuid"), seen)
    };
    rows.iter().map(seen).collect()
}

/// What has been found so far.
struct List<'s> {
    session: &'s Session,
    page: Page,
    seen: HashMap<Uuid, Seen>,
    installation: String,
    found: Vec<Delivery>,
}

impl<'s> List<'s> {
    fn new(session: &'s Session, role: pg_sys::Oid, page: Page) -> Self {
        let seen = seen(session, role, page.webhook);
        let installation = installation::find(session).map(|found| found.id).unwrap_or_default();
        Self { session, page, seen, installation, found: Vec::new() }
    }

    fn webhooks(&self, which: impl Fn(&Seen) -> bool) -> Vec<Uuid> {
        let chosen = self.seen.iter().filter(|(_, webhook)| which(webhook));
        chosen.map(|(uuid, _)| *uuid).collect()
    }

    fn add_waiting(&mut self, webhooks: &[Uuid], stages: &[i16], status: Option<&str>) {
        self.add_of(sql!("log/waiting_of"), webhooks, &[arg(stages.to_vec()), arg(status)]);
    }

    /// What somebody has cancelled, or wants to be sent again in its place, since the worker looked.
    fn add_asked(&mut self, webhooks: &[Uuid], stages: &[i16], how: &str) {
        self.add_of(sql!("log/asked_of"), webhooks, &[arg(stages.to_vec()), arg(how)]);
    }

    fn add_fresh(&mut self, webhooks: &[Uuid], statuses: &[&str]) {
        self.add_of(sql!("log/fresh_of"), webhooks, &[arg(statuses.to_vec())]);
    }

    fn add_of(&mut self, sql: Sql, webhooks: &[Uuid], further: &[Arg]) {
        if !webhooks.is_empty() {
            self.add(sql, &[&[arg(webhooks.to_vec())], further].concat());
        }
    }

    fn add(&mut self, sql: Sql, further: &[Arg]) {
        let Page { first, end, most, .. } = self.page;
        let args = [&[arg(first), arg(end), arg(most)], further].concat();
        let rows = self.session.look_up(sql, &args);
        let Self { seen, installation, found, .. } = self;
        found.extend(rows.iter().filter_map(|row| delivery(row, seen, installation)));
        // At once, so that no more bodies are held than those of two pages.
        found.sort_by_key(|delivery| std::cmp::Reverse(delivery.id.0));
        found.truncate(most.unsigned_abs() as usize);
    }
}

fn delivery(row: Row<'_>, seen: &HashMap<Uuid, Seen>, installation: &str) -> Option<Delivery> {
    let webhook_id = row.get("webhook_id")?;
    let webhook = seen.get(&webhook_id)?;
    let (id, status): (_, String) = (row.value("id"), row.value("status"));
    let attempts: i32 = row.value("attempts");
    // What a transform has said of a row is an error without an attempt.
    let with_error = webhook.with_contents || attempts > 0;
    let cancelled = webhook.deleted && matches!(&status[..], "pending" | "retrying" | "held");
    Some(Delivery {
        id,
        webhook_id,
        webhook: webhook.name.clone(),
        event_id: row.get("event_id").unwrap_or_else(|| ring::event_id(installation, id)),
        event_type: row.value("event_type"),
        schema_name: row.get("schema_name"),
        table_name: row.get("table_name"),
        payload: row
            .get("payload")
            .filter(|body: &String| webhook.with_contents && !body.is_empty()),
        status: if cancelled { Status::Cancelled.name().to_owned() } else { status },
        attempts,
        status_code: row.get("status_code"),
        response_body: row.get("response_body").filter(|_| webhook.with_contents),
        duration_us: row.get("duration_us"),
        error_class: row.get("error_class"),
        error: row.get("error").filter(|_| with_error),
        created_at: row.value("created_at"),
        next_attempt_at: row.get("next_at").filter(|_| !webhook.deleted),
        delivered_at: row.get("delivered_at"),
    })
}
