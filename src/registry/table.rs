//! Which tables may be watched, by whom.

use std::collections::HashMap;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::identity::Caller;
use crate::pg::spi::{Session, arg, sql};
use domain::key::WebhookId;
use domain::refusal::Refusal;

/// The relation's name, for messages.
pub fn name(session: &Session, relation: pg_sys::Oid) -> String {
    let superuser = pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID);
    let args = [arg(relation), arg(superuser), arg(None::<Vec<String>>)];
    let rows = session.run(sql!("registry/relation"), &args);
    rows.first().map_or_else(|| u32::from(relation).to_string(), |row| row.value("table_name"))
}

/// The relation's name, if it is a table that the caller may watch.
///
/// # Errors
///
/// A relation of another kind, or a right that is missing.
pub fn check(
    session: &Session,
    caller: &Caller,
    relation: pg_sys::Oid,
    sent: Option<Vec<String>>,
) -> Result<String, Refusal> {
    let args = [arg(relation), arg(caller.role), arg(sent)];
    let rows = session.run(sql!("registry/relation"), &args);
    let Some(row) = rows.first() else {
        return Err(Refusal::gone(&format!("relation with oid {}", u32::from(relation))));
    };
    let (kind, persistence, table): (String, String, String) =
        (row.value("kind"), row.value("persistence"), row.value("table_name"));
    let (system, of_extension): (bool, bool) = (row.value("of_system"), row.value("of_extension"));
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
    let (owner, trigger, select, row_security): (bool, bool, Option<bool>, bool) = (
        row.value("owns"),
        row.value("may_trigger"),
        row.get("may_select"),
        row.value("row_security"),
    );
    let missing = match (owner, trigger, select.unwrap_or(true)) {
        (true, _, _) => None,
        (_, false, false) => Some(
            "it needs ownership, or the TRIGGER privilege on the table and the SELECT privilege on every column that is sent",
        ),
        (_, false, true) => Some("it needs ownership, or the TRIGGER privilege, on the table"),
        (_, true, false) => Some("it needs the SELECT privilege on every column that is sent"),
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
    if persistence == "u" {
        warning!(
            "table {table} is unlogged: a crash of the server takes its rows, and their events are sent"
        );
    }
    if row.value::<bool>("inherited") {
        notice!("tables that inherit from {table} are not watched with it");
    }
    Ok(table)
}

/// Passes columns that the table has, and that have a value when triggers fire.
///
/// # Errors
///
/// The first that is not one.
pub fn check_columns(
    session: &Session,
    relation: pg_sys::Oid,
    table: &str,
    names: &[String],
) -> Result<(), Refusal> {
    let rows = session.run(sql!("registry/columns"), &[arg(relation)]);
    let columns: HashMap<String, bool> =
        rows.iter().map(|row| (row.value("name"), row.value("is_virtual"))).collect();
    for name in names {
        match columns.get(name) {
            Some(false) => {}
            Some(true) => {
                return Err(Refusal::VirtualColumn {
                    column: name.clone(),
                    table: table.to_owned(),
                });
            }
            None => {
                return Err(Refusal::UnknownColumn {
                    column: name.chars().take(100).collect(),
                    table: table.to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// Passes the key that events of a webhook are ordered by: columns that each table has which it watches.
///
/// # Errors
///
/// As [`check_columns`], and a right that the webhook's owner lacks.
pub fn check_order(session: &Session, webhook: WebhookId) -> Result<(), Refusal> {
    let rows = session.run(sql!("registry/order_columns"), &[arg(webhook)]);
    let Some(row) = rows.first() else {
        return Ok(());
    };
    let column: String = row.value("name");
    let (column, table) = (column.chars().take(100).collect(), row.value("table_name"));
    // What is held tells of values.
    let missing = "it needs the SELECT privilege on every column of order_key";
    Err(match (row.value("is_unknown"), row.value("is_virtual")) {
        (true, _) => Refusal::UnknownColumn { column, table },
        (_, true) => Refusal::VirtualColumn { column, table },
        _ => Refusal::MayNotWatch { table, missing },
    })
}
