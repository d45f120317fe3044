//! The roles that webhooks belong to.
//!
//! PostgreSQL knows nothing of a role in a row of ours. So a webhook names a domain, see [`anchor`], and belongs to
//! whoever owns that.

use std::collections::HashSet;

use pgrx::prelude::*;

use super::managed::Webhook;
use super::privilege::{self, Patience};
use super::{emitter, transform};
use crate::host::anchor;
use crate::pg::identity::Caller;
use crate::pg::spi::{Session, arg, sql};
use crate::pg::{random, snapshot, subtransaction};
use domain::key::WebhookId;
use domain::refusal::Refusal;

/// What stands for `role`. It is made where there is none.
///
/// # Errors
///
/// The system has no random bytes; or those of [`privilege::hold_owner`].
pub fn anchor_of(
    session: &Session,
    role: pg_sys::Oid,
    patience: Patience,
) -> Result<String, Refusal> {
    // An older snapshot does not show what another session has made.
    let known = || {
        snapshot::with_latest(|| {
            let rows = session.look_up(sql!("registry/owner_of"), &[arg(role)]);
            rows.first().map(|row| row.value::<String>("anchor"))
        })
    };
    if let Some(anchor) = known() {
        return Ok(anchor);
    }
    privilege::hold_owner(role, patience)?;
    if let Some(anchor) = known() {
        return Ok(anchor);
    }
    let name = format!("owner_{}", hex::encode(random::bytes::<16>()?));
    let made = anchor::of_role(&name, role);
    session.run(sql!("registry/record_owner"), &[arg(name.as_str()), arg(made)]);
    Ok(name)
}

/// Gives a webhook to `role`. Its secret and its header values go along.
///
/// # Errors
///
/// The caller does not have the rights of both roles, `role` has a webhook of that name, or may not call the transform.
pub fn give(
    session: &Session,
    caller: &Caller,
    webhook: &Webhook,
    role: pg_sys::Oid,
) -> Result<(), Refusal> {
    let rows = session.run(sql!("registry/level"), &[arg(role)]);
    let name: String = rows.first().ok_or(Refusal::UnknownRole(u32::from(role)))?.value("name");
    if !webhook.own || !caller.has_rights_of(role) {
        return Err(Refusal::MayNotGive { webhook: webhook.name.clone(), role: name });
    }
    let function = transform::of(session, webhook.id);
    let anchor = anchor_of(session, role, Patience::Caller)?;
    let write = || {
        session.run(sql!("registry/give_away"), &[arg(webhook.id), arg(anchor), arg(role)]).count()
    };
    subtransaction::tolerating(&[PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION], write)
        .ok_or_else(|| Refusal::DuplicateName(webhook.name.clone()))?;
    // The new owner's, if it could have chosen it.
    transform::give(session, webhook.id, function)
}

/// Deletes the webhooks whose owner is gone, and returns their names. What they have left is for [`tidy`].
pub fn bury(session: &Session) -> Vec<String> {
    let rows = session.run(sql!("registry/bury"), &[]);
    let names: Vec<String> = rows.iter().map(|row| row.value("name")).collect();
    if !names.is_empty() {
        super::changed();
    }
    names
}

/// Takes away what webhooks whose owner is gone have left: their anchors, and what came with being named among their
/// emitters.
///
/// # Errors
///
/// Somebody else changes privileges. Nothing has been done then.
pub fn tidy(session: &Session) -> Result<(), Refusal> {
    if session.run(sql!("registry/ended"), &[]).count() == 0 {
        return Ok(());
    }
    // Deliveries wait for this.
    privilege::hold_levels(session, Patience::Worker)?;
    let rows = session.run(sql!("registry/ended"), &[]);
    let roles: Vec<pg_sys::Oid> =
        rows.iter().flat_map(|row| row.value::<Vec<_>>("heard")).collect();
    emitter::settle(session, roles, Patience::Worker)?;
    for anchor in rows.iter().filter_map(|row| row.get::<String>("anchor")) {
        anchor::remove(&anchor, anchor::NO_PATIENCE);
    }
    let webhooks: Vec<WebhookId> = rows.iter().map(|row| row.value("id")).collect();
    session.run(sql!("registry/tidied"), &[arg(webhooks)]);
    Ok(())
}

/// The hashes by which the server tells that the anchor of a present owner has changed.
pub fn hashes(session: &Session) -> HashSet<u32> {
    let rows = session.run(sql!("registry/owners"), &[]);
    rows.iter().filter_map(|row| anchor::hash(&row.value::<String>("owner"))).collect()
}
