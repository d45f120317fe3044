//! Calling a webhook's transform.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::submodules::ffi::pg_guard_ffi_boundary as guard;
use pgrx::prelude::*;
use pgrx::{FromDatum, IntoDatum, direct_function_call_as_datum};

use super::compat;
use super::identity;
use super::output::Canonical;

/// A function `jsonb -> jsonb`, and as whom it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transform {
    /// The function.
    pub function: pg_sys::Oid,
    /// The webhook's owner.
    pub role: pg_sys::Oid,
}

impl Transform {
    /// What the function makes of `payload`; `None` where that is NULL. Raises the function's errors, and
    /// one where it is gone or its owner may not call it any more.
    pub fn apply(self, payload: &str) -> Option<String> {
        let _canonical = Canonical::begin();
        identity::as_restricted(self.role, || {
            self.check();
            // SAFETY: the function exists and takes and returns a jsonb, as was checked when it was chosen;
            // a function's type cannot change. Both conversions take what they are given.
            unsafe {
                let text = std::ffi::CString::new(payload).ok()?;
                let input = pg_sys::Datum::from(text.as_ptr());
                let jsonb = direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(input)])?;
                let mut manager = pg_sys::FmgrInfo::default();
                pg_sys::fmgr_info(self.function, &mut manager);
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
                <&std::ffi::CStr>::from_datum(text, false)
                    .map(|text| text.to_string_lossy().into_owned())
            }
        })
    }

    fn check(self) {
        // SAFETY: catalog reads in a transaction.
        let (exists, allowed) = unsafe {
            let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
            let key = self.function.into_datum().unwrap_or(pg_sys::Datum::null());
            let none = pg_sys::Datum::null();
            let exists = pg_sys::SearchSysCacheExists(cache, key, none, none, none);
            (exists, exists && compat::may_execute(self.function, self.role))
        };
        let (code, message) = match (exists, allowed) {
            (true, true) => return,
            (true, false) => (
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "the owner of a webhook may not call its transform any more",
            ),
            (false, _) => (
                PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
                "the transform of a webhook has been dropped",
            ),
        };
        ErrorReport::new(code, message, function_name!())
            .set_hint("webhook_update sets another one, or none with transform => '-'.")
            .report(PgLogLevel::ERROR);
    }
}
