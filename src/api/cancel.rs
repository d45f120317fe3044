//! `webhook_cancel`

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{delivery, on_behalf};
use crate::host::wake;
use crate::pg::spi::{self, arg, sql};

#[pg_extern(sql = false)]
fn webhook_cancel(delivery_id: Option<i64>) -> Result<bool, ErrorReport> {
    on_behalf(|caller| {
        spi::connect(|session| {
            let own = delivery::find(session, caller, delivery_id)?;
            if own.orphan {
                // What has not been delivered is cancelled with the webhook.
                return Ok(false);
            }
            let cancel = match own.waits {
                true => sql!("api/cancel_waiting"),
                false => sql!("api/cancel"),
            };
            let closed = session.run_generic(cancel, &[arg(own.id), arg(own.transaction)]);
            wake::cancelled_at_commit();
            Ok(closed.count() > 0)
        })
    })
}
