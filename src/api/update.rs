//! `webhook_update`

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{elsewhere, events_of, roles, watched, with_triggers, words};
use crate::pg::arguments::Arguments;
use crate::pg::identity::Caller;
use crate::pg::json::Json;
use crate::pg::spi::Session;
use crate::registry::definition::{Definition, HeaderChanges};
use crate::registry::making::Making;
use crate::registry::privilege::Patience;
use crate::registry::reset::Reset;
use crate::registry::{self, emitter, idle, managed, table, watch, webhook};
use domain::header;
use domain::key::WebhookId;
use domain::refusal::Refusal;

#[pg_extern(sql = false)]
fn webhook_update(given: Arguments<'_>) -> Result<(), ErrorReport> {
    with_triggers(|caller, session| {
        let change = Change::read(session, caller, &given)?;
        let rehearse = || change.make(session, caller);
        elsewhere::judge_names(change.definition.url.as_ref(), rehearse)?;
        let making = change.make(session, caller)?;
        registry::changed();
        Ok(((), making))
    })
}

/// What was given, checked as far as it can be while nothing is locked.
struct Change<'a> {
    given: &'a Arguments<'a>,
    named: &'a str,
    id: WebhookId,
    definition: Definition,
    reset: Reset,
    table_name: Option<pg_sys::Oid>,
    watched: watch::Given,
}

impl<'a> Change<'a> {
    fn read(session: &Session, caller: &Caller, given: &'a Arguments<'a>) -> Result<Self, Refusal> {
        let reset = words(given.get("reset"), "reset")?.unwrap_or_default();
        let reset = Reset::read(&reset, given)?;
        let watched = watched(given, None)?;
        let emitters = roles(given.get("emitters"))?;
        let emitters = emitters.or_else(|| reset.has("emitters").then(Vec::new));
        let header_changes = header_changes(given)?;
        let named = given.get("webhook").ok_or(Refusal::Null("webhook"))?;
        let id = managed::name(session, caller, named)?;
        let definition = Definition { emitters, header_changes, ..Definition::read(given)? };
        let table_name = given.get("table_name");
        Ok(Self { given, named, id, definition, reset, table_name, watched })
    }

    /// Makes it. What is returned is still to be done.
    fn make(&self, session: &Session, caller: &Caller) -> Result<Option<Making>, Refusal> {
        if let Some(roles) = &self.definition.emitters {
            emitter::hold(session, Some(self.id), roles, Patience::Caller)?;
        }
        // By then the name may be another one's.
        let own = managed::lock(session, caller, self.id, self.named)?;
        let (mut definition, mut watched) = (self.definition.clone(), self.watched.clone());
        self.reset.of_webhook(&mut definition, &own);
        let table_name = self.table_name;
        let mut tables = watch::list(session, own.id);
        // Another table may be watched in the place of one that is gone, as that was.
        if table_name.is_none() || tables.iter().any(|watched| !watched.dropped) {
            tables.retain(|watched| !watched.dropped);
        }
        let has_table = table_name.is_some() || !tables.is_empty();
        if let Some(events) = events_of(self.given.get("events"), has_table)? {
            definition.event_types = Some(events.types);
            watched.events = Some(events.operations).filter(|list| !list.is_empty());
            if watched.events.is_none() && (tables.len() == 1 || table_name.is_some()) {
                return Err(Refusal::NoOperations);
            }
        }
        if has_table {
            self.reset.of_table(&mut watched);
        }
        let hears_others = definition.event_types.is_some();
        webhook::update(session, caller, &own, definition)?;
        if hears_others {
            idle::tell(session, own.id);
        }
        let making = match table_name.is_some() || watched.any().is_some() {
            true => rewatch(session, caller, &own, tables, table_name, watched)?,
            false => None,
        };
        table::check_order(session, own.id)?;
        Ok(making)
    }
}

/// The headers that are to be set and unset among those that are there.
fn header_changes(given: &Arguments<'_>) -> Result<Option<HeaderChanges>, Refusal> {
    let set = given.get("set_headers").map(|Json(text)| header::read(&text)).transpose()?;
    let unset = words(given.get("unset_headers"), "unset_headers")?;
    let argument = match (&set, &unset) {
        (None, None) => return Ok(None),
        (Some(_), _) => "set_headers",
        (None, Some(_)) => "unset_headers",
    };
    if given.has("headers") {
        return Err(Refusal::Together("headers", argument));
    }
    let set = set.unwrap_or_else(|| serde_json::json!({}));
    Ok(Some(HeaderChanges { set, unset: unset.unwrap_or_default() }))
}

/// Changes what is watched of the webhook's one table, or watches another instead of it. Where there are several, it changes
/// the one that is named.
fn rewatch(
    session: &Session,
    caller: &Caller,
    own: &managed::Webhook,
    mut before: Vec<watch::Watched>,
    relation: Option<pg_sys::Oid>,
    given: watch::Given,
) -> Result<Option<Making>, Refusal> {
    if before.len() > 1 {
        let relation =
            relation.ok_or_else(|| Refusal::WhichTable(own.name.clone(), before.len()))?;
        before.retain(|watched| watched.relation == relation);
        if before.is_empty() {
            let table = table::name(session, relation);
            return Err(Refusal::NotWatched { webhook: own.name.clone(), table });
        }
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
