//! The user's condition: an SQL expression that becomes part of a trigger's WHEN clause.

use crate::domain::refusal::Refusal;
use crate::pg::parse;

/// Passes a text that is one expression. Which names and operators it may use is checked when the
/// trigger is created.
///
/// # Errors
///
/// [`Refusal::NotAnExpression`]; a text that does not parse raises the server's own syntax error.
pub fn check(condition: &str) -> Result<(), Refusal> {
    if parse::is_single_expression(condition) { Ok(()) } else { Err(Refusal::NotAnExpression) }
}
