//! The body of a request: what is the same for every event of a kind is prepared once, the rest is
//! filled in.

use super::format::Format;

/// Whose events, and of what.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The webhook's uuid.
    pub webhook_id: &'a str,
    /// The webhook's name.
    pub webhook_name: &'a str,
    /// The installation, which makes event ids unique.
    pub installation: &'a str,
    /// Schema and name of the table, if it is about one.
    pub table: Option<(&'a str, &'a str)>,
}

/// What an event tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A change of a row, or something that looks like one; its name in capitals.
    Row(&'a str),
    /// `webhook_test`.
    Test,
    /// An event of the application, of this type.
    Emitted(&'a str),
}

/// What differs from event to event. JSON texts, but for `id` and `timestamp`, which need no quoting.
#[derive(Debug, Clone, Copy, Default)]
pub struct Values<'a> {
    /// The event's id.
    pub id: &'a str,
    /// RFC 3339.
    pub timestamp: &'a str,
    /// The row as it is now; of an emitted event its data.
    pub new: Option<&'a str>,
    /// The row as it was.
    pub old: Option<&'a str>,
    /// Who the application says it acts for; asked for by [`Envelope::wants_session_variables`].
    pub session_variables: Option<&'a str>,
    /// What the session wants to have sent along.
    pub context: Option<&'a str>,
    /// The rows carry the primary key only, because they are too large.
    pub truncated: bool,
}

/// A body without its values.
#[derive(Debug, Clone)]
pub struct Envelope {
    parts: Vec<Part>,
}

/// Members that are there only sometimes.
const TRUNCATED: &str = r#","truncated":true"#;
const CONTEXT: &str = r#","context":"#;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Id,
    Timestamp,
    /// The row as it is, or was if it is gone.
    Record,
    /// The row as it was.
    Old,
    /// The row as it is.
    New,
    SessionVariables,
    /// Members that are there only sometimes.
    Extras,
}

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unrendered {
    /// It would be larger than it may be.
    TooLarge,
    /// There is no memory for it.
    NoMemory,
}

impl Envelope {
    /// The envelope of `format` for events of `kind`.
    pub fn new(format: Format, kind: Kind<'_>, subject: Subject<'_>) -> Self {
        let (schema, table) = subject.table.unzip();
        let (template, event) = match kind {
            Kind::Row(name) => (format.row(), name),
            Kind::Test => (format.row(), format.test_event()),
            Kind::Emitted(name) => (format.emitted(), name),
        };
        // Receivers of these formats know types such as orders.insert.
        let event_type = match (kind, table) {
            (Kind::Row(name), Some(table)) => format!("{table}.{}", name.to_lowercase()),
            (Kind::Row(name), None) => name.to_lowercase(),
            _ => event.to_owned(),
        };
        let constant = |name: &str| match name {
            "event" => json(Some(event)),
            "type" => json(Some(&event_type)),
            "schema" => json(schema),
            "table" => json(table),
            "webhook_id" => json(Some(subject.webhook_id)),
            "name" => json(Some(subject.webhook_name)),
            "source" => json(Some(&format!("/pg_webhook/{}", subject.installation))),
            // A whole member: an attribute of CloudEvents is a text or not there.
            "subject" => subject.table.map_or_else(String::new, |(schema, table)| {
                format!(r#""subject":{},"#, json(Some(&format!("{schema}.{table}"))))
            }),
            other => unreachable!("${other} in a template"),
        };
        let mut parts: Vec<Part> = Vec::new();
        for (index, piece) in template.split('$').enumerate() {
            let end = piece.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            let (name, text) = piece.split_at(end.unwrap_or(piece.len()));
            let (part, text) = match (index, name) {
                (0, _) => (Part::Text(piece.to_owned()), ""),
                (_, "id") => (Part::Id, text),
                (_, "timestamp") => (Part::Timestamp, text),
                (_, "record") => (Part::Record, text),
                (_, "old_record" | "old") => (Part::Old, text),
                (_, "new" | "data") => (Part::New, text),
                (_, "session_variables") => (Part::SessionVariables, text),
                (_, "extras") => (Part::Extras, text),
                (_, name) => (Part::Text(constant(name)), text),
            };
            for part in [part, Part::Text(text.to_owned())] {
                match (parts.last_mut(), part) {
                    (Some(Part::Text(before)), Part::Text(more)) => before.push_str(&more),
                    (_, part) => parts.push(part),
                }
            }
        }
        Self { parts }
    }

    /// Whether its body says who the application acts for.
    pub fn wants_session_variables(&self) -> bool {
        self.parts.contains(&Part::SessionVariables)
    }

    /// The body.
    ///
    /// # Errors
    ///
    /// It would be larger than `most` bytes, or than memory has room for.
    pub fn render(&self, values: &Values<'_>, most: usize) -> Result<String, Unrendered> {
        let new = values.new.unwrap_or("null");
        let old = values.old.unwrap_or("null");
        let record = values.new.or(values.old).unwrap_or("null");
        let size = self.size(values, record.len(), new.len(), old.len());
        let mut body = String::new();
        if size > most {
            return Err(Unrendered::TooLarge);
        }
        // An allocation that fails would end the process.
        body.try_reserve_exact(size).map_err(|_| Unrendered::NoMemory)?;
        for part in &self.parts {
            match part {
                Part::Text(text) => body.push_str(text),
                Part::Id => body.push_str(values.id),
                Part::Timestamp => body.push_str(values.timestamp),
                Part::Record => body.push_str(record),
                Part::Old => body.push_str(old),
                Part::New => body.push_str(new),
                Part::SessionVariables => body.push_str(values.session_variables.unwrap_or("null")),
                Part::Extras => {
                    if values.truncated {
                        body.push_str(TRUNCATED);
                    }
                    if let Some(context) = values.context {
                        body.push_str(CONTEXT);
                        body.push_str(context);
                    }
                }
            }
        }
        Ok(body)
    }

    /// Bytes of the body around rows of these sizes.
    fn size(&self, values: &Values<'_>, record: usize, new: usize, old: usize) -> usize {
        let of = |part: &Part| match part {
            Part::Text(text) => text.len(),
            Part::Id => values.id.len(),
            Part::Timestamp => values.timestamp.len(),
            Part::Record => record,
            Part::Old => old,
            Part::New => new,
            Part::SessionVariables => values.session_variables.unwrap_or("null").len(),
            Part::Extras => {
                let truncated = if values.truncated { TRUNCATED.len() } else { 0 };
                truncated + values.context.map_or(0, |context| CONTEXT.len() + context.len())
            }
        };
        self.parts.iter().map(of).sum()
    }
}

fn json(text: Option<&str>) -> String {
    serde_json::to_string(&text).expect("a string has a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const SUBJECT: Subject<'static> = Subject {
        webhook_id: "0199",
        webhook_name: "h\"ok",
        installation: "abc",
        table: Some(("public", "we\"ird\n")),
    };
    const INSERT: Values<'static> = Values {
        id: "evt_1",
        timestamp: "2026-11-20T12:00:00.000000Z",
        new: Some(r#"{"id":1}"#),
        old: None,
        session_variables: None,
        context: None,
        truncated: false,
    };

    /// The body, which has exactly the size that it may have, and no byte less.
    fn rendered(envelope: &Envelope, values: &Values<'_>) -> String {
        let body = envelope.render(values, usize::MAX).expect("it has room");
        assert_eq!(envelope.render(values, body.len()).as_ref(), Ok(&body));
        assert_eq!(envelope.render(values, body.len() - 1), Err(Unrendered::TooLarge));
        assert_eq!(body.capacity(), body.len());
        body
    }

    fn body(format: Format, kind: Kind<'_>, values: Values<'_>) -> Value {
        let body = rendered(&Envelope::new(format, kind, SUBJECT), &values);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    #[test]
    fn the_default_body_to_the_byte() {
        let envelope = Envelope::new(Format::Default, Kind::Row("INSERT"), SUBJECT);
        assert_eq!(
            rendered(&envelope, &INSERT),
            concat!(
                r#"{"id":"evt_1","event":"INSERT","schema":"public","table":"we\"ird\n","#,
                r#""record":{"id":1},"old_record":null,"timestamp":"2026-11-20T12:00:00.000000Z","#,
                r#""webhook_id":"0199"}"#
            )
        );
    }

    #[test]
    fn every_format_and_kind_is_json() {
        let extras = Values { truncated: true, context: Some(r#"{"a":1}"#), ..INSERT };
        for format in Format::ALL {
            for kind in [Kind::Row("INSERT"), Kind::Test, Kind::Emitted("order.shipped")] {
                for values in [INSERT, extras] {
                    assert!(body(format, kind, values).is_object());
                }
            }
        }
    }

    #[test]
    fn a_deleted_row_is_where_each_receiver_looks_for_it() {
        let deleted = Values { new: None, old: Some(r#"{"id":1}"#), ..INSERT };
        let of = |format| body(format, Kind::Row("DELETE"), deleted);
        let row = json!({"id": 1});
        assert_eq!(
            (&of(Format::Default)["record"], &of(Format::Default)["old_record"]),
            (&row, &row)
        );
        assert_eq!(
            (&of(Format::Truss)["row"], &of(Format::Truss)["old_row"]),
            (&Value::Null, &row)
        );
        assert_eq!(of(Format::Supabase)["record"], Value::Null);
        assert_eq!(of(Format::Hasura)["event"]["data"], json!({"old": row, "new": null}));
        assert_eq!(of(Format::Trst)["event_type"], json!("we\"ird\n.delete"));
    }

    #[test]
    fn what_is_there_only_sometimes() {
        let extras = Values { truncated: true, context: Some(r#"{"a":1}"#), ..INSERT };
        let default = body(Format::Default, Kind::Row("INSERT"), extras);
        assert_eq!((&default["truncated"], &default["context"]), (&json!(true), &json!({"a": 1})));
        let cloud = body(Format::CloudEvents, Kind::Row("INSERT"), extras);
        assert_eq!(cloud["data"]["context"], json!({"a": 1}));
        assert_eq!(cloud["context"], Value::Null);
    }

    #[test]
    fn an_event_without_a_table() {
        let subject = Subject { table: None, ..SUBJECT };
        let of = |format| {
            let body = rendered(&Envelope::new(format, Kind::Test, subject), &INSERT);
            serde_json::from_str::<Value>(&body).expect("JSON")
        };
        assert_eq!(of(Format::Default)["schema"], Value::Null);
        assert_eq!(of(Format::Trst)["event_type"], json!("webhook.test"));
        assert_eq!(of(Format::CloudEvents).get("subject"), None);
    }
}
