//! The last steps of CREATE EXTENSION and of ALTER EXTENSION UPDATE.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::host::{board, lock, wake};
use crate::pg::identity;
use crate::pg::spi::{self, Session, sql};
use crate::pg::{grant, report, server};
use crate::queue::installation;
use crate::registry::{self, level};
use domain::refusal::Refusal;

/// A subscriber without our tables cannot be told to do without them.
fn warn_of_publications(names: String) {
    let code = PgSqlErrorCode::ERRCODE_WARNING;
    let message = format!("publications carry the tables of pg_webhook: {names}");
    ErrorReport::new(code, message, function_name!())
        .set_hint("A subscriber without the extension stops replicating until CREATE EXTENSION pg_webhook there.")
        .report(PgLogLevel::WARNING);
}

const PRELOAD: &str = "Add shared_preload_libraries = 'pg_webhook' to postgresql.conf (after a comma, if it \
                       lists others) and restart the server.";

/// Closes the types of our tables' rows, makes this database the one that sends, warns where nothing can, and has the
/// launcher start a worker when the transaction commits.
#[pg_extern(sql = false)]
fn webhook_install() -> Result<(), ErrorReport> {
    if !server::is_utf8() {
        return Err(report::of(Refusal::NotUtf8));
    }
    spi::connect(|session| {
        close_row_types(session);
        if let Some(names) =
            session.run(sql!("api/publications"), &[]).first().and_then(|row| row.get("names"))
        {
            warn_of_publications(names);
        }
        installation::claim(session, None)
    })
    .map_err(report::of)?;
    if board::preloaded() {
        wake::launcher_at_commit();
    } else {
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "pg_webhook is not preloaded: events are captured, but nothing is sent",
            function_name!(),
        )
        .set_hint(PRELOAD)
        .report(PgLogLevel::WARNING);
    }
    Ok(())
}

/// ALTER EXTENSION UPDATE has the extension to itself, as DROP EXTENSION does, until its transaction ends: neither the worker nor a
/// function of ours is among our tables, of which the script locks all. For as long as `lock_timeout` lets it wait.
#[pg_extern(sql = false)]
fn webhook_bar() {
    if let Some(extension) = identity::extension() {
        lock::bar_extension(extension);
    }
}

/// Closes the types of our tables' rows, gives `levels`, the roles that had the privileges of their levels before the script, those
/// of what it has made, and emitters theirs, and has the worker see to it at commit.
#[pg_extern(sql = false)]
fn webhook_updated(levels: Option<Array<'_, pg_sys::Oid>>) -> Result<(), ErrorReport> {
    let levels = levels.ok_or_else(|| report::of(Refusal::Null("levels")))?;
    spi::connect(|session| {
        close_row_types(session);
        level::renew(session, levels.iter().flatten().collect())
    })
    .map_err(report::of)?;
    registry::changed();
    Ok(())
}

/// A column of such a type would keep the table as it is.
fn close_row_types(session: &Session) {
    for row in session.run(sql!("api/row_types"), &[]).iter() {
        grant::run(&row.value::<String>("statement"));
    }
}
