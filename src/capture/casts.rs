//! Casts to json that users have made.
//!
//! PostgreSQL writes a value of a type that is not built in by the type's cast to json, where that is a function, also
//! inside of arrays, composites and domains. Such a function is the code of whoever owns it. It is called only where
//! the webhook's owner could have chosen it, and then as that owner; otherwise the whole column is written as
//! text, as its type's output function writes it. Output functions are a superuser's: only one can make a base type.

use pgrx::pg_sys;

use crate::pg::spi::{Session, arg, sql};

/// The first oid of what is not built in (access/transam.h).
const FIRST_OF_USERS: u32 = pg_sys::FirstNormalObjectId;

/// What writing a column of some type calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Calls {
    /// Nothing but the server's own.
    Nothing,
    /// Casts that the webhook's owner could have chosen.
    Allowed,
    /// Others.
    Refused,
}

/// What writing each column of a table calls.
#[derive(Debug, Default)]
pub struct Casts {
    columns: Vec<Calls>,
    /// The functions.
    pub functions: Vec<pg_sys::Oid>,
    /// Composite types in the columns, which can get further attributes.
    pub composites: Vec<pg_sys::Oid>,
    /// There are types that are not built in.
    pub foreign: bool,
}

impl Casts {
    /// For columns of these types, of which one can hold several, and a webhook of `role`.
    pub fn find(session: &Session, columns: &[Vec<pg_sys::Oid>], role: pg_sys::Oid) -> Self {
        let mut types: Vec<pg_sys::Oid> = columns.iter().flatten().copied().collect();
        types.retain(|type_oid| u32::from(*type_oid) >= FIRST_OF_USERS);
        if types.is_empty() {
            return Self::default();
        }
        let rows = session.run(sql!("capture/casts"), &[arg(types), arg(role)]);
        let mut functions = Vec::new();
        let mut composites = Vec::new();
        let mut calls: Vec<(pg_sys::Oid, Calls)> = Vec::new();
        for row in rows.iter() {
            let called: Vec<pg_sys::Oid> = row.get(2).unwrap_or_default();
            composites.extend(row.get::<Vec<pg_sys::Oid>>(4).unwrap_or_default());
            let found = match (called.is_empty(), row.get(3).unwrap_or(false)) {
                (true, _) => Calls::Nothing,
                (false, true) => Calls::Allowed,
                (false, false) => Calls::Refused,
            };
            functions.extend(called);
            calls.push((row.value(1), found));
        }
        let of_type = |type_oid: &pg_sys::Oid| {
            let found = calls.iter().find(|(known, _)| known == type_oid);
            found.map_or(Calls::Nothing, |(_, calls)| *calls)
        };
        let of_column =
            |types: &Vec<pg_sys::Oid>| types.iter().map(of_type).max().unwrap_or(Calls::Nothing);
        let columns = columns.iter().map(of_column).collect();
        Self { columns, functions, composites, foreign: true }
    }

    /// Whether some column is written by a function of a user.
    pub fn are_called(&self) -> bool {
        self.columns.contains(&Calls::Allowed)
    }

    /// Whether any column is written otherwise than as the server does by itself: `calling` the casts that may
    /// be called, or none.
    pub fn matter(&self, calling: bool) -> bool {
        (0..self.columns.len()).any(|index| self.is_text(index, calling))
    }

    /// Whether the column at `index` is written as text.
    pub fn is_text(&self, index: usize, calling: bool) -> bool {
        match self.columns.get(index) {
            Some(Calls::Refused) => true,
            Some(Calls::Allowed) => !calling,
            _ => false,
        }
    }
}
