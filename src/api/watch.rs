//! `webhook_watch`, `webhook_unwatch`

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{on_behalf, skip_missing, watched, with_triggers, words};
use crate::pg::arguments::Arguments;
use crate::pg::spi::{self, Session};
use crate::registry::{self, bringing, managed, table, watch};
use domain::event::Operation;
use domain::if_exists::IfExists;
use domain::refusal::Refusal;

#[pg_extern(sql = false)]
fn webhook_watch(given: Arguments<'_>) -> Result<(), ErrorReport> {
    with_triggers(|caller, session| {
        let events = words(given.get("events"), "events")?.map(operations).transpose()?;
        let watched = watched(&given, events)?;
        let relation = given.get("table_name").ok_or(Refusal::Null("table_name"))?;
        let spec = watched.complete(None)?;
        let if_exists = given.get::<&str>("if_exists").unwrap_or(IfExists::Error.name()).parse()?;
        let webhook = given.get("webhook");
        if if_exists != IfExists::Error {
            // Where nothing changes nothing is locked.
            let own = managed::look(session, caller, webhook)?;
            if let Some(there) = watch::find(session, own.id, relation)
                && stays(session, (&own, &there), &spec, if_exists)
            {
                return Ok(((), None));
            }
        }
        let own = managed::find(session, caller, webhook)?;
        let there = watch::find(session, own.id, relation);
        let making = match there.filter(|_| if_exists != IfExists::Error) {
            None => Some(watch::add(session, caller, &own, relation, &spec)?),
            Some(there) if stays(session, (&own, &there), &spec, if_exists) => None,
            Some(there) => bringing::rewatch(session, caller, &own, &there, &spec)?,
        };
        table::check_order(session, own.id)?;
        registry::changed();
        Ok(((), making))
    })
}

/// Whether what is watched is to stay as it is.
fn stays(
    session: &Session,
    (own, there): (&managed::Webhook, &watch::Watched),
    spec: &watch::Spec,
    if_exists: IfExists,
) -> bool {
    if if_exists == IfExists::Skip {
        let (webhook, table) = (own.name.clone(), there.table.clone());
        notice!("{}, skipping", Refusal::AlreadyWatched { webhook, table });
        return true;
    }
    watch::is_sound(session, there) && there.spec == *spec
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
                let Some(watched) = watch::find(session, own.id, relation) else {
                    let table = table::name(session, relation);
                    return Err(Refusal::NotWatched { webhook: own.name, table });
                };
                watch::remove(session, caller, &watched);
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
