//! `webhook_create`

use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{elsewhere, events_of, generated_secret, roles, watched, with_triggers};
use crate::pg::arguments::Arguments;
use crate::pg::identity::Caller;
use crate::pg::spi::Session;
use crate::registry::definition::Definition;
use crate::registry::document::{self, Document, Wanted};
use crate::registry::making::Making;
use crate::registry::privilege::Patience;
use crate::registry::watch::Spec;
use crate::registry::{self, bringing, emitter, idle, managed, table, watch, webhook};
use domain::if_exists::IfExists;
use domain::key::WebhookId;
use domain::refusal::Refusal;

/// A webhook as it is returned.
type Shown = (Uuid, String, String, Option<String>, bool, TimestampWithTimeZone, String);

/// A webhook as it is returned, and triggers that are to be made.
type Done = (Shown, Vec<Making>);

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
            name!(secret, Option<String>),
            name!(enabled, bool),
            name!(created_at, TimestampWithTimeZone),
            name!(action, String),
        ),
    >,
    ErrorReport,
> {
    with_triggers(|caller, session| {
        let new = New::read(&given)?;
        let if_exists = given.get::<&str>("if_exists").unwrap_or(IfExists::Error.name()).parse()?;
        let (row, makings) = match if_exists {
            IfExists::Error => new.make(session, caller, Patience::Caller)?,
            IfExists::Skip | IfExists::Replace => new.ensure(session, caller, if_exists)?,
        };
        Ok((TableIterator::once(row), makings))
    })
}

/// What was given, checked as far as it can be without a look at the catalog.
struct New {
    name: String,
    definition: Definition,
    table: Option<(pg_sys::Oid, Spec)>,
}

impl New {
    fn read(given: &Arguments<'_>) -> Result<Self, Refusal> {
        for name in ["name", "url"] {
            given.get::<&str>(name).ok_or(Refusal::Null(name))?;
        }
        let table_name: Option<pg_sys::Oid> = given.get("table_name");
        let events = events_of(given.get("events"), table_name.is_some())?;
        let (operations, types) = events.map(|events| (events.operations, events.types)).unzip();
        let operations = operations.filter(|list| table_name.is_some() || !list.is_empty());
        let watched = watched(given, operations)?;
        if let (None, Some(part)) = (table_name, watched.any()) {
            return Err(Refusal::NeedsTable(part));
        }
        let emitters = roles(given.get("emitters"))?;
        let definition = Definition { event_types: types, emitters, ..Definition::read(given)? };
        let spec = table_name.map(|_| watched.complete(None)).transpose()?;
        Ok(Self {
            name: definition.name.clone().ok_or(Refusal::Null("name"))?,
            definition,
            table: table_name.zip(spec),
        })
    }

    fn make(
        &self,
        session: &Session,
        caller: &Caller,
        patience: Patience,
    ) -> Result<Done, Refusal> {
        let url = self.definition.url.as_ref();
        elsewhere::judge_names(url, || self.write(session, caller, patience))?;
        let done = self.write(session, caller, patience)?;
        registry::changed();
        Ok(done)
    }

    fn write(
        &self,
        session: &Session,
        caller: &Caller,
        patience: Patience,
    ) -> Result<Done, Refusal> {
        let definition = self.definition.clone();
        let secret = match &definition.secret {
            Some(secret) => secret.clone(),
            None => generated_secret()?,
        };
        let url = definition.url.as_ref().ok_or(Refusal::Null("url"))?.to_string();
        let created = webhook::insert(session, caller, definition, &secret, patience)?;
        let mut makings = Vec::new();
        if let Some((relation, spec)) = &self.table {
            makings.push(watch::add(session, caller, &created.webhook, *relation, spec)?);
        }
        table::check_order(session, created.webhook.id)?;
        idle::tell(session, created.webhook.id);
        let row = (
            created.uuid,
            self.name.clone(),
            url,
            Some(secret.reveal().to_owned()),
            created.enabled,
            created.created_at,
            "created".to_owned(),
        );
        Ok((row, makings))
    }

    /// Finds the caller's webhook of that name, or makes one. Where another transaction makes one, it finds that, after its end.
    fn ensure(
        &self,
        session: &Session,
        caller: &Caller,
        if_exists: IfExists,
    ) -> Result<Done, Refusal> {
        bringing::settle(session, caller, &self.name, |there| match there {
            None => self.make(session, caller, Patience::Migration),
            Some(id) if if_exists == IfExists::Skip => self.skip(session, caller, id),
            Some(id) => self.replace(session, caller, id),
        })
    }

    fn skip(&self, session: &Session, caller: &Caller, id: WebhookId) -> Result<Done, Refusal> {
        let there = self.find(session, caller, id)?;
        notice!("webhook \"{}\" already exists, skipping", self.name);
        Ok((shown(&there, "unchanged"), Vec::new()))
    }

    fn replace(&self, session: &Session, caller: &Caller, id: WebhookId) -> Result<Done, Refusal> {
        self.definition.plain.check_needed()?;
        let tables = self.table.iter().cloned().collect();
        let wanted = Wanted::new(session, caller, self.definition.clone(), tables)?;
        let there = self.find(session, caller, id)?;
        let changes = wanted.changes(&there);
        if changes.is_empty() {
            return Ok((shown(&there, "unchanged"), Vec::new()));
        }
        let url = wanted.definition.url.as_ref().filter(|_| changes.contains_key("url"));
        elsewhere::judge_names(url, || self.bring(session, caller, id, &wanted))?;
        let Some(makings) = self.bring(session, caller, id, &wanted)? else {
            return Ok((shown(&self.find(session, caller, id)?, "unchanged"), Vec::new()));
        };
        registry::changed();
        Ok((shown(&self.find(session, caller, id)?, "replaced"), makings))
    }

    /// Makes of it what is wanted; `None` where it is that by now, because somebody else who has been waited for has done it.
    fn bring(
        &self,
        session: &Session,
        caller: &Caller,
        id: WebhookId,
        wanted: &Wanted,
    ) -> Result<Option<Vec<Making>>, Refusal> {
        if wanted.changes(&self.find(session, caller, id)?).contains_key("emitters") {
            let emitters = wanted.definition.emitters.as_deref();
            emitter::hold(session, Some(id), emitters.unwrap_or_default(), Patience::Caller)?;
        }
        let own = managed::lock(session, caller, id, &self.name)?;
        let there = self.find(session, caller, id)?;
        let changes = wanted.changes(&there);
        if changes.is_empty() {
            return Ok(None);
        }
        let makings = bringing::bring(session, caller, &own, (&there, wanted, &changes))?;
        table::check_order(session, id)?;
        idle::tell(session, id);
        Ok(Some(makings))
    }

    /// The webhook that was found, as it is now.
    fn find(&self, session: &Session, caller: &Caller, id: WebhookId) -> Result<Document, Refusal> {
        document::find(session, caller.role, id, &self.name)
    }
}

/// Without the secret, which was shown when it was made.
fn shown(there: &Document, action: &str) -> Shown {
    (
        there.uuid,
        there.name.clone(),
        there.text("url").to_owned(),
        None,
        there.is_enabled(),
        there.created_at,
        action.to_owned(),
    )
}
