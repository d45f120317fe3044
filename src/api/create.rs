//! `webhook_create`

use pgrx::datum::{Array, Interval, TimestampWithTimeZone, Uuid};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{elsewhere, events_of, generated_secret, roles, with_triggers, words};
use crate::pg::json::Json;
use crate::registry::definition::{Bounds, Definition, Given};
use crate::registry::{self, watch, webhook};
use domain::refusal::Refusal;

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, reason = "the arguments of the SQL function")]
fn webhook_create(
    name: Option<&str>,
    url: Option<&str>,
    table_name: Option<pg_sys::Oid>,
    events: Option<Array<'_, &str>>,
    columns: Option<Array<'_, &str>>,
    condition: Option<&str>,
    payload_columns: Option<Array<'_, &str>>,
    transform: Option<pg_sys::Oid>,
    headers: Option<Json>,
    secret: Option<&str>,
    description: Option<&str>,
    enabled: Option<bool>,
    format: Option<&str>,
    signature: Option<&str>,
    signature_header: Option<&str>,
    max_retries: Option<i32>,
    timeout_seconds: Option<i32>,
    retry_backoff_seconds: Option<i32>,
    retry_for: Option<Interval>,
    max_concurrency: Option<i32>,
    rate_limit: Option<i32>,
    on_transform_error: Option<&str>,
    emitters: Option<Array<'_, pg_sys::Oid>>,
    max_backlog: Option<i32>,
    max_backlog_bytes: Option<i64>,
    max_backlog_age: Option<Interval>,
    dead_letter_retention: Option<Interval>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(id, Uuid),
            name!(name, String),
            name!(url, String),
            name!(secret, String),
            name!(enabled, bool),
            name!(created_at, TimestampWithTimeZone),
        ),
    >,
    ErrorReport,
> {
    with_triggers(|caller, session| {
        let given = Given {
            name: Some(name.ok_or(Refusal::Null("name"))?),
            url: Some(url.ok_or(Refusal::Null("url"))?),
            headers,
            secret,
            description,
            enabled,
            format,
            signature,
            signature_header,
            transform,
            on_transform_error,
            max_retries,
            timeout_seconds,
            retry_backoff_seconds,
            retry_for,
            max_concurrency,
            rate_limit,
            bounds: Bounds {
                max_backlog,
                max_backlog_bytes,
                max_backlog_age,
                dead_letter_retention,
            },
        };
        let events = events_of(events, table_name.is_some())?;
        let (operations, types) = events.map(|events| (events.operations, events.types)).unzip();
        let watched = watch::Given {
            events: operations.filter(|list| table_name.is_some() || !list.is_empty()),
            columns: words(columns, "columns")?,
            condition: super::condition(condition)?,
            payload_columns: words(payload_columns, "payload_columns")?,
        };
        if let (None, Some(part)) = (table_name, watched.any()) {
            return Err(Refusal::NeedsTable(part));
        }
        let emitters = roles(emitters)?;
        let definition = Definition { event_types: types, emitters, ..Definition::check(given)? };
        let spec = table_name.map(|_| watched.complete(None)).transpose()?;
        let secret = match &definition.secret {
            Some(secret) => secret.clone(),
            None => generated_secret()?,
        };
        let (name, enabled) = (definition.name.clone(), definition.enabled);
        let url = definition.url.clone().ok_or(Refusal::Null("url"))?;
        elsewhere::judge_addresses(&url)?;
        let created = webhook::insert(session, caller, definition, &secret)?;
        let making = match (table_name, spec) {
            (Some(relation), Some(spec)) => {
                Some(watch::add(session, caller, &created.webhook, relation, &spec)?)
            }
            _ => None,
        };
        registry::changed();
        let row = (
            created.uuid,
            name.unwrap_or_default(),
            url.to_string(),
            secret.reveal().to_owned(),
            enabled.unwrap_or_default(),
            created.created_at,
        );
        Ok((TableIterator::once(row), making))
    })
}
