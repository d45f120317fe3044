//! A configuration: a document that says what webhooks there are to be.
//!
//! It is read as the caller, whose search path and rights find tables, functions and roles. Secrets and values of headers are
//! not in it, but the names of settings of the session that hold them. An error says in its CONTEXT where in the document
//! it comes from.

mod values;

use std::ffi::CString;

use pgrx::pg_sys;
use serde_json::{Map, Value};

use self::values::{Settings, check_keys, not, shown, text, words};
use super::LONGEST_CONDITION;
use crate::pg::{context, guc, input, memory, report};
use crate::registry::definition::{Definition, Plain, bounded};
use crate::registry::document::{Document, Names, Wanted};
use crate::registry::watch::{self, Spec};
use domain::event::{Events, Operation};
use domain::header;
use domain::refusal::Refusal;
use domain::secret::Secret;

/// Bytes of a configuration: some ten thousand webhooks of usual size.
const LARGEST: usize = 8 * 1024 * 1024;

/// Bytes of memory that there have to be for each byte of it: an empty text in a list, of three bytes, takes 32, and the list twice
/// as many while it grows.
const ROOM_FOR_A_BYTE: usize = 32;

/// The longest name of a setting, in bytes. PostgreSQL has no limit for them, and nobody types more.
const LONGEST_SETTING: usize = 200;

/// Keys of a webhook that are no plain settings.
const KEYS: [&str; 10] = [
    "url",
    "tables",
    "events",
    "transform",
    "emitters",
    "headers",
    "secret",
    "format",
    "signature",
    "signature_header",
];

/// Keys of a table.
const OF_A_TABLE: [&str; 4] = ["events", "columns", "condition", "payload_columns"];

/// A webhook that is to be there.
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its settings, without what is a secret.
    pub definition: Definition,
    /// What it is to watch.
    pub tables: Vec<(pg_sys::Oid, Spec)>,
    secret: Option<Named>,
    headers: Vec<(String, Option<Named>)>,
}

/// What a setting of the session holds, which has that name.
struct Named {
    setting: String,
    value: Option<String>,
}

/// What there is no value of: jsonb knows others as well.
const READABLE: &str = "an object of less than 128 levels, with numbers that a double holds";

/// Reads one, in the order of the names of its webhooks. To be called as the caller.
///
/// Raises an error for the first value that is refused.
pub fn read(text: &str) -> Vec<Entry> {
    let webhooks = within("configuration", || {
        bounded("config", text, LARGEST)?;
        memory::ensure(text.len() * ROOM_FOR_A_BYTE);
        let document: Value = serde_json::from_str(text).map_err(|_| not("config", READABLE))?;
        let Value::Object(mut document) = document else {
            return Err(not("config", "an object"));
        };
        let known = ["webhooks"];
        check_keys(&document, "a configuration", &known)?;
        match document.remove(known[0]) {
            Some(Value::Object(webhooks)) => Ok(webhooks),
            _ => Err(not(known[0], "an object of webhooks by their names")),
        }
    });
    webhooks.iter().map(|(name, value)| entry(name, value)).collect()
}

/// Runs `work`. An error says that it is about that part of the configuration.
pub fn within<R>(line: &str, work: impl FnOnce() -> Result<R, Refusal>) -> R {
    context::within(line, || work().unwrap_or_else(|refusal| report::raise(refusal)))
}

/// The part of a webhook.
pub fn of_webhook(name: &str) -> String {
    format!("configuration, webhook \"{}\"", shown(name))
}

/// What it does not have.
pub fn of_surplus(name: &str) -> String {
    format!("webhook \"{}\", which the configuration does not have", shown(name))
}

fn of_key(name: &str, key: &str) -> String {
    format!("{}, key \"{}\"", of_webhook(name), shown(key))
}

fn entry(name: &str, value: &Value) -> Entry {
    let plain: Vec<&'static str> = Plain::names().collect();
    let settings = within(&of_webhook(name), || {
        let known: Vec<&'static str> = KEYS.into_iter().chain(plain).collect();
        let object = value.as_object().ok_or_else(|| not(name, "an object"))?;
        check_keys(object, "a webhook", &known)?;
        match object.get("url") {
            Some(Value::String(_)) => Ok(object),
            _ => Err(not("url", "a string")),
        }
    });
    // Each by itself first, so that an error is that of one.
    let setting = |key: &str| {
        within(&of_key(name, key), || {
            let own = settings.iter().filter(|(known, _)| *known == key);
            Definition::read(&Settings(own.map(|(key, value)| (key.as_str(), value)).collect()))
        })
    };
    for key in settings.keys().filter(|key| !SEPARATE.contains(&key.as_str())) {
        setting(key);
    }
    let mut all: Vec<(&str, &Value)> =
        settings.iter().map(|(key, value)| (key.as_str(), value)).collect();
    all.retain(|(key, _)| !SEPARATE.contains(key));
    let own_name = Value::from(name);
    all.push(("name", &own_name));
    let definition = within(&of_webhook(name), || Definition::read(&Settings(all)));
    let part = |key: &'static str| (of_key(name, key), settings.get(key).unwrap_or(&Value::Null));
    Entry {
        name: name.to_owned(),
        definition: Definition {
            event_types: Some(event_types(part("events"))),
            emitters: Some(roles(part("emitters"))),
            transform: Some(transform(part("transform"))),
            ..definition
        },
        tables: tables(part("tables")),
        secret: secret(part("secret")),
        headers: headers(part("headers")),
    }
}

/// Keys of a webhook whose values are no settings as they stand there.
const SEPARATE: [&str; 6] = ["tables", "events", "transform", "emitters", "headers", "secret"];

type Part<'a> = (String, &'a Value);

fn event_types((line, value): Part<'_>) -> Vec<String> {
    within(&line, || {
        let words = words("events", value)?;
        let events = Events::parse(words.iter().map(String::as_str), false)?;
        match events.operations.first() {
            Some(_) => {
                Err(not("events", "a list of types of emitted events; a table has operations"))
            }
            None => Ok(events.types),
        }
    })
}

fn roles((line, value): Part<'_>) -> Vec<pg_sys::Oid> {
    within(&line, || Ok(words("emitters", value)?.iter().map(|name| input::role(name)).collect()))
}

fn transform((line, value): Part<'_>) -> pg_sys::Oid {
    within(&line, || match text("transform", value)? {
        None | Some("") => Ok(pg_sys::InvalidOid),
        Some(signature) => Ok(input::function(signature)),
    })
}

fn tables((line, value): Part<'_>) -> Vec<(pg_sys::Oid, Spec)> {
    let listed = within(&line, || match value {
        Value::Null => Ok(None),
        Value::Object(tables) => Ok(Some(tables)),
        _ => Err(not("tables", "an object of tables by their names")),
    });
    let mut tables: Vec<(pg_sys::Oid, Spec)> = Vec::new();
    for (name, value) in listed.into_iter().flatten() {
        let table = within(&format!("{line}, table \"{}\"", shown(name)), || {
            let relation = input::table(name);
            if tables.iter().any(|(known, _)| *known == relation) {
                return Err(Refusal::TableTwice(shown(name)));
            }
            Ok((relation, spec(name, value)?))
        });
        tables.push(table);
    }
    tables
}

fn spec(name: &str, value: &Value) -> Result<Spec, Refusal> {
    let none = Map::new();
    let parts = match value {
        Value::Null => &none,
        Value::Object(parts) => parts,
        _ => return Err(not(name, "an object")),
    };
    check_keys(parts, "a table", &OF_A_TABLE)?;
    let part = |key| parts.get(key).filter(|value| !value.is_null());
    let list = |key| part(key).map(|value| words(key, value)).transpose();
    let condition = part("condition").map(|value| text("condition", value)).transpose()?.flatten();
    let condition = condition.map(|text| bounded("condition", text, LONGEST_CONDITION));
    let given = watch::Given {
        events: list("events")?.map(operations).transpose()?,
        columns: list("columns")?,
        condition: condition.transpose()?.map(str::to_owned),
        payload_columns: list("payload_columns")?,
    };
    given.complete(None)
}

fn operations(words: Vec<String>) -> Result<Vec<Operation>, Refusal> {
    let mut operations: Vec<Operation> =
        words.iter().map(|word| word.parse()).collect::<Result<_, _>>()?;
    operations.sort();
    operations.dedup();
    Ok(operations)
}

fn secret((line, value): Part<'_>) -> Option<Named> {
    within(&line, || text("secret", value)?.map(|setting| named("secret", setting)).transpose())
}

fn headers((line, value): Part<'_>) -> Vec<(String, Option<Named>)> {
    within(&line, || {
        let headers = match value {
            Value::Null => return Ok(Vec::new()),
            Value::Object(headers) => headers,
            _ => {
                return Err(not(
                    "headers",
                    "an object of names of settings by the names of headers",
                ));
            }
        };
        let header = |(name, value): (&String, &Value)| {
            let named = text(name, value)?.map(|setting| named(name, setting)).transpose()?;
            Ok((name.clone(), named))
        };
        headers.iter().map(header).collect()
    })
}

/// What the setting of that name holds. Only one of somebody's own, which has a dot in its name, can be meant: what has none is
/// perhaps a secret.
fn named(key: &str, setting: &str) -> Result<Named, Refusal> {
    let is_name = |part: &str| {
        !part.is_empty()
            && !part.starts_with(|first: char| first.is_ascii_digit())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if !setting.contains('.') || setting.len() > LONGEST_SETTING || !setting.split('.').all(is_name)
    {
        return Err(Refusal::NotASetting(shown(key)));
    }
    let value = guc::visible(&CString::new(setting).unwrap_or_default());
    Ok(Named { setting: setting.to_owned(), value })
}

impl Entry {
    /// Gives `wanted` what is a secret: what settings hold, and where they hold nothing, what `before` has.
    ///
    /// # Errors
    ///
    /// A secret or a header that is nowhere, or is refused.
    pub fn fill(&self, wanted: &mut Wanted, before: Option<&Document>) -> Result<(), Refusal> {
        let mut names = Names::default();
        let mut values = Map::new();
        for (name, named) in &self.headers {
            let set = named.as_ref().and_then(|named| named.value.clone()).map(Value::from);
            let stored = || before.and_then(|before| before.header(name)).cloned();
            let value = set.or_else(stored).ok_or_else(|| missing(name, named.as_ref()))?;
            values.insert(name.clone(), value);
            names.headers.extend(named.iter().map(|named| (name.clone(), named.setting.clone())));
        }
        let values = Value::Object(values);
        header::parse(&values)?;
        let secret = self.secret.as_ref().and_then(|named| named.value.as_deref());
        let signs = before.is_some_and(Document::signs);
        if let (None, false, Some(named)) = (secret, signs, &self.secret) {
            return Err(missing("secret", Some(named)));
        }
        names.secret = self.secret.as_ref().map(|named| named.setting.clone());
        wanted.definition.secret = secret.map(Secret::parse).transpose()?;
        wanted.definition.headers = Some(values);
        wanted.names = Some(names);
        Ok(())
    }
}

fn missing(key: &str, named: Option<&Named>) -> Refusal {
    match named {
        // Not the setting: what is written in its place may be a secret.
        Some(_) => Refusal::NotSet(shown(key)),
        None => Refusal::NoValue(shown(key)),
    }
}
