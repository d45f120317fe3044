//! `webhook_update`

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{elsewhere, events_of, roles, watched, with_triggers};
use crate::pg::arguments::Arguments;
use crate::pg::identity::Caller;
use crate::pg::spi::Session;
use crate::registry::definition::Definition;
use crate::registry::making::Making;
use crate::registry::{self, emitter, managed, watch, webhook};
use domain::refusal::Refusal;

#[pg_extern(sql = false)]
fn webhook_update(given: Arguments<'_>) -> Result<(), ErrorReport> {
    with_triggers(|caller, session| {
        let mut watched = watched(&given, None)?;
        let table_name: Option<pg_sys::Oid> = given.get("table_name");
        let emitters = roles(given.get("emitters"))?;
        let named = given.get("webhook").ok_or(Refusal::Null("webhook"))?;
        let id = managed::name(session, caller, named)?;
        let checked = Definition::read(&given)?;
        if let Some(url) = &checked.url {
            // Whose name is looked up for seconds, while nothing is locked.
            elsewhere::judge_addresses(url)?;
        }
        if let Some(roles) = &emitters {
            emitter::hold(session, Some(id), roles)?;
        }
        // By then the name may be another one's.
        let own = managed::lock(session, caller, id, named)?;
        let mut definition = Definition { emitters, ..checked };
        let mut tables = watch::list(session, own.id);
        // Another table may be watched in the place of one that is gone, as that was.
        if table_name.is_none() || tables.iter().any(|watched| !watched.dropped) {
            tables.retain(|watched| !watched.dropped);
        }
        let has_table = table_name.is_some() || !tables.is_empty();
        if let Some(events) = events_of(given.get("events"), has_table)? {
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
