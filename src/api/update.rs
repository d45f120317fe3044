//! `webhook_update`

use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{elsewhere, on_behalf, words};
use crate::domain::refusal::Refusal;
use crate::pg::json::Json;
use crate::pg::spi;
use crate::registry::definition::{Definition, Given};
use crate::registry::{self, watch, webhook};

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, reason = "the arguments of the SQL function")]
fn webhook_update(
    webhook: Option<&str>,
    name: Option<&str>,
    url: Option<&str>,
    table_name: Option<pg_sys::Oid>,
    events: Option<Vec<Option<String>>>,
    columns: Option<Vec<Option<String>>>,
    condition: Option<&str>,
    headers: Option<Json>,
    secret: Option<&str>,
    description: Option<&str>,
    enabled: Option<bool>,
    signature: Option<&str>,
    max_retries: Option<i32>,
    timeout_seconds: Option<i32>,
    retry_backoff_seconds: Option<i32>,
    retry_for: Option<Interval>,
    max_concurrency: Option<i32>,
    rate_limit: Option<i32>,
) -> Result<(), ErrorReport> {
    let given = Given {
        name,
        url,
        headers,
        secret,
        description,
        enabled,
        signature,
        max_retries,
        timeout_seconds,
        retry_backoff_seconds,
        retry_for,
        max_concurrency,
        rate_limit,
    };
    let watched = watch::Given {
        events: words(events, "events")?,
        columns: words(columns, "columns")?,
        condition: condition.map(str::to_owned),
    };
    on_behalf(|caller| {
        spi::connect(|session| {
            let own = webhook::find(session, caller, webhook)?;
            let definition = Definition::check(given)?;
            if let Some(url) = &definition.url {
                elsewhere::judge_addresses(url)?;
            }
            webhook::update(session, &own, definition)?;
            if table_name.is_some() || watched.any().is_some() {
                rewatch(session, caller, &own, table_name, watched)?;
            }
            registry::changed();
            Ok(())
        })
    })
}

/// Changes what is watched of the webhook's one table, or watches another instead of it.
fn rewatch(
    session: &spi::Session,
    caller: &crate::pg::identity::Caller,
    own: &webhook::Webhook,
    relation: Option<pg_sys::Oid>,
    given: watch::Given,
) -> Result<(), Refusal> {
    let mut before = watch::list(session, own.id);
    if before.len() > 1 {
        return Err(Refusal::WhichTable(own.name.clone(), before.len()));
    }
    let before = before.pop();
    let Some(relation) = relation.or(before.as_ref().map(|watched| watched.relation)) else {
        return Err(Refusal::NeedsTable(given.any().unwrap_or("table_name")));
    };
    let spec = given.complete(before.as_ref().map(|watched| watched.spec.clone()))?;
    if let Some(watched) = &before {
        watch::remove(session, own, watched);
    }
    watch::add(session, caller, own, relation, &spec)
}
