//! The rows of a change that is asked about, as they are given: which of them the change has, and whether they could be rows of the
//! table at all.

use pgrx::prelude::*;

use crate::pg::snapshot;
use crate::pg::spi::{Session, arg, sql};
use crate::pg::table::Table;
use domain::event::Operation;
use domain::refusal::Refusal;

/// A row, and the argument that it is given as.
type Given<'a> = Option<(&'static str, &'a str)>;

/// The rows that a change has: which of those that are given.
#[derive(Clone, Copy)]
pub(super) struct Sides<'a> {
    new: Given<'a>,
    old: Given<'a>,
}

impl<'a> Sides<'a> {
    /// Those of a change by `operation`. The row of a DELETE may be given as either.
    pub(super) fn of(operation: Operation, new: Option<&'a str>, old: Option<&'a str>) -> Self {
        let new = new.map(|row| ("new_row", row));
        let old = old.map(|row| ("old_row", row));
        match operation {
            Operation::Insert => Self { new, old: None },
            Operation::Update => Self { new, old },
            Operation::Delete => Self { new: None, old: old.or(new) },
            Operation::Truncate => Self { new: None, old: None },
        }
    }

    /// The new row and the old one.
    pub(super) fn rows(self) -> (Option<&'a str>, Option<&'a str>) {
        (self.new.map(|(_, row)| row), self.old.map(|(_, row)| row))
    }

    /// Passes rows that name nothing but columns of `table`, which is called `name`: a key that is misspelt would be left out as one
    /// that is not given. A notice says where a row is missing that a change by `operation` has.
    ///
    /// # Errors
    ///
    /// One is no object, or has a key that is no column.
    pub(super) fn check(
        self,
        session: &Session,
        table: &Table,
        name: &str,
        operation: Operation,
    ) -> Result<(), Refusal> {
        for (argument, row) in [self.new, self.old].into_iter().flatten() {
            let args = [arg(table.oid()), arg(row)];
            // The columns of now, as the table itself is looked at.
            let rows = snapshot::with_latest(|| session.look_up(sql!("api/given_row"), &args));
            let Some(found) = rows.first() else { continue };
            if !found.value::<bool>("is_object") {
                let key = argument.to_owned();
                return Err(Refusal::NotOfKind { key, kind: "a JSON object" });
            }
            if let Some(key) = found.get::<String>("unknown") {
                let key = key.chars().take(100).collect();
                return Err(Refusal::NoColumnOfRow { argument, key, table: name.to_owned() });
            }
        }
        let missing = match operation {
            Operation::Insert | Operation::Update if self.new.is_none() => "new_row",
            Operation::Update | Operation::Delete if self.old.is_none() => "old_row",
            _ => return Ok(()),
        };
        notice!("{missing} is not given: the columns of that row are taken for null");
        Ok(())
    }
}
