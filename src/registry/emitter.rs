//! Roles whose application events a webhook hears although they have nothing to do with its owner.

use pgrx::pg_sys;

use super::managed::{self, Webhook};
use super::privilege::{self, Extent, Patience};
use crate::pg::grant;
use crate::pg::identity::Caller;
use crate::pg::spi::{Session, arg, sql};
use domain::key::WebhookId;
use domain::refusal::Refusal;

/// As [`managed::find`], where it is going to have no emitters.
///
/// # Errors
///
/// As for [`managed::find`] and [`hold`].
pub fn find(session: &Session, caller: &Caller, webhook: Option<&str>) -> Result<Webhook, Refusal> {
    let webhook = webhook.ok_or(Refusal::Null("webhook"))?;
    let id = managed::name(session, caller, webhook)?;
    hold(session, Some(id), &[], Patience::Caller)?;
    // By then the name may be another one's.
    managed::lock(session, caller, id, webhook)
}

/// Passes roles that are there.
///
/// # Errors
///
/// The first that is not.
pub fn check(session: &Session, roles: &[pg_sys::Oid]) -> Result<(), Refusal> {
    roles.iter().try_for_each(|role| name(session, *role).map(drop))
}

fn name(session: &Session, role: pg_sys::Oid) -> Result<String, Refusal> {
    let rows = session.run(sql!("registry/level"), &[arg(role)]);
    Ok(rows.first().ok_or(Refusal::UnknownRole(u32::from(role)))?.value("name"))
}

/// Makes `roles` the emitters of a webhook. Whoever is named may call webhook_emit, as long as some webhook names it.
///
/// # Errors
///
/// The caller does not have the rights of the webhook's owner, or one of them is no role; or those of [`hold`].
pub fn set(session: &Session, webhook: &Webhook, roles: &[pg_sys::Oid]) -> Result<(), Refusal> {
    if !roles.is_empty() {
        webhook.may_bring("emitters")?;
    }
    let mut named: Vec<(String, pg_sys::Oid)> = Vec::with_capacity(roles.len());
    for role in roles {
        named.push((name(session, *role)?, *role));
    }
    named.sort_by(|one, other| one.0.cmp(&other.0));
    named.dedup();
    let (names, mut roles): (Vec<String>, Vec<pg_sys::Oid>) = named.into_iter().unzip();
    let args = [arg(webhook.id), arg(roles.clone()), arg(names)];
    let rows = session.run(sql!("registry/set_emitters"), &args);
    let before: Vec<pg_sys::Oid> = rows.first().map_or_else(Vec::new, |row| row.value("roles"));
    roles.extend(before);
    if roles.is_empty() {
        return Ok(());
    }
    privilege::hold_levels(session, Patience::Caller)?;
    settle(session, roles, Patience::Caller)
}

/// Waits for whoever changes levels, where `roles` are going to be the emitters of `webhook`, of one that is to be made
/// where there is none. Before any webhook, what stands for an owner, or a name is locked: others would wait for that meanwhile, and
/// who has this lock and waits for that, for us. Where nobody gets or loses anything, nobody is waited for.
///
/// # Errors
///
/// They do not end.
pub fn hold(
    session: &Session,
    webhook: Option<WebhookId>,
    roles: &[pg_sys::Oid],
    patience: Patience,
) -> Result<(), Refusal> {
    let hears = |webhook| {
        let rows = session.run(sql!("registry/hears"), &[arg(webhook)]);
        rows.first().is_some_and(|row| row.value("hears"))
    };
    if roles.is_empty() && !webhook.is_some_and(hears) {
        return Ok(());
    }
    privilege::hold_levels(session, patience)
}

/// Gives these roles what comes with being named, or takes it where no webhook names them any more. Under the lock of
/// levels, with which this has to agree.
///
/// # Errors
///
/// Somebody else changes the same privileges, and does not end.
pub fn settle(
    session: &Session,
    roles: Vec<pg_sys::Oid>,
    patience: Patience,
) -> Result<(), Refusal> {
    if roles.is_empty() {
        return Ok(());
    }
    privilege::hold(session, &roles, Extent::Emitters, patience)?;
    let statements = session.run(sql!("registry/emitter_privileges"), &[arg(roles)]);
    for statement in statements.iter() {
        grant::run(&statement.value::<String>("statement"));
    }
    Ok(())
}
