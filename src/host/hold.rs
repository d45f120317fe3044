//! Statements that need a database without sessions, while a worker of ours is in it.
//!
//! DROP DATABASE, ALTER DATABASE .. RENAME and .. SET TABLESPACE, and CREATE DATABASE .. TEMPLATE are refused while somebody is connected,
//! and a worker would be for ever. So it is asked to leave before such a statement runs, under the lock that the statement takes
//! anyway, and none is started while somebody has that: until the transaction ends, prepared or not, however it ends. Only
//! where the statement stands a chance: nobody who may not run it stops a delivery.

use std::ffi::{CStr, c_char};
use std::time::{Duration, Instant};

use pgrx::is_a;
use pgrx::prelude::*;

use super::{board, lock, wake};
use crate::pg::server;

/// How long to wait for the worker. It answers in milliseconds, unless it waits for a lock, for at most 2 s. The
/// server itself waits for 5 s after that.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether it has left.
const STEP: Duration = Duration::from_millis(2);

/// What a role needs to run a statement.
#[derive(Clone, Copy)]
enum Needs {
    /// To own the database.
    Ownership,
    /// And to be allowed to create databases.
    OwnershipAndCreatedb,
    /// To be allowed to create databases, and to own this one, unless it is marked as a template.
    Copying,
}

/// A statement is about to run.
///
/// # Safety
///
/// `node` is a utility statement, in a session that PostgreSQL runs it in.
#[pg_guard]
pub unsafe extern "C-unwind" fn before(
    node: *mut pg_sys::Node,
    context: pg_sys::ProcessUtilityContext::Type,
) {
    let outermost = context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL;
    // SAFETY: the caller's; each node is what its tag says.
    unsafe {
        let alone = || !pg_sys::IsInTransactionBlock(outermost);
        let (name, needs) = if is_a(node, pg_sys::NodeTag::T_DropdbStmt) && alone() {
            ((*node.cast::<pg_sys::DropdbStmt>()).dbname.cast_const(), Needs::Ownership)
        } else if is_a(node, pg_sys::NodeTag::T_RenameStmt) {
            let statement = &*node.cast::<pg_sys::RenameStmt>();
            if statement.renameType != pg_sys::ObjectType::OBJECT_DATABASE {
                return;
            }
            (statement.subname.cast_const(), Needs::OwnershipAndCreatedb)
        } else if is_a(node, pg_sys::NodeTag::T_AlterDatabaseStmt) {
            let statement = &*node.cast::<pg_sys::AlterDatabaseStmt>();
            wake::databases_at_end();
            if option(statement.options, c"tablespace").is_none() || !alone() {
                return;
            }
            (statement.dbname.cast_const(), Needs::Ownership)
        } else if is_a(node, pg_sys::NodeTag::T_CreatedbStmt) && alone() {
            let statement = &*node.cast::<pg_sys::CreatedbStmt>();
            let template = option(statement.options, c"template");
            (template.unwrap_or(c"template1".as_ptr()), Needs::Copying)
        } else {
            return;
        };
        wake::databases_at_end();
        let database = pg_sys::get_database_oid(name, true);
        let elsewhere = database != pg_sys::InvalidOid && database != server::database();
        // Also where no worker has been seen yet: one may be about to look whether the extension is there.
        if elsewhere && may(database, needs) {
            let mode = if matches!(needs, Needs::Copying) {
                pg_sys::ShareLock
            } else {
                pg_sys::AccessExclusiveLock
            };
            take(database, name, mode);
        }
    }
}

/// The text of an option, if it is there.
///
/// # Safety
///
/// `options` is a list of `DefElem`.
unsafe fn option(options: *mut pg_sys::List, name: &CStr) -> Option<*const c_char> {
    // SAFETY: the caller's; a value that is not a name is an error, as it would be to the statement.
    unsafe {
        let options = pgrx::PgList::<pg_sys::DefElem>::from_pg(options);
        let found = options.iter_ptr().find(|o| CStr::from_ptr((**o).defname) == name)?;
        (!(*found).arg.is_null()).then(|| pg_sys::defGetString(found).cast_const())
    }
}

/// Whether the session may do that to `database`, as far as the server asks before it looks who is connected.
fn may(database: pg_sys::Oid, needs: Needs) -> bool {
    // SAFETY: in a transaction; fixed columns of a tuple are read through its struct while it is pinned.
    unsafe {
        let role = pg_sys::GetUserId();
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::DATABASEOID as i32,
            pg_sys::Datum::from(database),
        );
        if tuple.is_null() {
            return false;
        }
        let form = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>();
        let (owner, is_template) = (form.datdba, form.datistemplate);
        pg_sys::ReleaseSysCache(tuple);
        let owns = pg_sys::has_privs_of_role(role, owner);
        match needs {
            Needs::Ownership => owns,
            Needs::OwnershipAndCreatedb => owns && creates(role),
            Needs::Copying => (owns || is_template) && creates(role),
        }
    }
}

/// Whether `role` may create databases.
fn creates(role: pg_sys::Oid) -> bool {
    // SAFETY: as above.
    unsafe {
        if pg_sys::superuser_arg(role) {
            return true;
        }
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::AUTHOID as i32,
            pg_sys::Datum::from(role),
        );
        if tuple.is_null() {
            return false;
        }
        let creates = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_authid>()).rolcreatedb;
        pg_sys::ReleaseSysCache(tuple);
        creates
    }
}

/// Keeps everybody out of the database until the transaction ends, as the statement itself will in a moment, and waits for the
/// worker that is in it. Whoever is about to connect has the same lock, or waits for it.
fn take(database: pg_sys::Oid, name: *const c_char, mode: u32) {
    lock::bar_database(database, mode);
    // SAFETY: in a transaction; the name is the statement's.
    if unsafe { pg_sys::get_database_oid(name, true) } != database {
        // Renamed meanwhile: which one is meant now the statement finds out.
        return;
    }
    let began = Instant::now();
    while board::send_away(database) && began.elapsed() < PATIENCE {
        pgrx::check_for_interrupts!();
        std::thread::sleep(STEP);
    }
}
