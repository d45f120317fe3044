//! SQL values as JSON text, with every digit that they have. To be used with the caller's own rights:
//! rendering may run functions of a type's owner.

use pgrx::prelude::*;
use pgrx::{AnyElement, FromDatum, direct_function_call_as_datum};

use super::output::Canonical;

/// The text of a `jsonb`.
pub fn text(value: &AnyElement) -> String {
    debug_assert_eq!(value.oid(), pg_sys::JSONBOID);
    // SAFETY: a jsonb, as the function is declared to take; the result is a C string.
    unsafe {
        let text = direct_function_call_as_datum(pg_sys::jsonb_out, &[Some(value.datum())]);
        let text = text.and_then(|text| <&std::ffi::CStr>::from_datum(text, false));
        text.map_or_else(|| "null".to_owned(), |text| text.to_string_lossy().into_owned())
    }
}

/// A row as an object, and the table whose row it is, if it is one's.
pub fn row(value: &AnyElement) -> (String, Option<pg_sys::Oid>) {
    let _canonical = Canonical::begin();
    // SAFETY: a composite value, as the function is declared to take; its header names its type.
    unsafe {
        let header = pg_sys::pg_detoast_datum(value.datum().cast_mut_ptr())
            .cast::<pg_sys::HeapTupleHeaderData>();
        let relation = pg_sys::get_typ_typrelid((*header).t_choice.t_datum.datum_typeid);
        let text = direct_function_call_as_datum(pg_sys::row_to_json, &[Some(value.datum())]);
        let text = text.and_then(|text| String::from_datum(text, false));
        let is_table = relation != pg_sys::InvalidOid;
        (text.unwrap_or_else(|| "null".to_owned()), is_table.then_some(relation))
    }
}
