//! The tables that webhooks watch.

use std::collections::HashMap;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::condition;
use super::trigger::{self, Columns};
use super::webhook::Webhook;
use crate::domain::event::Operation;
use crate::domain::refusal::Refusal;
use crate::pg::identity::Caller;
use crate::pg::spi::{Session, arg, sql};

/// What of a table is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// At least one.
    pub events: Vec<Operation>,
    /// UPDATE counts only where one of these changes; empty for any column.
    pub columns: Vec<String>,
    /// Narrows all events.
    pub condition: Option<String>,
    /// What is sent of a row; empty for all of it.
    pub payload_columns: Vec<String>,
}

/// A watched table.
pub struct Watched {
    /// Its oid.
    pub relation: pg_sys::Oid,
    /// Schema and name, quoted.
    pub table: String,
    /// What of it.
    pub spec: Spec,
}

/// The parts of a [`Spec`] that a user gave; `None` is a part that was left out.
#[derive(Debug, Default)]
pub struct Given {
    /// An empty list is refused.
    pub events: Option<Vec<Operation>>,
    /// An empty list is any column.
    pub columns: Option<Vec<String>>,
    /// An empty text is no condition.
    pub condition: Option<String>,
    /// An empty list is the whole row.
    pub payload_columns: Option<Vec<String>>,
}

impl Given {
    /// The first part that was given, by its argument's name.
    pub fn any(&self) -> Option<&'static str> {
        let parts = [
            (self.events.is_some(), "events"),
            (self.columns.is_some(), "columns"),
            (self.condition.is_some(), "condition"),
            (self.payload_columns.is_some(), "payload_columns"),
        ];
        parts.into_iter().find_map(|(given, name)| given.then_some(name))
    }

    /// Completes it with `before`, for a new table with all events.
    ///
    /// # Errors
    ///
    /// An unknown event, an empty list, columns without UPDATE, or a condition that is not one.
    pub fn complete(self, before: Option<Spec>) -> Result<Spec, Refusal> {
        let new = before.is_none();
        let before = before.unwrap_or_else(|| Spec {
            events: Operation::ROWS.to_vec(),
            columns: Vec::new(),
            condition: None,
            payload_columns: Vec::new(),
        });
        let condition_given = self.condition.is_some();
        let spec = Spec {
            events: self.events.unwrap_or(before.events),
            columns: self.columns.unwrap_or(before.columns),
            condition: self.condition.or(before.condition).filter(|text| !text.trim().is_empty()),
            payload_columns: self.payload_columns.unwrap_or(before.payload_columns),
        };
        if spec.events.is_empty() {
            return Err(Refusal::NoOperations);
        }
        if !spec.columns.is_empty() && !spec.events.contains(&Operation::Update) {
            return Err(Refusal::ColumnsWithoutUpdate);
        }
        if let Some(text) = &spec.condition
            && (new || condition_given)
        {
            condition::check(text)?;
        }
        Ok(spec)
    }
}

/// Begins to watch `relation`.
///
/// # Errors
///
/// A relation that cannot be watched or that the caller may not watch, an unknown column, or a table
/// that is watched already, itself or through its partitions or its parent. Raises the server's error where a trigger cannot be created.
pub fn add(
    session: &Session,
    caller: &Caller,
    webhook: &Webhook,
    relation: pg_sys::Oid,
    spec: &Spec,
) -> Result<(), Refusal> {
    if spec.condition.is_some() {
        webhook.may_bring("condition")?;
    }
    let sent = Some(spec.payload_columns.clone()).filter(|names| !names.is_empty());
    let table = check_table(session, caller, relation, sent.clone())?;
    if list(session, webhook.id).iter().any(|watched| watched.relation == relation) {
        return Err(Refusal::AlreadyWatched { webhook: webhook.name.clone(), table });
    }
    let overlap = session.run(sql!("registry/overlap"), &[arg(webhook.id), arg(relation)]);
    if let Some(row) = overlap.first() {
        return Err(Refusal::Overlap { webhook: webhook.name.clone(), other: row.value(1), table });
    }
    let columns = check_columns(session, relation, &table, &spec.columns)?;
    check_columns(session, relation, &table, &spec.payload_columns)?;
    let events: Vec<&str> = spec.events.iter().map(|event| event.as_str()).collect();
    let names = Some(spec.columns.clone()).filter(|names| !names.is_empty());
    session.run(
        sql!("registry/watch"),
        &[
            arg(webhook.id),
            arg(relation),
            arg(events),
            arg(names),
            arg(spec.condition.clone()),
            arg(sent),
        ],
    );
    trigger::create(session, caller, webhook.id, relation, &table, spec, &columns);
    Ok(())
}

/// Stops watching `relation`; says whether it was watched.
pub fn remove(session: &Session, webhook: &Webhook, watched: &Watched) {
    session.run(sql!("registry/unwatch"), &[arg(webhook.id), arg(watched.relation)]);
    trigger::drop(session, webhook.id, watched.relation, &watched.table);
}

/// The tables of a webhook, without those that have been dropped.
pub fn list(session: &Session, webhook: i32) -> Vec<Watched> {
    let rows = session.run(sql!("registry/watched"), &[arg(webhook)]);
    rows.iter()
        .map(|row| {
            let events: Vec<String> = row.value(3);
            Watched {
                relation: row.value(1),
                table: row.value(2),
                spec: Spec {
                    events: events.iter().filter_map(|word| word.parse().ok()).collect(),
                    columns: row.get(4).unwrap_or_default(),
                    condition: row.get(5),
                    payload_columns: row.get(6).unwrap_or_default(),
                },
            }
        })
        .collect()
}

/// The relation's name, for messages.
pub fn name(session: &Session, relation: pg_sys::Oid) -> String {
    let superuser = pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID);
    let args = [arg(relation), arg(superuser), arg(None::<Vec<String>>)];
    let rows = session.run(sql!("registry/relation"), &args);
    rows.first().map_or_else(|| u32::from(relation).to_string(), |row| row.value(3))
}

/// The relation's name, if it is a table that the caller may watch.
fn check_table(
    session: &Session,
    caller: &Caller,
    relation: pg_sys::Oid,
    sent: Option<Vec<String>>,
) -> Result<String, Refusal> {
    let args = [arg(relation), arg(caller.role), arg(sent)];
    let rows = session.run(sql!("registry/relation"), &args);
    let Some(row) = rows.first() else {
        let table = format!("relation with oid {}", u32::from(relation));
        return Err(Refusal::Unwatchable { table, reason: "it does not exist" });
    };
    let (kind, persistence, table): (String, String, String) =
        (row.value(1), row.value(2), row.value(3));
    let (system, of_extension): (bool, bool) = (row.value(4), row.value(5));
    let reason = match kind.as_str() {
        "v" => Some("it is a view; watch the tables behind it"),
        "m" => Some("it is a materialized view"),
        "i" | "I" => Some("it is an index"),
        "S" => Some("it is a sequence"),
        "c" => Some("it is a composite type"),
        "r" | "p" | "f" if system => Some("it is a system catalog"),
        "r" | "p" | "f" if of_extension => Some("it belongs to an extension"),
        "r" | "p" | "f" if persistence == "t" => Some("it is a temporary table"),
        "r" | "p" | "f" => None,
        _ => Some("it is not a table"),
    };
    if let Some(reason) = reason {
        return Err(Refusal::Unwatchable { table, reason });
    }
    let (owner, trigger, select, row_security): (bool, bool, Option<bool>, bool) =
        (row.value(6), row.value(7), row.get(8), row.value(9));
    let missing = match (owner, trigger, select.unwrap_or(true)) {
        (true, _, _) => None,
        (_, false, _) => Some("it needs ownership, or the TRIGGER privilege, on the table"),
        (_, _, false) => Some("it needs the SELECT privilege on every column that is sent"),
        _ if row_security => {
            Some("the table has row-level security, which only its owner may pass by")
        }
        _ => None,
    };
    if let Some(missing) = missing {
        return Err(Refusal::MayNotWatch { table, missing });
    }
    if kind == "f" {
        notice!("changes of foreign table {table} that other servers make are not seen");
    }
    if row.value::<bool>(10) {
        notice!("tables that inherit from {table} are not watched with it");
    }
    Ok(table)
}

fn check_columns(
    session: &Session,
    relation: pg_sys::Oid,
    table: &str,
    names: &[String],
) -> Result<Columns, Refusal> {
    let rows = session.run(sql!("registry/columns"), &[arg(relation)]);
    let types: HashMap<String, (pg_sys::Oid, bool)> =
        rows.iter().map(|row| (row.value(1), (row.value(2), row.value(3)))).collect();
    let named = names
        .iter()
        .map(|name| match types.get(name) {
            Some((type_oid, false)) => Ok((name.clone(), *type_oid)),
            Some((_, true)) => {
                Err(Refusal::VirtualColumn { column: name.clone(), table: table.to_owned() })
            }
            None => Err(Refusal::UnknownColumn {
                column: name.chars().take(100).collect(),
                table: table.to_owned(),
            }),
        })
        .collect::<Result<_, _>>()?;
    Ok(trigger::divide(named))
}
