//! The triggers of a watched table.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;

use super::watch::Spec;
use crate::domain::event::Operation;
use crate::pg::guc::Local;
use crate::pg::identity::{self, Caller};
use crate::pg::spi::{Session, Sql, arg, sql};
use crate::pg::typcache;

/// Creating and dropping a trigger locks the table against writers for a moment. Behind a long
/// transaction that moment would not come and every writer would queue up, so it is not waited for
/// longer.
const LOCK_TIMEOUT: &std::ffi::CStr = c"2s";
const LOCK_SECONDS: u32 = 2;

/// The columns of a table that an UPDATE must change.
pub struct Columns {
    /// Those whose type has an equality for good.
    pub typed: Vec<String>,
    /// The others.
    pub untyped: Vec<String>,
}

/// Divides column names by whether their types have an equality.
pub fn divide(columns: Vec<(String, pg_sys::Oid)>) -> Columns {
    let (typed, untyped): (Vec<_>, Vec<_>) =
        columns.into_iter().partition(|(_, type_oid)| typcache::has_lasting_equality(*type_oid));
    let names =
        |columns: Vec<(String, pg_sys::Oid)>| columns.into_iter().map(|(name, _)| name).collect();
    Columns { typed: names(typed), untyped: names(untyped) }
}

/// Creates the triggers of `spec`. Names in the condition resolve as the caller's own would.
///
/// Raises the server's error where the condition does not fit the table or the operation, or where the
/// table cannot be locked in time.
pub fn create(
    session: &Session,
    caller: &Caller,
    webhook: i32,
    relation: pg_sys::Oid,
    table: &str,
    spec: &Spec,
    columns: &Columns,
) {
    for operation in &spec.events {
        let name = operation.as_str();
        let create = generate(
            session,
            sql!("registry/create_trigger"),
            &[
                arg(webhook),
                arg(name),
                arg(relation),
                arg(columns.typed.clone()),
                arg(columns.untyped.clone()),
                arg(spec.condition.clone()),
            ],
        );
        let depend = generate(
            session,
            sql!("registry/depend_trigger"),
            &[arg(webhook), arg(name), arg(relation)],
        );
        run(table, Some(*operation), || {
            for statement in &create {
                identity::with_path_of(caller, || session.define(statement));
            }
            depend.iter().for_each(|statement| session.define(statement));
        });
    }
}

/// Drops the triggers of `webhook` on `relation`, where there are any.
pub fn drop(session: &Session, webhook: i32, relation: pg_sys::Oid, table: &str) {
    let args = [arg(webhook), arg(relation)];
    let statements = generate(session, sql!("registry/drop_triggers"), &args);
    run(table, None, || statements.iter().for_each(|statement| session.define(statement)));
}

/// Statements that PostgreSQL's `format()` has written and quoted.
fn generate(session: &Session, statement: Sql, args: &[crate::pg::spi::Arg]) -> Vec<String> {
    session.run(statement, args).iter().map(|row| row.value(1)).collect()
}

/// Runs data definition with the short lock timeout; an error says what was being done.
fn run(table: &str, operation: Option<Operation>, work: impl FnOnce()) {
    let _timeout = Local::set(c"lock_timeout", LOCK_TIMEOUT);
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
    operation: Option<Operation>,
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
    let message = match operation {
        Some(operation) => format!("cannot watch {table} for {}: {message}", operation.as_str()),
        None => format!("cannot stop watching {table}: {message}"),
    };
    let mut report = ErrorReport::new(code, message, function_name!());
    if let Some(detail) = detail {
        report = report.set_detail(detail);
    }
    match hint {
        Some(hint) => report.set_hint(hint),
        // OLD in a trigger for INSERT, NEW in one for DELETE
        None if code == PgSqlErrorCode::ERRCODE_INVALID_OBJECT_DEFINITION => report.set_hint(
            "The condition is evaluated for each event of the list: leave out the event, or watch it \
             through a webhook of its own.",
        ),
        None => report,
    }
}
