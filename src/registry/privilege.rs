//! Waiting for others who change who may use what is ours, or whose it is.
//!
//! A transaction that does so may stay open for as long as it likes. So it is not waited for longer than for a table.

use std::ffi::CStr;

use pgrx::prelude::*;

use super::trigger::{LOCK_SECONDS, LOCK_TIMEOUT};
use crate::host::{anchor, lock};
use crate::pg::guc::Local;
use crate::pg::spi::{Session, arg, sql};
use crate::pg::{identity, subtransaction};
use domain::refusal::Refusal;

/// For how long others are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// As whoever calls a function of ours does.
    Caller,
    /// As for the name of a webhook that another transaction makes: whoever runs the same migration at the same moment is to
    /// find what that has made, however long it takes.
    Migration,
    /// Hardly: deliveries wait meanwhile.
    Worker,
}

/// What is going to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What comes with levels.
    Levels,
    /// What emitters get.
    Emitters,
}

/// One change of levels and emitters at a time, until the transaction ends: the two have to agree.
///
/// # Errors
///
/// Somebody else's does not end.
pub fn hold_levels(session: &Session, patience: Patience) -> Result<(), Refusal> {
    waiting(patience, || session.run(sql!("registry/lock_levels"), &[]).count())
}

/// Keeps others from changing privileges where those of `roles` are going to be changed, until the transaction ends.
///
/// # Errors
///
/// Somebody else's change does not end.
pub fn hold(
    session: &Session,
    roles: &[pg_sys::Oid],
    extent: Extent,
    patience: Patience,
) -> Result<(), Refusal> {
    let args = [arg(roles.to_vec()), arg(extent == Extent::Levels)];
    waiting(patience, || session.run(sql!("registry/lock_privileges"), &args).count())
}

/// Waits until nobody else makes what stands for `role` as an owner, and keeps others from it until the transaction ends.
/// With [`Patience::Migration`] for as long as `lock_timeout` lets it.
///
/// # Errors
///
/// Somebody else's transaction does not end.
pub fn hold_owner(role: pg_sys::Oid, patience: Patience) -> Result<(), Refusal> {
    if patience == Patience::Migration {
        lock::hold_owner(role);
        return Ok(());
    }
    within(LOCK_TIMEOUT, || lock::hold_owner(role))
        .ok_or_else(|| Refusal::OwnerInUse { role: identity::name_of(role), seconds: LOCK_SECONDS })
}

/// With [`Patience::Migration`] for as long as `lock_timeout` lets it.
fn waiting(patience: Patience, work: impl FnOnce() -> usize) -> Result<(), Refusal> {
    let timeout = match patience {
        Patience::Caller => LOCK_TIMEOUT,
        Patience::Migration => {
            work();
            return Ok(());
        }
        Patience::Worker => anchor::NO_PATIENCE,
    };
    within(timeout, work).map(drop).ok_or(Refusal::PrivilegesInUse(LOCK_SECONDS))
}

/// `None` where a lock that `work` waits for is not to be had in that time.
fn within<R>(timeout: &CStr, work: impl FnOnce() -> R) -> Option<R> {
    let _timeout = Local::set(c"lock_timeout", timeout);
    subtransaction::tolerating(&[PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE], work)
}
