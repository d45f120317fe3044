//! `webhook_apply`, `webhook_export`

use std::collections::HashMap;

use pgrx::datum::JsonB;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::{Map, Value};

use super::config::{self, Entry};
use super::{elsewhere, generated_secret, on_behalf};
use crate::pg::identity::Caller;
use crate::pg::json::Json;
use crate::pg::spi::{self, Session};
use crate::pg::{report, settings};
use crate::registry::document::{self, Changes, Document, Wanted};
use crate::registry::making::Making;
use crate::registry::privilege::Patience;
use crate::registry::trigger::LockWait;
use crate::registry::{self, bringing, emitter, idle, managed, table, webhook};
use domain::key::WebhookId;
use domain::refusal::Refusal;

#[pg_extern(sql = false)]
fn webhook_export() -> Result<JsonB, ErrorReport> {
    on_behalf(|caller| {
        spi::connect(|session| {
            let there = by_name(session, caller)?;
            let webhooks = there.into_iter().map(|(name, there)| (name, there.export()));
            let webhooks: Map<String, Value> = webhooks.collect();
            Ok(JsonB(serde_json::json!({ "webhooks": webhooks })))
        })
    })
}

#[pg_extern(sql = false)]
fn webhook_apply(
    config: Option<Json>,
    prune: Option<bool>,
    dry_run: Option<bool>,
) -> Result<
    TableIterator<'static, (name!(name, String), name!(action, String), name!(changes, JsonB))>,
    ErrorReport,
> {
    let given = |argument| report::of(Refusal::Null(argument));
    let Json(config) = config.ok_or_else(|| given("config"))?;
    let prune = prune.ok_or_else(|| given("prune"))?;
    let dry_run = dry_run.ok_or_else(|| given("dry_run"))?;
    let entries = config::read(&config);
    let (rows, makings) = on_behalf(|caller| {
        spi::connect(|session| {
            let plan = Plan::make(session, caller, entries, prune)?;
            match dry_run {
                true => plan.check(session, caller).map(|rows| (rows, Vec::new())),
                false => plan.carry_out(session, caller),
            }
        })
    })?;
    // As the caller, which makes its triggers itself.
    let mut wait = LockWait::First;
    for (name, making) in makings {
        config::within(&config::of_webhook(&name), || making.carry_out(wait));
        wait = LockWait::Further;
        on_behalf(|_| spi::connect(|session| making.record(session)))?;
    }
    let row = |done: Row| (done.name, done.action.to_owned(), JsonB(object(done.changes)));
    Ok(TableIterator::new(rows.into_iter().map(row)))
}

/// The caller's webhooks, by their names.
///
/// # Errors
///
/// [`Refusal::AmbiguousWebhook`]: by REASSIGN OWNED it has two of one.
fn by_name(session: &Session, caller: &Caller) -> Result<HashMap<String, Document>, Refusal> {
    let mut there = HashMap::new();
    for document in document::read(session, caller.role, None) {
        if let Some(Document { name, .. }) = there.insert(document.name.clone(), document) {
            return Err(Refusal::AmbiguousWebhook(name));
        }
    }
    Ok(there)
}

/// What has been done with one webhook.
struct Row {
    name: String,
    action: &'static str,
    changes: Changes,
}

fn object(changes: Changes) -> Value {
    Value::Object(changes.into_iter().collect())
}

/// Triggers that are still to be made, each with the name of its webhook.
type Makings = Vec<(String, Making)>;

/// What is to be done, by how things are.
struct Plan {
    /// In the order of names, in which all are locked, so that two do not wait for each other in a circle.
    steps: Vec<Step>,
    /// Those that are to go, in the same order.
    surplus: Vec<Document>,
}

struct Step {
    entry: Entry,
    wanted: Wanted,
    there: bool,
    changes: Changes,
}

impl Plan {
    fn make(
        session: &Session,
        caller: &Caller,
        entries: Vec<Entry>,
        prune: bool,
    ) -> Result<Self, Refusal> {
        let mut there = by_name(session, caller)?;
        let steps = entries.into_iter().map(|entry| {
            let before = there.remove(&entry.name);
            Step::plan(session, caller, entry, before.as_ref())
        });
        let steps = steps.collect();
        let mut surplus: Vec<Document> =
            there.into_values().filter(|document| prune && document.applied).collect();
        surplus.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self { steps, surplus })
    }

    /// What would be done. Looks at everything that can be looked at without a lock: whether conditions fit their tables is not
    /// among that.
    fn check(self, session: &Session, caller: &Caller) -> Result<Vec<Row>, Refusal> {
        let check = |step: Step| {
            let action = match (step.there, step.changes.is_empty()) {
                (false, _) => "created",
                (true, false) => "updated",
                (true, true) => "unchanged",
            };
            if action != "unchanged" {
                config::within(&config::of_webhook(&step.entry.name), || {
                    step.check(session, caller)
                });
            }
            Row { name: step.entry.name, action, changes: step.changes }
        };
        let mut rows: Vec<Row> = self.steps.into_iter().map(check).collect();
        rows.extend(self.surplus.iter().map(deleted));
        Ok(rows)
    }

    fn carry_out(self, session: &Session, caller: &Caller) -> Result<(Vec<Row>, Makings), Refusal> {
        let named = self.steps.iter().filter(|step| step.changes.contains_key("url"));
        let named = named.filter_map(|step| Some((step, step.wanted.definition.url.as_ref()?)));
        let mut named = named.filter(|_| settings::require_resolvable()).peekable();
        if named.peek().is_some() {
            elsewhere::rehearse(|| self.write(session, caller))?;
        }
        for (step, url) in named {
            config::within(&config::of_webhook(&step.entry.name), || elsewhere::judge_name(url));
        }
        let (rows, makings) = self.write(session, caller)?;
        if rows.iter().any(|row| row.action != "unchanged") {
            registry::changed();
        }
        Ok((rows, makings))
    }

    fn write(&self, session: &Session, caller: &Caller) -> Result<(Vec<Row>, Makings), Refusal> {
        let (mut rows, mut makings) = (Vec::new(), Vec::new());
        self.hold(session, caller)?;
        let mut surplus = self.surplus.iter().peekable();
        for step in &self.steps {
            let name = step.entry.name.clone();
            while let Some(gone) = surplus.next_if(|gone| gone.name < name) {
                end(session, caller, gone);
            }
            if step.there && step.changes.is_empty() {
                rows.push(Row { name, action: "unchanged", changes: Changes::new() });
                continue;
            }
            let line = config::of_webhook(&name);
            let (row, made) = config::within(&line, || step.ensure(session, caller));
            rows.push(row);
            makings.extend(made.into_iter().map(|making| (name.clone(), making)));
        }
        surplus.for_each(|gone| end(session, caller, gone));
        rows.extend(self.surplus.iter().map(deleted));
        // Tables are locked until the end as well.
        makings.sort_by_key(|(_, making)| u32::from(making.relation()));
        Ok((rows, makings))
    }

    /// Waits for whoever changes levels, if any step is going to, before anything else is locked: see [`emitter::hold`].
    fn hold(&self, session: &Session, caller: &Caller) -> Result<(), Refusal> {
        for step in &self.steps {
            let emitters = step.wanted.definition.emitters.as_deref().unwrap_or_default();
            match step.there {
                // It may be the same migration that another session runs.
                false => emitter::hold(session, None, emitters, Patience::Migration)?,
                true if step.changes.contains_key("emitters") => {
                    let id = managed::own_named(session, caller, &step.entry.name)?;
                    emitter::hold(session, id, emitters, Patience::Caller)?;
                }
                true => {}
            }
        }
        for gone in &self.surplus {
            let id = managed::own_named(session, caller, &gone.name)?;
            emitter::hold(session, id, &[], Patience::Caller)?;
        }
        Ok(())
    }
}

/// Ends what no configuration has, unless somebody else has.
fn end(session: &Session, caller: &Caller, surplus: &Document) {
    config::within(&config::of_surplus(&surplus.name), || {
        let uuid = uuid::Uuid::from_bytes(*surplus.uuid.as_bytes()).to_string();
        match emitter::find(session, caller, Some(&uuid)) {
            Ok(own) => bringing::end(session, caller, &own),
            Err(Refusal::UnknownWebhook(_)) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    });
}

fn deleted(surplus: &Document) -> Row {
    Row { name: surplus.name.clone(), action: "deleted", changes: Changes::new() }
}

impl Step {
    fn plan(session: &Session, caller: &Caller, entry: Entry, before: Option<&Document>) -> Self {
        let (wanted, changes) = config::within(&config::of_webhook(&entry.name), || {
            let (definition, tables) = (entry.definition.clone(), entry.tables.clone());
            let mut wanted = Wanted::new(session, caller, definition, tables)?;
            entry.fill(&mut wanted, before)?;
            wanted.check(before)?;
            let changes = before.map_or_else(|| wanted.all(), |before| wanted.changes(before));
            Ok((wanted, changes))
        });
        Self { entry, wanted, there: before.is_some(), changes }
    }

    /// Passes tables and columns that there are, and that the caller may watch.
    fn check(&self, session: &Session, caller: &Caller) -> Result<(), Refusal> {
        for target in &self.wanted.tables {
            let (spec, relation) = (&target.spec, target.relation);
            let sent = Some(spec.payload_columns.clone()).filter(|sent| !sent.is_empty());
            let table = table::check(session, caller, relation, sent)?;
            for columns in [&spec.columns, &spec.payload_columns] {
                table::check_columns(session, relation, &table, columns)?;
            }
        }
        Ok(())
    }

    /// Makes it, or brings it to what it is to be, as it is by now.
    fn ensure(&self, session: &Session, caller: &Caller) -> Result<(Row, Vec<Making>), Refusal> {
        let row = |action, changes| Row { name: self.entry.name.clone(), action, changes };
        bringing::settle(session, caller, &self.entry.name, |there| {
            let done = match there {
                None => self.make(session, caller).map(|made| ("created", self.wanted.all(), made)),
                Some(id) => self.bring(session, caller, id),
            };
            done.map(|(action, changes, made)| (row(action, changes), made))
        })
    }

    fn make(&self, session: &Session, caller: &Caller) -> Result<Vec<Making>, Refusal> {
        let mut wanted = self.wanted.clone();
        self.entry.fill(&mut wanted, None)?;
        let secret = match &wanted.definition.secret {
            Some(secret) => secret.clone(),
            None => generated_secret()?,
        };
        let (id, makings) = bringing::make(session, caller, &wanted, &secret)?;
        table::check_order(session, id)?;
        webhook::set_names(session, id, &wanted.names.unwrap_or_default(), true);
        idle::tell(session, id);
        Ok(makings)
    }

    fn bring(
        &self,
        session: &Session,
        caller: &Caller,
        id: WebhookId,
    ) -> Result<(&'static str, Changes, Vec<Making>), Refusal> {
        let own = managed::lock(session, caller, id, &self.entry.name)?;
        let there = document::find(session, caller.role, id, &self.entry.name)?;
        let mut wanted = self.wanted.clone();
        self.entry.fill(&mut wanted, Some(&there))?;
        let changes = wanted.changes(&there);
        if changes.is_empty() {
            return Ok(("unchanged", changes, Vec::new()));
        }
        let makings = bringing::bring(session, caller, &own, (&there, &wanted, &changes))?;
        table::check_order(session, own.id)?;
        webhook::set_names(session, id, &wanted.names.unwrap_or_default(), false);
        idle::tell(session, id);
        Ok(("updated", changes, makings))
    }
}
