//! Triggers that the caller makes itself.
//!
//! A condition is parsed once, by its author: the caller's own CREATE OR REPLACE TRIGGER, with the caller's rights and
//! under the caller's settings, so that neither a literal nor an event trigger runs as anybody else and no meaning
//! changes. We plan before and record afterwards.

use pgrx::datum::Uuid;
use pgrx::prelude::*;

use super::condition;
use super::trigger::{self, LockWait, Made};
use crate::pg::spi::{self, Session, arg, sql};
use crate::pg::trigger::{self as catalog, Firing};
use domain::event::Operation;
use domain::refusal::Refusal;

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
    ///
    /// # Errors
    ///
    /// The table has been dropped.
    pub fn plan(
        session: &Session,
        (watch, relation, table): (Uuid, pg_sys::Oid, &str),
        operations: &[Operation],
        condition: Option<&str>,
        before: &[Made],
    ) -> Result<Self, Refusal> {
        let statement = |operation: &Operation| {
            let args = [arg(watch), arg(operation.as_str()), arg(condition.map(str::to_owned))];
            let rows = session.run(sql!("registry/create_trigger"), &args);
            let row = rows.first().ok_or_else(|| Refusal::gone(table))?;
            Ok((*operation, row.value("statement")))
        };
        let replaced: Vec<pg_sys::Oid> = before
            .iter()
            .filter(|made| operations.contains(&made.operation))
            .filter_map(|made| made.oid)
            .collect();
        Ok(Self {
            watch,
            relation,
            table: table.to_owned(),
            condition: condition.map(str::to_owned),
            statements: operations.iter().map(statement).collect::<Result<_, Refusal>>()?,
            versions: trigger::versions(before),
            firing: trigger::firing(session, replaced),
            common: trigger::common_firing(before),
        })
    }

    /// The table that they are for.
    pub fn relation(&self) -> pg_sys::Oid {
        self.relation
    }

    /// Makes them. To be called as the caller, with nothing of ours set: whatever runs in it is the caller's.
    ///
    /// Raises the server's error where the condition does not fit the table or the operation, or where the table cannot
    /// be locked in time.
    ///
    /// # Errors
    ///
    /// The condition is not a single expression, under settings that its own evaluation has changed.
    pub fn carry_out(&self, wait: LockWait) -> Result<(), Refusal> {
        for (operation, statement) in &self.statements {
            if let Some(text) = &self.condition {
                condition::check(text)?;
            }
            trigger::explained(&self.table, *operation, wait, || {
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
            let made = trigger::record(session, of, *operation, &self.versions)?;
            if !self.firing.iter().any(|(replaced, _)| *replaced == made)
                && self.common != Firing::ORIGIN
            {
                let further = trigger::firing(session, vec![made]);
                further.iter().for_each(|(further, _)| catalog::set_firing(*further, self.common));
            }
        }
        // Replaced, they fire as triggers usually do.
        for (replaced, firing) in &self.firing {
            if *firing != Firing::ORIGIN {
                catalog::set_firing(*replaced, *firing);
            }
        }
        Ok(())
    }
}
