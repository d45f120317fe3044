//! The arguments of a call, by the names that its declaration gives them.
//!
//! For functions with many of them, and with more from version to version: a declaration that an earlier version has left
//! does not have the later ones, and a function that takes them by position would read what is not there.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr;

use pgrx::FromDatum;
use pgrx::callconv::{Arg, ArgAbi};
use pgrx::datum::{Array, Interval};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::prelude::*;

use super::json::Json;

/// Those of one call, with what is stored elsewhere fetched.
pub struct Arguments<'c> {
    given: Vec<Given>,
    _call: PhantomData<&'c ()>,
}

struct Given {
    name: Box<CStr>,
    type_oid: pg_sys::Oid,
    value: pg_sys::Datum,
}

// SAFETY: the call that runs is that of the one which pgrx makes of the function, and lasts as long as it.
unsafe impl<'c> ArgAbi<'c> for Arguments<'c> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'c>) -> Self {
        // SAFETY: as above; pgrx unboxes arguments in the memory context of the call, or in one that lasts longer.
        unsafe { Self::of(ArgAbi::unbox_arg_unchecked(arg)) }
    }

    fn is_virtual_arg() -> bool {
        true
    }
}

// SAFETY: no argument of the declaration stands for it.
unsafe impl SqlTranslatable for Arguments<'_> {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Arguments<'_>);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::Skip);
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::Skip));
}

/// What an argument may be taken as.
///
/// # Safety
///
/// Of a value of any type that `takes` accepts `FromDatum` makes a sound value, which is there as long as the call.
pub unsafe trait Argument<'c>: FromDatum {
    /// Whether it can be made of values of that type.
    fn takes(type_oid: pg_sys::Oid) -> bool;
}

macro_rules! argument {
    ($($own:ty: $($oid:ident)|+;)*) => {
        $(
            // SAFETY: what pgrx makes of those types; what it does not copy has been fetched into the memory of the call.
            unsafe impl<'c> Argument<'c> for $own {
                fn takes(type_oid: pg_sys::Oid) -> bool {
                    [$(pg_sys::$oid),+].contains(&type_oid)
                }
            }
        )*
    };
}

argument! {
    bool: BOOLOID;
    i32: INT4OID;
    i64: INT8OID;
    &'c str: TEXTOID;
    Interval: INTERVALOID;
    Json: JSONBOID;
    pg_sys::Oid: REGCLASSOID | REGPROCEDUREOID | REGROLEOID;
    Array<'c, &'c str>: TEXTARRAYOID;
    Array<'c, pg_sys::Oid>: REGROLEARRAYOID;
}

impl<'c> Arguments<'c> {
    /// Reads them.
    ///
    /// # Safety
    ///
    /// The call is the one that runs, of a function with a row in the catalog, and in its memory context, and `'c` ends no
    /// later.
    unsafe fn of(call: pg_sys::FunctionCallInfo) -> Self {
        let mut given = Vec::new();
        // SAFETY: the caller's. The server says how many arguments the function is declared with, and their types, names and
        // modes, of which those of its input come first among the values; each has been passed, or is NULL.
        unsafe {
            let function = (*(*call).flinfo).fn_oid;
            let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
            let tuple = pg_sys::SearchSysCache1(cache, function.into());
            if tuple.is_null() {
                return Self { given, _call: PhantomData };
            }
            let (mut types, mut names, mut modes) =
                (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
            let count = pg_sys::get_func_arg_info(tuple, &mut types, &mut names, &mut modes);
            pg_sys::ReleaseSysCache(tuple);
            let is_input =
                |at: usize| modes.is_null() || [b'i', b'b', b'v'].contains(&(*modes.add(at) as u8));
            let inputs = (0..count as usize).filter(|at| is_input(*at));
            let passed = (*call).args.as_slice((*call).nargs as usize);
            for (at, argument) in inputs.zip(passed) {
                if argument.isnull || names.is_null() {
                    continue;
                }
                let type_oid = *types.add(at);
                let value = match pg_sys::get_typlen(type_oid) {
                    -1 => pg_sys::pg_detoast_datum(argument.value.cast_mut_ptr()).into(),
                    _ => argument.value,
                };
                given.push(Given { name: CStr::from_ptr(*names.add(at)).into(), type_oid, value });
            }
        }
        Self { given, _call: PhantomData }
    }

    /// Whether there is one of that name, which is not NULL.
    pub fn has(&self, name: &str) -> bool {
        self.given.iter().any(|given| given.name.to_bytes() == name.as_bytes())
    }

    /// The one of that name; `None` where it is NULL, or the function is declared without it.
    ///
    /// Raises an error where it is declared with another type.
    pub fn get<T: Argument<'c>>(&self, name: &str) -> Option<T> {
        let found = self.given.iter().find(|given| given.name.to_bytes() == name.as_bytes())?;
        if !T::takes(found.type_oid) {
            let oid = found.type_oid.to_u32();
            let message = format!("argument {name} is declared with another type (oid {oid})");
            let code = PgSqlErrorCode::ERRCODE_INVALID_FUNCTION_DEFINITION;
            super::report::new(code, message).report(PgLogLevel::ERROR);
        }
        // SAFETY: a value of a type that `T` takes, fetched by `of`.
        unsafe { T::from_polymorphic_datum(found.value, false, found.type_oid) }
    }
}
