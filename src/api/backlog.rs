//! `webhook_backlog_import`

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::on_behalf;
use crate::pg::composite::{self, Record};
use crate::pg::settings;
use crate::pg::spi::{self, Arg, Session, arg, sql};
use crate::pg::wal;
use crate::queue::installation;
use crate::registry::{self, level};
use domain::refusal::Refusal;

/// The columns of webhook_backlog_export with their types, in the order of the statement's parameters, and which are
/// never NULL.
const COLUMNS: [(&str, &str, pg_sys::Oid, bool); 18] = [
    ("webhook", "uuid", pg_sys::UUIDOID, true),
    ("id", "bigint", pg_sys::INT8OID, true),
    ("transaction", "xid8", pg_sys::XID8OID, true),
    ("event_id", "text", pg_sys::TEXTOID, true),
    ("event_type", "text", pg_sys::TEXTOID, true),
    ("schema_name", "text", pg_sys::TEXTOID, false),
    ("table_name", "text", pg_sys::TEXTOID, false),
    ("payload", "text", pg_sys::TEXTOID, true),
    ("failure", "text", pg_sys::TEXTOID, false),
    ("created_at", "timestamptz", pg_sys::TIMESTAMPTZOID, true),
    ("next_attempt_at", "timestamptz", pg_sys::TIMESTAMPTZOID, false),
    ("first_attempt_at", "timestamptz", pg_sys::TIMESTAMPTZOID, false),
    ("attempts", "integer", pg_sys::INT4OID, true),
    ("status_code", "smallint", pg_sys::INT2OID, false),
    ("duration_us", "bigint", pg_sys::INT8OID, false),
    ("error", "text", pg_sys::TEXTOID, false),
    ("response_body", "text", pg_sys::TEXTOID, false),
    ("keys", "bigint[]", pg_sys::INT8ARRAYOID, false),
];

/// Where in these the columns are that not every value will do for.
const LIMITED: [usize; 8] = [1, 9, 10, 11, 12, 3, 7, 17];

/// Refuses what no delivery has and what would fail later: times beyond the arithmetic, an id that fits no header, a body beyond
/// the memory.
fn judge(session: &Session, values: &[Arg]) -> Result<(), Refusal> {
    let most = settings::max_payload_bytes();
    let mut args: Vec<Arg> = LIMITED.iter().map(|at| values[*at]).collect();
    args.push(arg(i64::try_from(most).unwrap_or(i64::MAX)));
    let rows = session.run(sql!("api/out_of_range"), &args);
    let Some(column) = rows.first().and_then(|row| row.get::<String>("argument")) else {
        return Ok(());
    };
    let out_of = |argument, least, most| Refusal::OutOfRange { argument, least, most };
    Err(match column.as_str() {
        "id" => out_of("id", "1", "9007199254740991"),
        "created_at" => out_of("created_at", "1970", "2200"),
        "next_attempt_at" => out_of("next_attempt_at", "1970", "2200"),
        "first_attempt_at" => out_of("first_attempt_at", "1970", "2200"),
        "attempts" => out_of("attempts", "0", "1000000"),
        "event_id" => Refusal::NotAnEventId,
        "keys" => out_of("keys", "none", "two"),
        _ => Refusal::TooLarge(most),
    })
}

#[pg_extern(sql = false)]
fn webhook_backlog_import(row: Option<Record<'_>>) -> Result<bool, ErrorReport> {
    on_behalf(|caller| {
        spi::connect(|session| {
            level::administers(session, caller, "import a backlog")?;
            let Record(row) = row.ok_or(Refusal::Null("row"))?;
            let mut args: Vec<Arg> = Vec::with_capacity(COLUMNS.len());
            for (column, kind, type_oid, needed) in COLUMNS {
                let value = composite::column(&row, column, type_oid)
                    .ok_or(Refusal::NotOfABacklog { column, kind })?;
                if needed && value.is_null() {
                    return Err(Refusal::Null(column));
                }
                args.push(value);
            }
            judge(session, &args)?;
            let found = session.run(sql!("api/imported"), &args[..1]);
            let webhook = found.first().expect("a row in any case");
            if webhook.get::<i32>("id").is_none() {
                return Err(Refusal::UnknownWebhook(webhook.value("uuid")));
            }
            installation::note_arrival(session);
            let imported = session.run_generic(sql!("api/import"), &args).count() > 0;
            // The worker sends from the backlog what is visible, so that must not be before it is on disk.
            wal::commit_durably();
            registry::changed();
            Ok(imported)
        })
    })
}
