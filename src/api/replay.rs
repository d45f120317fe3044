//! `webhook_replay`, `webhook_replay_all`

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{delivery, on_behalf};
use crate::domain::refusal::Refusal;
use crate::domain::status::Status;
use crate::pg::spi::{self, arg, sql};
use crate::pg::{ids, wake};
use crate::registry::webhook;

/// The next delivery's id, for statements that write many.
#[pg_extern(sql = false)]
fn webhook_next_id() -> i64 {
    ids::next_here()
}

#[pg_extern(sql = false)]
fn webhook_replay(delivery_id: Option<i64>) -> Result<i64, ErrorReport> {
    on_behalf(|caller| {
        spi::connect(|session| {
            let original = delivery::find(session, caller, delivery_id)?;
            if original.orphan {
                return Err(Refusal::UnknownWebhook(original.webhook));
            }
            if original.test {
                return Err(Refusal::ReplayOfTest(original.id));
            }
            let copied =
                session.run(sql!("api/replay"), &[arg(original.id), arg(original.transaction)]);
            let copy = copied.first().ok_or(Refusal::PayloadGone(original.id))?;
            session.run(sql!("api/close_dead"), &[arg(original.id)]);
            wake::worker_at_commit();
            Ok(copy.value(1))
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
            let own = webhook::find(session, caller, webhook)?;
            let args = [arg(own.id), arg(since), arg(until), arg(status.name())];
            let replayed = session.run(sql!("api/replay_all"), &args).count();
            wake::worker_at_commit();
            Ok(replayed as i64)
        })
    })
}
