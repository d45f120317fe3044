//! Values without types that users have made.
//!
//! For a value of such a type `row_to_json` looks for a cast to json, each time, and calls it with the rights that there
//! are: code of whoever owns it. So it is not given such values, but what it would make of them: the text of their output
//! function, or what a cast that may be called returns. Output functions are a superuser's: only one can make a base
//! type. Arrays and composite values are made again around what is in them. What is in what follows
//! `json_categorize_type` in the server's json.c (jsonfuncs.c since PostgreSQL 17): a domain is what it is made of, a range is not looked into.

use pgrx::pg_sys;

use super::array::{self, Array};
use super::composite;
use super::memory;
use super::row::Row;

/// The first oid of what is not built in (access/transam.h).
pub const FIRST_OF_USERS: u32 = pg_sys::FirstNormalObjectId;

/// The function that makes json of the values of a type, if there is one that may be called.
///
/// # Safety
///
/// It takes one value of that type, and returns json.
pub unsafe trait Cast {
    /// For a type that is no domain.
    fn of(&self, base: pg_sys::Oid) -> Option<pg_sys::Oid>;
}

/// The columns `numbers` of a row as a composite value; it lives as long as the current memory context.
///
/// Raises errors of the functions that are called, and one where values are nested too deeply.
///
/// # Safety
///
/// `numbers` are attribute numbers of the row's descriptor.
pub unsafe fn row(row: &Row, numbers: &[i16], cast: &impl Cast) -> pg_sys::Datum {
    // SAFETY: the caller's; values of the columns; each is of the type that comes with it.
    unsafe {
        composite::of_columns(row, numbers, |type_oid, value| {
            let (kind, base) = Kind::of(type_oid, cast);
            (kind.written_as(base), value.map(|value| written(kind, base, value, cast)))
        })
    }
}

/// How values of a type are written.
#[derive(Clone, Copy)]
pub enum Kind {
    /// One by one.
    Array,
    /// Column by column.
    Composite,
    /// As the server does.
    BuiltIn,
    /// By this function.
    Cast(pg_sys::Oid),
    /// By the output function.
    Text,
}

impl Kind {
    /// Of a type, and what that is without domains.
    pub fn of(type_oid: pg_sys::Oid, cast: &impl Cast) -> (Self, pg_sys::Oid) {
        // SAFETY: in a transaction; looks at the catalog.
        let (base, composite) = unsafe {
            let base = pg_sys::getBaseType(type_oid);
            (base, pg_sys::type_is_rowtype(base))
        };
        let kind = if array::is_one(base) {
            Self::Array
        } else if composite {
            Self::Composite
        } else if u32::from(base) < FIRST_OF_USERS {
            Self::BuiltIn
        } else {
            cast.of(base).map_or(Self::Text, Self::Cast)
        };
        (kind, base)
    }

    /// The type that they have then.
    fn written_as(self, base: pg_sys::Oid) -> pg_sys::Oid {
        match self {
            Self::Array => pg_sys::ANYARRAYOID,
            Self::Composite => pg_sys::RECORDOID,
            Self::BuiltIn => base,
            Self::Cast(_) => pg_sys::JSONOID,
            Self::Text => pg_sys::TEXTOID,
        }
    }
}

/// # Safety
///
/// The value is of type `base`, whose kind that is; a domain's value is one of its base type.
unsafe fn written(
    kind: Kind,
    base: pg_sys::Oid,
    value: pg_sys::Datum,
    cast: &impl Cast,
) -> pg_sys::Datum {
    // SAFETY: the caller's.
    unsafe {
        pg_sys::check_stack_depth();
        match kind {
            Kind::Array => elements(value, cast),
            Kind::Composite => {
                let found = composite::take_apart(value);
                let there = found.attributes().iter().filter(|attribute| !attribute.attisdropped);
                let numbers: Vec<i16> = there.map(|attribute| attribute.attnum).collect();
                row(&found, &numbers, cast)
            }
            Kind::BuiltIn => value,
            Kind::Cast(function) => {
                // Without a call of the session's own, as in `super::call::jsonb`.
                let collation = pg_sys::DEFAULT_COLLATION_OID;
                pg_sys::OidFunctionCall1Coll(function, collation, value)
            }
            Kind::Text => {
                let (mut output, mut varies) = (pg_sys::InvalidOid, false);
                pg_sys::getTypeOutputInfo(base, &mut output, &mut varies);
                pg_sys::cstring_to_text(pg_sys::OidOutputFunctionCall(output, value)).into()
            }
        }
    }
}

/// # Safety
///
/// It is an array.
unsafe fn elements(array: pg_sys::Datum, cast: &impl Cast) -> pg_sys::Datum {
    // SAFETY: the caller's; an element is of the type that the array says.
    unsafe {
        let found = Array::open(array);
        let (kind, base) = Kind::of(found.element, cast);
        if matches!(kind, Kind::BuiltIn) {
            return array;
        }
        let of_one =
            |value: &Option<pg_sys::Datum>| value.map(|value| written(kind, base, value, cast));
        let plain = memory::list(found.values().iter().map(of_one));
        found.with(kind.written_as(base), &plain)
    }
}
