//! `webhook_watch`, `webhook_unwatch`

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{on_behalf, skip_missing, watched, with_triggers, words};
use crate::pg::arguments::Arguments;
use crate::pg::spi;
use crate::registry::{self, managed, table, watch};
use domain::event::Operation;
use domain::refusal::Refusal;

#[pg_extern(sql = false)]
fn webhook_watch(given: Arguments<'_>) -> Result<(), ErrorReport> {
    with_triggers(|caller, session| {
        let events = words(given.get("events"), "events")?.map(operations).transpose()?;
        let watched = watched(&given, events)?;
        let relation = given.get("table_name").ok_or(Refusal::Null("table_name"))?;
        let spec = watched.complete(None)?;
        let own = managed::find(session, caller, given.get("webhook"))?;
        let making = watch::add(session, caller, &own, relation, &spec)?;
        registry::changed();
        Ok(((), Some(making)))
    })
}

#[pg_extern(sql = false)]
fn webhook_unwatch(
    webhook: Option<&str>,
    table_name: Option<pg_sys::Oid>,
    missing_ok: Option<bool>,
) -> Result<(), ErrorReport> {
    on_behalf(|caller| {
        if table_name.is_none() && missing_ok == Some(true) {
            notice!("the table does not exist, skipping");
            return Ok(());
        }
        let relation = table_name.ok_or(Refusal::Null("table_name"))?;
        skip_missing(missing_ok, || {
            spi::connect(|session| {
                let own = managed::find(session, caller, webhook)?;
                let watched = watch::list(session, own.id);
                let Some(watched) = watched.iter().find(|watched| watched.relation == relation)
                else {
                    let table = table::name(session, relation);
                    return Err(Refusal::NotWatched { webhook: own.name, table });
                };
                watch::remove(session, caller, watched);
                registry::changed();
                Ok(())
            })
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
