//! Webhooks that can do nothing by what they have been given.
//!
//! Those are the ones that nothing brings an event: without a table and without a type of emitted events. Of whatever else a webhook
//! is told it can happen: each list of operations has one that fires, each pattern of types matches one that can be emitted, and
//! what a condition or a transform lets through nobody can say.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::pg::identity;
use crate::pg::spi::{Session, arg, sql};
use domain::key::WebhookId;

/// Says so where `webhook` is one, and what to do. It is no error, because a migration may give it a table next.
pub fn tell(session: &Session, webhook: WebhookId) {
    let rows = session.run(sql!("registry/idle"), &[arg(webhook)]);
    let Some(row) = rows.first() else {
        return;
    };
    let name: String = row.value("name");
    let message = format!("webhook \"{name}\" watches no table and hears no emitted events");
    ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message, function_name!())
        .set_hint(identity::qualified(
            "webhook_watch gives it a table, and webhook_update with events the types of events that webhook_emit brings.",
        ))
        .report(PgLogLevel::NOTICE);
}
