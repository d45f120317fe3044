//! Making the triggers of a watched table.
//!
//! A condition is parsed once, by its author: the caller's own CREATE OR REPLACE TRIGGER, with the caller's rights and
//! under the caller's settings, so that neither a literal nor an event trigger runs as anybody else and no meaning
//! changes. We plan before and record afterwards ([`Making`]). A trigger for a further operation gets the tree of one
//! that is there ([`make_more`]), and nothing is parsed.

use std::ffi::{CStr, CString};
use std::panic::AssertUnwindSafe;

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;

use super::condition;
use crate::domain::event::Operation;
use crate::domain::refusal::{EACH_EVENT, Refusal};
use crate::pg::condition::Condition;
use crate::pg::guc::Local;
use crate::pg::identity;
use crate::pg::spi::{self, Session, arg, sql};
use crate::pg::trigger::{self, Firing, Lock, Table};

/// Making or dropping a trigger locks the table against writers for a moment. Behind a long
/// transaction that moment would not come and every writer would queue up, so it is not waited for
/// longer.
pub const LOCK_TIMEOUT: &CStr = c"2s";
/// The same in seconds, for messages.
pub const LOCK_SECONDS: u32 = 2;

/// A trigger that a watch should have.
pub struct Made {
    /// The operation that it is for.
    pub operation: Operation,
    /// `None` where there is none of its name.
    pub oid: Option<pg_sys::Oid>,
    /// Whether it is as it was made.
    pub right: bool,
    firing: Option<Firing>,
    version: Option<String>,
}

/// The triggers that a watch should have, and whether it has them.
pub fn of_watch(session: &Session, watch: Uuid) -> Vec<Made> {
    let rows = session.run(sql!("registry/triggers"), &[arg(watch)]);
    let made = |row: spi::Row| {
        Some(Made {
            operation: row.value::<String>(1).parse().ok()?,
            oid: row.get(2),
            firing: row.get(3).map(Firing::of),
            right: row.value(4),
            version: row.get(5),
        })
    };
    rows.iter().filter_map(made).collect()
}

/// How further triggers of a watch fire: as those that it has, where those are all made to fire otherwise than triggers
/// usually do. That somebody has disabled them is not passed on.
fn common_firing(before: &[Made]) -> Firing {
    let mut firings = before.iter().filter_map(|made| made.firing);
    match firings.next() {
        Some(first @ (Firing::ALWAYS | Firing::REPLICA)) if firings.all(|one| one == first) => {
            first
        }
        _ => Firing::ORIGIN,
    }
}

/// Triggers that the caller is to make.
pub struct Making {
    watch: Uuid,
    relation: pg_sys::Oid,
    table: String,
    condition: Option<String>,
    statements: Vec<(Operation, String)>,
    /// What those are that are replaced.
    versions: Vec<(Operation, Option<String>)>,
    /// How those fire that are replaced, and those of partitions.
    firing: Vec<(pg_sys::Oid, Firing)>,
    /// How further ones are to fire.
    common: Firing,
}

impl Making {
    /// Plans a trigger for each of `operations`, with the condition that the caller gave, in the place of those `before`.
    pub fn plan(
        session: &Session,
        (watch, relation, table): (Uuid, pg_sys::Oid, &str),
        operations: &[Operation],
        condition: Option<&str>,
        before: &[Made],
    ) -> Self {
        let statement = |operation: &Operation| {
            let args = [arg(watch), arg(operation.as_str()), arg(condition.map(str::to_owned))];
            let rows = session.run(sql!("registry/create_trigger"), &args);
            rows.first().map(|row| (*operation, row.value(1)))
        };
        let replaced: Vec<pg_sys::Oid> = before
            .iter()
            .filter(|made| operations.contains(&made.operation))
            .filter_map(|made| made.oid)
            .collect();
        Self {
            watch,
            relation,
            table: table.to_owned(),
            condition: condition.map(str::to_owned),
            statements: operations.iter().filter_map(statement).collect(),
            versions: versions(before),
            firing: firing(session, replaced),
            common: common_firing(before),
        }
    }

    /// Makes them. To be called as the caller, with nothing of ours set: whatever runs in it is the caller's.
    ///
    /// Raises the server's error where the condition does not fit the table or the operation, or where the table cannot
    /// be locked in time.
    ///
    /// # Errors
    ///
    /// The condition is not a single expression, under settings that its own evaluation has changed.
    pub fn carry_out(&self) -> Result<(), Refusal> {
        for (operation, statement) in &self.statements {
            if let Some(text) = &self.condition {
                condition::check(text)?;
            }
            explained(&self.table, *operation, || {
                spi::connect(|session| session.define(statement));
            });
        }
        Ok(())
    }

    /// Records them. What ran as the caller may have done anything that the caller may.
    ///
    /// # Errors
    ///
    /// [`Refusal::Disturbed`]: one of them is not there, or not as it was to be made.
    pub fn record(&self, session: &Session) -> Result<(), Refusal> {
        for (operation, _) in &self.statements {
            let of = (self.watch, self.relation, self.table.as_str());
            let made = record(session, of, *operation, &self.versions)?;
            if !self.firing.iter().any(|(replaced, _)| *replaced == made)
                && self.common != Firing::ORIGIN
            {
                let further = firing(session, vec![made]);
                further.iter().for_each(|(further, _)| trigger::set_firing(*further, self.common));
            }
        }
        // Replaced, they fire as triggers usually do.
        for (replaced, firing) in &self.firing {
            if *firing != Firing::ORIGIN {
                trigger::set_firing(*replaced, *firing);
            }
        }
        Ok(())
    }
}

/// Makes a trigger for each of `operations`, with the condition that those `before` have if there is one: nothing of the
/// caller's is read, no event trigger fires, and no right on partitions is needed, which may be others'.
///
/// # Errors
///
/// None of them has the condition any more, or it looks at a row that there is not in one of these operations.
pub fn make_more(
    session: &Session,
    (watch, relation, table): (Uuid, pg_sys::Oid, &str),
    operations: &[Operation],
    has_condition: bool,
    before: &[Made],
) -> Result<(), Refusal> {
    let condition = match has_condition {
        true => Some(kept_condition(relation, table, before)?),
        false => None,
    };
    let looks_at = condition.as_ref().map_or((false, false), Condition::looks_at);
    let rows = session.run(sql!("registry/function"), &[]);
    let function = rows.first().map(|row| row.value(1)).expect("the function is the extension's");
    let argument = CString::new(text_of(watch)).unwrap_or_default();
    let common = common_firing(before);
    for operation in operations {
        fits(*operation, looks_at, table)?;
        let replaced = before.iter().find(|made| made.operation == *operation);
        let new = trigger::New {
            table: relation,
            name: &name_of(watch, *operation),
            operation: *operation,
            function,
            argument: &argument,
            condition: condition.as_ref(),
            firing: replaced.and_then(|made| made.firing).unwrap_or(common),
        };
        explained(table, *operation, || {
            trigger::create(&new);
        });
        record(session, (watch, relation, table), *operation, &versions(before))?;
    }
    Ok(())
}

/// The condition of a trigger that is as it was made.
fn kept_condition(
    relation: pg_sys::Oid,
    table: &str,
    before: &[Made],
) -> Result<Condition, Refusal> {
    let _timeout = Local::set(c"lock_timeout", LOCK_TIMEOUT);
    let triggers =
        Table::open(relation, Lock::Read).map_or_else(Vec::new, |table| table.triggers());
    let right = |found: &trigger::Trigger| {
        before.iter().any(|made| made.right && made.oid == Some(found.oid))
    };
    triggers
        .into_iter()
        .filter(right)
        .find_map(|found| found.condition)
        .ok_or_else(|| Refusal::ConditionLost { table: table.to_owned() })
}

/// The name of a watch's trigger for an operation, as the view `webhook.watched_trigger` has it.
pub fn name_of(watch: Uuid, operation: Operation) -> CString {
    let name = format!("_webhook_{}_{}", text_of(watch), operation.as_str().to_lowercase());
    CString::new(name).unwrap_or_default()
}

/// As PostgreSQL writes it.
fn text_of(watch: Uuid) -> String {
    uuid::Uuid::from_bytes(*watch.as_bytes()).to_string()
}

/// The columns that an UPDATE must change are others: the trigger is tied to these now. Recent servers lock what something
/// is tied to, as a SELECT would.
pub fn columns_changed(session: &Session, (watch, relation, table): (Uuid, pg_sys::Oid, &str)) {
    let rows = session.run(sql!("registry/rewatch_columns"), &[arg(watch)]);
    if let Some(row) = rows.first() {
        explained(table, Operation::Update, || tie(relation, row));
    }
}

/// Remembers a trigger that has just been made as it is, and ties it to the extension and to the columns that it needs.
fn record(
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
    Ok(row.value(1))
}

fn versions(before: &[Made]) -> Vec<(Operation, Option<String>)> {
    before.iter().map(|made| (made.operation, made.version.clone())).collect()
}

/// Ties a trigger, in a row with the columns that it compares and its condition, to what it needs.
fn tie(relation: pg_sys::Oid, row: spi::Row) {
    let made = row.value(1);
    if let Some(extension) = identity::extension() {
        trigger::depend_on_extension(made, extension);
    }
    let mut columns: Vec<i16> = row.get(2).unwrap_or_default();
    columns.extend(row.get::<Condition>(3).iter().flat_map(Condition::columns));
    columns.sort_unstable();
    columns.dedup();
    trigger::depend_on_columns(made, relation, &columns);
}

/// How these triggers fire, and those of partitions that were made with them.
fn firing(session: &Session, triggers: Vec<pg_sys::Oid>) -> Vec<(pg_sys::Oid, Firing)> {
    let rows = session.run(sql!("registry/firing"), &[arg(triggers)]);
    rows.iter().map(|row| (row.value(1), Firing::of(row.value(2)))).collect()
}

/// Passes a condition that looks at rows which the operation has, as PostgreSQL does when it parses one.
fn fits(operation: Operation, (old, new): (bool, bool), table: &str) -> Result<(), Refusal> {
    let word = operation.as_str();
    let (kind, values) = match operation {
        Operation::Insert if old => (word, "OLD"),
        Operation::Delete if new => (word, "NEW"),
        Operation::Truncate if old || new => ("statement", "column"),
        _ => return Ok(()),
    };
    Err(Refusal::ConditionUnfit { table: table.to_owned(), operation: word, kind, values })
}

/// Runs data definition with the short lock timeout; an error says what was being done.
fn explained(table: &str, operation: Operation, work: impl FnOnce()) {
    let _timeout = Local::set_alone(c"lock_timeout", LOCK_TIMEOUT);
    PgTryBuilder::new(AssertUnwindSafe(work))
        .catch_others(|caught| match caught {
            CaughtError::PostgresError(error) => {
                let code = error.sql_error_code();
                explain(table, operation, code, error.message(), error.detail(), error.hint())
                    .report(PgLogLevel::ERROR);
            }
            other => other.rethrow(),
        })
        .execute();
}

fn explain(
    table: &str,
    operation: Operation,
    code: PgSqlErrorCode,
    message: &str,
    detail: Option<&str>,
    hint: Option<&str>,
) -> ErrorReport {
    if code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE {
        let message = format!("could not lock table {table} within {LOCK_SECONDS} seconds");
        return ErrorReport::new(code, message, function_name!())
            .set_hint("Other transactions are using the table. Try again when they have ended.");
    }
    let message = format!("cannot watch {table} for {}: {message}", operation.as_str());
    let mut report = ErrorReport::new(code, message, function_name!());
    if let Some(detail) = detail {
        report = report.set_detail(detail);
    }
    match hint {
        Some(hint) => report.set_hint(hint),
        // OLD in a trigger for INSERT, NEW in one for DELETE
        None if code == PgSqlErrorCode::ERRCODE_INVALID_OBJECT_DEFINITION => {
            report.set_hint(EACH_EVENT)
        }
        None => report,
    }
}
