//! Drawing delivery ids: the clock on the board, its mark in a sequence.

use std::time::SystemTime;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{board, sequence, server};
use crate::domain::ids::{self, UsedUp};
use crate::domain::time::Timestamp;

/// The next id of this database, whose mark is in `sequence`. Needs no right, keeps no lock and leaves
/// nothing in the session.
pub fn next(sequence: pg_sys::Oid) -> i64 {
    check_writing();
    let (now, number) = (reading(), u32::from(sequence));
    let drawn = board::own().and_then(|entry| entry.ids().draw(number, now));
    drawn.unwrap_or_else(|| {
        // The board is asked once more when nobody else can draw: from the first to find an entry there on,
        // nobody goes past it.
        let drawn = sequence::locked(sequence, |mark| match board::find(server::database()) {
            Some(entry) => entry.ids().draw_raising(number, now, mark),
            None => ids::draw_alone(now, mark),
        });
        drawn.unwrap_or_else(|UsedUp| used_up())
    })
}

/// The same for whoever does not know the sequence.
pub fn next_here() -> i64 {
    // SAFETY: catalog reads in a transaction; without the schema an error, without the sequence no oid of one.
    let sequence = unsafe {
        let schema = pg_sys::get_namespace_oid(c"webhook".as_ptr(), false);
        pg_sys::get_relname_relid(c"delivery_id_seq".as_ptr(), schema)
    };
    next(sequence)
}

/// An id as the next one may look. It is not drawn.
pub fn sample() -> i64 {
    reading()
}

/// Makes sure that no id that has been drawn is drawn again after a crash. One whose transaction commits
/// needs no such care: the mark is written before the commit is.
pub fn secure(sequence: pg_sys::Oid) {
    sequence::flush(sequence);
}

fn reading() -> i64 {
    ids::reading(Timestamp::from(SystemTime::now()))
}

/// Refuses what is to change nothing, a session of a standby among them, as `nextval()` does.
fn check_writing() {
    // SAFETY: reads the state of the transaction; raises an error that names us.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(c"pg_webhook".as_ptr());
        pg_sys::PreventCommandIfParallelMode(c"pg_webhook".as_ptr());
    }
}

fn used_up() -> ! {
    let code = PgSqlErrorCode::ERRCODE_SEQUENCE_GENERATOR_LIMIT_EXCEEDED;
    ErrorReport::new(code, UsedUp.to_string(), function_name!()).report(PgLogLevel::ERROR);
    unreachable!()
}
