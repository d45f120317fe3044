//! Roles whose application events a webhook hears although they have nothing to do with its owner.

use pgrx::pg_sys;

use super::webhook::Webhook;
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
    let mut names = Vec::with_capacity(roles.len());
    for role in roles {
        let rows = session.run(sql!("registry/level"), &[arg(*role)]);
        let row = rows.first().ok_or(Refusal::UnknownRole(u32::from(*role)))?;
        names.push(row.value::<String>(1));
    }
    names.sort();
    names.dedup();
    let rows = session.run(sql!("registry/set_emitters"), &[arg(webhook.id), arg(names.clone())]);
    let before: Vec<String> = rows.first().map_or_else(Vec::new, |row| row.value(1));
    names.extend(before);
    if !names.is_empty() {
        session.run(sql!("registry/lock_levels"), &[]);
        settle(session, names);
    }
    Ok(())
}

/// Gives these roles what comes with being named, or takes it where no webhook names them any more. Under the lock of
/// levels, with which this has to agree.
pub fn settle(session: &Session, names: Vec<String>) {
    if names.is_empty() {
        return;
    }
    let statements = session.run(sql!("registry/emitter_privileges"), &[arg(names)]);
    for statement in statements.iter() {
        grant::run(&statement.value::<String>(1));
    }
}
