//! `webhook_update`

use pgrx::datum::{Array, Interval};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{elsewhere, events_of, roles, with_triggers, words};
use crate::pg::identity::Caller;
use crate::pg::json::Json;
use crate::pg::spi::Session;
use crate::registry::definition::{Bounds, Definition, Given};
use crate::registry::making::Making;
use crate::registry::{self, emitter, managed, watch, webhook};
use domain::refusal::Refusal;

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, reason = "the arguments of the SQL function")]
fn webhook_update(
    webhook: Option<&str>,
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
    owner: Option<pg_sys::Oid>,
    max_backlog: Option<i32>,
    max_backlog_bytes: Option<i64>,
    max_backlog_age: Option<Interval>,
    dead_letter_retention: Option<Interval>,
) -> Result<(), ErrorReport> {
    let given = Given {
        name,
        url,
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
        bounds: Bounds { max_backlog, max_backlog_bytes, max_backlog_age, dead_letter_retention },
    };
    with_triggers(|caller, session| {
        let mut watched = watch::Given {
            events: None,
            columns: words(columns, "columns")?,
            condition: super::condition(condition)?,
            payload_columns: words(payload_columns, "payload_columns")?,
        };
        let emitters = roles(emitters)?;
        let named = webhook.ok_or(Refusal::Null("webhook"))?;
        let id = managed::see(session, caller, named)?;
        let checked = Definition::check(given)?;
        if let Some(url) = &checked.url {
            // Whose name is looked up for seconds, while nothing is locked.
            elsewhere::judge_addresses(url)?;
        }
        if let Some(roles) = &emitters {
            emitter::hold(session, Some(id), roles)?;
        }
        // By then the name may be another one's.
        let own = managed::lock(session, caller, id, named)?;
        let mut definition = Definition { emitters, owner, ..checked };
        let mut tables = watch::list(session, own.id);
        // Another table may be watched in the place of one that is gone, as that was.
        if table_name.is_none() || tables.iter().any(|watched| !watched.dropped) {
            tables.retain(|watched| !watched.dropped);
        }
        let has_table = table_name.is_some() || !tables.is_empty();
        if let Some(events) = events_of(events, has_table)? {
            definition.event_types = Some(events.types);
            watched.events = Some(events.operations).filter(|list| !list.is_empty());
            if watched.events.is_none() && tables.len() == 1 {
                return Err(Refusal::NoOperations);
            }
        }
        webhook::update(session, caller, &own, definition)?;
        let making = match table_name.is_some() || watched.any().is_some() {
            true => rewatch(session, caller, &own, tables, table_name, watched)?,
            false => None,
        };
        registry::changed();
        Ok(((), making))
    })
}

/// Changes what is watched of the webhook's one table, or watches another instead of it.
fn rewatch(
    session: &Session,
    caller: &Caller,
    own: &managed::Webhook,
    mut before: Vec<watch::Watched>,
    relation: Option<pg_sys::Oid>,
    given: watch::Given,
) -> Result<Option<Making>, Refusal> {
    if before.len() > 1 {
        return Err(Refusal::WhichTable(own.name.clone(), before.len()));
    }
    let Some(mut watched) = before.pop() else {
        let needed = given.any().unwrap_or("table_name");
        let relation = relation.ok_or(Refusal::NeedsTable(needed))?;
        let spec = given.complete(None)?;
        return watch::add(session, caller, own, relation, &spec).map(Some);
    };
    if relation == Some(watched.relation) {
        watch::mean(session, &watched);
    }
    let relation = relation.unwrap_or(watched.relation);
    if relation == watched.relation {
        return watch::change(session, caller, own, &watched, given);
    }
    if watched.spec.condition.take().is_some() && given.condition.is_none() {
        return Err(Refusal::ConditionOfAnother { table: watched.table });
    }
    let spec = given.complete(Some(watched.spec.clone()))?;
    watch::remove(session, caller, &watched);
    watch::add(session, caller, own, relation, &spec).map(Some)
}
