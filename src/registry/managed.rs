//! Webhooks that the caller may manage.

use crate::pg::identity::Caller;
use crate::pg::snapshot;
use crate::pg::spi::{Rows, Session, arg, sql};
use domain::format::Format;
use domain::key::WebhookId;
use domain::refusal::Refusal;
use domain::signature::Scheme;

/// A webhook that the caller may manage.
pub struct Webhook {
    /// The key of its rows.
    pub id: WebhookId,
    /// The name.
    pub name: String,
    /// Where it sends.
    pub(super) url: String,
    /// The shape of its bodies.
    pub(super) format: Format,
    /// How it signs.
    pub(super) scheme: Scheme,
    /// In which header, where that is not the scheme's.
    pub(super) signature_header: Option<String>,
    /// The caller has the rights of its owner; an admin need not have them.
    pub(super) own: bool,
}

impl Webhook {
    /// Passes a caller that has the rights of the webhook's owner, without which nobody brings a condition, a transform or
    /// emitters: a transform runs with them, a condition does in a preview, and what emitters write becomes its events.
    ///
    /// # Errors
    ///
    /// [`Refusal::MayNotBring`].
    pub fn may_bring(&self, part: &'static str) -> Result<(), Refusal> {
        if self.own {
            Ok(())
        } else {
            Err(Refusal::MayNotBring { part, webhook: self.name.clone() })
        }
    }
}

/// Finds a webhook by its name or uuid and locks it against other changes. The caller's own goes before those of
/// others that it may manage, so that nobody makes a name ambiguous to its owner.
///
/// # Errors
///
/// [`Refusal::UnknownWebhook`], also where it belongs to a role that the caller is not a member of, and
/// [`Refusal::AmbiguousWebhook`].
pub fn find(session: &Session, caller: &Caller, webhook: Option<&str>) -> Result<Webhook, Refusal> {
    let webhook = webhook.ok_or(Refusal::Null("webhook"))?;
    let id = name(session, caller, webhook)?;
    lock(session, caller, id, webhook)
}

/// As [`find`], where it has been looked up before: it keeps to the webhook that had the name, or the uuid, `webhook` then.
///
/// # Errors
///
/// [`Refusal::UnknownWebhook`] where the caller may not manage it any more.
pub fn lock(
    session: &Session,
    caller: &Caller,
    id: WebhookId,
    webhook: &str,
) -> Result<Webhook, Refusal> {
    let rows = session.run(sql!("registry/lock"), &[arg(id), arg(caller.role)]);
    found(&rows, id, webhook)
}

/// As [`find`], to look at it: whoever changes it meanwhile neither waits nor is waited for.
///
/// # Errors
///
/// As for [`find`].
pub fn look(session: &Session, caller: &Caller, webhook: Option<&str>) -> Result<Webhook, Refusal> {
    let webhook = webhook.ok_or(Refusal::Null("webhook"))?;
    let id = name(session, caller, webhook)?;
    let args = [arg(id), arg(caller.role)];
    let rows = snapshot::with_latest(|| session.look_up(sql!("registry/look"), &args));
    found(&rows, id, webhook)
}

fn found(rows: &Rows<'_>, id: WebhookId, webhook: &str) -> Result<Webhook, Refusal> {
    let row = rows.first().ok_or_else(|| Refusal::UnknownWebhook(shown(webhook)))?;
    Ok(Webhook {
        id,
        name: row.value("name"),
        url: row.value("url"),
        format: row.value::<String>("format").parse()?,
        scheme: row.value::<String>("signature").parse()?,
        signature_header: row.get("signature_header"),
        own: row.value("has_rights"),
    })
}

/// As [`look`], its number alone.
///
/// # Errors
///
/// As for [`find`].
pub fn name(session: &Session, caller: &Caller, webhook: &str) -> Result<WebhookId, Refusal> {
    named(session, caller, webhook, false)
}

/// As [`name`], for whom it will do to see it.
///
/// # Errors
///
/// As for [`find`], of those that the caller may see.
pub fn see(session: &Session, caller: &Caller, webhook: &str) -> Result<WebhookId, Refusal> {
    named(session, caller, webhook, true)
}

fn named(
    session: &Session,
    caller: &Caller,
    webhook: &str,
    only_seen: bool,
) -> Result<WebhookId, Refusal> {
    // As it is now: an old snapshot shows what is somebody else's by now.
    let args = [arg(webhook), arg(caller.role), arg(only_seen)];
    let rows = snapshot::with_latest(|| session.look_up(sql!("registry/find"), &args));
    let found: Vec<(WebhookId, bool)> =
        rows.iter().map(|row| (row.value("id"), row.value("is_owner"))).collect();
    let own: Vec<(WebhookId, bool)> = found.iter().copied().filter(|(_, own)| *own).collect();
    match (&own[..], &found[..]) {
        ([(id, _)], _) | ([], [(id, _)]) => Ok(*id),
        ([], []) => Err(Refusal::UnknownWebhook(shown(webhook))),
        _ => Err(Refusal::AmbiguousWebhook(shown(webhook))),
    }
}

/// The caller's own webhook of that name, which others that it may manage do not count for.
///
/// # Errors
///
/// [`Refusal::AmbiguousWebhook`]: by REASSIGN OWNED it has two.
pub fn own_named(
    session: &Session,
    caller: &Caller,
    name: &str,
) -> Result<Option<WebhookId>, Refusal> {
    let args = [arg(name), arg(caller.role)];
    let rows = snapshot::with_latest(|| session.look_up(sql!("registry/own"), &args));
    let mut own = rows.iter().map(|row| row.value("id"));
    match (own.next(), own.next()) {
        (first, None) => Ok(first),
        _ => Err(Refusal::AmbiguousWebhook(shown(name))),
    }
}

/// As [`name`], also by the uuid of one that has been deleted.
///
/// # Errors
///
/// As for [`find`].
pub fn name_any(session: &Session, caller: &Caller, webhook: &str) -> Result<WebhookId, Refusal> {
    let args = [arg(webhook), arg(caller.role)];
    let rows = snapshot::with_latest(|| session.look_up(sql!("registry/find_deleted"), &args));
    match rows.first() {
        Some(row) => Ok(row.value("id")),
        None => name(session, caller, webhook),
    }
}

/// What a caller has named, as errors show it.
fn shown(webhook: &str) -> String {
    webhook.chars().take(200).collect()
}
