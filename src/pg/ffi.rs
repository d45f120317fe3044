//! What the server exports and pgrx has no bindings for, or none in the form needed.

use std::ffi::{CStr, c_char, c_int};

use pgrx::pg_sys;
use pgrx::pg_sys::submodules::ffi::pg_guard_ffi_boundary as guard;

mod raw {
    use super::*;

    unsafe extern "C-unwind" {
        pub fn errcontext_msg(format: *const c_char, ...) -> c_int;
        pub fn datum_image_eq(
            a: pg_sys::Datum,
            b: pg_sys::Datum,
            by_value: bool,
            length: c_int,
        ) -> bool;
        pub fn get_subscription_oid(name: *const c_char, missing_ok: bool) -> pg_sys::Oid;
        pub fn RemoveSubscriptionRel(subscription: pg_sys::Oid, table: pg_sys::Oid);
        pub fn AlterTypeOwner_oid(type_oid: pg_sys::Oid, owner: pg_sys::Oid, noted: bool);
        pub fn timestamp2tm(
            timestamp: i64,
            tzp: *mut c_int,
            tm: *mut pg_sys::pg_tm,
            fsec: *mut i32,
            tzn: *mut *const c_char,
            zone: *mut pg_sys::pg_tz,
        ) -> c_int;
    }
}

/// catalog/pg_subscription_rel.h: the catalog of the tables of subscriptions.
pub const SUBSCRIPTION_TABLES: pg_sys::Oid = pg_sys::Oid::from_u32(6102);

/// What a row of it begins with.
#[repr(C)]
pub struct SubscriptionTable {
    pub subscription: pg_sys::Oid,
    pub table: pg_sys::Oid,
    pub state: c_char,
}

impl SubscriptionTable {
    /// The number of the column `srsubid`.
    pub const SUBSCRIPTION: i16 = 1;
}

/// utils/timeout.h: the timer of `lock_timeout`.
pub const LOCK_TIMEOUT: c_int = 2;

/// utils/timeout.h: the timer of `statement_timeout`, which the server starts in sessions only.
pub const STATEMENT_TIMEOUT: c_int = 3;

unsafe extern "C-unwind" {
    /// storage/pmsignal.h: asks the operating system whether the postmaster is there.
    pub fn PostmasterIsAliveInternal() -> bool;

    /// tcop/tcopprot.h: the server's handler of SIGTERM.
    pub fn die(signal: c_int);

    /// postmaster/interrupt.h: the server's handler of SIGHUP.
    pub fn SignalHandlerForConfigReload(signal: c_int);

    /// postmaster/interrupt.h: the server's handler of SIGQUIT.
    pub fn SignalHandlerForCrashExit(signal: c_int);

    /// tcop/tcopprot.h: the server's handler of SIGINT.
    pub fn StatementCancelHandler(signal: c_int);

    /// postmaster/interrupt.h: a handler of SIGTERM that leaves a flag.
    pub fn SignalHandlerForShutdownRequest(signal: c_int);

    /// tcop/utility.h: what runs a utility statement where no hook does. Not the binding, which would catch the
    /// statement's errors.
    pub fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        text: *const c_char,
        read_only: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        parameters: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        destination: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );

    /// utils/timeout.h: whether the timer has fired since the mark was last taken away.
    pub fn get_timeout_indicator(timer: c_int, reset: bool) -> bool;

    /// utils/timeout.h: starts the timer.
    pub fn enable_timeout_after(timer: c_int, milliseconds: c_int);

    /// utils/timeout.h: stops the timer, and takes its mark away unless it is to be kept.
    pub fn disable_timeout(timer: c_int, keep_indicator: bool);

    /// utils/bytea.h: the setting of that name.
    pub static mut bytea_output: c_int;
}

/// utils/elog.h: adds a line to the context of the error that is being raised.
pub fn error_context(line: &CStr) {
    // SAFETY: called by the server from a callback for that; not guarded, because an error in it is the server's to
    // deal with. Both texts end with NUL.
    unsafe { raw::errcontext_msg(c"%s".as_ptr(), line.as_ptr()) };
}

/// utils/datum.h: equality of stored images, after detoasting.
///
/// # Safety
///
/// Both are values, not NULL, of a type with this `by_value` and `length`.
pub unsafe fn datum_image_eq(
    a: pg_sys::Datum,
    b: pg_sys::Datum,
    by_value: bool,
    length: i16,
) -> bool {
    // SAFETY: the caller's.
    unsafe { guard(|| raw::datum_image_eq(a, b, by_value, length.into())) }
}

/// commands/typecmds.h: makes a type another role's, whoever asks. In a transaction.
pub fn give_type(type_oid: pg_sys::Oid, owner: pg_sys::Oid) {
    // SAFETY: raises an error where `type_oid` is none; that it has an owner is noted already.
    unsafe { guard(|| raw::AlterTypeOwner_oid(type_oid, owner, true)) }
}

/// utils/lsyscache.h: the subscription of that name in this database, or none. In a transaction.
///
/// # Safety
///
/// The name ends with NUL.
pub unsafe fn subscription(name: *const c_char) -> pg_sys::Oid {
    // SAFETY: the caller's; a catalog read.
    unsafe { guard(|| raw::get_subscription_oid(name, true)) }
}

/// catalog/pg_subscription_rel.h: takes a table out of a subscription, where it is in it. In a transaction.
pub fn remove_from_subscription(subscription: pg_sys::Oid, table: pg_sys::Oid) {
    // SAFETY: deletes a row of a catalog. A synchronization of the table that is under way has an error at its next look.
    unsafe { guard(|| raw::RemoveSubscriptionRel(subscription, table)) }
}

/// utils/timestamp.h: the fields of `timestamp` in UTC, and its microseconds.
pub fn utc_fields(timestamp: i64) -> (pg_sys::pg_tm, i32) {
    let mut tm = pg_sys::pg_tm::default();
    let mut fraction = 0;
    let (tzp, tzn, zone) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: writes the two variables; without a zone it reads nothing else.
    unsafe { guard(|| raw::timestamp2tm(timestamp, tzp, &mut tm, &mut fraction, tzn, zone)) };
    (tm, fraction)
}
