//! Taking the triggers of a watch away.
//!
//! The watch has ended before, so they do nothing any more. DROP TRIGGER locks out everybody until its transaction ends,
//! and takes the rights of the table's owner; for anybody else, and where the table cannot be locked, the worker removes
//! them, which does not wait for the table.

use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::table;
use super::trigger::{LOCK_SECONDS, LOCK_TIMEOUT};
use crate::pg::guc::Local;
use crate::pg::identity::{self, Caller};
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

/// How long the worker waits for one lock. Deliveries wait meanwhile, and whoever comes to the table after it.
const PATIENCE: &CStr = c"20ms";

/// After this long with locks on a table no further partition of it is locked, and the table is seen to later: whoever uses it waits
/// meanwhile, and so do deliveries.
const LONGEST: Duration = Duration::from_millis(50);

/// Drops the triggers of `watch` on `relation`, whatever they are called by now, but those of the names `kept`. Where the
/// caller could not drop them, the worker is to do so.
pub fn drop_triggers(
    session: &Session,
    caller: &Caller,
    (watch, relation, table): (Uuid, pg_sys::Oid, &str),
    kept: &[CString],
) {
    let names: Vec<&str> = kept.iter().filter_map(|name| name.to_str().ok()).collect();
    let args = [arg(watch), arg(relation), arg(names), arg(caller.role)];
    let rows = session.run(sql!("registry/doomed"), &args);
    let doomed: Vec<pg_sys::Oid> = rows.iter().map(|row| row.value("trigger")).collect();
    let Some(first) = rows.first() else {
        return;
    };
    if !first.value::<bool>("may_drop") {
        session.run(sql!("registry/doom"), &[arg(watch), arg(relation)]);
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
        session.run(sql!("registry/doom"), &[arg(watch), arg(relation)]);
        let message = format!(
            "the triggers on {table} stay for now, because it was in use for {LOCK_SECONDS} seconds; they do nothing any more"
        );
        ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message, function_name!())
            .set_hint(identity::qualified("The worker, where there is one, drops them when it is not. Until then webhook_check shows them to the table's owner."))
            .report(PgLogLevel::NOTICE);
    }
}

/// What has come of seeing to one table.
pub enum Step {
    /// There is nothing to do.
    Nothing,
    /// Nothing is due before so long.
    NotDue(Duration),
    /// Nothing is left on a table.
    Done(pg_sys::Oid),
    /// A table is in use; another one may be due.
    InUse,
    /// The triggers of a table stay, for a reason that need not pass.
    Kept {
        /// The table.
        relation: pg_sys::Oid,
        /// Its name.
        table: String,
        /// Why.
        reason: String,
    },
}

/// Sees to the table that is due first among those whose triggers the worker is to drop, in a transaction of the worker's.
pub fn work_off(session: &Session) -> Step {
    let _timeout = Local::set(c"lock_timeout", PATIENCE);
    let rows = session.run(sql!("registry/next_doomed"), &[]);
    let Some(row) = rows.first() else {
        return Step::Nothing;
    };
    let (relation, known): (pg_sys::Oid, Vec<Uuid>) = (row.value("relation"), row.value("known"));
    let wait: f64 = row.value("wait");
    if wait > 0.0 {
        return Step::NotDue(Duration::from_secs_f64(wait));
    }
    // Whatever is in the way, it is not for deliveries to fail.
    let removed =
        subtransaction::attempt(|_| true, || remove(session, relation, row.value("watches")));
    match &removed {
        Ok(true) => session.run(sql!("registry/forget_doomed"), &[arg(known)]),
        Ok(false) | Err(_) => session.run(sql!("registry/postpone_doomed"), &[arg(known)]),
    };
    match removed {
        Ok(true) => Step::Done(relation),
        Err(error) if !IN_USE.contains(&error.sql_error_code()) => {
            let detail = error.detail().map_or_else(String::new, |detail| format!(": {detail}"));
            let reason = format!("{}{detail}", error.message());
            Step::Kept { relation, table: table::name(session, relation), reason }
        }
        _ => Step::InUse,
    }
}

/// Drops what is left of these watches on a table; `false` where that would take too long.
fn remove(session: &Session, relation: pg_sys::Oid, watches: Vec<Uuid>) -> bool {
    let left = || {
        let rows = session.run(sql!("registry/leftover"), &[arg(relation), arg(watches.clone())]);
        rows.iter().map(|row| row.value("trigger")).collect::<Vec<pg_sys::Oid>>()
    };
    if left().is_empty() {
        return true;
    }
    let began = Instant::now();
    if Table::open(relation, Lock::Drop).is_none() {
        return true;
    }
    let partitions = session.run(sql!("registry/partitions"), &[arg(relation)]);
    for partition in partitions.iter().map(|row| row.value("relation")) {
        if began.elapsed() > LONGEST {
            return false;
        }
        drop(Table::open(partition, Lock::Drop));
    }
    // Now that nobody changes them.
    left().into_iter().for_each(trigger::remove);
    true
}
