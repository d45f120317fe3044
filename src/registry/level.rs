//! Levels of roles: a row that says what a role is, and the privileges that come with it.

use pgrx::pg_sys;

use super::emitter;
use super::privilege::{self, Extent, Patience};
use crate::pg::grant;
use crate::pg::identity::Caller;
use crate::pg::spi::{Session, arg, sql};
use domain::level::Level;
use domain::refusal::Refusal;

/// Makes `role` have `level`, whatever it had before.
///
/// # Errors
///
/// The caller may not, or there is no such role; or somebody else changes levels or privileges, and does not end.
pub fn grant(
    session: &Session,
    caller: &Caller,
    role: pg_sys::Oid,
    level: Level,
) -> Result<(), Refusal> {
    lock(session, caller, role)?;
    held(session, role)?;
    session.run(sql!("registry/set_level"), &[arg(role), arg(level.name())]);
    apply(session, role, Some(level), Of::All)
}

/// Takes `level` from `role`, which is nobody then.
///
/// # Errors
///
/// As for [`grant`], or the role does not have that level.
pub fn revoke(
    session: &Session,
    caller: &Caller,
    role: pg_sys::Oid,
    level: Level,
) -> Result<(), Refusal> {
    lock(session, caller, role)?;
    let (name, held) = held(session, role)?;
    if held.as_deref() != Some(level.name()) {
        return Err(Refusal::NoLevel { role: name, level: level.name() });
    }
    apply(session, role, None, Of::All)?;
    session.run(sql!("registry/forget_level"), &[arg(role)]);
    Ok(())
}

/// One change of levels at a time, because GRANTs on one object cannot run side by side; and only by
/// those who may: EXECUTE alone, which comes with `GRANT ... ON ALL FUNCTIONS`, is not enough.
fn lock(session: &Session, caller: &Caller, role: pg_sys::Oid) -> Result<(), Refusal> {
    administers(session, caller, "change the level of a role")?;
    privilege::hold_levels(session, Patience::Caller)?;
    privilege::hold(session, &[role], Extent::Levels, Patience::Caller)
}

/// Passes the owner of the extension and admins.
///
/// # Errors
///
/// [`Refusal::MayNotAdminister`].
pub fn administers(session: &Session, caller: &Caller, what: &'static str) -> Result<(), Refusal> {
    if is_administrator(session, caller) { Ok(()) } else { Err(Refusal::MayNotAdminister(what)) }
}

/// Whether the caller may see and manage all webhooks.
pub fn is_administrator(session: &Session, caller: &Caller) -> bool {
    let rows = session.run(sql!("registry/administers"), &[arg(caller.role)]);
    rows.first().is_some_and(|row| row.value("administers"))
}

/// Whether the caller may see all webhooks.
pub fn sees_all(session: &Session, caller: &Caller) -> bool {
    let rows = session.look_up(sql!("registry/monitors"), &[arg(caller.role)]);
    rows.first().is_some_and(|row| row.value("sees_all"))
}

/// Keeps others from changing levels until the transaction ends, and waits for whoever does.
///
/// # Errors
///
/// Somebody else's change does not end.
pub fn hold(session: &Session) -> Result<(), Refusal> {
    privilege::hold_levels(session, Patience::Caller)
}

/// The role's name and the level that it has.
fn held(session: &Session, role: pg_sys::Oid) -> Result<(String, Option<String>), Refusal> {
    let rows = session.run(sql!("registry/level"), &[arg(role)]);
    let row = rows.first().ok_or(Refusal::UnknownRole(role.into()))?;
    Ok((row.value("name"), row.get("level")))
}

/// Gives `roles` once more what comes with their levels, and emitters what comes with that: an update has made some of it anew.
///
/// # Errors
///
/// Somebody else changes levels or privileges, and does not end.
pub fn renew(session: &Session, roles: Vec<pg_sys::Oid>) -> Result<(), Refusal> {
    privilege::hold_levels(session, Patience::Caller)?;
    privilege::hold(session, &roles, Extent::Levels, Patience::Caller)?;
    for row in session.run(sql!("registry/levels"), &[arg(roles)]).iter() {
        let level: String = row.value("level");
        apply(session, row.value("role"), Some(level.parse()?), Of::New)?;
    }
    let rows = session.run(sql!("registry/emitters"), &[]);
    emitter::settle(session, rows.iter().map(|row| row.value("role")).collect(), Patience::Caller)
}

/// Which objects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    All,
    /// What the update that is under way has made.
    New,
}

fn apply(
    session: &Session,
    role: pg_sys::Oid,
    level: Option<Level>,
    of: Of,
) -> Result<(), Refusal> {
    let statements = session.run(
        sql!("registry/privileges"),
        &[arg(role), arg(level.map(Level::name)), arg(of == Of::New)],
    );
    for statement in statements.iter() {
        grant::run(&statement.value::<String>("statement"));
    }
    // What it has as an emitter it keeps.
    emitter::settle(session, vec![role], Patience::Caller)
}
