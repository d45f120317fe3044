//! JSON from and of SQL values.

use std::ffi::CStr;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{FromDatum, IntoDatum, direct_function_call};

use super::memory;

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
        Some(Self(memory::text(text)))
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

/// A `jsonpath` as PostgreSQL writes it.
pub struct JsonPath(pub String);

impl FromDatum for JsonPath {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: as for `Json`, of a jsonpath.
        let text = unsafe { direct_function_call::<&CStr>(pg_sys::jsonpath_out, &[Some(datum)]) }?;
        Some(Self(memory::text(text)))
    }
}

// SAFETY: as for `Json`.
unsafe impl<'fcx> ArgAbi<'fcx> for JsonPath {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as for `Json`.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or_else(|| Self("$".to_owned()))
    }
}

// SAFETY: it is what the SQL declarations say.
unsafe impl SqlTranslatable for JsonPath {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(JsonPath);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> =
        Ok(SqlMappingRef::literal("jsonpath"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("jsonpath")));
}

/// A text that is JSON, as a `json` that a function returns.
pub struct JsonText(pub String);

impl IntoDatum for JsonText {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        // Both types are stored as their text.
        self.0.into_datum()
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONOID
    }
}

// SAFETY: it is what the SQL declarations say.
unsafe impl SqlTranslatable for JsonText {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(JsonText);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("json"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("json")));
}

// SAFETY: what is returned is a value of that type.
unsafe impl BoxRet for JsonText {
    unsafe fn box_into<'fcx>(self, call: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: it has just been made, in the memory of the call.
            Some(datum) => unsafe { call.return_raw_datum(datum) },
            None => call.return_null(),
        }
    }
}
