//! Webhooks as the worker needs them.

use std::time::Duration;

use http::HeaderName;
use pgrx::datum::JsonB;

use super::definition;
use crate::pg::spi::{Row, Session, arg, sql};
use crate::pg::{identity, settings};
use delivery::client::Destination;
use domain::batch::{BatchFormat, Batching};
use domain::failure::{ErrorClass, Failure};
use domain::format::Format;
use domain::header;
use domain::key::WebhookId;
use domain::secret::{self, Secret};
use domain::signature::{Previous, Scheme};
use domain::url::EndpointUrl;
use domain::verdict::RetryPolicy;
use transit::route::Route;

/// All live webhooks whose owner is there, or the one with this key if it is one of them.
pub fn load(session: &Session, only: Option<WebhookId>) -> Vec<Route<Destination>> {
    let rows = session.run(sql!("registry/endpoints"), &[arg(only)]);
    rows.iter().map(route).collect()
}

/// How many webhooks came from another database and send nothing, or whether the one with this key did.
pub fn unarmed(session: &Session, only: Option<WebhookId>) -> i64 {
    let rows = session.look_up(sql!("registry/unarmed"), &[arg(only)]);
    rows.first().map_or(0, |row| row.value("count"))
}

fn route(row: Row<'_>) -> Route<Destination> {
    let (enabled, paused): (bool, bool) = (row.value("enabled"), row.value("paused"));
    let batching = batching(row);
    Route {
        webhook: row.value("id"),
        // What is unarmed, or lacks what a dump does not hold, waits as what is paused.
        sending: enabled && !paused && row.value("is_armed") && row.value("is_complete"),
        policy: policy(row),
        ordered: row.value("ordered"),
        holds: row.value("holds"),
        updated_at: row.value("updated_at"),
        fail_count: row.value::<i32>("fail_count").unsigned_abs(),
        unwell: row.value::<i32>("unwell").unsigned_abs(),
        failing_since: row.get("failing_since"),
        disable_after: row
            .get::<i64>("disable_after")
            .map(|after| Duration::from_secs(after.unsigned_abs())),
        throttled: row.value("throttled"),
        batching,
        destination: destination(row, batching),
    }
}

/// How it retries: for ever where nothing of a key is to go on before.
fn policy(row: Row<'_>) -> RetryPolicy {
    let base = seconds(row, "retry_backoff_seconds");
    if row.value("blocks") {
        return RetryPolicy { max_retries: None, base, retry_for: Duration::MAX };
    }
    RetryPolicy {
        max_retries: row.get::<i32>("max_retries").map(i32::unsigned_abs),
        base,
        retry_for: Duration::from_secs(row.value::<i64>("retry_for").unsigned_abs()),
    }
}

/// How many go in one request, where that is more than one.
fn batching(row: Row<'_>) -> Option<Batching> {
    let size = row.value::<i32>("batch_size").unsigned_abs();
    // No batch takes what the rate lets pass in more than a second.
    let most = row.get::<i32>("rate_limit").map_or(u32::MAX, i32::unsigned_abs);
    (size > 1).then(|| Batching {
        size: size.min(most) as usize,
        bytes: row.value::<i32>("batch_bytes").unsigned_abs() as usize,
        wait: Duration::from_millis(row.value::<i64>("batch_wait").unsigned_abs()),
        format: row.value::<String>("batch_format").parse().unwrap_or(BatchFormat::Array),
        named: row.value::<String>("format") == Format::CloudEvents.name(),
    })
}

/// A definition that was good once may be refused now: its requests fail, and are retried.
fn destination(row: Row<'_>, batching: Option<Batching>) -> Result<Destination, Failure> {
    let url = EndpointUrl::parse(&row.value::<String>("url"), settings::allow_http())
        .map_err(|error| Failure::new(ErrorClass::BlockedAddress, error.to_string()))?;
    let scheme: Scheme = row.value::<String>("signature").parse().map_err(internal)?;
    let secret = match row.get::<String>("signing_key") {
        Some(key) => Secret::parse(&key).map_err(internal)?,
        // It signs nothing.
        None if scheme == Scheme::None => Secret::generate(&[0; secret::GENERATED_BYTES]),
        None => {
            return Err(internal(identity::qualified(
                "the webhook has no secret; give it one with webhook_update",
            )));
        }
    };
    if let Some(lost) = row.get::<Vec<String>>("lacked_headers").filter(|lost| !lost.is_empty()) {
        let names = lost.join(", ");
        let again = identity::qualified("webhook_update says it again");
        return Err(internal(format!("what is in header {names} is lost; {again}")));
    }
    let JsonB(headers) = row.get("headers").unwrap_or_else(|| JsonB(serde_json::json!({})));
    let format: Format = row.value::<String>("format").parse().map_err(internal)?;
    let signature_header = match row.get::<String>("signature_header") {
        Some(name) => header::signature_name(&name).map_err(internal)?,
        None => HeaderName::from_static(format.signature_header(scheme)),
    };
    let keys: Vec<String> = row.get("previous_keys").unwrap_or_default();
    let until: Vec<i64> = row.get("previous_until").unwrap_or_default();
    let previous = |(key, until): (&String, i64)| {
        let secret = Secret::parse(key).map_err(internal)?;
        Ok(Previous { secret, until: until.max(0).unsigned_abs() })
    };
    let previous = keys.iter().zip(until).map(previous).collect::<Result<_, Failure>>()?;
    Ok(Destination {
        url,
        headers: definition::headers(&headers).map_err(internal)?,
        content_type: batching
            .map_or(format.content_type(), |rules| rules.format.content_type(format)),
        scheme,
        signature_header,
        secret,
        previous,
        timeout: seconds(row, "timeout_seconds"),
        concurrency: settings::max_connections_per_endpoint()
            .min(row.value::<i32>("max_concurrency").unsigned_abs() as usize),
        rate: row.get::<i32>("rate_limit").map(i32::unsigned_abs),
    })
}

fn internal(reason: impl ToString) -> Failure {
    Failure::new(ErrorClass::Internal, reason.to_string())
}

fn seconds(row: Row<'_>, column: &'static str) -> Duration {
    Duration::from_secs(row.value::<i32>(column).unsigned_abs().into())
}
