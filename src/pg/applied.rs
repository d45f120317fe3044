//! Rows of our tables that come from another database, by logical replication.
//!
//! A publication of all tables carries ours. Their rows are about the queue and the webhooks of the publisher, and a
//! subscriber has its own: it takes none of them, and replication goes on.

use pgrx::prelude::*;

use super::{report, spi};

/// Tells PostgreSQL how `webhook_skip_applied` is called.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_webhook_skip_applied() -> &'static pg_sys::Pg_finfo_record {
    const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &V1
}

/// The trigger function `webhook.skip_applied`, for triggers BEFORE an operation on a row.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn webhook_skip_applied(
    fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    // SAFETY: PostgreSQL passes a call's frame; the trigger data is read only if it is that.
    let (old, new) = unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || !pgrx::is_a(context, pg_sys::NodeTag::T_TriggerData) {
            let code = PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED;
            let message = "webhook.skip_applied can only be called by a trigger".to_owned();
            report::new(code, message).report(PgLogLevel::ERROR);
        }
        let data = &*context.cast::<pg_sys::TriggerData>();
        (data.tg_trigtuple, data.tg_newtuple)
    };
    let skipped = std::ptr::null_mut();
    let row = match is_applied() {
        true => skipped,
        false if new.is_null() => old,
        false => new,
    };
    pg_sys::Datum::from(row)
}

/// Whether the row that is about to be written comes from another database. That the session is in replica role does not
/// say so, because so is a restore. What our functions write is our own, also where a trigger calls them for such a row.
fn is_applied() -> bool {
    // SAFETY: main thread; reads variables of the process.
    let replicates = unsafe {
        pg_sys::IsLogicalWorker()
            || u32::from(pg_sys::replorigin_session_origin) != pg_sys::InvalidRepOriginId
    };
    replicates && !spi::is_open()
}
