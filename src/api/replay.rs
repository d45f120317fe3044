//! `webhook_replay`, `webhook_replay_all`

use pgrx::datum::TimestampWithTimeZone;
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
use crate::registry::managed;
use domain::key::DeliveryId;
use domain::refusal::Refusal;
use domain::status::Status;

/// The next delivery's id, for statements that write many.
#[pg_extern(sql = false)]
fn webhook_next_id() -> i64 {
    ids::next_here().0
}

/// Writes a row, for statements that bodies are in: logical decoding sees what INSERT and UPDATE write.
#[pg_extern(sql = false)]
fn webhook_put(table: Option<&str>, row: Option<Record<'_>>) -> Result<(), ErrorReport> {
    report::answer(|| {
        let name = table.ok_or(Refusal::Null("table"))?;
        let Record(row) = row.ok_or(Refusal::Null("row"))?;
        heap::insert_row(table::own(name).ok_or_else(|| Refusal::gone(name))?, &row);
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
            if let Some(replay) = Transformation::find(session, caller, id, transaction) {
                if !replay.may_run {
                    let (part, webhook) = ("transform's input", original.webhook);
                    return Err(Refusal::MayNotBring { part, webhook });
                }
                return match replay.repeat(session, Again::Always) {
                    Ok(copy) => Ok(copy.flatten().map(|id| id.0)),
                    Err(failure) => replay.recipient.raise(failure),
                };
            }
            installation::note_arrival(session);
            let args = [arg(original.id), arg(original.transaction)];
            let copied = session.run(sql!("api/replay"), &args);
            let copy = copied.first().ok_or(Refusal::PayloadGone(original.id))?;
            session.run(sql!("api/close_dead"), &args);
            wake::worker_at_commit();
            Ok(copy.get("id"))
        })
    })
}

#[pg_extern(sql = false)]
fn webhook_replay_all(
    webhook: Option<&str>,
    since: Option<TimestampWithTimeZone>,
    until: Option<TimestampWithTimeZone>,
    status: Option<&str>,
) -> Result<i64, ErrorReport> {
    on_behalf(|caller| {
        let status: Status = status.map_or(Ok(Status::Dead), str::parse)?;
        spi::connect(|session| {
            let own = managed::look(session, caller, webhook)?;
            let args = || [arg(own.id), arg(since), arg(until), arg(status.name())];
            // Before anything is written: what this writes is not among them.
            let rows = session.run(sql!("api/untransformed_all"), &args());
            let failed: Vec<(DeliveryId, i64)> =
                rows.iter().map(|row| (row.value("id"), row.value("transaction"))).collect();
            installation::note_arrival(session);
            let replayed = session.run(sql!("api/replay_all"), &args()).count();
            let again = transform_all(
                caller,
                &failed,
                if status == Status::Dead { Again::Once } else { Again::Always },
            );
            wake::worker_at_commit();
            Ok((replayed + again) as i64)
        })
    })
}

/// Whether a delivery that somebody else replays at the same time is replayed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Always,
    /// Not a dead letter, which is replayed once.
    Once,
}

/// Replays deliveries whose transform has failed; those that fail again, or that the caller may not have transformed, stay
/// as they are. Returns how many it was.
fn transform_all(caller: &Caller, deliveries: &[(DeliveryId, i64)], again: Again) -> usize {
    let mut failures = Vec::new();
    let mut done = 0;
    for (id, transaction) in deliveries {
        // Each with memory of its own.
        let repeated = spi::connect(|session| {
            let found = Transformation::find(session, caller, *id, *transaction)?;
            if !found.may_run {
                return None;
            }
            found.repeat(session, again).transpose()
        });
        match repeated {
            Some(Ok(_)) => done += 1,
            Some(Err(failure)) => failures.push(failure),
            None => {}
        }
    }
    if let Some(first) = failures.first() {
        let message =
            format!("{} of {} deliveries cannot be transformed", failures.len(), deliveries.len());
        let code = PgSqlErrorCode::ERRCODE_WARNING;
        ErrorReport::new(code, message, function_name!())
            .set_detail(format!("The first: {}.", first.describe()))
            .report(PgLogLevel::WARNING);
    }
    done
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
            may_run: row.value("may_run"),
        })
    }

    /// Writes the new delivery and returns it, unless the transform drops it. In both cases the old one is done; `None`
    /// where somebody else has done it meanwhile.
    fn repeat(
        &self,
        session: &Session,
        again: Again,
    ) -> Result<Option<Option<DeliveryId>>, Failure> {
        let made = self.recipient.transformed(&self.payload)?;
        let args = [arg(self.id), arg(self.transaction)];
        let closed = session.run(sql!("api/close_dead"), &args).count();
        if again == Again::Once && closed == 0 {
            return Ok(None);
        }
        Ok(Some(made.map(|body| {
            let draft = self.recipient.repeat(self.event_id.clone());
            let table = self.table.as_ref().map(|(schema, name)| (schema.as_str(), name.as_str()));
            self.recipient.append(&draft, &self.event_type, table, &Stored::Body(body));
            draft.id
        })))
    }
}
