//! `webhook_preview`

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderName;
use pgrx::datum::JsonB;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::{Map, Value};

use super::on_behalf;
use crate::capture::fired::{self, Fired};
use crate::compose::recipient::{Draft, Extent, Recipient};

use crate::pg::composite::Record;
use crate::pg::condition::Condition;
use crate::pg::json::Json;
use crate::pg::output::Canonical;
use crate::pg::row::Row;
use crate::pg::settings;
use crate::pg::spi::{self, Rows, Session, arg, sql};
use crate::pg::table::{Lock, Table};
use crate::pg::trigger::{self as catalog, Firing};
use crate::pg::{foreign, memory, snapshot};
use crate::registry::{endpoint, managed, trigger, watch};
use delivery::client::{AGENT, Destination};
use domain::envelope::Kind;
use domain::event::{self, MANUAL, Operation, TEST};
use domain::refusal::Refusal;

/// Method, URL, headers, body, signature, reason.
type Shown =
    (String, Option<String>, Option<JsonB>, Option<String>, Option<String>, Option<String>);

/// What would be sent, or why nothing would.
type Outcome<T> = Result<T, String>;

#[pg_extern(sql = false)]
fn webhook_preview(
    webhook: Option<&str>,
    op: Option<&str>,
    new_row: Option<Json>,
    old_row: Option<Json>,
    table_name: Option<pg_sys::Oid>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(method, String),
            name!(url, Option<String>),
            name!(headers, Option<JsonB>),
            name!(body, Option<String>),
            name!(signature, Option<String>),
            name!(reason, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let (new, old) = (new_row.map(|Json(text)| text), old_row.map(|Json(text)| text));
    on_behalf(|caller| {
        let op = op.ok_or(Refusal::Null("op"))?;
        spi::connect(|session| {
            let own = managed::look(session, caller, webhook)?;
            let recipient = Recipient::load(session, own.id);
            let route = endpoint::load(session, Some(own.id)).pop();
            let (Some(recipient), Some(route)) = (recipient, route) else {
                return Err(Refusal::UnknownWebhook(own.name));
            };
            let preview = Preview { session, own: &own, recipient: &recipient, new, old };
            let body = preview.body(op, table_name)?;
            let shown = match (body, &route.destination) {
                (Ok((draft, body)), Ok(destination)) => show(destination, &draft, body)?,
                (Err(reason), Ok(to)) => unsent(Some(to.url.to_string()), reason),
                (_, Err(failure)) => unsent(None, failure.to_string()),
            };
            Ok(TableIterator::once(shown))
        })
    })
}

struct Preview<'a> {
    session: &'a Session,
    own: &'a managed::Webhook,
    recipient: &'a Recipient,
    new: Option<String>,
    old: Option<String>,
}

impl Preview<'_> {
    /// The body that `op` would cause.
    fn body(
        &self,
        op: &str,
        table: Option<pg_sys::Oid>,
    ) -> Result<Outcome<(Draft, String)>, Refusal> {
        if !self.recipient.enabled && op != TEST {
            return Ok(Err("the webhook is disabled".to_owned()));
        }
        match op.parse::<Operation>() {
            Ok(operation) => self.change(operation, table),
            Err(_) => self.event(op),
        }
    }

    fn change(
        &self,
        operation: Operation,
        table: Option<pg_sys::Oid>,
    ) -> Result<Outcome<(Draft, String)>, Refusal> {
        let mut tables = watch::list(self.session, self.own.id);
        tables.retain(|watched| {
            !watched.dropped && table.is_none_or(|table| watched.relation == table)
        });
        let watched = match (tables.pop(), tables.len()) {
            (Some(only), 0) => only,
            (Some(_), others) => {
                return Err(Refusal::WhichTable(self.own.name.clone(), others + 1));
            }
            (None, _) => return Ok(Err("the webhook does not watch that table".to_owned())),
        };
        let name = operation.as_str();
        if !watched.spec.events.contains(&operation) {
            return Ok(Err(format!("{name} is not among the events of {}", watched.table)));
        }
        let Some(table) = Table::open(watched.relation, Lock::Read) else {
            return Ok(Err(format!("{} has been dropped", watched.table)));
        };
        let trigger_name = trigger::name_of(watched.id, operation);
        let made = catalog::all_of(&table).into_iter().find(|found| found.name == trigger_name);
        let Some(made) = made else {
            return Ok(Err(format!("the trigger for {name} on {} is missing", watched.table)));
        };
        let own = match made.arguments.as_slice() {
            [argument] => Some(Fired {
                oid: made.oid,
                relation: watched.relation,
                operation,
                name: &made.name,
                argument,
                condition: made.condition.as_ref().map(|tree| tree.text()),
                form: made.form,
            }),
            _ => None,
        };
        let source = match own.map_or(Err(None), |own| fired::of(&table, &own)) {
            Ok(source) => source,
            Err(bar) => {
                let table = &watched.table;
                let replaced =
                    || format!("the trigger for {name} on {table} is not the one that was made");
                return Ok(Err(bar.unwrap_or_else(replaced)));
            }
        };
        let how = match made.enabled {
            Firing::DISABLED => Some("is disabled"),
            Firing::REPLICA => Some("fires with session_replication_role = replica only"),
            _ => None,
        };
        if let Some(how) = how {
            return Ok(Err(format!("the trigger for {name} on {} {how}", watched.table)));
        }
        if let Some(refusal) = &self.recipient.unconfirmed {
            return Ok(Err(refusal.to_string()));
        }
        if let Some(reason) = self.stranger(watched.relation, made.oid) {
            return Ok(Err(reason));
        }
        let (new, old) = match operation {
            Operation::Insert => (self.new.as_deref(), None),
            Operation::Update => (self.new.as_deref(), self.old.as_deref()),
            Operation::Delete => (None, self.old.as_deref().or(self.new.as_deref())),
            Operation::Truncate => (None, None),
        };
        let rows = self.session.run(sql!("api/preview"), &[arg(watched.relation)]);
        let statement: Option<String> = rows.first().map(|row| row.value("statement"));
        let _canonical = Canonical::begin();
        let condition = made.condition.as_ref();
        // The condition is the owner's, and so are the rights with which it is tried.
        let tried = foreign::run_judged(self.recipient.owner, || {
            let made = |given: Option<&str>| {
                let (json, statement) = (given?, statement.as_ref()?);
                Some(self.session.ask(statement, &[arg(json)]))
            };
            let (new, old) = (made(new), made(old));
            let (new_row, old_row) = (row(&table, new.as_ref()), row(&table, old.as_ref()));
            let nulls = table.nulls();
            let (new, old) =
                (new_row.as_ref().unwrap_or(&nulls), old_row.as_ref().unwrap_or(&nulls));
            let counts = operation != Operation::Update || source.is_change(old, new);
            // SAFETY: both are rows of the table: `row` gives no others, and `nulls` makes one of it.
            let holds = |tree: &Condition| unsafe { tree.holds(&table, old, new) };
            let holds = || condition.is_none_or(holds);
            let image = |row: &Option<Row<'_>>| {
                // SAFETY: the memory context is that of the SPI connection, which is open here.
                let text = unsafe { source.image(row.as_ref()?) };
                text.map(memory::owned)
            };
            (counts && holds()).then(|| (image(&new_row), image(&old_row)))
        });
        let images = match tried {
            Ok(images) => images,
            Err(error) => return Ok(Err(error.message().to_owned())),
        };
        let Some((new, old)) = images else {
            return Ok(Err(
                "the condition does not hold, or no column of columns changes".to_owned()
            ));
        };
        let from = Some((source.schema.as_str(), source.table.as_str()));
        Ok(self.render(Kind::Row(name), from, new.as_deref(), old.as_deref()))
    }

    /// Why the row is not looked at: a type in it, or in the condition, would call what somebody else could have given
    /// the owner's rights to. Functions are judged when they are called, but for those that the session may have put
    /// into the text of a check already, or keeps for a type.
    fn stranger(&self, relation: pg_sys::Oid, trigger: pg_sys::Oid) -> Option<String> {
        let args = [arg(relation), arg(trigger), arg(self.recipient.owner)];
        // What an old snapshot does not show of a type would be called all the same.
        let rows = snapshot::with_latest(|| self.session.look_up(sql!("api/strangers"), &args));
        rows.first().map(|row| {
            let (what, owner): (String, String) = (row.value("what"), row.value("owner"));
            foreign::stranger(&what, &owner)
        })
    }

    fn event(&self, op: &str) -> Result<Outcome<(Draft, String)>, Refusal> {
        let kind = match op {
            TEST => Kind::Test,
            MANUAL => Kind::Row(MANUAL),
            emitted => {
                let rows = self.session.run(sql!("api/event_types"), &[arg(self.own.id)]);
                let patterns: Vec<String> =
                    rows.first().map_or_else(Vec::new, |row| row.value("event_types"));
                let emitted = event::check_type(emitted)?;
                if !patterns.iter().any(|pattern| event::matches(pattern, emitted)) {
                    return Ok(Err(format!("{emitted} is not among the events")));
                }
                Kind::Emitted(emitted)
            }
        };
        Ok(self.render(kind, None, self.new.as_deref(), None))
    }

    fn render(
        &self,
        kind: Kind<'_>,
        table: Option<(&str, &str)>,
        new: Option<&str>,
        old: Option<&str>,
    ) -> Outcome<(Draft, String)> {
        let envelope = self.recipient.envelope(kind, table);
        let draft = self.recipient.sketch(&envelope);
        let most = settings::max_payload_bytes();
        let Some(body) = draft.render(&envelope, new, old, Extent::Whole, most) else {
            return Err(Refusal::TooLarge(most).to_string());
        };
        // A test is sent as it is.
        if matches!(kind, Kind::Test) {
            return Ok((draft, body));
        }
        let made = match self.recipient.transformed(&body) {
            // The body itself: a copy of it might find no memory.
            Ok(Some(Cow::Borrowed(_))) => None,
            Ok(Some(Cow::Owned(made))) => Some(made),
            Ok(None) => return Err("the transform drops it".to_owned()),
            Err(failure) => return Err(failure.describe()),
        };
        Ok((draft, made.unwrap_or(body)))
    }
}

/// The one row that was made, if it is of the table.
fn row<'a>(table: &'a Table, made: Option<&'a Rows<'_>>) -> Option<Row<'a>> {
    table.row(made?.first()?.get::<Record<'_>>("made")?)
}

fn show(destination: &Destination, draft: &Draft, body: String) -> Result<Shown, Refusal> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let signatures = destination.signer()?.sign(&draft.event_id, now, body.as_bytes());
    let mut headers = Map::new();
    let mut put = |name: &HeaderName, value: String| {
        headers.insert(name.to_string(), Value::String(value));
    };
    put(&http::header::CONTENT_TYPE, destination.content_type.to_owned());
    put(&http::header::USER_AGENT, AGENT.to_owned());
    destination.headers.keys().for_each(|name| put(name, "***".to_owned()));
    put(&HeaderName::from_static("webhook-id"), draft.event_id.clone());
    put(&HeaderName::from_static("webhook-timestamp"), now.to_string());
    put(&HeaderName::from_static("webhook-attempt"), "1".to_owned());
    signatures.iter().for_each(|(name, value)| put(name, value.clone()));
    let signature = signatures.into_iter().next().map(|(_, value)| value);
    Ok((
        "POST".to_owned(),
        Some(destination.url.to_string()),
        Some(JsonB(Value::Object(headers))),
        Some(body),
        signature,
        None,
    ))
}

fn unsent(url: Option<String>, reason: String) -> Shown {
    ("POST".to_owned(), url, None, None, None, Some(reason))
}
