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

macro_rules! argument {
    ($(#[$doc:meta])* $name:ident: $type:literal, $output:ident, $null:literal) => {
        $(#[$doc])*
        pub struct $name(pub String);

        impl FromDatum for $name {
            unsafe fn from_polymorphic_datum(
                datum: pg_sys::Datum,
                is_null: bool,
                _: pg_sys::Oid,
            ) -> Option<Self> {
                if is_null {
                    return None;
                }
                // SAFETY: the caller's datum is of this type, whose output function takes it in any form in which it is stored,
                // and looks at nothing else of a call. What it returns ends with NUL and is copied before the memory context goes.
                let text = unsafe { direct_function_call::<&CStr>(pg_sys::$output, &[Some(datum)]) }?;
                Some(Self(memory::text(text)))
            }
        }

        // SAFETY: the value is owned; only its datum is looked at.
        unsafe impl<'fcx> ArgAbi<'fcx> for $name {
            unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
                // SAFETY: the declaration says that the argument is of this type, and only a superuser declares another function
                // with this symbol.
                unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or_else(|| Self($null.to_owned()))
            }
        }

        // SAFETY: it is what the SQL declarations say.
        unsafe impl SqlTranslatable for $name {
            const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!($name);
            const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
            const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> =
                Ok(SqlMappingRef::literal($type));
            const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
                Ok(ReturnsRef::One(SqlMappingRef::literal($type)));
        }
    };
}

argument! {
    /// A `jsonb` as PostgreSQL writes it. pgrx's own type parses it, and panics where a number is larger or
    /// the nesting deeper than the parser knows; it also rounds long numbers.
    Json: "jsonb", jsonb_out, "null"
}

argument! {
    /// A `jsonpath` as PostgreSQL writes it.
    JsonPath: "jsonpath", jsonpath_out, "$"
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
