//! `webhook_watch`, `webhook_unwatch`

use pgrx::datum::Array;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{on_behalf, with_triggers, words};
use crate::pg::spi;
use crate::registry::{self, managed, table, watch};
use domain::event::Operation;
use domain::refusal::Refusal;

#[pg_extern(sql = false)]
fn webhook_watch(
    webhook: Option<&str>,
    table_name: Option<pg_sys::Oid>,
    events: Option<Array<'_, &str>>,
    columns: Option<Array<'_, &str>>,
    condition: Option<&str>,
    payload_columns: Option<Array<'_, &str>>,
) -> Result<(), ErrorReport> {
    with_triggers(|caller, session| {
        let given = watch::Given {
            events: words(events, "events")?.map(operations).transpose()?,
            columns: words(columns, "columns")?,
            condition: super::condition(condition)?,
            payload_columns: words(payload_columns, "payload_columns")?,
        };
        let relation = table_name.ok_or(Refusal::Null("table_name"))?;
        let spec = given.complete(None)?;
        let own = managed::find(session, caller, webhook)?;
        let making = watch::add(session, caller, &own, relation, &spec)?;
        registry::changed();
        Ok(((), Some(making)))
    })
}

#[pg_extern(sql = false)]
fn webhook_unwatch(
    webhook: Option<&str>,
    table_name: Option<pg_sys::Oid>,
) -> Result<(), ErrorReport> {
    on_behalf(|caller| {
        let relation = table_name.ok_or(Refusal::Null("table_name"))?;
        spi::connect(|session| {
            let own = managed::find(session, caller, webhook)?;
            let watched = watch::list(session, own.id);
            let Some(watched) = watched.iter().find(|watched| watched.relation == relation) else {
                let table = table::name(session, relation);
                return Err(Refusal::NotWatched { webhook: own.name, table });
            };
            watch::remove(session, caller, watched);
            registry::changed();
            Ok(())
        })
    })
}

/// A table has operations only; types of emitted events belong to the webhook.
fn operations(words: Vec<String>) -> Result<Vec<Operation>, Refusal> {
    let mut operations =
        words.iter().map(|word| word.parse()).collect::<Result<Vec<Operation>, _>>()?;
    operations.sort();
    operations.dedup();
    Ok(operations)
}
