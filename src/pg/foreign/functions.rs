//! The functions that code of others calls.
//!
//! The server tells of each that an expression is about to call ([`Watched`]): here those are refused which would
//! leave something in the session or use what is open in it, and where functions are judged, those of the server that
//! act. And it asks of each that is not built in whether anybody wants to know when it is called ([`judge`]), however it
//! is reached: by an expression, a trigger, a type or a cast. But not of one that has settings of its own or runs as its
//! owner: of that it tells when it begins.

use std::ffi::{CStr, c_void};
use std::sync::OnceLock;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Functions of the server that use what is open in the session, or leave something there that no rollback takes away:
/// descriptors of large objects, locks of the session, where its random numbers are, slots of replication, which can be
/// temporary ones, a backup, and the origin that its transactions are said to have. Not `pg_export_snapshot`, which the
/// server refuses in a subtransaction, nor what makes the session look at statistics, or report them, earlier.
const REFUSED: [&CStr; 34] = [
    c"lo_close",
    c"lo_lseek",
    c"lo_lseek64",
    c"lo_open",
    c"lo_tell",
    c"lo_tell64",
    c"lo_truncate",
    c"lo_truncate64",
    c"loread",
    c"lowrite",
    c"pg_advisory_lock",
    c"pg_advisory_lock_shared",
    c"pg_advisory_unlock",
    c"pg_advisory_unlock_all",
    c"pg_advisory_unlock_shared",
    c"pg_backup_start",
    c"pg_backup_stop",
    c"pg_copy_logical_replication_slot",
    c"pg_copy_physical_replication_slot",
    c"pg_create_logical_replication_slot",
    c"pg_create_physical_replication_slot",
    c"pg_drop_replication_slot",
    c"pg_logical_slot_get_binary_changes",
    c"pg_logical_slot_get_changes",
    c"pg_logical_slot_peek_binary_changes",
    c"pg_logical_slot_peek_changes",
    c"pg_replication_origin_session_reset",
    c"pg_replication_origin_session_setup",
    c"pg_replication_origin_xact_reset",
    c"pg_replication_origin_xact_setup",
    c"pg_replication_slot_advance",
    c"pg_try_advisory_lock",
    c"pg_try_advisory_lock_shared",
    c"setseed",
];

/// Functions that run a query, and can so call others, although they are not declared VOLATILE.
const RUNNING: [&CStr; 9] = [
    c"database_to_xml",
    c"database_to_xml_and_xmlschema",
    c"database_to_xmlschema",
    c"schema_to_xml",
    c"schema_to_xml_and_xmlschema",
    c"schema_to_xmlschema",
    c"table_to_xml",
    c"table_to_xml_and_xmlschema",
    c"table_to_xmlschema",
];

/// Functions that are VOLATILE because they return something else each time, and do nothing.
const HARMLESS: [&CStr; 12] = [
    c"array_sample",
    c"array_shuffle",
    c"clock_timestamp",
    c"gen_random_uuid",
    c"pg_sleep",
    c"pg_sleep_for",
    c"pg_sleep_until",
    c"random",
    c"random_normal",
    c"timeofday",
    c"uuidv4",
    c"uuidv7",
];

/// While it lives, functions are told of. Only then: to be told costs every session, also of those that have no webhook,
/// the search path that it keeps.
pub(super) struct Watched {
    before: pg_sys::object_access_hook_type,
}

/// Who is told beside us.
static mut NEXT_TOLD: pg_sys::object_access_hook_type = None;

/// A library has been loaded while we were told. If it tells whom it has found, as it should, that is us from then on.
static mut LOADED_ABOVE: bool = false;

/// Set whenever we are told.
static mut TOLD: bool = false;

impl Watched {
    pub(super) fn begin() -> Self {
        // SAFETY: variables of the main thread. Whoever does not lead to us is told by us from now on, and could not tell
        // us in turn.
        unsafe {
            let before = pg_sys::object_access_hook;
            if !leads_to_us() {
                NEXT_TOLD = before;
                pg_sys::object_access_hook = Some(told);
            }
            Self { before }
        }
    }
}

/// Raises an error where a library that has been loaded since [`Watched::begin`] has kept from us what was called.
pub(super) fn insist() {
    // SAFETY: variables of the main thread.
    unsafe {
        LOADED_ABOVE |= !pg_sys::object_access_hook.is_some_and(is_ours);
    }
    if !leads_to_us() {
        let message = "a library that was loaded meanwhile hides which functions are called";
        let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
        ErrorReport::new(code, message, function_name!()).report(PgLogLevel::ERROR);
    }
}

/// Whether we are told of what the server tells. Where a library may do that it is tried with a function that is harmless.
fn leads_to_us() -> bool {
    // SAFETY: variables of the main thread, in a transaction; the hook is called as PostgreSQL calls it.
    unsafe {
        match pg_sys::object_access_hook {
            Some(hook) if is_ours(hook) => true,
            Some(hook) if LOADED_ABOVE => {
                TOLD = false;
                let call = pg_sys::ObjectAccessType::OAT_FUNCTION_EXECUTE;
                let function = pg_sys::Oid::from(pg_sys::F_OIDEQ);
                hook(call, pg_sys::ProcedureRelationId, function, 0, std::ptr::null_mut());
                TOLD
            }
            _ => false,
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe {
            if pg_sys::object_access_hook.is_some_and(is_ours) {
                pg_sys::object_access_hook = self.before;
            } else {
                LOADED_ABOVE = true;
            }
        }
    }
}

type Told = unsafe extern "C-unwind" fn(
    pg_sys::ObjectAccessType::Type,
    pg_sys::Oid,
    pg_sys::Oid,
    i32,
    *mut c_void,
);

fn is_ours(hook: Told) -> bool {
    std::ptr::fn_addr_eq(hook, told as Told)
}

/// Not guarded, so that an error of the next one goes by as it was made.
unsafe extern "C-unwind" fn told(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    part: i32,
    more: *mut c_void,
) {
    // SAFETY: as PostgreSQL calls us.
    unsafe {
        TOLD = true;
        if access == pg_sys::ObjectAccessType::OAT_FUNCTION_EXECUTE && super::is_running() {
            judge_call(object);
            look_at(object);
        }
        if let Some(next) = NEXT_TOLD {
            // One that leads to us in some cases only would do so without end.
            pg_sys::check_stack_depth();
            next(access, class, object, part, more);
        }
    }
}

/// # Safety
///
/// In a transaction.
#[pg_guard]
unsafe extern "C-unwind" fn look_at(function: pg_sys::Oid) {
    if u32::from(function) >= pg_sys::FirstNormalObjectId {
        return;
    }
    // SAFETY: the caller's; the name is a copy, if there is such a function.
    unsafe {
        let name = pg_sys::get_func_name(function);
        if name.is_null() {
            return;
        }
        let name = CStr::from_ptr(name);
        if REFUSED.contains(&name) {
            super::refuse(&format!("function {}", name.to_string_lossy()));
        }
        if super::JUDGED.get().is_some() && acts(function, name) {
            let name = name.to_string_lossy();
            let message = format!("function {name} would be called, which a preview does not do");
            let code = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;
            ErrorReport::new(code, message, function_name!()).report(PgLogLevel::ERROR);
        }
    }
}

/// Whether a function of the server can do more than read. Where functions are judged by their owner, that says nothing
/// about those of the server, which do as they are told: by a text that is run as a query as well.
///
/// # Safety
///
/// In a transaction; `name` is that of `function`, which is there.
unsafe fn acts(function: pg_sys::Oid, name: &CStr) -> bool {
    // SAFETY: the caller's.
    let volatility = unsafe { pg_sys::func_volatile(function) } as u8;
    RUNNING.contains(&name)
        || volatility == pg_sys::PROVOLATILE_VOLATILE && !HARMLESS.contains(&name)
}

/// Who was asked before us.
static NEXT_ASKED: OnceLock<pg_sys::needs_fmgr_hook_type> = OnceLock::new();

/// From now on we are asked of each function. Once per process.
pub(super) fn judge() {
    // SAFETY: main thread, while the library is loaded.
    unsafe {
        if NEXT_ASKED.set(pg_sys::needs_fmgr_hook).is_ok() {
            pg_sys::needs_fmgr_hook = Some(asked);
        }
    }
}

/// Not guarded, as above. The server asks before it calls a function, and before it puts the text of one into an
/// expression instead.
unsafe extern "C-unwind" fn asked(function: pg_sys::Oid) -> bool {
    // SAFETY: as PostgreSQL calls us.
    unsafe {
        judge_call(function);
        NEXT_ASKED.get().copied().flatten().is_some_and(|next| next(function))
    }
}

/// Raises an error where functions are judged, and this is one of a stranger.
///
/// # Safety
///
/// In a transaction.
pub(super) unsafe fn judge_call(function: pg_sys::Oid) {
    if let Some(role) = super::JUDGED.get() {
        // SAFETY: the caller's.
        unsafe { judge_owner(function, role) }
    }
}

/// Has everything that this session has planned planned anew, so that the server asks of what is called there: PL/pgSQL
/// keeps an expression that is ready to run until the transaction ends, whoever has run it.
pub(super) fn forget_plans() {
    // SAFETY: main thread; a plan that is in use stays until that has ended.
    unsafe { pg_sys::ResetPlanCache() }
}

/// # Safety
///
/// In a transaction.
#[pg_guard]
unsafe extern "C-unwind" fn judge_owner(function: pg_sys::Oid, role: pg_sys::Oid) {
    // SAFETY: the caller's; a tuple of that cache begins with that struct, whose fixed columns are read while it is
    // pinned. The names are copies.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(function));
        if tuple.is_null() {
            return;
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>()).proowner;
        pg_sys::ReleaseSysCache(tuple);
        if owner == role || pg_sys::superuser_arg(owner) {
            return;
        }
        let name = CStr::from_ptr(pg_sys::format_procedure(function)).to_string_lossy();
        let owner = CStr::from_ptr(pg_sys::GetUserNameFromId(owner, false)).to_string_lossy();
        let code = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;
        ErrorReport::new(code, stranger(&format!("function {name}"), &owner), function_name!())
            .report(PgLogLevel::ERROR);
    }
}

/// Why code of `owner` in `what` is not called.
pub fn stranger(what: &str, owner: &str) -> String {
    format!(
        "{what} of role {owner} would be called, who would have the rights of the webhook's owner in it"
    )
}
