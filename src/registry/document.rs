//! What a webhook is made of, as JSON: what there is, what is wanted, and how the two differ.
//!
//! Settings have the names of the arguments of `webhook_create`, tables those of `webhook_watch`. What nobody reads back, the
//! signing secret and the values of headers, is compared and not shown.

use std::collections::BTreeMap;

use pgrx::datum::{JsonB, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::definition::{Definition, Plain};
use super::watch::{self, Spec};
use super::{emitter, table, transform};
use crate::pg::identity::Caller;
use crate::pg::output::Canonical;
use crate::pg::snapshot;
use crate::pg::spi::{Row, Session, arg, sql};
use domain::event::Operation;
use domain::format::Format;
use domain::key::WebhookId;
use domain::refusal::Refusal;
use domain::secret::Secret;
use domain::signature::{Scheme, Signer};

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
    /// What it watches that has been dropped.
    lost: Vec<String>,
    headers: Value,
    secret: Option<Secret>,
    /// A configuration has made it.
    pub applied: bool,
    names: Names,
}

/// What the settings of sessions are called that hold the secret, and the values of headers by their names.
#[derive(Default, Clone, Serialize, Deserialize)]
pub struct Names {
    /// Of the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Of each header that has one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// What a webhook is to be.
#[derive(Clone)]
pub struct Wanted {
    /// With every setting.
    pub definition: Definition,
    /// What it is to watch.
    pub tables: Vec<Target>,
    /// Where its secrets come from, if that is said.
    pub names: Option<Names>,
    settings: Map<String, Value>,
}

/// A table that is to be watched.
#[derive(Clone)]
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

/// The webhook of this key, if it still belongs to `role` and has that name.
///
/// # Errors
///
/// [`Refusal::UnknownWebhook`].
pub fn find(
    session: &Session,
    role: pg_sys::Oid,
    webhook: WebhookId,
    name: &str,
) -> Result<Document, Refusal> {
    let there = read(session, role, Some(webhook)).pop().filter(|there| there.name == name);
    there.ok_or_else(|| Refusal::UnknownWebhook(name.to_owned()))
}

fn document(row: Row<'_>) -> Document {
    let object = |column| match row.value::<JsonB>(column) {
        JsonB(Value::Object(object)) => object,
        _ => Map::new(),
    };
    let JsonB(names) = row.value("named");
    Document {
        uuid: row.value("uuid"),
        name: row.value("name"),
        created_at: row.value("created_at"),
        settings: object("settings"),
        tables: object("tables"),
        unsound: row.value("unsound"),
        lost: row.value("lost"),
        headers: Value::Object(object("headers")),
        secret: row.get::<String>("signing_key").and_then(|key| Secret::parse(&key).ok()),
        applied: row.value("applied"),
        names: serde_json::from_value(names).unwrap_or_default(),
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
            names: None,
            definition,
        })
    }

    /// Passes a signature that can be made with the secret, of `before` where none is given, and sent in the header.
    ///
    /// # Errors
    ///
    /// The two do not fit each other.
    pub fn check(&self, before: Option<&Document>) -> Result<(), Refusal> {
        let definition = &self.definition;
        let scheme = definition.signature.unwrap_or(Format::Default.scheme());
        let stored = before.and_then(|before| before.secret.as_ref());
        if let Some(secret) = definition.secret.as_ref().or(stored) {
            Signer::check(scheme, secret)?;
        }
        let header = definition.signature_header.as_deref();
        Ok(scheme.check_header(header.filter(|name| !name.is_empty()))?)
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
        self.change_secrets(before, &mut changes);
        changes
    }

    /// What they are called shows, what they are does not.
    fn change_secrets(&self, before: &Document, changes: &mut Changes) {
        let (headers, secret) = (self.definition.headers.as_ref(), self.definition.secret.as_ref());
        let new_headers = headers.is_some_and(|headers| *headers != before.headers);
        let new_secret = secret.is_some_and(|secret| !before.has_secret(secret));
        if let Some(names) = &self.names {
            let is = shown_headers(&before.headers, &before.names);
            let wanted = shown_headers(headers.unwrap_or(&before.headers), names);
            if is != wanted {
                changes.insert("headers".to_owned(), change(&is.into(), &wanted.into()));
            }
            if before.names.secret != names.secret {
                let (is, wanted) = (&before.names.secret, &names.secret);
                changes.insert("secret".to_owned(), serde_json::json!({"from": is, "to": wanted}));
            }
        }
        for (name, new) in [("headers", new_headers), ("secret", new_secret)] {
            if new {
                changes.entry(name.to_owned()).or_insert_with(hidden);
            }
        }
    }

    fn changed_tables(&self, before: &Document) -> Map<String, Value> {
        let mut changes = Map::new();
        for target in &self.tables {
            let (from, to) = (before.tables.get(&target.table), watched(&target.spec));
            if from != Some(&to) || before.unsound.contains(&target.relation) {
                changes.insert(target.table.clone(), change(from.unwrap_or(&Value::Null), &to));
            }
        }
        for table in before.lost.iter().filter(|lost| !before.tables.contains_key(*lost)) {
            if !self.tables.iter().any(|target| target.table == *table) {
                changes.insert(table.clone(), change(&Value::from("dropped"), &Value::Null));
            }
        }
        for (table, from) in &before.tables {
            if !self.tables.iter().any(|target| target.table == *table) {
                changes.insert(table.clone(), change(from, &Value::Null));
            }
        }
        changes
    }

    /// What it is made of, as changes of nothing.
    pub fn all(&self) -> Changes {
        let headers = self.definition.headers.clone().unwrap_or_default();
        let names = self.names.clone().unwrap_or_default();
        let tables = self.tables.iter();
        let tables = tables.map(|target| (target.table.clone(), watched(&target.spec))).collect();
        let document = minimal(&self.settings, &tables, (&headers, &names));
        document.into_iter().map(|(key, to)| (key, change(&Value::Null, &to))).collect()
    }
}

impl Document {
    /// Whether the triggers of a table that it watches are there, as they were made.
    pub fn is_sound(&self, relation: pg_sys::Oid) -> bool {
        !self.unsound.contains(&relation)
    }

    /// Whether it signs with that secret, as the newest.
    pub fn has_secret(&self, secret: &Secret) -> bool {
        self.secret.as_ref() == Some(secret)
    }

    /// Whether it signs with any secret.
    pub fn signs(&self) -> bool {
        self.secret.is_some()
    }

    /// A setting that is a text.
    pub fn text(&self, name: &str) -> &str {
        self.settings[name].as_str().unwrap_or_default()
    }

    /// Whether it captures and sends.
    pub fn is_enabled(&self) -> bool {
        self.settings["enabled"] == true
    }

    /// The value of a header, whose name is the same in any case of its letters.
    pub fn header(&self, name: &str) -> Option<&Value> {
        let headers = self.headers.as_object()?;
        let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        // One that is lost is none.
        found.map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// Without what has its default.
    pub fn export(&self) -> Value {
        let secrets = (&self.headers, &self.names);
        Value::Object(minimal(&self.settings, &self.tables, secrets))
    }
}

/// Headers by the names of the settings that hold their values, null where none is known to.
fn shown_headers(headers: &Value, names: &Names) -> Map<String, Value> {
    let known = headers.as_object().into_iter().flat_map(Map::keys);
    known.map(|name| (name.clone(), names.headers.get(name).cloned().into())).collect()
}

/// A document without what has its default.
fn minimal(
    settings: &Map<String, Value>,
    tables: &Map<String, Value>,
    (headers, names): (&Value, &Names),
) -> Map<String, Value> {
    let mut document = settings.clone();
    let format = settings["format"].as_str().and_then(|word| word.parse::<Format>().ok());
    let brought = format.map(|format| format.scheme().name());
    document.retain(|name, value| match name.as_str() {
        "signature" => value.as_str() != brought,
        "format" => format != Some(Format::Default),
        "events" | "emitters" => value.as_array().is_none_or(|list| !list.is_empty()),
        name => !value.is_null() && !Plain::is_default(name, value),
    });
    let rows: Value = watch::words(&Operation::ROWS).into();
    let table = |(name, of): (&String, &Value)| {
        let mut of = of.clone();
        if let Some(parts) = of.as_object_mut().filter(|parts| parts.get("events") == Some(&rows)) {
            parts.remove("events");
        }
        (name.clone(), of)
    };
    let tables: Map<String, Value> = tables.iter().map(table).collect();
    let headers = shown_headers(headers, names);
    for (key, part) in [("tables", tables), ("headers", headers)] {
        if !part.is_empty() {
            document.insert(key.to_owned(), part.into());
        }
    }
    document.extend(names.secret.iter().map(|name| ("secret".to_owned(), name.as_str().into())));
    document
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
