//! Calling a function that makes one jsonb of another.

use std::ffi::{CStr, CString};
use std::mem::offset_of;

use pgrx::pg_sys::submodules::ffi::pg_guard_ffi_boundary as guard;
use pgrx::prelude::*;
use pgrx::{FromDatum, direct_function_call_as_datum};

use super::memory;

// The frame of a call is made of words, and has room for one argument behind its head.
const WORDS: usize = size_of::<pg_sys::FunctionCallInfoBaseData>().div_ceil(8)
    + size_of::<pg_sys::NullableDatum>().div_ceil(8);
const _: () = assert!(align_of::<pg_sys::FunctionCallInfoBaseData>() <= align_of::<u64>());
const _: () = assert!(
    offset_of!(pg_sys::FunctionCallInfoBaseData, args) + size_of::<pg_sys::NullableDatum>()
        <= 8 * WORDS
);

/// What `take` makes of what `function`, from jsonb to jsonb, makes of a text; `None` where that is NULL. The text that
/// it is given is in the current memory context. To be called inside of [`super::foreign::run`].
///
/// Raises the function's errors, and that of a text that jsonb does not take.
///
/// # Safety
///
/// `function` takes one jsonb and returns one, or has been dropped since: a function's type cannot change.
pub unsafe fn jsonb<R>(
    function: pg_sys::Oid,
    payload: &str,
    take: impl FnOnce(&CStr) -> R,
) -> Option<R> {
    let text = terminated(payload);
    // SAFETY: the caller's; for one that has been dropped `fmgr_info` raises an error. Both conversions take what they
    // are given, the frame has room for one argument, and the copy of the text lives until the first of them has read it.
    unsafe {
        let input = pg_sys::Datum::from(text.as_ptr());
        let jsonb = direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(input)])?;
        let mut manager = pg_sys::FmgrInfo::default();
        pg_sys::fmgr_info(function, &mut manager);
        let mut call = vec![0u64; WORDS];
        let call = call.as_mut_ptr().cast::<pg_sys::FunctionCallInfoBaseData>();
        (*call).flinfo = &mut manager;
        (*call).nargs = 1;
        // PL/pgSQL looks up the types of a function's variables once in a session, for each collation that it is called
        // with. That of a plain call of this function is none, so this is not what somebody's own call has found, whose
        // temporary types may have come first.
        (*call).fncollation = pg_sys::DEFAULT_COLLATION_OID;
        let argument = (*call).args.as_mut_ptr();
        (*argument).value = jsonb;
        (*argument).isnull = false;
        let function = manager.fn_addr.expect("fmgr_info sets it");
        let made = guard(|| function(call));
        if (*call).isnull {
            return None;
        }
        let text = direct_function_call_as_datum(pg_sys::jsonb_out, &[Some(made)])?;
        <&CStr>::from_datum(text, false).map(take)
    }
}

/// A copy that ends with NUL. A body can be of any size, so where there is no memory for it, that is an error.
fn terminated(body: &str) -> CString {
    let mut copy = Vec::new();
    if copy.try_reserve_exact(body.len() + 1).is_err() {
        memory::exhausted();
    }
    copy.extend_from_slice(body.as_bytes());
    // A body is JSON, in which NUL is escaped.
    CString::new(copy).expect("JSON has no NUL")
}
