//! What nobody reads back of a webhook: its signing secret and the values of its headers.
//!
//! They are written without a statement: auto_explain and pgaudit log the parameters of statements that
//! functions run. Reading them with one is harmless, because nothing logs results.

use pgrx::datum::{Interval, JsonB};
use pgrx::pg_sys::ItemPointerData;
use pgrx::prelude::*;
use serde_json::Value;

use super::definition::HeaderChanges;
use super::managed::Webhook;
use crate::pg::heap::{self, Field, column};
use crate::pg::invalidation;
use crate::pg::spi::{Session, arg, sql};
use domain::header;
use domain::key::WebhookId;
use domain::refusal::Refusal;
use domain::secret::Secret;
use domain::time::Timestamp;

/// A row of `webhook.secret`, without its key.
#[derive(Default)]
struct Secrets {
    signing_key: Option<String>,
    headers: Option<Value>,
    previous_key: Option<String>,
    previous_until: Option<Timestamp>,
}

impl Secrets {
    /// What an owner has put into headers is meant for where that owner sent it, so somebody without the owner's
    /// rights does not take it elsewhere. The secret stays: what it signs does not tell it, and whoever manages a
    /// webhook has requests signed anyway.
    fn go_elsewhere(&mut self, webhook: &Webhook) {
        let is_empty = |headers: &Value| headers.as_object().is_none_or(|names| names.is_empty());
        if webhook.own || self.headers.as_ref().is_none_or(is_empty) {
            return;
        }
        self.headers = None;
        warning!(
            "the headers of webhook \"{}\" are removed: only a role with its owner's rights takes them to another URL",
            webhook.name
        );
    }
}

/// Those of a new webhook.
pub fn insert(webhook: WebhookId, secret: &Secret, headers: Option<Value>) {
    let signing_key = Some(secret.reveal().to_owned());
    write(webhook, None, Secrets { signing_key, headers, ..Secrets::default() });
}

/// Changes what is given: the secret, which ends a rotation, all headers, or single ones. `moves` says that requests go elsewhere
/// from now on.
///
/// # Errors
///
/// Headers that are refused together.
pub fn update(
    session: &Session,
    webhook: &Webhook,
    secret: Option<&Secret>,
    (headers, single): (Option<Value>, Option<&HeaderChanges>),
    moves: bool,
) -> Result<(), Refusal> {
    if secret.is_none() && headers.is_none() && single.is_none() && !moves {
        return Ok(());
    }
    change(session, webhook.id, None, |secrets, _| {
        if let Some(secret) = secret {
            secrets.signing_key = Some(secret.reveal().to_owned());
            (secrets.previous_key, secrets.previous_until) = (None, None);
        }
        match headers {
            Some(headers) => secrets.headers = Some(headers),
            None if moves => secrets.go_elsewhere(webhook),
            None => {}
        }
        if let Some(HeaderChanges { set, unset }) = single {
            let stored = secrets.headers.take().unwrap_or_else(|| serde_json::json!({}));
            secrets.headers = Some(header::merge(&stored, set, unset)?);
        }
        Ok(())
    })
}

/// The secret becomes `new`, and the one before signs for `overlap` as well.
pub fn rotate(
    session: &Session,
    webhook: WebhookId,
    new: &Secret,
    overlap: Interval,
) -> Result<(), Refusal> {
    change(session, webhook, Some(overlap), |secrets, until| {
        secrets.previous_key = secrets.signing_key.replace(new.reveal().to_owned());
        secrets.previous_until = until.filter(|_| secrets.previous_key.is_some());
        Ok(())
    })
}

/// Lets `change` change the row, of which there is none in a restored database: dumps carry no secrets. It is told
/// when `overlap` ends.
fn change(
    session: &Session,
    webhook: WebhookId,
    overlap: Option<Interval>,
    change: impl FnOnce(&mut Secrets, Option<Timestamp>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let rows = session.run(sql!("registry/secret"), &[arg(webhook), arg(overlap)]);
    let row = rows.first();
    let before = row.map(|row| row.value::<ItemPointerData>("ctid"));
    let mut secrets = row.map_or_else(Secrets::default, |row| Secrets {
        signing_key: row.get("signing_key"),
        headers: row.get("headers").map(|JsonB(headers)| headers),
        previous_key: row.get("previous_key"),
        previous_until: row.get("previous_until"),
    });
    change(&mut secrets, row.and_then(|row| row.get("overlap_until")))?;
    write(webhook, before, secrets);
    Ok(())
}

fn write(webhook: WebhookId, before: Option<ItemPointerData>, secrets: Secrets) {
    let headers = secrets.headers.unwrap_or_else(|| serde_json::json!({}));
    heap::replace(
        invalidation::relation(c"secret"),
        before,
        [
            Field::needed(column!(c"webhook"), arg(webhook)),
            Field::needed(column!(c"signing_key"), arg(secrets.signing_key)),
            Field::needed(column!(c"headers"), arg(JsonB(headers))),
            Field::needed(column!(c"previous_key"), arg(secrets.previous_key)),
            Field::needed(column!(c"previous_until"), arg(secrets.previous_until)),
        ],
    );
}
