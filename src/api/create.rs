//! `webhook_create`

use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{elsewhere, events_of, generated_secret, roles, watched, with_triggers};
use crate::pg::arguments::Arguments;
use crate::registry::definition::Definition;
use crate::registry::{self, watch, webhook};
use domain::refusal::Refusal;

#[pg_extern(sql = false)]
fn webhook_create(
    given: Arguments<'_>,
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
        for name in ["name", "url"] {
            given.get::<&str>(name).ok_or(Refusal::Null(name))?;
        }
        let table_name: Option<pg_sys::Oid> = given.get("table_name");
        let events = events_of(given.get("events"), table_name.is_some())?;
        let (operations, types) = events.map(|events| (events.operations, events.types)).unzip();
        let operations = operations.filter(|list| table_name.is_some() || !list.is_empty());
        let watched = watched(&given, operations)?;
        if let (None, Some(part)) = (table_name, watched.any()) {
            return Err(Refusal::NeedsTable(part));
        }
        let emitters = roles(given.get("emitters"))?;
        let definition = Definition { event_types: types, emitters, ..Definition::read(&given)? };
        let spec = table_name.map(|_| watched.complete(None)).transpose()?;
        let secret = match &definition.secret {
            Some(secret) => secret.clone(),
            None => generated_secret()?,
        };
        let name = definition.name.clone();
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
            given.get("enabled").unwrap_or_default(),
            created.created_at,
        );
        Ok((TableIterator::once(row), making))
    })
}
