//! Drawing delivery ids: the clock on the board, its mark in a sequence.

use std::ffi::CStr;
use std::time::SystemTime;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::board;
use crate::pg::{identity, sequence, server};
use domain::ids::{self, Ledger, UsedUp};
use domain::key::{DeliveryId, WebhookId};
use domain::time::Timestamp;

/// The next id of this database, whose mark is in `sequence`, at a time that the clock shows. Needs no right, keeps no lock
/// and leaves nothing in the session.
pub fn next(sequence: pg_sys::Oid, now: Timestamp) -> DeliveryId {
    check_writing();
    let (now, number) = (ids::reading(now), u32::from(sequence));
    let drawn = board::own().and_then(|entry| entry.ids().draw(number, now));
    let drawn = drawn.unwrap_or_else(|| {
        // The board is asked once more when nobody else can draw: from the first to find an entry there on,
        // nobody goes past it.
        let drawn = sequence::locked(sequence, |mark| match board::find(server::database()) {
            Some(entry) => entry.ids().draw_raising(number, now, mark),
            None => ids::draw_alone(now, mark),
        });
        drawn.unwrap_or_else(|UsedUp| used_up("deliveries"))
    });
    DeliveryId(drawn)
}

/// The same for whoever does not know the sequence.
pub fn next_here() -> DeliveryId {
    next(sequence_named(c"delivery_id_seq"), Timestamp::from(SystemTime::now()))
}

/// The next key of a webhook, from the sequence of its table, behind `last`: a dump brings keys of its own. Leaves nothing
/// in the session either, as `nextval()` would.
pub fn next_webhook(last: WebhookId) -> WebhookId {
    check_writing();
    let drawn = sequence::locked(sequence_named(c"webhook_id_seq"), |ledger| {
        let free = ledger.mark().max(i64::from(last.0) + 1);
        let key = i32::try_from(free).map_err(|_| UsedUp)?;
        ledger.raise(i64::from(key) + 1);
        Ok(WebhookId(key))
    });
    drawn.unwrap_or_else(|UsedUp| used_up("webhooks"))
}

fn sequence_named(name: &CStr) -> pg_sys::Oid {
    // SAFETY: catalog reads in a transaction; without the schema an error, without the sequence no oid of one.
    unsafe {
        let schema = pg_sys::get_namespace_oid(identity::SCHEMA.as_ptr(), false);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    }
}

/// An id as the next one may look. It is not drawn.
pub fn sample() -> DeliveryId {
    DeliveryId(ids::reading(Timestamp::from(SystemTime::now())))
}

/// Makes sure that no id that has been drawn is drawn again after a crash. One whose transaction commits
/// needs no such care: the mark is written before the commit is.
pub fn secure(sequence: pg_sys::Oid) {
    sequence::flush(sequence);
}

/// Refuses what is to change nothing, a session of a standby among them, as `nextval()` does.
fn check_writing() {
    // SAFETY: reads the state of the transaction; raises an error that names us.
    unsafe {
        if pg_sys::XactReadOnly {
            pg_sys::PreventCommandIfReadOnly(c"pg_webhook".as_ptr());
        }
        pg_sys::PreventCommandIfParallelMode(c"pg_webhook".as_ptr());
    }
}

fn used_up(of: &str) -> ! {
    let code = PgSqlErrorCode::ERRCODE_SEQUENCE_GENERATOR_LIMIT_EXCEEDED;
    let message = format!("the ids of {of} are used up");
    ErrorReport::new(code, message, function_name!()).report(PgLogLevel::ERROR);
    unreachable!()
}
