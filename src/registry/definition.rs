//! The settings of a webhook, as a user gives them.

use std::time::Duration;

use http::HeaderMap;
use pgrx::datum::Interval;
use pgrx::pg_sys;

use crate::pg::json::Json;
use crate::pg::settings;
use domain::format::Format;
use domain::header;
use domain::on_error::OnTransformError;
use domain::refusal::Refusal;
use domain::secret::Secret;
use domain::signature::Scheme;
use domain::url::EndpointUrl;

/// The longest name, in characters.
const LONGEST_NAME: usize = 200;

/// Bytes of a description, which is for people to read.
const LONGEST_DESCRIPTION: usize = 10_000;

/// Days that `retry_for` may last.
const LONGEST_RETRY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Bytes of bodies that `max_backlog_bytes` may allow: more than a disk has, and far from where sums end.
const LARGEST_BACKLOG: i64 = 1 << 50;

/// How long events may be allowed to wait, and dead letters to be kept.
const LONGEST_KEPT: Duration = Duration::from_secs(3660 * 24 * 60 * 60);

/// Checked settings; `None` is a setting that was not given.
#[derive(Default)]
pub struct Definition {
    /// Unique among live webhooks.
    pub name: Option<String>,
    /// Its text; its addresses have not been judged.
    pub url: Option<EndpointUrl>,
    /// The user's headers as they are stored.
    pub headers: Option<serde_json::Value>,
    /// The signing secret.
    pub secret: Option<Secret>,
    /// Empty clears it.
    pub description: Option<String>,
    /// Whether changes are captured.
    pub enabled: Option<bool>,
    /// The shape of the bodies.
    pub format: Option<Format>,
    /// How requests are signed.
    pub signature: Option<Scheme>,
    /// In which header; empty for that of the signature.
    pub signature_header: Option<String>,
    /// Patterns for types of emitted events.
    pub event_types: Option<Vec<String>>,
    /// Roles whose events it hears as well.
    pub emitters: Option<Vec<pg_sys::Oid>>,
    /// Whose it becomes.
    pub owner: Option<pg_sys::Oid>,
    /// `jsonb -> jsonb`; an invalid oid for none. Not checked here.
    pub transform: Option<pg_sys::Oid>,
    /// What an error of it means.
    pub on_transform_error: Option<OnTransformError>,
    /// -1 for no limit.
    pub max_retries: Option<i32>,
    /// 1 to 600.
    pub timeout_seconds: Option<i32>,
    /// 1 to 36000.
    pub retry_backoff_seconds: Option<i32>,
    /// Up to 30 days.
    pub retry_for: Option<Interval>,
    /// 1 to 1000.
    pub max_concurrency: Option<i32>,
    /// Up to 10000; 0 for no limit.
    pub rate_limit: Option<i32>,
    /// Of what may wait; 0 for what the server's settings say.
    pub bounds: Bounds,
}

/// Bounds of what waits, as they are given; 0 for what the server's settings say.
#[derive(Default)]
pub struct Bounds {
    /// Events.
    pub max_backlog: Option<i32>,
    /// Of their bodies.
    pub max_backlog_bytes: Option<i64>,
    /// Up to ten years.
    pub max_backlog_age: Option<Interval>,
    /// Up to ten years.
    pub dead_letter_retention: Option<Interval>,
}

/// What was typed, before it is checked.
pub struct Given<'a> {
    pub name: Option<&'a str>,
    pub url: Option<&'a str>,
    pub headers: Option<Json>,
    pub secret: Option<&'a str>,
    pub description: Option<&'a str>,
    pub enabled: Option<bool>,
    pub format: Option<&'a str>,
    pub signature: Option<&'a str>,
    pub signature_header: Option<&'a str>,
    pub transform: Option<pg_sys::Oid>,
    pub on_transform_error: Option<&'a str>,
    pub max_retries: Option<i32>,
    pub timeout_seconds: Option<i32>,
    pub retry_backoff_seconds: Option<i32>,
    pub retry_for: Option<Interval>,
    pub max_concurrency: Option<i32>,
    pub rate_limit: Option<i32>,
    pub bounds: Bounds,
}

impl Definition {
    /// Checks everything that can be checked without the network and the catalog.
    ///
    /// # Errors
    ///
    /// The first setting that is refused.
    pub fn check(given: Given<'_>) -> Result<Self, Refusal> {
        in_range("max_retries", given.max_retries, -1, i32::MAX, "-1 (no limit)", "2147483647")?;
        in_range("timeout_seconds", given.timeout_seconds, 1, 600, "1", "600 seconds")?;
        let backoff = given.retry_backoff_seconds;
        in_range("retry_backoff_seconds", backoff, 1, 36_000, "1", "36000 seconds")?;
        in_range("max_concurrency", given.max_concurrency, 1, 1000, "1", "1000")?;
        in_range("rate_limit", given.rate_limit, 0, 10_000, "0 (no limit)", "10000 a second")?;
        if let Some(interval) = &given.retry_for
            && !(0..=LONGEST_RETRY.as_micros() as i128).contains(&micros(interval))
        {
            return Err(Refusal::OutOfRange { argument: "retry_for", least: "0", most: "30 days" });
        }
        given.bounds.check()?;
        let headers = given.headers.map(|Json(text)| header::read(&text)).transpose()?;
        Ok(Self {
            name: given.name.map(check_name).transpose()?,
            url: given
                .url
                .map(|url| EndpointUrl::parse(url, settings::allow_http()))
                .transpose()?,
            headers,
            secret: given.secret.map(Secret::parse).transpose()?,
            description: given.description.map(check_description).transpose()?,
            enabled: given.enabled,
            format: given.format.map(str::parse).transpose()?,
            signature: given.signature.map(str::parse).transpose()?,
            signature_header: given.signature_header.map(check_signature_header).transpose()?,
            event_types: None,
            emitters: None,
            owner: None,
            transform: given.transform,
            on_transform_error: given.on_transform_error.map(str::parse).transpose()?,
            max_retries: given.max_retries,
            timeout_seconds: given.timeout_seconds,
            retry_backoff_seconds: given.retry_backoff_seconds,
            retry_for: given.retry_for,
            max_concurrency: given.max_concurrency,
            rate_limit: given.rate_limit,
            bounds: given.bounds,
        })
    }
}

impl Bounds {
    fn check(&self) -> Result<(), Refusal> {
        let out_of = |argument, least, most| Err(Refusal::OutOfRange { argument, least, most });
        let zero = "0 (the server's setting)";
        if self.max_backlog.is_some_and(|events| events < 0) {
            return out_of("max_backlog", zero, "2147483647");
        }
        if self.max_backlog_bytes.is_some_and(|bytes| !(0..=LARGEST_BACKLOG).contains(&bytes)) {
            return out_of("max_backlog_bytes", zero, "1 PiB");
        }
        let times = [
            ("max_backlog_age", &self.max_backlog_age),
            ("dead_letter_retention", &self.dead_letter_retention),
        ];
        for (argument, time) in times {
            let Some(micros) = time.as_ref().map(micros) else { continue };
            let range = 1_000_000..=LONGEST_KEPT.as_micros() as i128;
            if micros != 0 && !range.contains(&micros) {
                return out_of(argument, "1 second, or 0 (the server's setting)", "10 years");
            }
        }
        Ok(())
    }
}

/// The user's headers of a stored webhook.
///
/// # Errors
///
/// As at registration; rules may have changed since.
pub fn headers(stored: &serde_json::Value) -> Result<HeaderMap, Refusal> {
    Ok(header::parse(stored)?)
}

fn check_signature_header(name: &str) -> Result<String, Refusal> {
    if name.is_empty() {
        return Ok(String::new());
    }
    Ok(header::signature_name(name)?.to_string())
}

fn check_description(text: &str) -> Result<String, Refusal> {
    bounded("description", text, LONGEST_DESCRIPTION).map(str::to_owned)
}

/// Passes a text argument of at most so many bytes. To be asked before it is copied: a copy that there is no memory for
/// would end the server.
///
/// # Errors
///
/// It is longer.
pub fn bounded<'a>(argument: &'static str, text: &'a str, most: usize) -> Result<&'a str, Refusal> {
    if text.len() > most { Err(Refusal::TooLong { argument, most }) } else { Ok(text) }
}

fn check_name(name: &str) -> Result<String, Refusal> {
    let length = name.chars().count();
    let good = (1..=LONGEST_NAME).contains(&length)
        && name.trim() == name
        && !name.chars().any(char::is_control)
        // a webhook is addressed by its name or its uuid
        && uuid::Uuid::try_parse(name).is_err();
    if good {
        Ok(name.to_owned())
    } else {
        Err(Refusal::Name(name.escape_debug().take(100).collect()))
    }
}

fn in_range(
    argument: &'static str,
    value: Option<i32>,
    from: i32,
    to: i32,
    least: &'static str,
    most: &'static str,
) -> Result<(), Refusal> {
    match value {
        Some(value) if !(from..=to).contains(&value) => {
            Err(Refusal::OutOfRange { argument, least, most })
        }
        _ => Ok(()),
    }
}

/// An interval in whole seconds, counted as in [`micros`].
pub fn seconds(interval: &Interval) -> i64 {
    i64::try_from(micros(interval) / 1_000_000).unwrap_or(i64::MAX)
}

/// With 24 hours to the day and 30 days to the month, as `extract(epoch)` counts them.
fn micros(interval: &Interval) -> i128 {
    const DAY: i128 = 86_400_000_000;
    i128::from(interval.micros())
        + i128::from(interval.days()) * DAY
        + i128::from(interval.months()) * 30 * DAY
}
