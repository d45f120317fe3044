//! JSON from and of SQL values.

use std::ffi::CStr;

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{AnyElement, FromDatum, direct_function_call, direct_function_call_as_datum};

use super::output::Canonical;

/// A `jsonb` as PostgreSQL writes it. pgrx's own type parses it, and panics where a number is larger or
/// the nesting deeper than the parser knows; it also rounds long numbers.
pub struct Json(pub String);

impl FromDatum for Json {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller's datum is a jsonb, which `jsonb_out` takes in any form in which it is stored, and looks
        // at nothing else of a call. What it returns ends with NUL and is copied before the memory context goes.
        let text = unsafe { direct_function_call::<&CStr>(pg_sys::jsonb_out, &[Some(datum)]) }?;
        Some(Self(text.to_string_lossy().into_owned()))
    }
}

// SAFETY: the value is owned; only its datum is looked at.
unsafe impl<'fcx> ArgAbi<'fcx> for Json {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the declaration says that the argument is a jsonb, and only a superuser declares another function
        // with this symbol.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or_else(|| Self("null".to_owned()))
    }
}

// SAFETY: it is what the SQL declarations say.
unsafe impl SqlTranslatable for Json {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Json);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("jsonb"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
}

/// A row as an object, and the table whose row it is, if it is one's. To be called with the caller's own
/// rights: rendering may run functions of a type's owner.
pub fn row(value: &AnyElement) -> (String, Option<pg_sys::Oid>) {
    let _canonical = Canonical::begin();
    // SAFETY: a composite value, as the function is declared to take (and only a superuser can declare another), in any
    // form in which one is passed: `pg_detoast_datum` makes a plain one of compressed and of expanded ones. Each has a
    // header that names its type. `row_to_json` looks at nothing of a call but its argument, and returns a text.
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
