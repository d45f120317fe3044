//! Taking the triggers of a watch away.
//!
//! The watch has ended before, so they do nothing any more. Where the table cannot be locked they stay like that.

use std::ffi::CString;

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::trigger::{LOCK_SECONDS, LOCK_TIMEOUT};
use crate::pg::guc::Local;
use crate::pg::spi::{Session, arg, sql};
use crate::pg::subtransaction;
use crate::pg::table::{Lock, Table};
use crate::pg::trigger;

/// How PostgreSQL says that somebody uses a table: another transaction, this one, or one that waits for us.
const IN_USE: [PgSqlErrorCode; 3] = [
    PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
    PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
    PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED,
];

/// Drops the triggers of `watch` on `relation`, whatever they are called by now, but those of the names `kept`.
pub fn drop_triggers(
    session: &Session,
    (watch, relation, table): (Uuid, pg_sys::Oid, &str),
    kept: &[CString],
) {
    let names: Vec<&str> = kept.iter().filter_map(|name| name.to_str().ok()).collect();
    let rows = session.run(sql!("registry/doomed"), &[arg(watch), arg(relation), arg(names)]);
    let doomed: Vec<pg_sys::Oid> = rows.iter().map(|row| row.value(1)).collect();
    if doomed.is_empty() {
        return;
    }
    let _timeout = Local::set(c"lock_timeout", LOCK_TIMEOUT);
    let dropped = subtransaction::tolerating(&IN_USE, || {
        // Somebody may have dropped one before we had the lock.
        let there = match Table::open(relation, Lock::Drop) {
            Some(table) => trigger::all_of(&table),
            None => Vec::new(),
        };
        there
            .iter()
            .filter(|found| doomed.contains(&found.oid) && !found.clone)
            .for_each(|found| trigger::remove(found.oid));
    });
    if dropped.is_none() {
        let message = format!(
            "the triggers on {table} stay, because it was in use for {LOCK_SECONDS} seconds; they do nothing any more"
        );
        ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message, function_name!())
            .set_hint("webhook_check shows them to the table's owner, and how to drop them.")
            .report(PgLogLevel::NOTICE);
    }
}
