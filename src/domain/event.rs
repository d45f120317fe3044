//! What happened, and the body that says so.

use std::fmt::Write;
use std::str::FromStr;

/// A change of a row that a webhook can watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A new row.
    Insert,
    /// A row that is distinct from what it was.
    Update,
    /// A row that is gone.
    Delete,
}

/// A word that is not an operation.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an event")]
pub struct UnknownOperation(String);

/// The event type of `webhook_test`.
pub const TEST: &str = "TEST";

impl Operation {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Insert, Self::Update, Self::Delete];

    /// The name in SQL and in payloads.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }

    /// Reads a list such as `{insert,UPDATE}`; the result is in order and without doubles.
    ///
    /// # Errors
    ///
    /// The first word that is not an operation.
    pub fn parse_list<'a>(
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Self>, UnknownOperation> {
        let mut operations = words.into_iter().map(str::parse).collect::<Result<Vec<Self>, _>>()?;
        operations.sort();
        operations.dedup();
        Ok(operations)
    }
}

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(word: &str) -> Result<Self, UnknownOperation> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.as_str().eq_ignore_ascii_case(word.trim()))
            .ok_or_else(|| UnknownOperation(word.chars().take(100).collect()))
    }
}

/// The parts of the body of format `default` that do not change from row to row, ready to be
/// written: `{"id","event","schema","table","record","old_record","timestamp","webhook_id"}`.
#[derive(Debug, Clone)]
pub struct Envelope {
    source: String,
    webhook: String,
}

/// The changed row, each image as JSON text.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// `record`: the new row; for DELETE the deleted one.
    pub record: &'a str,
    /// `old_record`: the row before an UPDATE; for DELETE the deleted one; otherwise `None`.
    pub old_record: Option<&'a str>,
    /// The images carry the primary key only, because the row is too large.
    pub truncated: bool,
}

impl Envelope {
    /// For rows of `table` (schema and name) on behalf of the webhook with this uuid.
    pub fn new(table: Option<(&str, &str)>, webhook_id: &str) -> Self {
        let (schema, name) = table.unzip();
        Self {
            source: format!(r#""schema":{},"table":{}"#, json(schema), json(name)),
            webhook: json(Some(webhook_id)),
        }
    }

    /// The body. `timestamp` is RFC 3339.
    pub fn render(&self, id: &str, event: &str, change: Change<'_>, timestamp: &str) -> String {
        let old_record = change.old_record.unwrap_or("null");
        let images = change.record.len() + old_record.len();
        let mut body = String::with_capacity(images + self.source.len() + self.webhook.len() + 200);
        body.push_str(r#"{"id":""#);
        body.push_str(id);
        body.push_str(r#"","event":""#);
        body.push_str(event);
        body.push_str(r#"","#);
        body.push_str(&self.source);
        body.push_str(r#","record":"#);
        body.push_str(change.record);
        body.push_str(r#","old_record":"#);
        body.push_str(old_record);
        body.push_str(r#","timestamp":""#);
        body.push_str(timestamp);
        let _ = write!(body, r#"","webhook_id":{}"#, self.webhook);
        if change.truncated {
            body.push_str(r#","truncated":true"#);
        }
        body.push('}');
        body
    }
}

fn json(text: Option<&str>) -> String {
    serde_json::to_string(&text).expect("a string has a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn operations_from_words() {
        use Operation::*;
        assert_eq!(
            Operation::parse_list(["delete", "INSERT", "Insert "]),
            Ok(vec![Insert, Delete])
        );
        assert_eq!(Operation::parse_list([]), Ok(vec![]));
        for bad in ["", "UPSERT", "INSERT,UPDATE", "TRUNCATE"] {
            assert_eq!(Operation::parse_list([bad]), Err(UnknownOperation(bad.into())));
        }
    }

    #[test]
    fn body_of_each_operation() {
        let envelope = Envelope::new(Some(("public", "we\"ird\n")), "0199");
        let change = Change { record: r#"{"id":1}"#, old_record: None, truncated: false };
        let body = envelope.render("evt_1", "INSERT", change, "2026-11-20T12:00:00.000000Z");
        assert_eq!(
            body,
            concat!(
                r#"{"id":"evt_1","event":"INSERT","schema":"public","table":"we\"ird\n","#,
                r#""record":{"id":1},"old_record":null,"timestamp":"2026-11-20T12:00:00.000000Z","#,
                r#""webhook_id":"0199"}"#
            )
        );
        let change = Change { old_record: Some(r#"{"id":0}"#), truncated: true, ..change };
        let body = envelope.render("evt_1", "UPDATE", change, "");
        let value: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["old_record"], json!({"id": 0}));
        assert_eq!(value["truncated"], json!(true));
    }

    #[test]
    fn an_event_without_a_table() {
        let envelope = Envelope::new(None, "0199");
        let change = Change { record: "null", old_record: None, truncated: false };
        let body = envelope.render("evt_1", TEST, change, "");
        let value: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["schema"], Value::Null);
        assert_eq!(value["record"], Value::Null);
    }
}
