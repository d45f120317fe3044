//! Operational events: what somebody is told of a webhook, as an event of those webhooks that ask for it.
//!
//! They go to webhooks whose owner may see the one that they are about, and never to that one itself. No transform makes their bodies:
//! they are made where no code of users may run.

use serde_json::{Map, Value};

use super::recipient::{Extent, Recipient, Stored};
use crate::pg::settings;
use crate::pg::spi::{Session, arg, sql};
use domain::envelope::Kind;
use domain::event;
use domain::key::WebhookId;

/// Deliveries have been given up.
pub const DEAD: &str = "pg_webhook.delivery.dead";

/// Makes an event of `event_type` about a webhook, which holds what `about` has beside its name and id. Returns the name, unless it has
/// been deleted.
pub fn tell(
    session: &Session,
    webhook: WebhookId,
    event_type: &str,
    about: &[(&str, Value)],
) -> Option<String> {
    let rows = session.look_up(sql!("compose/hearers"), &[arg(webhook)]);
    let first = rows.first()?;
    let name: String = first.value("name");
    // Two that hear of each other would make dead letters of each other for ever.
    if event_type == DEAD && first.value("only_hears") {
        return Some(name);
    }
    let mut data = Map::new();
    data.insert("webhook_id".to_owned(), Value::String(first.value("uuid")));
    data.insert("webhook".to_owned(), Value::String(name.clone()));
    data.extend(about.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    let data = Value::Object(data).to_string();
    for row in rows.iter() {
        let patterns: Vec<String> = row.get("event_types").unwrap_or_default();
        if !patterns.iter().any(|pattern| event::asks_for(pattern, event_type)) {
            continue;
        }
        let Some(recipient) = row.get("hearer").and_then(|id| Recipient::load(session, id)) else {
            continue;
        };
        let envelope = recipient.envelope(Kind::Emitted(event_type), None);
        let draft = recipient.draft(&envelope).in_order(recipient.keys_of_emitted(None));
        let most = settings::max_payload_bytes();
        if let Some(body) = draft.render(&envelope, Some(&data), None, Extent::Alone, most) {
            recipient.append(&draft, event_type, None, &Stored::Body(body.into()));
        }
    }
    Some(name)
}
