//! `webhook_preview`

use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderName;
use pgrx::datum::JsonB;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::{Map, Value};

use super::prospect::{self, Question};
use super::{on_behalf, single};
use crate::compose::recipient::{Draft, Recipient};
use crate::pg::json::Json;
use crate::pg::spi;
use crate::registry::{endpoint, managed};
use delivery::client::{AGENT, Destination};
use domain::batch::Batching;
use domain::refusal::Refusal;

/// Method, URL, headers, body, signature, reason.
type Shown =
    (String, Option<String>, Option<JsonB>, Option<String>, Option<String>, Option<String>);

#[pg_extern(sql = false)]
fn webhook_preview(
    webhook: Option<&str>,
    op: Option<&str>,
    new_row: Option<Json>,
    old_row: Option<Json>,
    table_name: Option<pg_sys::Oid>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(method, String),
            name!(url, Option<String>),
            name!(headers, Option<JsonB>),
            name!(body, Option<String>),
            name!(signature, Option<String>),
            name!(reason, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let (new, old) = (prospect::text(new_row), prospect::text(old_row));
    on_behalf(|caller| {
        let op = op.ok_or(Refusal::Null("op"))?;
        spi::connect(|session| {
            let own = managed::look(session, caller, webhook)?;
            let recipient = Recipient::load(session, own.id);
            let route = endpoint::load(session, Some(own.id)).pop();
            let (Some(recipient), Some(route)) = (recipient, route) else {
                return Err(Refusal::UnknownWebhook(own.name));
            };
            let question =
                Question { session, own: &own, recipient: &recipient, new, old, emitter: None };
            let prospect = question.answer(op, table_name)?;
            let reason = prospect.obstacles.into_iter().next().map(|first| first.problem);
            let shown = match (prospect.body, &route.destination) {
                (Some((draft, body)), Ok(destination)) => {
                    show(destination, route.batching.as_ref(), &draft, body)?
                }
                (None, Ok(to)) => unsent(Some(to.url.to_string()), reason.unwrap_or_default()),
                (_, Err(failure)) => unsent(None, failure.to_string()),
            };
            Ok(TableIterator::once(shown))
        })
    })
}

fn show(
    destination: &Destination,
    batching: Option<&Batching>,
    draft: &Draft,
    body: String,
) -> Result<Shown, Refusal> {
    let body = single::body(batching, &draft.event_id, &body);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let signatures = destination.signer()?.sign(&draft.event_id, now, body.as_bytes());
    let mut headers = Map::new();
    let mut put = |name: &HeaderName, value: String| {
        headers.insert(name.to_string(), Value::String(value));
    };
    put(&http::header::CONTENT_TYPE, destination.content_type.to_owned());
    put(&http::header::USER_AGENT, AGENT.to_owned());
    destination.headers.keys().for_each(|name| put(name, "***".to_owned()));
    put(&HeaderName::from_static("webhook-id"), draft.event_id.clone());
    put(&HeaderName::from_static("webhook-timestamp"), now.to_string());
    put(&HeaderName::from_static("webhook-attempt"), "1".to_owned());
    if batching.is_some() {
        put(&HeaderName::from_static("webhook-batch"), "1".to_owned());
    }
    signatures.iter().for_each(|(name, value)| put(name, value.clone()));
    let signature = signatures.into_iter().next().map(|(_, value)| value);
    Ok((
        "POST".to_owned(),
        Some(destination.url.to_string()),
        Some(JsonB(Value::Object(headers))),
        Some(body),
        signature,
        None,
    ))
}

fn unsent(url: Option<String>, reason: String) -> Shown {
    ("POST".to_owned(), url, None, None, None, Some(reason))
}
