//! The path on which code of others finds names.
//!
//! Whoever writes can have a temporary schema, and PostgreSQL looks there for tables and types before anywhere else,
//! unless the path says otherwise. Ours does; a function with a path of its own, such as the empty one, need not.

use std::ffi::CStr;
use std::sync::OnceLock;

use pgrx::prelude::*;

use super::functions;

/// Who was told before us that a function with settings of its own begins or ends.
static NEXT: OnceLock<pg_sys::fmgr_hook_type> = OnceLock::new();

/// From now on temporary schemas come last for code of others. Once per process.
pub(super) fn guard() {
    // SAFETY: main thread, while the library is loaded.
    unsafe {
        if NEXT.set(pg_sys::fmgr_hook).is_ok() {
            pg_sys::fmgr_hook = Some(told);
        }
    }
}

/// Called after the settings of the function have been set. Not guarded, so that an error of the next one goes by as it
/// was made.
unsafe extern "C-unwind" fn told(
    event: pg_sys::FmgrHookEventType::Type,
    function: *mut pg_sys::FmgrInfo,
    own: *mut pg_sys::Datum,
) {
    // SAFETY: as PostgreSQL calls us.
    unsafe {
        if event == pg_sys::FmgrHookEventType::FHET_START && super::is_running() {
            functions::judge_call((*function).fn_oid);
            put_temporary_last();
        }
        if let Some(next) = NEXT.get().copied().flatten() {
            next(event, function, own);
        }
    }
}

/// For as long as the settings of the function that begins.
///
/// # Safety
///
/// In a transaction, in a level of settings that ends with the function, or with the code of others that it is part of.
#[pg_guard]
unsafe extern "C-unwind" fn put_temporary_last() {
    // SAFETY: the caller's. The path is a text of the server's, which is copied before it changes; the list is one of
    // oids, and ours.
    unsafe {
        let (mut temporary, mut toast) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        pg_sys::GetTempNamespaceState(&mut temporary, &mut toast);
        if temporary == pg_sys::InvalidOid {
            return;
        }
        let path = pg_sys::fetch_search_path(true);
        let first = pg_sys::list_nth_oid(path, 0);
        pg_sys::list_free(path);
        if first != temporary {
            return;
        }
        let before = CStr::from_ptr(pg_sys::namespace_search_path).to_bytes();
        let more: &[u8] = if before.is_empty() { b"pg_temp" } else { b", pg_temp" };
        let path = std::ffi::CString::new([before, more].concat()).expect("two texts without NUL");
        pg_sys::set_config_option(
            c"search_path".as_ptr(),
            path.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}
