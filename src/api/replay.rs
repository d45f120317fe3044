//! `webhook_replay`

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{delivery, on_behalf};
use crate::compose::recipient::{Recipient, Stored};
use crate::compose::transform::Failure;
use crate::host::{ids, wake};
use crate::pg::composite::Record;
use crate::pg::identity::Caller;
use crate::pg::spi::{self, Session, arg, sql};
use crate::pg::{heap, report, table};
use crate::queue::installation;
use domain::key::DeliveryId;
use domain::refusal::Refusal;

/// The next delivery's id, for statements that write many.
#[pg_extern(sql = false)]
fn webhook_next_id() -> i64 {
    ids::next_here().0
}

/// Writes a row, for statements that bodies are in: logical decoding sees what INSERT and UPDATE write. Column `but_for` is for the
/// statement alone.
#[pg_extern(sql = false)]
fn webhook_put(
    table: Option<&str>,
    row: Option<Record<'_>>,
    but_for: Option<&str>,
) -> Result<(), ErrorReport> {
    report::answer(|| {
        let name = table.ok_or(Refusal::Null("table"))?;
        let Record(row) = row.ok_or(Refusal::Null("row"))?;
        heap::insert_row(table::own(name).ok_or_else(|| Refusal::gone(name))?, &row, but_for);
        Ok(())
    })
}

#[pg_extern(sql = false)]
fn webhook_replay(delivery_id: Option<i64>) -> Result<Option<i64>, ErrorReport> {
    on_behalf(|caller| {
        spi::connect(|session| {
            let original = delivery::find(session, caller, delivery_id)?;
            if original.orphan {
                return Err(Refusal::UnknownWebhook(original.webhook));
            }
            if original.test {
                return Err(Refusal::ReplayOfTest(original.id));
            }
            let (id, transaction) = (original.id, original.transaction);
            let failed = match original.transformed {
                true => None,
                false => Transformation::find(session, caller, id, transaction),
            };
            if let Some(replay) = failed {
                if !replay.may_run {
                    let (part, webhook) = ("transform's input", original.webhook);
                    return Err(Refusal::MayNotBring { part, webhook });
                }
                return match replay.repeat(session) {
                    Ok(copy) => Ok(copy.map(|id| id.0)),
                    Err(failure) => replay.recipient.raise(failure),
                };
            }
            let args = [arg(original.id), arg(original.transaction)];
            if session.run_generic(sql!("api/rearm"), &args).count() > 0 {
                // In its place in the order, which the worker sees to.
                wake::cancelled_at_commit();
                return Ok(Some(id.0));
            }
            installation::note_arrival(session);
            let copied = session.run_generic(sql!("api/replay"), &args);
            let copy = copied.first().ok_or(Refusal::PayloadGone(original.id))?;
            session.run_generic(sql!("api/close_dead"), &args);
            wake::worker_at_commit();
            Ok(copy.get("id"))
        })
    })
}

/// A delivery whose transform has failed, to be transformed once more.
struct Transformation {
    id: DeliveryId,
    transaction: i64,
    recipient: Recipient,
    event_type: String,
    table: Option<(String, String)>,
    event_id: String,
    payload: String,
    keys: Option<Vec<i64>>,
    /// Whether the transform may run over it because of that caller.
    may_run: bool,
}

impl Transformation {
    fn find(session: &Session, caller: &Caller, id: DeliveryId, transaction: i64) -> Option<Self> {
        let args = [arg(id), arg(transaction), arg(caller.role)];
        let rows = session.run(sql!("api/untransformed"), &args);
        let row = rows.first()?;
        Some(Self {
            id,
            transaction,
            recipient: Recipient::load(session, row.value("webhook"))?,
            event_type: row.value("event_type"),
            table: row.get("schema_name").zip(row.get("table_name")),
            event_id: row.value("event_id"),
            payload: row.value("payload"),
            keys: row.get("keys"),
            may_run: row.value("may_run"),
        })
    }

    /// Writes the new delivery and returns it, unless the transform drops it. In both cases the old one is done.
    fn repeat(&self, session: &Session) -> Result<Option<DeliveryId>, Failure> {
        let made = self.recipient.transformed(&self.payload)?;
        if made.is_none() && self.keys.is_some() {
            // Those behind it in its order go on, which the worker sees to.
            session.run(sql!("api/cancel"), &[arg(self.id), arg(self.transaction)]);
            wake::cancelled_at_commit();
            return Ok(None);
        }
        session.run(sql!("api/close_dead"), &[arg(self.id), arg(self.transaction)]);
        Ok(made.map(|body| {
            let draft = self.recipient.repeat(self.event_id.clone());
            let draft = draft.in_order(self.keys.clone()).in_place_of(self.id);
            let table = self.table.as_ref().map(|(schema, name)| (schema.as_str(), name.as_str()));
            self.recipient.append(&draft, &self.event_type, table, &Stored::Body(body));
            draft.id
        }))
    }
}
