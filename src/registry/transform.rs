//! Transforms: functions that webhooks call, and what keeps them.

use pgrx::datum::Uuid;
use pgrx::pg_sys;

use crate::host::{adoption, anchor};
use crate::pg::spi::{Session, arg, sql};
use crate::pg::{random, snapshot};
use domain::key::WebhookId;
use domain::refusal::Refusal;

/// Passes a function that makes a payload of another, and that a webhook of `role` may call: `role` itself may, and
/// it belongs to `role` or to a superuser. Returns its signature.
///
/// # Errors
///
/// It is another kind of function, or `role` may not call it, or it belongs to somebody who would get the rights of
/// `role` by changing it.
pub fn check(
    session: &Session,
    function: pg_sys::Oid,
    role: pg_sys::Oid,
) -> Result<String, Refusal> {
    // As it is now: what an old snapshot shows of it may not be so any more, and would be remembered.
    let args = [arg(function), arg(role)];
    let rows = snapshot::with_latest(|| session.look_up(sql!("registry/transform"), &args));
    let Some(row) = rows.first() else {
        return Err(Refusal::NoFunction(u32::from(function).to_string()));
    };
    let name: String = row.value("name");
    if !row.value::<bool>("fits") {
        Err(Refusal::NotATransform(name))
    } else if !row.value::<bool>("callable") {
        Err(Refusal::MayNotCall(name))
    } else if !row.value::<bool>("trusted") {
        Err(Refusal::OthersFunction {
            function: name,
            owner: row.value("function_owner"),
            role: row.value("role"),
        })
    } else {
        Ok(name)
    }
}

/// The transform of `webhook`, if it has one that is there.
pub fn of(session: &Session, webhook: WebhookId) -> Option<pg_sys::Oid> {
    let rows = session.run(sql!("registry/owner"), &[arg(webhook)]);
    let row = rows.first()?;
    anchor::function(&row.get::<String>("anchor")?, row.get("role")?)
}

/// Makes `function` the transform of `webhook`; an invalid oid takes it away, and `None` changes nothing.
///
/// # Errors
///
/// Those of [`check`].
pub fn give(
    session: &Session,
    webhook: WebhookId,
    function: Option<pg_sys::Oid>,
) -> Result<(), Refusal> {
    let Some(function) = function else {
        return Ok(());
    };
    let anchor = match function {
        pg_sys::InvalidOid => None,
        function => Some(anchor(session, webhook, function)?),
    };
    let rows = session.run(sql!("registry/set_anchor"), &[arg(webhook), arg(anchor)]);
    if let Some(before) = rows.first().and_then(|row| row.get::<String>("anchor")) {
        anchor::remove(&before, anchor::PATIENCE);
    }
    Ok(())
}

/// Makes the anchor of `function` for `webhook`. Its name says which webhook it is of, because PostgreSQL names it where
/// it refuses to drop the function, and is used once.
fn anchor(session: &Session, webhook: WebhookId, function: pg_sys::Oid) -> Result<String, Refusal> {
    let rows = session.run(sql!("registry/owner"), &[arg(webhook)]);
    let row = rows.first().ok_or(Refusal::Null("webhook"))?;
    let uuid: Uuid = row.value("uuid");
    let gone = || Refusal::UnknownWebhook(uuid::Uuid::from_bytes(*uuid.as_bytes()).to_string());
    let role: pg_sys::Oid = row.get("role").ok_or_else(gone)?;
    let signature = check(session, function, role)?;
    let bytes = random::bytes::<4>()?;
    let name = format!("transform_of_{}_{}", hex::encode(uuid.as_bytes()), hex::encode(bytes));
    anchor::of_function(&name, function, role);
    // A call of it could mean another function, were there one that fits a jsonb better.
    match anchor::function(&name, role) {
        Some(named) if named == function => Ok(name),
        _ => Err(Refusal::NotATransform(signature)),
    }
}

/// The anchors of a restored database go with the extension again.
pub fn adopt_all(session: &Session) {
    adoption::all();
    session.run(sql!("registry/record_owners"), &[]);
}
