//! Roles whose application events a webhook hears although they have nothing to do with its owner.

use pgrx::pg_sys;

use super::managed::Webhook;
use crate::domain::refusal::Refusal;
use crate::pg::grant;
use crate::pg::spi::{Session, arg, sql};

/// Makes `roles` the emitters of a webhook. Whoever is named may call webhook_emit, as long as some webhook names it.
///
/// # Errors
///
/// The caller does not have the rights of the webhook's owner, or one of them is no role.
pub fn set(session: &Session, webhook: &Webhook, roles: &[pg_sys::Oid]) -> Result<(), Refusal> {
    if !roles.is_empty() {
        webhook.may_bring("emitters")?;
    }
    let mut named: Vec<(String, pg_sys::Oid)> = Vec::with_capacity(roles.len());
    for role in roles {
        let rows = session.run(sql!("registry/level"), &[arg(*role)]);
        let row = rows.first().ok_or(Refusal::UnknownRole(u32::from(*role)))?;
        named.push((row.value(1), *role));
    }
    named.sort_by(|one, other| one.0.cmp(&other.0));
    named.dedup();
    let (names, mut roles): (Vec<String>, Vec<pg_sys::Oid>) = named.into_iter().unzip();
    let args = [arg(webhook.id), arg(roles.clone()), arg(names)];
    let rows = session.run(sql!("registry/set_emitters"), &args);
    let before: Vec<pg_sys::Oid> = rows.first().map_or_else(Vec::new, |row| row.value(1));
    roles.extend(before);
    // Where nobody gets or loses anything, whoever changes levels is not waited for.
    if !roles.is_empty() {
        session.run(sql!("registry/lock_levels"), &[]);
        settle(session, roles);
    }
    Ok(())
}

/// Gives these roles what comes with being named, or takes it where no webhook names them any more. Under the lock of
/// levels, with which this has to agree.
pub fn settle(session: &Session, roles: Vec<pg_sys::Oid>) {
    if roles.is_empty() {
        return;
    }
    session.run(sql!("registry/lock_privileges"), &[]);
    let statements = session.run(sql!("registry/emitter_privileges"), &[arg(roles)]);
    for statement in statements.iter() {
        grant::run(&statement.value::<String>(1));
    }
}
