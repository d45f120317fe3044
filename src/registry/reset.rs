//! Settings that go back to their defaults, by their names.

use pgrx::pg_sys;

use super::definition::{Definition, Plain};
use super::managed::Webhook;
use super::watch::Given;
use crate::pg::arguments::Arguments;
use domain::event::Operation;
use domain::format::Format;
use domain::refusal::Refusal;

/// Those that are not plain: of a table, and of the webhook. All others either have no default, as a name, or had a secret one.
const SPECIAL: [&str; 10] = [
    "events",
    "columns",
    "condition",
    "payload_columns",
    "transform",
    "headers",
    "format",
    "signature",
    "signature_header",
    "emitters",
];

/// Arguments that change what another one gives.
const CHANGING: [(&str, &str); 2] = [("headers", "set_headers"), ("headers", "unset_headers")];

/// The names that were given.
pub struct Reset(Vec<&'static str>);

impl Reset {
    /// Takes names of settings that are not among the other arguments.
    ///
    /// # Errors
    ///
    /// The first that is none, or is given as well.
    pub fn read(names: &[String], arguments: &Arguments<'_>) -> Result<Self, Refusal> {
        names.iter().map(|name| setting(name, arguments)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether it is to be reset.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    /// Adds the defaults of what is said of a table.
    pub fn of_table(&self, given: &mut Given) {
        let reset = |name| self.has(name).then(Vec::new);
        given.events = self.has("events").then(|| Operation::ROWS.to_vec()).or(given.events.take());
        given.columns = reset("columns").or(given.columns.take());
        given.condition = self.has("condition").then(String::new).or(given.condition.take());
        given.payload_columns = reset("payload_columns").or(given.payload_columns.take());
    }

    /// Adds the defaults of the settings of a webhook. That of the signature is what its format brings.
    pub fn of_webhook(&self, definition: &mut Definition, webhook: &Webhook) {
        for name in &self.0 {
            match *name {
                "events" => definition.event_types = Some(Vec::new()),
                "transform" => definition.transform = Some(pg_sys::InvalidOid),
                "headers" => definition.headers = Some(serde_json::json!({})),
                "format" => definition.format = Some(Format::Default),
                "signature_header" => definition.signature_header = Some(String::new()),
                "emitters" => definition.emitters = Some(Vec::new()),
                plain => definition.plain.reset(plain),
            }
        }
        if self.has("signature") {
            let format = definition.format.unwrap_or(webhook.format);
            definition.signature = Some(format.scheme());
        }
    }
}

fn setting(name: &str, arguments: &Arguments<'_>) -> Result<&'static str, Refusal> {
    let mut all = SPECIAL.into_iter().chain(Plain::names());
    let Some(setting) = all.find(|known| *known == name) else {
        let known = SPECIAL.into_iter().chain(Plain::names()).collect();
        return Err(Refusal::NoDefault { name: name.chars().take(100).collect(), known });
    };
    let changing = CHANGING.into_iter().filter(|(of, _)| *of == setting).map(|(_, name)| name);
    match std::iter::once(setting).chain(changing).find(|argument| arguments.has(argument)) {
        Some(argument) => Err(Refusal::GivenAndReset { setting, argument }),
        None => Ok(setting),
    }
}
