//! What a webhook is made of, as JSON: what there is, what is wanted, and how the two differ.
//!
//! Settings have the names of the arguments of `webhook_create`, tables those of `webhook_watch`. What nobody reads back, the
//! signing secret and the values of headers, is compared and not shown.

use std::collections::BTreeMap;

use pgrx::datum::{JsonB, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys;
use serde_json::{Map, Value};

use super::definition::Definition;
use super::watch::{self, Spec};
use super::{emitter, table, transform};
use crate::pg::identity::Caller;
use crate::pg::output::Canonical;
use crate::pg::snapshot;
use crate::pg::spi::{Row, Session, arg, sql};
use domain::format::Format;
use domain::key::WebhookId;
use domain::refusal::Refusal;
use domain::secret::Secret;
use domain::signature::Scheme;

/// What there is of a webhook.
pub struct Document {
    /// The public id.
    pub uuid: Uuid,
    /// The name.
    pub name: String,
    /// When it was made.
    pub created_at: TimestampWithTimeZone,
    /// All settings, without secret and headers.
    settings: Map<String, Value>,
    /// What of each table, by its name; without those that have been dropped.
    tables: Map<String, Value>,
    /// Those of them of which a trigger is missing, or not as it was made.
    unsound: Vec<pg_sys::Oid>,
    headers: Value,
    secret: Option<Secret>,
}

/// What a webhook is to be.
pub struct Wanted {
    /// With every setting.
    pub definition: Definition,
    /// What it is to watch.
    pub tables: Vec<Target>,
    settings: Map<String, Value>,
}

/// A table that is to be watched.
pub struct Target {
    /// Its oid.
    pub relation: pg_sys::Oid,
    /// Schema and name, quoted.
    pub table: String,
    /// What of it.
    pub spec: Spec,
}

/// What becomes another by a change: each part by its name, with what it is and what it is to be; of tables, each by its own.
pub type Changes = BTreeMap<String, Value>;

/// The webhooks of `role`, or the one of this key if it is one of them, as they are now, whatever an old snapshot shows.
pub fn read(session: &Session, role: pg_sys::Oid, only: Option<WebhookId>) -> Vec<Document> {
    let _canonical = Canonical::begin();
    let args = [arg(role), arg(only)];
    let rows = snapshot::with_latest(|| session.look_up(sql!("registry/documents"), &args));
    rows.iter().map(document).collect()
}

fn document(row: Row<'_>) -> Document {
    let object = |column| match row.value::<JsonB>(column) {
        JsonB(Value::Object(object)) => object,
        _ => Map::new(),
    };
    Document {
        uuid: row.value("uuid"),
        name: row.value("name"),
        created_at: row.value("created_at"),
        settings: object("settings"),
        tables: object("tables"),
        unsound: row.value("unsound"),
        headers: Value::Object(object("headers")),
        secret: row.get::<String>("signing_key").and_then(|key| Secret::parse(&key).ok()),
    }
}

impl Wanted {
    /// A webhook of these settings, and of the default of each that was not given, which watches these tables and belongs to
    /// the caller.
    ///
    /// # Errors
    ///
    /// A role or a transform that is not there, or may not be chosen.
    pub fn new(
        session: &Session,
        caller: &Caller,
        definition: Definition,
        tables: Vec<(pg_sys::Oid, Spec)>,
    ) -> Result<Self, Refusal> {
        let definition = definition.complete();
        emitter::check(session, definition.emitters.as_deref().unwrap_or_default())?;
        match definition.transform {
            None | Some(pg_sys::InvalidOid) => {}
            Some(function) => drop(transform::check(session, function, caller.role)?),
        }
        let target =
            |(relation, spec)| Target { relation, table: table::name(session, relation), spec };
        Ok(Self {
            settings: settings(session, &definition),
            tables: tables.into_iter().map(target).collect(),
            definition,
        })
    }

    /// What it is going to change of `before`.
    pub fn changes(&self, before: &Document) -> Changes {
        let mut changes = Changes::new();
        for (name, to) in &self.settings {
            let from = &before.settings[name];
            if from != to {
                changes.insert(name.clone(), change(from, to));
            }
        }
        let tables = self.changed_tables(before);
        if !tables.is_empty() {
            changes.insert("tables".to_owned(), Value::Object(tables));
        }
        let headers = self.definition.headers.as_ref();
        if headers.is_some_and(|headers| *headers != before.headers) {
            changes.insert("headers".to_owned(), hidden());
        }
        let secret = self.definition.secret.as_ref();
        if secret.is_some_and(|secret| Some(secret) != before.secret.as_ref()) {
            changes.insert("secret".to_owned(), hidden());
        }
        changes
    }

    fn changed_tables(&self, before: &Document) -> Map<String, Value> {
        let mut changes = Map::new();
        for target in &self.tables {
            let (from, to) = (before.tables.get(&target.table), watched(&target.spec));
            if from != Some(&to) || before.unsound.contains(&target.relation) {
                changes.insert(target.table.clone(), change(from.unwrap_or(&Value::Null), &to));
            }
        }
        for (table, from) in &before.tables {
            if !self.tables.iter().any(|target| target.table == *table) {
                changes.insert(table.clone(), change(from, &Value::Null));
            }
        }
        changes
    }
}

impl Document {
    /// Whether the triggers of a table that it watches are there, as they were made.
    pub fn is_sound(&self, relation: pg_sys::Oid) -> bool {
        !self.unsound.contains(&relation)
    }

    /// A setting that is a text.
    pub fn text(&self, name: &str) -> &str {
        self.settings[name].as_str().unwrap_or_default()
    }

    /// Whether it captures and sends.
    pub fn is_enabled(&self) -> bool {
        self.settings["enabled"] == true
    }
}

/// What nobody reads back has changed.
fn hidden() -> Value {
    let masked = Value::from("***");
    change(&masked, &masked)
}

fn change(from: &Value, to: &Value) -> Value {
    serde_json::json!({"from": from, "to": to})
}

/// As `documents.sql` has what of a table is watched.
fn watched(spec: &Spec) -> Value {
    let mut document = Map::new();
    document.insert("events".to_owned(), watch::words(&spec.events).into());
    let lists = [("columns", &spec.columns), ("payload_columns", &spec.payload_columns)];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        document.insert(name.to_owned(), list.as_slice().into());
    }
    if let Some(condition) = &spec.condition {
        document.insert("condition".to_owned(), condition.as_str().into());
    }
    Value::Object(document)
}

/// As `documents.sql` has the settings of a complete definition.
fn settings(session: &Session, definition: &Definition) -> Map<String, Value> {
    let _canonical = Canonical::begin();
    let mut args = vec![
        arg(definition.url.as_ref().map(ToString::to_string)),
        arg(definition.format.map(Format::name)),
        arg(definition.signature.map(Scheme::name)),
        arg(definition.signature_header.as_deref()),
        arg(definition.event_types.clone()),
        arg(definition.emitters.clone()),
        arg(definition.transform),
    ];
    args.extend(definition.plain.args());
    let rows = session.run(sql!("registry/wanted"), &args);
    match rows.first().map(|row| row.value("settings")) {
        Some(JsonB(Value::Object(settings))) => settings,
        _ => Map::new(),
    }
}
