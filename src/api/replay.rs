//! `webhook_replay`

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::on_behalf;
use crate::domain::refusal::Refusal;
use crate::pg::spi::{self, arg, sql};
use crate::pg::wake;

#[pg_extern(sql = false)]
fn webhook_replay(delivery_id: Option<i64>) -> Result<i64, ErrorReport> {
    on_behalf(|caller| {
        let delivery = delivery_id.ok_or(Refusal::Null("delivery_id"))?;
        spi::connect(|session| {
            let rows = session.run(sql!("api/delivery"), &[arg(delivery), arg(caller.role)]);
            let row = rows.first().ok_or(Refusal::UnknownDelivery(delivery))?;
            if row.value::<bool>(2) {
                return Err(Refusal::UnknownWebhook(row.value(1)));
            }
            let copied =
                session.run(sql!("api/replay"), &[arg(delivery), arg(row.value::<i64>(3))]);
            let copy = copied.first().ok_or(Refusal::PayloadGone(delivery))?;
            wake::worker_at_commit();
            Ok(copy.value(1))
        })
    })
}
