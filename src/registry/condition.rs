//! The user's condition: an SQL expression that becomes part of a trigger's WHEN clause.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;

use crate::pg::parse;
use domain::refusal::Refusal;

/// Passes a text that is one expression. Which names and operators it may use is checked when the
/// trigger is created.
///
/// # Errors
///
/// [`Refusal::NotAnExpression`]; a text that does not parse raises the server's own error.
pub fn check(condition: &str) -> Result<(), Refusal> {
    let single = PgTryBuilder::new(AssertUnwindSafe(|| parse::is_single_expression(condition)))
        .catch_others(|caught| match caught {
            CaughtError::PostgresError(error) => {
                let message = format!("the condition does not parse: {}", error.message());
                ErrorReport::new(error.sql_error_code(), message, function_name!())
                    .report(PgLogLevel::ERROR);
                false
            }
            other => other.rethrow(),
        })
        .execute();
    if single { Ok(()) } else { Err(Refusal::NotAnExpression) }
}
