//! Batches: how many events go in one request, and what its body looks like.

use std::time::Duration;

use super::format::Format;
use super::words::words;

words! {
    /// How the events of a batch are put together.
    BatchFormat, UnknownBatchFormat: "\"{0}\" is no value of batch_format";
    /// A JSON array.
    Array = "array",
    /// A JSON text in each line ([NDJSON](https://github.com/ndjson/ndjson-spec)).
    Ndjson = "ndjson",
}

/// The most events of a batch: after a crash so many may be repeated at once, and so many rows are written for each answer.
pub const LARGEST: usize = 1000;

/// The most bytes of bodies in a batch, as many as wait in memory for one endpoint.
pub const MOST_BYTES: usize = 4 * 1024 * 1024;

/// How long events wait for others at most. Longer, and what waits in memory would be behind its endpoint.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What a webhook puts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Events in a batch, at most.
    pub size: usize,
    /// Bytes of their bodies, at most; a larger one goes alone.
    pub bytes: usize,
    /// For how long an event waits for others.
    pub wait: Duration,
    /// How they are put together.
    pub format: BatchFormat,
    /// Each tells its id by itself, as its format has it.
    pub named: bool,
}

impl BatchFormat {
    /// The media type of a batch of events of that format.
    pub fn content_type(self, events: Format) -> &'static str {
        match (self, events) {
            (Self::Array, Format::CloudEvents) => "application/cloudevents-batch+json",
            (Self::Array, _) => "application/json",
            (Self::Ndjson, _) => "application/x-ndjson",
        }
    }
}

impl Batching {
    /// What a body of these rules is: of two that are the same in this, the same events make the same bytes.
    pub fn shape(&self) -> &'static str {
        match (self.format, self.named) {
            (BatchFormat::Array, false) => "array",
            (BatchFormat::Array, true) => "array of named",
            (BatchFormat::Ndjson, false) => "lines",
            (BatchFormat::Ndjson, true) => "lines of named",
        }
    }

    /// The body of a batch: of each event its id and its body, which is a JSON text. A format that has no id of the event gets one, as
    /// the member that is called like the header of a single request.
    pub fn body<'a>(&self, events: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> String {
        let size: usize = events.clone().map(|(id, body)| id.len() + body.len() + 32).sum();
        let mut text = String::with_capacity(size);
        let (begin, between, end) = match self.format {
            BatchFormat::Array => ("[", ",", "]"),
            BatchFormat::Ndjson => ("", "\n", "\n"),
        };
        text.push_str(begin);
        for (at, (id, body)) in events.enumerate() {
            if at > 0 {
                text.push_str(between);
            }
            let from = text.len();
            if self.named {
                text.push_str(body)
            } else {
                name(&mut text, id, body)
            }
            if self.format == BatchFormat::Ndjson && text[from..].contains(['\n', '\r']) {
                // Outside of strings they are white space, and inside there are none.
                let line = text[from..].replace(['\n', '\r'], " ");
                text.truncate(from);
                text.push_str(&line);
            }
        }
        text.push_str(end);
        text
    }
}

/// Appends the body with the id in front: as a member of it, or where it is no object, beside it.
fn name(text: &mut String, id: &str, body: &str) {
    text.push_str(r#"{"webhook-id":"#);
    // Ours are so; one that an import has brought may need quoting.
    if id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        text.extend(["\"", id, "\""]);
    } else {
        text.push_str(&serde_json::Value::from(id).to_string());
    }
    match body.trim_ascii_start().strip_prefix('{') {
        Some(members) if members.trim_ascii_start().starts_with('}') => text.push('}'),
        Some(members) => {
            text.push(',');
            text.push_str(members);
        }
        None => {
            text.push_str(r#","body":"#);
            text.push_str(body);
            text.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batching(format: BatchFormat, named: bool) -> Batching {
        Batching { size: 10, bytes: 1000, wait: Duration::ZERO, format, named }
    }

    const EVENTS: [(&str, &str); 5] = [
        ("evt_1", r#"{"a":1}"#),
        ("evt_2", " { \"a\" :\n2\r\n}"),
        ("evt_3", "{}"),
        ("\"odd\\", "[1]"),
        ("evt_5", "null"),
    ];

    #[test]
    fn each_event_has_its_id() {
        let body = batching(BatchFormat::Array, false).body(EVENTS.into_iter());
        let read: serde_json::Value = serde_json::from_str(&body).unwrap();
        let wanted = serde_json::json!([
            {"webhook-id": "evt_1", "a": 1},
            {"webhook-id": "evt_2", "a": 2},
            {"webhook-id": "evt_3"},
            {"webhook-id": "\"odd\\", "body": [1]},
            {"webhook-id": "evt_5", "body": null},
        ]);
        assert_eq!(read, wanted);
    }

    #[test]
    fn a_line_is_an_event() {
        let body = batching(BatchFormat::Ndjson, false).body(EVENTS.into_iter());
        assert!(body.ends_with('\n'));
        let lines: Vec<serde_json::Value> =
            body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), EVENTS.len());
        assert_eq!(lines[1], serde_json::json!({"webhook-id": "evt_2", "a": 2}));
    }

    #[test]
    fn a_format_that_has_the_id_stays_as_it_is() {
        let events = [("evt_1", r#"{"id":"evt_1"}"#), ("evt_2", r#"{"id":"evt_2"}"#)];
        let body = batching(BatchFormat::Array, true).body(events.into_iter());
        assert_eq!(body, r#"[{"id":"evt_1"},{"id":"evt_2"}]"#);
        let body = batching(BatchFormat::Ndjson, true).body(events.into_iter());
        assert_eq!(body, "{\"id\":\"evt_1\"}\n{\"id\":\"evt_2\"}\n");
    }
}
