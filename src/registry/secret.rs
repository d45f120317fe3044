//! What nobody reads back of a webhook: its signing secrets and the values of its headers.
//!
//! They are written without a statement: auto_explain and pgaudit log the parameters of statements that
//! functions run. Reading them with one is harmless, because nothing logs results.

use pgrx::datum::{Interval, JsonB, TimestampWithTimeZone};
use pgrx::pg_sys::ItemPointerData;
use pgrx::prelude::*;
use serde_json::Value;

use super::definition::{HeaderChanges, micros};
use super::managed::Webhook;
use crate::pg::heap::{self, Field, column};
use crate::pg::invalidation;
use crate::pg::spi::{Session, arg, sql};
use domain::header;
use domain::key::WebhookId;
use domain::refusal::Refusal;
use domain::secret::Secret;

/// Secrets of a webhook that sign at once, the newest among them. Each adds 48 bytes to a header and a hash of the body to every
/// attempt; a month of rotations once in three days, each with the longest overlap, has as many.
const MOST_SECRETS: usize = 10;

/// A row of `webhook.secret`, without its key.
#[derive(Default)]
struct Secrets {
    signing_key: Option<String>,
    headers: Option<Value>,
    /// Those before, the oldest first, each with the end of its overlap.
    previous: Vec<(String, TimestampWithTimeZone)>,
}

/// When it is, and when an overlap that begins now is over.
#[derive(Clone, Copy)]
struct Times {
    now: TimestampWithTimeZone,
    overlap_until: Option<TimestampWithTimeZone>,
}

impl Secrets {
    /// What an owner has put into headers is meant for where that owner sent it, so somebody without the owner's
    /// rights does not take it elsewhere. The secret stays: what it signs does not tell it, and whoever manages a
    /// webhook has requests signed anyway.
    /// Returns whether they are taken away.
    fn go_elsewhere(&mut self, webhook: &Webhook) -> bool {
        let is_empty = |headers: &Value| headers.as_object().is_none_or(|names| names.is_empty());
        if webhook.own || self.headers.as_ref().is_none_or(is_empty) {
            return false;
        }
        self.headers = None;
        warning!(
            "the headers of webhook \"{}\" are removed: only a role with its owner's rights takes them to another URL",
            webhook.name
        );
        true
    }

    /// The secret becomes `new`. Those before sign on until their overlaps end, and the one before this until `until`; without it
    /// none of them does.
    fn rotate(
        &mut self,
        new: &Secret,
        now: TimestampWithTimeZone,
        until: Option<TimestampWithTimeZone>,
    ) -> Result<(), Refusal> {
        if self.signing_key.as_deref() == Some(new.reveal()) {
            return Err(Refusal::SameSecret);
        }
        let before = self.signing_key.replace(new.reveal().to_owned());
        let Some(until) = until else {
            self.previous.clear();
            return Ok(());
        };
        // One that comes back signs as the newest.
        self.previous.retain(|(key, until)| *until > now && key != new.reveal());
        self.previous.extend(before.map(|key| (key, until)));
        if self.previous.len() >= MOST_SECRETS {
            return Err(Refusal::TooManySecrets(MOST_SECRETS));
        }
        Ok(())
    }
}

/// Those of a new webhook.
pub fn insert(session: &Session, webhook: WebhookId, secret: &Secret, headers: Option<Value>) {
    let signing_key = Some(secret.reveal().to_owned());
    note_names(session, webhook, headers.as_ref(), None);
    write(webhook, None, Secrets { signing_key, headers, ..Secrets::default() });
}

/// Changes what is given: the secret, which ends all rotations, all headers, or single ones. `moves` says that requests go elsewhere
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
            secrets.previous.clear();
        }
        let keeps = match headers {
            Some(headers) => {
                secrets.headers = Some(headers);
                false
            }
            None if moves => !secrets.go_elsewhere(webhook),
            None => true,
        };
        if let Some(HeaderChanges { set, unset }) = single {
            let stored = secrets.headers.take().unwrap_or_else(|| serde_json::json!({}));
            secrets.headers = Some(header::merge(&stored, set, unset)?);
        }
        if !keeps || single.is_some() {
            note_names(session, webhook.id, secrets.headers.as_ref(), single.filter(|_| keeps));
        }
        Ok(())
    })
}

/// The names of headers are no secret, and stay where what is in them is lost: beside those that are there, where single ones change,
/// those that have been lost.
fn note_names(
    session: &Session,
    webhook: WebhookId,
    headers: Option<&Value>,
    single: Option<&HeaderChanges>,
) {
    let names = headers.and_then(Value::as_object).into_iter().flat_map(serde_json::Map::keys);
    let names: Vec<String> = names.cloned().collect();
    let unset = single.map_or_else(Vec::new, |changes| changes.unset.clone());
    let args = [arg(webhook), arg(names), arg(single.is_some()), arg(unset)];
    session.run(sql!("registry/header_names"), &args);
}

/// The secret becomes `new`, and the one before signs for `overlap` as well, beside those before it whose overlaps have not ended.
/// Without an overlap `new` signs alone.
///
/// # Errors
///
/// It is the secret, or there are too many.
pub fn rotate(
    session: &Session,
    webhook: WebhookId,
    new: &Secret,
    overlap: Interval,
) -> Result<(), Refusal> {
    let overlaps = micros(&overlap) > 0;
    change(session, webhook, Some(overlap), |secrets, times| match times {
        Some(times) => secrets.rotate(new, times.now, times.overlap_until.filter(|_| overlaps)),
        None => {
            secrets.signing_key = Some(new.reveal().to_owned());
            Ok(())
        }
    })
}

/// Lets `change` change the row, of which there is none in a restored database: dumps carry no secrets. It is told the times where
/// there is one.
fn change(
    session: &Session,
    webhook: WebhookId,
    overlap: Option<Interval>,
    change: impl FnOnce(&mut Secrets, Option<Times>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let rows = session.run(sql!("registry/secret"), &[arg(webhook), arg(overlap)]);
    let row = rows.first();
    let before = row.map(|row| row.value::<ItemPointerData>("ctid"));
    let mut secrets = row.map_or_else(Secrets::default, |row| {
        let keys: Vec<String> = row.value("previous_keys");
        let until: Vec<TimestampWithTimeZone> = row.value("previous_until");
        Secrets {
            signing_key: row.get("signing_key"),
            headers: row.get("headers").map(|JsonB(headers)| headers),
            previous: keys.into_iter().zip(until).collect(),
        }
    });
    let times =
        row.map(|row| Times { now: row.value("now"), overlap_until: row.get("overlap_until") });
    change(&mut secrets, times)?;
    write(webhook, before, secrets);
    Ok(())
}

fn write(webhook: WebhookId, before: Option<ItemPointerData>, secrets: Secrets) {
    let headers = secrets.headers.unwrap_or_else(|| serde_json::json!({}));
    let (keys, until): (Vec<String>, Vec<TimestampWithTimeZone>) =
        secrets.previous.into_iter().unzip();
    heap::replace(
        invalidation::relation(c"secret"),
        before,
        [
            Field::needed(column!(c"webhook"), arg(webhook)),
            Field::needed(column!(c"signing_key"), arg(secrets.signing_key)),
            Field::needed(column!(c"headers"), arg(JsonB(headers))),
            Field::needed(column!(c"previous_keys"), arg(keys)),
            Field::needed(column!(c"previous_until"), arg(until)),
        ],
    );
}
