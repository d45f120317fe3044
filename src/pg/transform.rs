//! Calling a function that makes one jsonb of another.

use std::ffi::{CStr, CString};

use pgrx::pg_sys::submodules::ffi::pg_guard_ffi_boundary as guard;
use pgrx::prelude::*;
use pgrx::{FromDatum, direct_function_call_as_datum};

/// What `function`, from jsonb to jsonb, makes of a text; `None` where that is NULL. The text lives as long as the
/// current memory context. To be called inside of [`super::foreign::run`].
///
/// Raises the function's errors, and that of a text that jsonb does not take.
pub fn call(function: pg_sys::Oid, payload: &str) -> Option<&'static CStr> {
    // A body is JSON, in which NUL is escaped.
    let text = CString::new(payload).unwrap_or_default();
    // SAFETY: the function exists and takes and returns a jsonb, as was checked just before; a function's type cannot
    // change. Both conversions take what they are given. The frame has room for one argument.
    unsafe {
        let input = pg_sys::Datum::from(text.as_ptr());
        let jsonb = direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(input)])?;
        let mut manager = pg_sys::FmgrInfo::default();
        pg_sys::fmgr_info(function, &mut manager);
        let mut call = vec![0u64; size_of::<pg_sys::FunctionCallInfoBaseData>() / 8 + 4];
        let call = call.as_mut_ptr().cast::<pg_sys::FunctionCallInfoBaseData>();
        (*call).flinfo = &mut manager;
        (*call).nargs = 1;
        let argument = (*call).args.as_mut_ptr();
        (*argument).value = jsonb;
        (*argument).isnull = false;
        let function = manager.fn_addr.expect("fmgr_info sets it");
        let made = guard(|| function(call));
        if (*call).isnull {
            return None;
        }
        let text = direct_function_call_as_datum(pg_sys::jsonb_out, &[Some(made)])?;
        <&CStr>::from_datum(text, false)
    }
}
