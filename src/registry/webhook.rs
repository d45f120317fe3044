//! The rows of webhooks.

use pgrx::datum::{Interval, JsonB, TimestampWithTimeZone, Uuid};
use pgrx::prelude::*;

use super::definition::{Definition, Plain};
use super::document::Names;
use super::managed::Webhook;
use super::privilege::Patience;
use super::{emitter, owner, secret, transform};
use crate::host::ids;
use crate::pg::identity::{self, Caller};
use crate::pg::spi::{Session, arg, sql};
use crate::pg::{settings, snapshot, subtransaction};
use domain::format::Format;
use domain::key::WebhookId;
use domain::refusal::Refusal;
use domain::secret::Secret;
use domain::signature::{Scheme, Signer};

/// A webhook that has just been made.
pub struct Created {
    /// The webhook.
    pub webhook: Webhook,
    /// The public id.
    pub uuid: Uuid,
    /// Whether it captures and sends.
    pub enabled: bool,
    /// When.
    pub created_at: TimestampWithTimeZone,
}

/// Makes a webhook of a complete definition, owned by the caller. Where another transaction makes one of the name, that is waited
/// for, and where it makes the caller's first one or changes levels, for as long as `patience` says.
///
/// # Errors
///
/// A name in use, the limit of webhooks, or a secret that does not fit the signature; or those of [`emitter::hold`].
pub fn insert(
    session: &Session,
    caller: &Caller,
    definition: Definition,
    signing: &Secret,
    patience: Patience,
) -> Result<Created, Refusal> {
    let name = definition.name.ok_or(Refusal::Null("name"))?;
    let url = definition.url.ok_or(Refusal::Null("url"))?.to_string();
    let format = definition.format.ok_or(Refusal::Null("format"))?;
    let scheme = definition.signature.unwrap_or(format.scheme());
    Signer::check(scheme, signing)?;
    let signature_header = definition.signature_header.filter(|name| !name.is_empty());
    scheme.check_header(signature_header.as_deref())?;
    if let Some(most) = settings::max_webhooks() {
        let count = session.run(sql!("registry/count"), &[]);
        if count.first().is_some_and(|row| row.value::<i64>("count") >= most.into()) {
            return Err(Refusal::TooMany(most));
        }
    }
    definition.plain.check_needed()?;
    if let Some(roles) = &definition.emitters {
        emitter::hold(session, None, roles, patience)?;
    }
    let args = [
        arg(name.as_str()),
        arg(url.as_str()),
        arg(format.name()),
        arg(scheme.name()),
        arg(signature_header.as_deref()),
        arg(definition.event_types.unwrap_or_default()),
        arg(owner::anchor_of(session, caller.role, patience)?),
        arg(ids::next_webhook(last(session))),
        arg(caller.role),
    ];
    let rows = session.run(sql!("registry/insert"), &args);
    let Some(row) = rows.first() else {
        return Err(Refusal::DuplicateName(name));
    };
    let id = row.value("id");
    let webhook = Webhook { id, name, url, format, scheme, signature_header, own: true };
    let enabled = write(session, webhook.id, Special::default(), &definition.plain);
    secret::insert(session, webhook.id, signing, definition.headers);
    transform::give(session, webhook.id, definition.transform)?;
    if let Some(roles) = &definition.emitters {
        emitter::set(session, &webhook, roles)?;
    }
    Ok(Created { webhook, uuid: row.value("uuid"), enabled, created_at: row.value("created_at") })
}

/// The largest key that a webhook has, also where an old snapshot does not show it.
fn last(session: &Session) -> WebhookId {
    let rows = snapshot::with_latest(|| session.look_up(sql!("registry/last"), &[]));
    rows.first().map_or(WebhookId(0), |row| row.value("last"))
}

/// Changes what `definition` gives. To another URL stored header values go only with whoever has the rights of the
/// owner.
///
/// # Errors
///
/// As for [`insert`].
pub fn update(
    session: &Session,
    caller: &Caller,
    webhook: &Webhook,
    mut definition: Definition,
) -> Result<(), Refusal> {
    // A format brings its own signature.
    definition.signature = definition.signature.or(definition.format.map(Format::scheme));
    if definition.transform.is_some_and(|function| function != pg_sys::InvalidOid) {
        webhook.may_bring("transform")?;
    }
    transform::give(session, webhook.id, definition.transform)?;
    if let Some(roles) = &definition.emitters {
        emitter::set(session, webhook, roles)?;
    }
    if definition.signature.is_some() || definition.secret.is_some() {
        check_secret(session, webhook, &definition)?;
    }
    let header = definition.signature_header.as_ref().or(webhook.signature_header.as_ref());
    let header = header.filter(|name| !name.is_empty());
    definition.signature.unwrap_or(webhook.scheme).check_header(header.map(String::as_str))?;
    let url = definition.url.map(|url| url.to_string());
    let moves = url.as_ref().is_some_and(|url| *url != webhook.url);
    let special = Special {
        name: definition.name.as_deref(),
        url: url.as_deref(),
        format: definition.format,
        signature: definition.signature,
        signature_header: definition.signature_header.as_deref(),
        event_types: definition.event_types,
    };
    let write = || write(session, webhook.id, special, &definition.plain);
    match &definition.name {
        None => drop(write()),
        Some(name) => {
            subtransaction::tolerating(&[PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION], write)
                .ok_or_else(|| Refusal::DuplicateName(name.clone()))?;
        }
    }
    let headers = (definition.headers, definition.header_changes.as_ref());
    secret::update(session, webhook, definition.secret.as_ref(), headers, moves)?;
    match definition.owner {
        Some(role) => owner::give(session, caller, webhook, role),
        None => Ok(()),
    }
}

/// Settings that mean something to others of this room; `None` leaves one as it is.
#[derive(Default)]
struct Special<'a> {
    name: Option<&'a str>,
    url: Option<&'a str>,
    format: Option<Format>,
    signature: Option<Scheme>,
    signature_header: Option<&'a str>,
    event_types: Option<Vec<String>>,
}

/// Writes what is given into the row of a webhook, and returns whether it is enabled.
fn write(session: &Session, webhook: WebhookId, special: Special<'_>, plain: &Plain) -> bool {
    let mut args = vec![
        arg(webhook),
        arg(special.name),
        arg(special.url),
        arg(special.format.map(Format::name)),
        arg(special.signature.map(Scheme::name)),
        arg(special.signature_header),
        arg(special.event_types),
    ];
    args.extend(plain.args());
    let rows = session.run(sql!("registry/update"), &args);
    rows.first().is_some_and(|row| row.value("enabled"))
}

/// Gives it the secret `new`; the one before signs as well for `overlap`.
///
/// # Errors
///
/// A secret that does not fit the signature.
pub fn rotate(
    session: &Session,
    webhook: &Webhook,
    new: &Secret,
    overlap: Interval,
) -> Result<(), Refusal> {
    Signer::check(webhook.scheme, new)?;
    secret::rotate(session, webhook.id, new, overlap)
}

/// Remembers where its secrets come from, and with `applied` that a configuration has made it.
pub fn set_names(session: &Session, webhook: WebhookId, names: &Names, applied: bool) {
    let names = serde_json::to_value(names).unwrap_or_default();
    session.run(sql!("registry/set_named"), &[arg(webhook), arg(JsonB(names)), arg(applied)]);
}

/// Stops or resumes sending, as the caller wants it.
pub fn pause(session: &Session, caller: &Caller, webhook: &Webhook, paused: bool) {
    let args = [arg(webhook.id), arg(paused), arg(identity::name_of(caller.role))];
    session.run(sql!("registry/pause"), &args);
}

/// Marks it deleted. It watches nothing any more; triggers that could not be dropped at once are left to the worker.
///
/// # Errors
///
/// Those of [`emitter::hold`].
pub fn delete(session: &Session, webhook: &Webhook) -> Result<(), Refusal> {
    transform::give(session, webhook.id, Some(pg_sys::InvalidOid))?;
    emitter::set(session, webhook, &[])?;
    session.run(sql!("registry/delete"), &[arg(webhook.id)]);
    Ok(())
}

/// The secret and the signature, of which one or both are new, must fit each other.
fn check_secret(
    session: &Session,
    webhook: &Webhook,
    definition: &Definition,
) -> Result<(), Refusal> {
    let scheme = definition.signature.unwrap_or(webhook.scheme);
    if let Some(secret) = &definition.secret {
        Signer::check(scheme, secret)?;
        return Ok(());
    }
    let rows = session.run(sql!("registry/signing_key"), &[arg(webhook.id)]);
    if let Some(key) = rows.first().and_then(|row| row.get::<String>("signing_key")) {
        Signer::check(scheme, &Secret::parse(&key)?).map_err(|why| Refusal::KeptSecret {
            webhook: webhook.name.clone(),
            signature: scheme.name(),
            before: webhook.scheme.name(),
            why,
        })?;
    }
    Ok(())
}
