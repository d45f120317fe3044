//! `webhook_log`, and `webhook.seen_by_reader`, by which the views of the log know whose they show

use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{for_anybody, milliseconds, on_behalf};
use crate::log::list::{self, Delivery, Page, Seen};
use crate::pg::json::JsonText;
use crate::pg::spi;
use crate::queue::ring;
use crate::registry::{level, managed};
use domain::ids;
use domain::key::DeliveryId;
use domain::refusal::Refusal;
use domain::status::Status;
use domain::time::Timestamp;

/// Rows of a page. The session holds four times the bodies of as many, of a megabyte each by default, until the statement ends.
const MOST: i32 = 1000;

/// The columns of webhook.deliveries.
type Columns = (
    i64,
    Uuid,
    String,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<JsonText>,
    String,
    i32,
    Option<i16>,
    Option<String>,
    Option<AnyNumeric>,
    Option<String>,
    Option<String>,
    TimestampWithTimeZone,
    Option<TimestampWithTimeZone>,
    Option<TimestampWithTimeZone>,
);

#[pg_extern(sql = false)]
fn webhook_log(
    webhook: Option<&str>,
    status: Option<&str>,
    since: Option<TimestampWithTimeZone>,
    until: Option<TimestampWithTimeZone>,
    before: Option<i64>,
    lim: Option<i32>,
    event_id: Option<&str>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(id, i64),
            name!(webhook_id, Uuid),
            name!(webhook, String),
            name!(event_id, String),
            name!(event_type, String),
            name!(schema_name, Option<String>),
            name!(table_name, Option<String>),
            name!(payload, Option<String>),
            name!(payload_json, Option<JsonText>),
            name!(status, String),
            name!(attempts, i32),
            name!(status_code, Option<i16>),
            name!(response_body, Option<String>),
            name!(latency_ms, Option<AnyNumeric>),
            name!(error_class, Option<String>),
            name!(error, Option<String>),
            name!(created_at, TimestampWithTimeZone),
            name!(next_attempt_at, Option<TimestampWithTimeZone>),
            name!(delivered_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    on_behalf(|caller| {
        let most = lim.ok_or(Refusal::Null("lim"))?;
        if !(1..=MOST).contains(&most) {
            return Err(Refusal::OutOfRange { argument: "lim", least: "1", most: "1000" });
        }
        let status = status.map(str::parse::<Status>).transpose()?;
        let id = |at: TimestampWithTimeZone| ids::reading(Timestamp(at.into()));
        let first = DeliveryId(since.map_or(0, id));
        let end = DeliveryId(until.map_or(i64::MAX, id).min(before.unwrap_or(i64::MAX)));
        spi::connect(|session| {
            let webhook = webhook.map(|name| managed::see(session, caller, name)).transpose()?;
            let (first, end) = match event_id {
                None => (first, end),
                Some(event_id) => only(first, end, ring::delivery_of(session, event_id)),
            };
            // Others can have the number that an event id is looked up by.
            let wanted = if event_id.is_some() { MOST } else { most };
            let page = Page { webhook, status, first, end, most: wanted };
            let all = level::sees_all(session, caller);
            let mut deliveries = list::page(session, caller.role, page, all);
            // One that has come from elsewhere, or that repeats another one, can have that number.
            deliveries.retain(|delivery| event_id.is_none_or(|id| delivery.event_id == id));
            deliveries.truncate(most.unsigned_abs() as usize);
            Ok(TableIterator::new(deliveries.into_iter().map(row)))
        })
    })
}

/// What there is of `delivery` between `first` and `end`.
fn only(
    first: DeliveryId,
    end: DeliveryId,
    delivery: Option<DeliveryId>,
) -> (DeliveryId, DeliveryId) {
    match delivery {
        Some(delivery) if first <= delivery && delivery < end => {
            (delivery, DeliveryId(delivery.0.saturating_add(1)))
        }
        _ => (end, end),
    }
}

fn row(delivery: Delivery) -> Columns {
    (
        delivery.id.0,
        delivery.webhook_id,
        delivery.webhook,
        delivery.event_id,
        delivery.event_type,
        delivery.schema_name,
        delivery.table_name,
        delivery.payload.clone(),
        delivery.payload.map(JsonText),
        delivery.status,
        delivery.attempts,
        delivery.status_code,
        delivery.response_body,
        delivery.duration_us.map(milliseconds),
        delivery.error_class,
        delivery.error,
        delivery.created_at,
        delivery.next_attempt_at,
        delivery.delivered_at,
    )
}

#[pg_extern(sql = false)]
fn webhook_seen_by_reader() -> Result<
    TableIterator<
        'static,
        (name!(uuid, Uuid), name!(name, String), name!(deleted, bool), name!(with_contents, bool)),
    >,
    ErrorReport,
> {
    // A transform may read the views.
    for_anybody(|caller| {
        spi::connect(|session| {
            let seen = list::seen(session, caller.role, None).into_iter();
            let row = |(uuid, webhook): (Uuid, Seen)| {
                (uuid, webhook.name, webhook.deleted, webhook.with_contents)
            };
            Ok(TableIterator::new(seen.map(row)))
        })
    })
}
