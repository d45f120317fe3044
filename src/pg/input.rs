//! Texts read as the server's own input functions do: with the search path of whoever runs, and its rights on schemas.
//!
//! Each raises the server's error where a text is none of its kind, or there is nothing of that name.

use std::ffi::CString;

use pgrx::datum::Interval;
use pgrx::{FromDatum, IntoDatum, direct_function_call, pg_sys};

/// The table of that name, as `regclass` has it.
pub fn table(name: &str) -> pg_sys::Oid {
    call(pg_sys::regclassin, name)
}

/// The function of that signature, as `regprocedure` has it.
pub fn function(signature: &str) -> pg_sys::Oid {
    call(pg_sys::regprocedurein, signature)
}

/// The role of that name, as `regrole` has it.
pub fn role(name: &str) -> pg_sys::Oid {
    call(pg_sys::regrolein, name)
}

/// The interval.
pub fn interval(text: &str) -> Interval {
    call(pg_sys::interval_in, text)
}

fn call<T: FromDatum>(
    function: unsafe fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum,
    text: &str,
) -> T {
    // A text with a zero in it is none that these functions could be given.
    let text = CString::new(text).unwrap_or_default();
    let no_modifier = (-1i32).into_datum();
    let arguments = [Some(text.as_ptr().into()), pg_sys::InvalidOid.into_datum(), no_modifier];
    // SAFETY: main thread in a transaction; input functions of types that are passed as `T`, on a text that outlives the call.
    // They take a text, and some a type and its modifier, of which there is none.
    let value = unsafe { direct_function_call(function, &arguments) };
    value.expect("input functions return no NULL for a text")
}
