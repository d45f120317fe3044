//! The settings of a webhook, as a user gives them.

use std::time::Duration;

use http::HeaderMap;
use pgrx::datum::Interval;
use pgrx::pg_sys;

use super::source::Source;
use crate::pg::settings;
use crate::pg::spi::{Arg, arg};
use domain::batch::{self, BatchFormat};
use domain::format::Format;
use domain::header;
use domain::on_error::OnTransformError;
use domain::order::{OnFailure, Ordering};
use domain::refusal::Refusal;
use domain::secret::Secret;
use domain::signature::Scheme;
use domain::url::EndpointUrl;

/// The longest name, in characters.
const LONGEST_NAME: usize = 200;

/// Bytes of a description, which is for people to read.
const LONGEST_DESCRIPTION: usize = 10_000;

/// The longest `retry_for`: 30 days.
const LONGEST_RETRY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Bytes of bodies that `max_backlog_bytes` may allow: more than a disk has, and far from where sums end.
const LARGEST_BACKLOG: i64 = 1 << 50;

/// The longest `max_backlog_age`, `dead_letter_retention` and `disable_after`: ten years, of 366 days each.
const LONGEST_KEPT: Duration = Duration::from_secs(3660 * 24 * 60 * 60);

/// Columns that an `order_key` may have: as many as a primary key.
const MOST_IN_KEY: usize = 32;

/// Checked settings; `None` is a setting that was not given.
#[derive(Clone)]
pub struct Definition {
    /// Unique among live webhooks.
    pub name: Option<String>,
    /// Its text, and an address in it; those that a name resolves to have not been judged.
    pub url: Option<EndpointUrl>,
    /// The user's headers as they are stored.
    pub headers: Option<serde_json::Value>,
    /// Single ones.
    pub header_changes: Option<HeaderChanges>,
    /// The signing secret.
    pub secret: Option<Secret>,
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
    /// All others.
    pub plain: Plain,
}

/// Headers that are changed among others that stay.
#[derive(Clone)]
pub struct HeaderChanges {
    /// Those that are set, as they are stored.
    pub set: serde_json::Value,
    /// The names of those that go.
    pub unset: Vec<String>,
}

/// A setting of which nothing more is known here than what it may be: it is checked and stored, in the column of its name.
struct Setting {
    /// Of the argument and the column.
    name: &'static str,
    kind: Kind,
    /// What a webhook has where nothing is said of it, as `webhook_update` would be given it.
    default: Value,
    /// A webhook is not made without it.
    needed: bool,
}

/// What a plain setting may be. Whatever says that there is none (an empty text, -1, 0) is made NULL by `update.sql`.
enum Kind {
    /// True or false.
    Flag,
    /// A text of so many bytes.
    Text(usize),
    /// A list of names, so many at most.
    Names(usize),
    /// A word, which is read by this.
    Word(fn(&str) -> Result<&'static str, Refusal>),
    /// An integer between these, and how an error says what is the least and the most.
    Integer(i32, i32, [&'static str; 2]),
    /// A bigint, as well.
    Bigint(i64, i64, [&'static str; 2]),
    /// An interval, as well; 0 in any case.
    Interval(Duration, Duration, [&'static str; 2]),
}

/// A value of a setting, in the program.
#[derive(Clone, Copy)]
enum Value {
    Flag(bool),
    Text(&'static str),
    Integer(i32),
    Bigint(i64),
    /// A list of none.
    Names,
    /// An interval of so many.
    Days(i32),
}

/// No limit, or none of its own.
const NO_INTERVAL: Value = Value::Days(0);

const SERVERS: &str = "0 (the server's setting)";
const KEPT: Kind = Kind::Interval(
    Duration::from_secs(1),
    LONGEST_KEPT,
    ["1 second", "10 years, or 0 (the server's setting)"],
);

/// The plain settings, in the order of the parameters of `sql/query/registry/update.sql`.
const PLAIN: [Setting; 21] = [
    optional("description", Kind::Text(LONGEST_DESCRIPTION), Value::Text("")),
    needed("enabled", Kind::Flag, Value::Flag(true)),
    optional("on_transform_error", Kind::Word(on_transform_error), Value::Text("dead")),
    optional(
        "max_retries",
        Kind::Integer(-1, i32::MAX, ["-1 (no limit)", "2147483647"]),
        Value::Integer(-1),
    ),
    needed("timeout_seconds", Kind::Integer(1, 600, ["1", "600 seconds"]), Value::Integer(30)),
    needed(
        "retry_backoff_seconds",
        Kind::Integer(1, 36_000, ["1", "36000 seconds"]),
        Value::Integer(5),
    ),
    needed(
        "retry_for",
        Kind::Interval(Duration::ZERO, LONGEST_RETRY, ["0", "30 days"]),
        Value::Days(3),
    ),
    needed("max_concurrency", Kind::Integer(1, 1000, ["1", "1000"]), Value::Integer(10)),
    optional(
        "rate_limit",
        Kind::Integer(0, 10_000, ["0 (no limit)", "10000 a second"]),
        Value::Integer(0),
    ),
    optional("max_backlog", Kind::Integer(0, i32::MAX, [SERVERS, "2147483647"]), Value::Integer(0)),
    optional(
        "max_backlog_bytes",
        Kind::Bigint(0, LARGEST_BACKLOG, [SERVERS, "1 PiB"]),
        Value::Bigint(0),
    ),
    optional("max_backlog_age", KEPT, NO_INTERVAL),
    optional("dead_letter_retention", KEPT, NO_INTERVAL),
    optional(
        "disable_after",
        Kind::Interval(
            Duration::from_secs(1),
            LONGEST_KEPT,
            ["1 second", "10 years, or 0 (never)"],
        ),
        NO_INTERVAL,
    ),
    needed("batch_size", Kind::Integer(1, batch::LARGEST as i32, ["1", "1000"]), Value::Integer(1)),
    needed(
        "batch_bytes",
        Kind::Integer(1, batch::MOST_BYTES as i32, ["1", "4194304 bytes"]),
        Value::Integer(1024 * 1024),
    ),
    optional(
        "batch_wait",
        Kind::Interval(Duration::ZERO, batch::LONGEST_WAIT, ["0", "60 seconds"]),
        NO_INTERVAL,
    ),
    optional("batch_format", Kind::Word(batch_format), Value::Text("array")),
    optional("ordering", Kind::Word(ordering), Value::Text("none")),
    optional("order_key", Kind::Names(MOST_IN_KEY), Value::Names),
    optional("on_failure", Kind::Word(on_failure), Value::Text("hold")),
];

fn ordering(word: &str) -> Result<&'static str, Refusal> {
    Ok(word.parse::<Ordering>()?.name())
}

fn on_failure(word: &str) -> Result<&'static str, Refusal> {
    Ok(word.parse::<OnFailure>()?.name())
}

fn on_transform_error(word: &str) -> Result<&'static str, Refusal> {
    Ok(word.parse::<OnTransformError>()?.name())
}

fn batch_format(word: &str) -> Result<&'static str, Refusal> {
    Ok(word.parse::<BatchFormat>()?.name())
}

const fn needed(name: &'static str, kind: Kind, default: Value) -> Setting {
    Setting { name, kind, default, needed: true }
}

const fn optional(name: &'static str, kind: Kind, default: Value) -> Setting {
    Setting { name, kind, default, needed: false }
}

/// The plain settings that were given, checked.
#[derive(Clone)]
pub struct Plain(Vec<Arg>);

impl Plain {
    fn read(source: &impl Source) -> Result<Self, Refusal> {
        PLAIN.iter().map(|setting| setting.read(source)).collect::<Result<_, _>>().map(Self)
    }

    /// As parameters of a statement; NULL where one was not given.
    pub fn args(&self) -> &[Arg] {
        &self.0
    }

    /// The names of all of them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PLAIN.iter().map(|setting| setting.name)
    }

    /// Whether that is what a webhook has where nothing is said, of the setting of this name if it is one of them.
    pub fn is_default(name: &str, value: &serde_json::Value) -> bool {
        let known = PLAIN.iter().find(|setting| setting.name == name);
        known.is_some_and(|setting| match setting.default {
            Value::Flag(default) => *value == default,
            Value::Text(default) => *value == default,
            Value::Integer(default) => *value == default,
            Value::Bigint(default) => *value == default,
            Value::Names => value.as_array().is_none_or(Vec::is_empty),
            // As PostgreSQL writes it.
            Value::Days(days) => *value == format!("{days} days"),
        })
    }

    /// With the default of that one, if it is one of them.
    pub fn reset(&mut self, name: &str) {
        if let Some(at) = PLAIN.iter().position(|setting| setting.name == name) {
            self.0[at] = PLAIN[at].default.arg();
        }
    }

    /// With the default of each that was not given.
    fn complete(self) -> Self {
        let value = |(setting, given): (&Setting, Arg)| match given.is_null() {
            true => setting.default.arg(),
            false => given,
        };
        Self(PLAIN.iter().zip(self.0).map(value).collect())
    }

    /// Passes those of a new webhook.
    ///
    /// # Errors
    ///
    /// The first that is needed and was not given.
    pub fn check_needed(&self) -> Result<(), Refusal> {
        let lacks = |(setting, value): &(&Setting, &Arg)| setting.needed && value.is_null();
        match PLAIN.iter().zip(&self.0).find(lacks) {
            Some((setting, _)) => Err(Refusal::Null(setting.name)),
            None => Ok(()),
        }
    }
}

impl Value {
    fn arg(self) -> Arg {
        match self {
            Self::Flag(value) => arg(value),
            Self::Text(value) => arg(value),
            Self::Integer(value) => arg(value),
            Self::Bigint(value) => arg(value),
            Self::Names => arg(Vec::<String>::new()),
            Self::Days(days) => arg(Interval::from_days(days)),
        }
    }
}

impl Setting {
    fn read(&self, source: &impl Source) -> Result<Arg, Refusal> {
        Ok(match self.kind {
            Kind::Flag => arg(source.flag(self.name)?),
            Kind::Text(most) => {
                let text = source.text(self.name)?;
                arg(text.map(|text| bounded(self.name, text, most)).transpose()?)
            }
            Kind::Names(most) => {
                let names = source.names(self.name)?;
                if names.as_ref().is_some_and(|names| names.len() > most) {
                    return Err(Refusal::TooManyWords { argument: self.name, most });
                }
                arg(names)
            }
            Kind::Word(read) => arg(source.text(self.name)?.map(read).transpose()?),
            Kind::Integer(from, to, says) => {
                let value = source.integer(self.name)?;
                arg(self.within(value, says, |value| (from..=to).contains(value))?)
            }
            Kind::Bigint(from, to, says) => {
                let value = source.bigint(self.name)?;
                arg(self.within(value, says, |value| (from..=to).contains(value))?)
            }
            Kind::Interval(from, to, says) => {
                let range = from.as_micros() as i128..=to.as_micros() as i128;
                let is_good =
                    |value: &Interval| micros(value) == 0 || range.contains(&micros(value));
                arg(self.within(source.interval(self.name)?, says, is_good)?)
            }
        })
    }

    fn within<T>(
        &self,
        value: Option<T>,
        [least, most]: [&'static str; 2],
        is_good: impl Fn(&T) -> bool,
    ) -> Result<Option<T>, Refusal> {
        if value.as_ref().is_none_or(is_good) {
            Ok(value)
        } else {
            Err(Refusal::OutOfRange { argument: self.name, least, most })
        }
    }
}

impl Definition {
    /// Reads the settings of `source`, and checks everything that can be checked without the network and the catalog.
    ///
    /// # Errors
    ///
    /// The first setting that is refused.
    pub fn read(source: &impl Source) -> Result<Self, Refusal> {
        let plain = Plain::read(source)?;
        let text = |name| source.text(name);
        let headers = source.json("headers")?.map(|text| header::read(&text)).transpose()?;
        let url = |text| {
            EndpointUrl::parse(text, settings::allow_http())?.judge(&settings::address_policy())
        };
        let signature_header = text("signature_header")?;
        Ok(Self {
            name: text("name")?.map(check_name).transpose()?,
            url: text("url")?.map(url).transpose()?,
            headers,
            header_changes: None,
            secret: text("secret")?.map(Secret::parse).transpose()?,
            format: text("format")?.map(str::parse).transpose()?,
            signature: text("signature")?.map(str::parse).transpose()?,
            signature_header: signature_header.map(check_signature_header).transpose()?,
            event_types: None,
            emitters: None,
            owner: source.oid("owner")?,
            transform: source.oid("transform")?,
            plain,
        })
    }

    /// With the default of each setting that was not given, as a webhook has it that is made now. Name, URL and secret have
    /// none, and nobody becomes its owner by one.
    pub fn complete(self) -> Self {
        let format = self.format.unwrap_or(Format::Default);
        Self {
            headers: Some(self.headers.unwrap_or_else(|| serde_json::json!({}))),
            format: Some(format),
            signature: Some(self.signature.unwrap_or(format.scheme())),
            signature_header: Some(self.signature_header.unwrap_or_default()),
            event_types: Some(self.event_types.unwrap_or_default()),
            emitters: Some(self.emitters.unwrap_or_default()),
            transform: Some(self.transform.unwrap_or(pg_sys::InvalidOid)),
            plain: self.plain.complete(),
            ..self
        }
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

/// An interval in whole seconds, counted as in [`micros`].
pub fn seconds(interval: &Interval) -> i64 {
    i64::try_from(micros(interval) / 1_000_000).unwrap_or(i64::MAX)
}

/// With 24 hours to the day and 30 days to the month, as `extract(epoch)` counts them.
pub(super) fn micros(interval: &Interval) -> i128 {
    const DAY: i128 = 86_400_000_000;
    i128::from(interval.micros())
        + i128::from(interval.days()) * DAY
        + i128::from(interval.months()) * 30 * DAY
}
