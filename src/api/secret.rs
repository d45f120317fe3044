//! `webhook_rotate_secret`, `webhook_sign`, `webhook_verify`

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderName;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{generated_secret, on_behalf};
use crate::pg::json::Json;
use crate::pg::memory::{self, ROOM};
use crate::pg::{report, spi};
use crate::registry::definition::{bounded, seconds};
use crate::registry::{self, managed, webhook};
use domain::refusal::Refusal;
use domain::secret::Secret;
use domain::signature::{Scheme, Signer};
use domain::verification::{self, Clock};

#[pg_extern(sql = false)]
fn webhook_rotate_secret(
    webhook: Option<&str>,
    overlap: Option<Interval>,
    secret: Option<&str>,
) -> Result<String, ErrorReport> {
    on_behalf(|caller| {
        let overlap = overlap.ok_or(Refusal::Null("overlap"))?;
        if !(0..=LONGEST_OVERLAP).contains(&seconds(&overlap)) {
            return Err(Refusal::OutOfRange { argument: "overlap", least: "0", most: "30 days" });
        }
        let secret = secret.map_or_else(generated_secret, |given| Ok(Secret::parse(given)?))?;
        spi::connect(|session| {
            let own = managed::find(session, caller, webhook)?;
            webhook::rotate(session, &own, &secret, overlap)?;
            registry::changed();
            Ok(secret.reveal().to_owned())
        })
    })
}

/// Bytes of the headers of a request that is verified, as JSON. No server takes as many.
const LARGEST_HEADERS: usize = 1024 * 1024;

/// Bytes of memory that there has to be for reading such headers, in which a name and its value of a few bytes become some hundred,
/// twice. Less, and where there is no memory the session ends and not the statement.
const ROOM_TO_PARSE: usize = 2 * ROOM;

/// The most seconds for which secrets overlap: 30 days, for which one that has leaked is good still.
const LONGEST_OVERLAP: i64 = 30 * 24 * 60 * 60;

#[pg_extern(sql = false)]
fn webhook_sign(
    payload: Option<&str>,
    secret: Option<&str>,
    signature: Option<&str>,
    id: Option<&str>,
    sent_at: Option<TimestampWithTimeZone>,
) -> Result<Option<String>, ErrorReport> {
    memory::ensure(ROOM);
    report::answer(|| {
        let payload = payload.ok_or(Refusal::Null("payload"))?;
        let secret = Secret::parse(secret.ok_or(Refusal::Null("secret"))?)?;
        let scheme: Scheme = signature.ok_or(Refusal::Null("signature"))?.parse()?;
        let id = match (scheme, id) {
            (Scheme::Standard, None) => return Err(Refusal::Null("id")),
            (_, id) => id.unwrap_or_default(),
        };
        // PostgreSQL counts microseconds from 2000.
        let time = sent_at.map_or_else(now, |at| i64::from(at).div_euclid(1_000_000) + 946_684_800);
        let header = HeaderName::from_static(scheme.header());
        let signer = Signer::new(scheme, header, &secret, &[])?;
        let mut signatures = signer.sign(id, time.max(0).unsigned_abs(), payload.as_bytes());
        Ok((!signatures.is_empty()).then(|| signatures.swap_remove(0).1))
    })
}

#[pg_extern(sql = false)]
fn webhook_verify(
    payload: Option<&str>,
    headers: Option<Json>,
    secret: Option<&str>,
    tolerance: Option<Interval>,
    signature: Option<&str>,
) -> Result<bool, ErrorReport> {
    memory::ensure(ROOM_TO_PARSE);
    report::answer(|| {
        let given = given(payload, secret)?;
        let only: Option<Scheme> = signature.map(str::parse).transpose()?;
        let Json(headers) = headers.ok_or(Refusal::Null("headers"))?;
        // What is not an object of texts has no signature in it.
        let headers: HashMap<String, serde_json::Value> =
            serde_json::from_str(bounded("headers", &headers, LARGEST_HEADERS)?)
                .unwrap_or_default();
        let headers: HashMap<String, String> = headers
            .iter()
            .filter_map(|(name, value)| Some((name.to_lowercase(), value.as_str()?.to_owned())))
            .collect();
        Ok(given.is_some_and(|(payload, secret)| {
            verification::by_headers(payload, &headers, &secret, clock(tolerance), only)
        }))
    })
}

#[pg_extern(sql = false)]
fn webhook_verify_signature(
    payload: Option<&str>,
    signature: Option<&str>,
    secret: Option<&str>,
    tolerance: Option<Interval>,
) -> Result<bool, ErrorReport> {
    memory::ensure(ROOM);
    report::answer(|| {
        let given = given(payload, secret)?;
        let signature = signature.ok_or(Refusal::Null("signature"))?;
        if verification::is_object(signature) {
            return Err(Refusal::HeadersAsSignature);
        }
        Ok(given.is_some_and(|(payload, secret)| {
            verification::by_signature(payload, signature, &secret, clock(tolerance))
        }))
    })
}

/// A secret that we would never have signed with verifies nothing.
fn given<'a>(
    payload: Option<&'a str>,
    secret: Option<&str>,
) -> Result<Option<(&'a str, Secret)>, Refusal> {
    let payload = payload.ok_or(Refusal::Null("payload"))?;
    let secret = secret.ok_or(Refusal::Null("secret"))?;
    Ok(Secret::parse(secret).ok().map(|secret| (payload, secret)))
}

fn clock(tolerance: Option<Interval>) -> Clock {
    Clock { now: now(), tolerance: tolerance.map(|interval| seconds(&interval)) }
}

fn now() -> i64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(unix.as_secs()).unwrap_or(i64::MAX)
}
