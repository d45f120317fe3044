//! Triggers for further operations, with the condition of those that are there.

use std::ffi::CString;

use pgrx::datum::Uuid;
use pgrx::prelude::*;

use super::trigger::{self, LockWait, Made};
use crate::pg::condition::Condition;
use crate::pg::spi::{Session, sql};
use crate::pg::table::{Lock, Table};
use crate::pg::trigger as catalog;
use domain::event::Operation;
use domain::refusal::Refusal;

/// Makes a trigger for each of `operations`, with the condition that those `before` have if there is one: nothing of the
/// caller's is read, no event trigger fires, and no right on partitions is needed, which may be others'.
///
/// # Errors
///
/// The table has been dropped; none of the triggers has the condition any more, or it looks at a row that there is not in
/// one of these operations.
pub fn make(
    session: &Session,
    (watch, relation, table): (Uuid, pg_sys::Oid, &str),
    operations: &[Operation],
    has_condition: bool,
    before: &[Made],
) -> Result<(), Refusal> {
    let Some(first) = operations.first() else {
        return Ok(());
    };
    // Locked as the first of them will lock it, so that it is there until the last one is recorded.
    let there = trigger::explained(table, *first, LockWait::First, || {
        let open = Table::open(relation, Lock::Trigger).ok_or_else(|| Refusal::gone(table))?;
        Ok::<_, Refusal>(catalog::all_of(&open))
    })?;
    let condition = match has_condition {
        true => Some(kept_condition(there, table, before)?),
        false => None,
    };
    let looks_at = condition.as_ref().map_or((false, false), Condition::looks_at);
    let rows = session.run(sql!("registry/function"), &[]);
    let function =
        rows.first().map(|row| row.value("function")).expect("the function is the extension's");
    let argument = CString::new(trigger::text_of(watch)).unwrap_or_default();
    let common = trigger::common_firing(before);
    for operation in operations {
        fits(*operation, looks_at, table)?;
        let replaced = before.iter().find(|made| made.operation == *operation);
        let new = catalog::New {
            table: relation,
            name: &trigger::name_of(watch, *operation),
            operation: *operation,
            function,
            argument: &argument,
            condition: condition.as_ref(),
            firing: replaced.and_then(|made| made.firing).unwrap_or(common),
        };
        trigger::explained(table, *operation, LockWait::First, || {
            catalog::create(&new);
        });
        let versions = trigger::versions(before);
        trigger::record(session, (watch, relation, table), *operation, &versions)?;
    }
    Ok(())
}

/// The condition of a trigger that is as it was made.
fn kept_condition(
    there: Vec<catalog::Trigger>,
    table: &str,
    before: &[Made],
) -> Result<Condition, Refusal> {
    let right = |found: &catalog::Trigger| {
        before.iter().any(|made| made.right && made.oid == Some(found.oid))
    };
    there
        .into_iter()
        .filter(right)
        .find_map(|found| found.condition)
        .ok_or_else(|| Refusal::ConditionLost { table: table.to_owned() })
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
