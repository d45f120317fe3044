//! `webhook_emit`, `webhook_invoke`

use pgrx::AnyElement;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::on_behalf;
use crate::capture::sender::Sender;
use crate::domain::envelope::Kind;
use crate::domain::event::{self, MANUAL};
use crate::domain::refusal::Refusal;
use crate::pg::json::{self, Json};
use crate::pg::settings;
use crate::pg::spi::{self, Session, arg, sql};
use crate::registry::webhook;

#[pg_extern(sql = false)]
fn webhook_emit(event_type: Option<&str>, data: Option<Json>) -> Result<i32, ErrorReport> {
    let data = data.map(|Json(text)| text);
    on_behalf(|caller| {
        let event_type = event::check_type(event_type.ok_or(Refusal::Null("event_type"))?)?;
        if event_type.contains('*') {
            return Err(Refusal::Pattern(event_type.to_owned()));
        }
        spi::connect(|session| {
            let rows = session.run(sql!("api/subscribers"), &[arg(caller.role)]);
            let matching = rows.iter().filter(|row| {
                let patterns: Vec<String> = row.value(2);
                patterns.iter().any(|pattern| event::matches(pattern, event_type))
            });
            let mut told = 0;
            for row in matching {
                let event = Event { kind: Kind::Emitted(event_type), event_type, table: None };
                let delivery = event.write(session, row.value(1), data.as_deref())?;
                told += i32::from(delivery.is_some());
            }
            Ok(told)
        })
    })
}

#[pg_extern(sql = false)]
fn webhook_invoke(
    webhook: Option<&str>,
    record: Option<AnyElement>,
) -> Result<Option<i64>, ErrorReport> {
    let record = record.ok_or(Refusal::Null("row"))?;
    let (row, relation) = json::row(&record);
    on_behalf(|caller| {
        spi::connect(|session| {
            let own = webhook::find(session, caller, webhook)?;
            let rows = session.run(sql!("api/table"), &[arg(relation)]);
            let table: Option<(String, String)> =
                rows.first().map(|row| (row.value(1), row.value(2)));
            let table = table.as_ref().map(|(schema, name)| (schema.as_str(), name.as_str()));
            let event = Event { kind: Kind::Row(MANUAL), event_type: MANUAL, table };
            event.write(session, own.id, Some(&row))
        })
    })
}

/// Something that happens because somebody says so.
struct Event<'a> {
    kind: Kind<'a>,
    event_type: &'a str,
    table: Option<(&'a str, &'a str)>,
}

impl Event<'_> {
    /// Writes it for `webhook`, around `new`; returns the delivery, unless the webhook is disabled or its
    /// transform drops it.
    fn write(
        &self,
        session: &Session,
        webhook: i32,
        new: Option<&str>,
    ) -> Result<Option<i64>, Refusal> {
        let Some(sender) = Sender::load(session, webhook).filter(|sender| sender.enabled) else {
            return Ok(None);
        };
        let envelope = sender.envelope(self.kind, self.table);
        let draft = sender.draft(&envelope);
        let body = draft.render(&envelope, new, None, false);
        let Some(payload) = sender.transformed(&body) else {
            return Ok(None);
        };
        let most = settings::max_payload_bytes();
        if payload.len() > most {
            return Err(Refusal::TooLarge(most));
        }
        sender.append(&draft, self.event_type, self.table, &payload);
        Ok(Some(draft.id))
    }
}
