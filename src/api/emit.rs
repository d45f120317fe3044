//! `webhook_emit`, `webhook_invoke`

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::for_anybody;
use crate::compose::casts::Casts;
use crate::compose::recipient::{Consent, Extent, Recipient};
use crate::compose::{image, order as compose};
use crate::pg::composite::Record;
use crate::pg::json::Json;
use crate::pg::output::Canonical;
use crate::pg::row::Row;
use crate::pg::spi::{self, Session, arg, sql};
use crate::pg::{composite, settings, snapshot};
use crate::registry::managed;
use domain::envelope::Kind;
use domain::event::{self, MANUAL};
use domain::key::DeliveryId;
use domain::order::{self, Of, Ordering};
use domain::refusal::Refusal;

#[pg_extern(sql = false)]
fn webhook_emit(
    event_type: Option<&str>,
    data: Option<Json>,
    key: Option<&str>,
) -> Result<i32, ErrorReport> {
    let data = data.map(|Json(text)| text);
    for_anybody(|caller| {
        let event_type = event_type.ok_or(Refusal::Null("event_type"))?;
        let event_type = event::check_type(event_type)
            .map_err(|unknown| Refusal::NotAType(unknown.word().to_owned()))?;
        if event_type.contains('*') {
            return Err(Refusal::Pattern(event_type.to_owned()));
        }
        if event::is_operational(event_type) {
            return Err(Refusal::ReservedType(event_type.to_owned()));
        }
        spi::connect(|session| {
            // As it is now: an old snapshot shows webhooks that do not hear the caller any more.
            let args = [arg(caller.role)];
            let rows = snapshot::with_latest(|| session.look_up(sql!("api/subscribers"), &args));
            let matching = rows.iter().filter(|row| {
                let patterns: Vec<String> = row.value("event_types");
                patterns.iter().any(|pattern| event::matches(pattern, event_type))
            });
            let mut told = 0;
            let mut heard = false;
            for row in matching {
                heard = true;
                if !row.value::<bool>("enabled") {
                    continue;
                }
                let event = Event { kind: Kind::Emitted(event_type), event_type, table: None };
                let consent = match (row.value("runs"), row.value("has_rights")) {
                    (_, true) => Consent::Full,
                    (true, false) => Consent::Runs,
                    (false, false) => Consent::None { emitter: row.value("emitter") },
                };
                if let Some(recipient) = Recipient::load(session, row.value("id")) {
                    let recipient = recipient.with_consent(consent);
                    let keys = recipient.keys_of_emitted(key);
                    told += i32::from(event.write(&recipient, data.as_deref(), keys)?.is_some());
                }
            }
            if !heard {
                notice!("no webhook that hears this role has \"{event_type}\" among its events");
            }
            Ok(told)
        })
    })
}

#[pg_extern(sql = false)]
fn webhook_invoke(
    webhook: Option<&str>,
    record: Option<Record<'_>>,
) -> Result<Option<i64>, ErrorReport> {
    for_anybody(|caller| {
        let Record(row) = record.ok_or(Refusal::Null("row"))?;
        let webhook = webhook.ok_or(Refusal::Null("webhook"))?;
        spi::connect(|session| {
            // Not locked: as a captured write it neither waits for a change of the webhook nor holds one up.
            let id = managed::name(session, caller, webhook)?;
            let rows = session.run(sql!("api/table"), &[arg(composite::relation(&row))]);
            let table: Option<(String, String)> =
                rows.first().map(|row| (row.value("schema_name"), row.value("table_name")));
            let table = table.as_ref().map(|(schema, name)| (schema.as_str(), name.as_str()));
            let event = Event { kind: Kind::Row(MANUAL), event_type: MANUAL, table };
            let Some(recipient) =
                Recipient::load(session, id).filter(|recipient| recipient.enabled)
            else {
                return Ok(None);
            };
            let _canonical = Canonical::begin();
            let casts = Casts::find(session, &composite::types(&row), recipient.runs_as());
            // SAFETY: the row is the call's, and the memory context is that of the SPI connection, which is open here.
            let image = unsafe { image::given(&row, &casts, recipient.owner) };
            let keys = keys_of_given(session, &recipient, &row);
            Ok(event.write(&recipient, Some(image), keys)?.map(|delivery| delivery.0))
        })
    })
}

/// By what a row that is given is ordered, if it is: as a change of it would be. One of no table is by its values, and by nothing where the
/// primary key is what counts.
fn keys_of_given(session: &Session, recipient: &Recipient, row: &Row<'_>) -> Option<Vec<i64>> {
    match (recipient.ordering, &recipient.order_key) {
        (Ordering::None, _) => return None,
        (Ordering::Webhook, _) => return Some(vec![order::ONE]),
        (Ordering::Key, Some(names)) => {
            let places = compose::places(row.attributes(), names);
            // SAFETY: the row is the call's.
            return Some(vec![unsafe { compose::key(row, Of::Any, &places) }]);
        }
        (Ordering::Key, None) => {}
    }
    let args = [arg(recipient.webhook), arg(composite::relation(row)?)];
    let rows = snapshot::with_latest(|| session.look_up(sql!("api/order_of"), &args));
    let found = rows.first()?;
    let watch: Option<Uuid> = found.get("watch");
    let names: Vec<String> = found.get("key").unwrap_or_default();
    let places = compose::places(row.attributes(), &names);
    // One that is not watched has an order of its own.
    let of: &[u8] = watch.as_ref().map_or(&[], |watch| &watch.as_bytes()[..]);
    // SAFETY: the row is the call's.
    Some(vec![unsafe { compose::key(row, Of::Watch(of), &places) }])
}

/// Something that happens because somebody says so.
struct Event<'a> {
    kind: Kind<'a>,
    event_type: &'a str,
    table: Option<(&'a str, &'a str)>,
}

impl Event<'_> {
    /// Writes it for an enabled webhook, around `new`; returns the delivery, unless the transform drops it.
    fn write(
        &self,
        recipient: &Recipient,
        new: Option<&str>,
        keys: Option<Vec<i64>>,
    ) -> Result<Option<DeliveryId>, Refusal> {
        let envelope = recipient.envelope(self.kind, self.table);
        let draft = recipient.draft(&envelope).in_order(keys);
        let most = settings::max_payload_bytes();
        let body = draft
            .render(&envelope, new, None, Extent::Whole, most)
            .ok_or(Refusal::TooLarge(most))?;
        let Some(stored) = recipient.prepare(&body) else {
            return Ok(None);
        };
        recipient.append(&draft, self.event_type, self.table, &stored);
        Ok(Some(draft.id))
    }
}
