//! Values without types that users have made.
//!
//! For a value of such a type `row_to_json` looks for a cast to json, each time, and calls it with the rights that there
//! are: code of whoever owns it. So it is not given such values, but what it would make of them: the text of their output
//! function, or what a cast that may be called returns. Output functions are a superuser's: only one can make a base
//! type. Arrays and composite values are made again around what is in them. What is in what follows
//! `json_categorize_type` in the server's json.c: a domain is what it is made of, a range is not looked into.

use pgrx::pg_sys;

use super::array::{self, Array};
use super::composite;
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
    let value = |(attribute, value): (&pg_sys::FormData_pg_attribute, _)| {
        // SAFETY: a value of the column.
        unsafe { written(attribute.atttypid, value, cast) }
    };
    // SAFETY: the caller's; each value is of the type that comes with it.
    unsafe { composite::of_columns(row, numbers, value) }
}

/// The value and the type that it has now, which follows from the type that it had.
///
/// # Safety
///
/// The value is of the type.
unsafe fn written(
    type_oid: pg_sys::Oid,
    value: pg_sys::Datum,
    cast: &impl Cast,
) -> (pg_sys::Oid, pg_sys::Datum) {
    // SAFETY: the caller's; a domain's value is one of its base type.
    unsafe {
        pg_sys::check_stack_depth();
        let base = pg_sys::getBaseType(type_oid);
        if array::is_one(base) {
            (pg_sys::ANYARRAYOID, elements(value, cast))
        } else if pg_sys::type_is_rowtype(base) {
            let found = composite::take_apart(value);
            let there = found.attributes().iter().filter(|attribute| !attribute.attisdropped);
            let numbers: Vec<i16> = there.map(|attribute| attribute.attnum).collect();
            (pg_sys::RECORDOID, row(&found, &numbers, cast))
        } else if u32::from(base) < FIRST_OF_USERS {
            (base, value)
        } else if let Some(function) = cast.of(base) {
            // For the reason that there is in a transform's call.
            let collation = pg_sys::DEFAULT_COLLATION_OID;
            (pg_sys::JSONOID, pg_sys::OidFunctionCall1Coll(function, collation, value))
        } else {
            let (mut output, mut varies) = (pg_sys::InvalidOid, false);
            pg_sys::getTypeOutputInfo(base, &mut output, &mut varies);
            let written = pg_sys::OidOutputFunctionCall(output, value);
            (pg_sys::TEXTOID, pg_sys::cstring_to_text(written).into())
        }
    }
}

/// # Safety
///
/// It is an array.
unsafe fn elements(array: pg_sys::Datum, cast: &impl Cast) -> pg_sys::Datum {
    // SAFETY: the caller's; an element is of the type that the array says, and so all become one type.
    unsafe {
        let found = Array::open(array);
        if u32::from(found.element) < FIRST_OF_USERS && composite::is_scalar(found.element) {
            return array;
        }
        let mut element = pg_sys::TEXTOID;
        let values = found.values();
        let mut plain = Vec::with_capacity(values.len());
        for each in values {
            plain.push(each.map(|each| {
                let (type_oid, each) = written(found.element, each, cast);
                element = type_oid;
                each
            }));
        }
        found.with(element, &plain)
    }
}
