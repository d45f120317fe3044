//! The triggers of a watched table: what they are called, whether they are as they were made, and what is recorded of them.
//!
//! A condition is parsed once, by its author: see [`super::making`]. A trigger for a further operation gets the tree of one
//! that is there, see [`super::further`], and nothing is parsed.

use std::ffi::{CStr, CString};
use std::panic::AssertUnwindSafe;

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;

use crate::pg::condition::Condition;
use crate::pg::guc::Local;
use crate::pg::identity;
use crate::pg::spi::{self, Session, arg, sql};
use crate::pg::table::{Lock, Table};
use crate::pg::trigger::{self, Firing};
use domain::event::Operation;
use domain::refusal::{EACH_EVENT, Refusal};

/// Making or dropping a trigger locks the table against writers for a moment. Behind a long
/// transaction that moment would not come and every writer would queue up, so it is not waited for
/// longer.
pub const LOCK_TIMEOUT: &CStr = c"2s";
/// The same in seconds, for messages.
pub const LOCK_SECONDS: u32 = 2;

/// A table is waited for so long by a call that has locked another one already: a transaction that has written to this one and waits for
/// that one is in a deadlock with it. Longer than `deadlock_timeout`, a second unless it is set, and it may be the writer that the
/// server ends; shorter, and the call fails more often beside short transactions.
const FURTHER_TIMEOUT: &CStr = c"200ms";

/// How long a table is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockWait {
    /// For two seconds.
    First,
    /// For a fifth of one, because another table is locked already.
    Further,
}

impl LockWait {
    fn setting(self) -> &'static CStr {
        match self {
            Self::First => LOCK_TIMEOUT,
            Self::Further => FURTHER_TIMEOUT,
        }
    }

    fn words(self) -> String {
        match self {
            Self::First => format!("{LOCK_SECONDS} seconds"),
            Self::Further => "200 milliseconds, with another table locked".to_owned(),
        }
    }
}

/// A trigger that a watch should have.
pub struct Made {
    /// The operation that it is for.
    pub operation: Operation,
    /// `None` where there is none of its name.
    pub oid: Option<pg_sys::Oid>,
    /// Whether it is as it was made.
    pub right: bool,
    /// How it fires.
    pub(super) firing: Option<Firing>,
    /// The place of its row in pg_trigger, which is another one once it has been replaced.
    pub(super) version: Option<String>,
}

/// The triggers that a watch should have, and whether it has them.
pub fn of_watch(session: &Session, watch: Uuid) -> Vec<Made> {
    let rows = session.run(sql!("registry/triggers"), &[arg(watch)]);
    let made = |row: spi::Row| {
        Some(Made {
            operation: row.value::<String>("operation").parse().ok()?,
            oid: row.get("trigger"),
            firing: row.get("enabled").map(Firing::of),
            right: row.value("unchanged"),
            version: row.get("version"),
        })
    };
    rows.iter().filter_map(made).collect()
}

/// How further triggers of a watch fire: as those that it has, where those are all made to fire otherwise than triggers
/// usually do. That somebody has disabled them is not passed on.
pub(super) fn common_firing(before: &[Made]) -> Firing {
    let mut firings = before.iter().filter_map(|made| made.firing);
    match firings.next() {
        Some(first @ (Firing::ALWAYS | Firing::REPLICA)) if firings.all(|one| one == first) => {
            first
        }
        _ => Firing::ORIGIN,
    }
}

/// The name of a watch's trigger for an operation, as the view `webhook.watched_trigger` has it.
pub fn name_of(watch: Uuid, operation: Operation) -> CString {
    let name = format!("_webhook_{}_{}", text_of(watch), operation.as_str().to_lowercase());
    CString::new(name).unwrap_or_default()
}

/// As PostgreSQL writes it.
pub fn text_of(watch: Uuid) -> String {
    uuid::Uuid::from_bytes(*watch.as_bytes()).to_string()
}

/// The columns that an UPDATE must change are others: the trigger is tied to these now. The table is locked as a SELECT
/// would, before anything is looked up, so that neither it nor the columns go away meanwhile.
///
/// # Errors
///
/// The table has been dropped.
pub fn columns_changed(
    session: &Session,
    (watch, relation, table): (Uuid, pg_sys::Oid, &str),
) -> Result<(), Refusal> {
    explained(table, Operation::Update, LockWait::First, || {
        let _open = Table::open(relation, Lock::Read).ok_or_else(|| Refusal::gone(table))?;
        let rows = session.run(sql!("registry/rewatch_columns"), &[arg(watch)]);
        rows.iter().for_each(|row| tie(relation, row));
        Ok(())
    })
}

/// Remembers a trigger that has just been made as it is, and ties it to the extension and to the columns that it needs.
pub(super) fn record(
    session: &Session,
    (watch, relation, table): (Uuid, pg_sys::Oid, &str),
    operation: Operation,
    before: &[(Operation, Option<String>)],
) -> Result<pg_sys::Oid, Refusal> {
    let replaced = before.iter().find(|(of, _)| *of == operation);
    let replaced = replaced.and_then(|(_, version)| version.clone());
    let args = [arg(watch), arg(operation.as_str()), arg(replaced)];
    let rows = session.run(sql!("registry/record_trigger"), &args);
    let row = rows.first().ok_or_else(|| Refusal::Disturbed {
        operation: operation.as_str(),
        table: table.to_owned(),
    })?;
    tie(relation, row);
    Ok(row.value("trigger"))
}

pub(super) fn versions(before: &[Made]) -> Vec<(Operation, Option<String>)> {
    before.iter().map(|made| (made.operation, made.version.clone())).collect()
}

/// Ties a trigger, in a row with the columns that it compares and its condition, to what it needs.
fn tie(relation: pg_sys::Oid, row: spi::Row) {
    let made = row.value("trigger");
    if let Some(extension) = identity::extension() {
        trigger::depend_on_extension(made, extension);
    }
    let mut columns: Vec<i16> = row.get("columns").unwrap_or_default();
    columns.extend(row.get::<Condition>("tgqual").iter().flat_map(Condition::columns));
    columns.sort_unstable();
    columns.dedup();
    trigger::depend_on_columns(made, relation, &columns);
}

/// How these triggers fire, and those of partitions that were made with them.
pub(super) fn firing(session: &Session, triggers: Vec<pg_sys::Oid>) -> Vec<(pg_sys::Oid, Firing)> {
    let rows = session.run(sql!("registry/firing"), &[arg(triggers)]);
    rows.iter().map(|row| (row.value("oid"), Firing::of(row.value("tgenabled")))).collect()
}

/// Runs data definition with the short lock timeout; an error says what was being done.
pub(super) fn explained<R>(
    table: &str,
    operation: Operation,
    wait: LockWait,
    work: impl FnOnce() -> R,
) -> R {
    let _timeout = Local::set_alone(c"lock_timeout", wait.setting());
    PgTryBuilder::new(AssertUnwindSafe(work))
        .catch_others(|caught| match caught {
            CaughtError::PostgresError(error) => {
                let code = error.sql_error_code();
                let of = (table, operation, wait);
                explain(of, code, error.message(), error.detail(), error.hint())
                    .report(PgLogLevel::ERROR);
                unreachable!()
            }
            other => other.rethrow(),
        })
        .execute()
}

fn explain(
    (table, operation, wait): (&str, Operation, LockWait),
    code: PgSqlErrorCode,
    message: &str,
    detail: Option<&str>,
    hint: Option<&str>,
) -> ErrorReport {
    if code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE {
        let message = format!("could not lock table {table} within {}", wait.words());
        return ErrorReport::new(code, message, function_name!())
            .set_hint("Other transactions are using the table. Try again when they have ended.");
    }
    let unqualified = unqualified(operation, code, message);
    let argument = if unqualified.is_some() { "condition: " } else { "" };
    let message = format!("cannot watch {table} for {}: {argument}{message}", operation.as_str());
    let mut report = ErrorReport::new(code, message, function_name!());
    if let Some(detail) = detail {
        report = report.set_detail(detail);
    }
    match unqualified.as_deref().or(hint) {
        Some(hint) => report.set_hint(hint),
        // OLD in a trigger for INSERT, NEW in one for DELETE
        None if code == PgSqlErrorCode::ERRCODE_INVALID_OBJECT_DEFINITION => {
            report.set_hint(EACH_EVENT)
        }
        None => report,
    }
}

/// What to do about a condition that names a column without saying of which row, going by what the server's message says; `None`
/// where that is not it.
fn unqualified(operation: Operation, code: PgSqlErrorCode, message: &str) -> Option<String> {
    let quoted = message.split('"').nth(1);
    match code {
        // In another language its name may be quoted otherwise.
        PgSqlErrorCode::ERRCODE_AMBIGUOUS_COLUMN => {
            Some(format!("Write {}.", of_rows(operation, quoted.unwrap_or("name"))))
        }
        // With NEW before it the server writes it without quotes.
        PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN if message.starts_with("column \"") => {
            Some(format!(
                "The table has none that is called so. Columns are written as {}.",
                of_rows(operation, "name")
            ))
        }
        _ => None,
    }
}

/// How a column is written, and what that means.
fn of_rows(operation: Operation, column: &str) -> String {
    let column = identity::quoted(column);
    match operation {
        Operation::Insert => format!("NEW.{column}, which is that of the new row"),
        Operation::Delete => format!("OLD.{column}, which is that of the deleted row"),
        _ => {
            format!("NEW.{column} or OLD.{column}: NEW is the row as it is, OLD the row as it was")
        }
    }
}
