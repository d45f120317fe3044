//! Casts to json that users have made.
//!
//! PostgreSQL writes a value of a type that is not built in by the type's cast to json, where that is a function, also
//! inside of arrays, composites and domains. Such a function is the code of whoever owns it. It is called only where
//! a webhook may make its owner run it, and then as that owner; otherwise values are written as if there were no cast.

use pgrx::pg_sys;

use crate::pg::plain::{Cast, FIRST_OF_USERS};
use crate::pg::spi::{Session, arg, sql};

/// What writing the columns of a table calls.
#[derive(Debug, Default)]
pub struct Casts {
    /// Types and the functions that may be called for them.
    called: Vec<(pg_sys::Oid, pg_sys::Oid)>,
    /// All functions that there are, others too.
    pub functions: Vec<pg_sys::Oid>,
    /// Tables behind composite types in the columns, which can get further attributes.
    pub composites: Vec<pg_sys::Oid>,
    /// There are types that are not built in.
    pub foreign: bool,
}

impl Casts {
    /// For columns of these types and a webhook of `role`; `None` where it may run nothing.
    pub fn find(session: &Session, types: &[pg_sys::Oid], role: Option<pg_sys::Oid>) -> Self {
        let is_foreign = |type_oid: &&pg_sys::Oid| u32::from(**type_oid) >= FIRST_OF_USERS;
        let types: Vec<pg_sys::Oid> = types.iter().filter(is_foreign).copied().collect();
        if types.is_empty() {
            return Self::default();
        }
        let mut casts = Self { foreign: true, ..Self::default() };
        for row in session.look_up(sql!("compose/casts"), &[arg(types), arg(role)]).iter() {
            casts.composites.extend(row.get::<pg_sys::Oid>("composite"));
            if let Some(function) = row.get("function") {
                casts.functions.push(function);
                if row.value("callable") {
                    casts.called.push((row.value("type"), function));
                }
            }
        }
        casts
    }

    /// Whether some value may be written by a function of a user.
    pub fn are_called(&self) -> bool {
        !self.called.is_empty()
    }

    /// The function that may be called for a type that is no domain.
    pub fn of(&self, base: pg_sys::Oid) -> Option<pg_sys::Oid> {
        self.called.iter().find(|(type_oid, _)| *type_oid == base).map(|(_, function)| *function)
    }
}

/// Those that may be called, or none.
pub struct Called<'a>(pub Option<&'a Casts>);

// SAFETY: they are functions of casts from the type to json, and only those with one argument. They are looked up again when the
// server says that one has changed, and the call of one that has been dropped meanwhile is an error.
unsafe impl Cast for Called<'_> {
    fn of(&self, base: pg_sys::Oid) -> Option<pg_sys::Oid> {
        self.0?.of(base)
    }
}
