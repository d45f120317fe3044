//! The durable cursor, and the identity of the database that it belongs to.

use pgrx::pg_sys;

use crate::domain::snapshot::Snapshot;
use crate::pg::spi::{Session, arg, sql};

/// Where an earlier run has come to.
///
/// # Errors
///
/// The row has been removed by hand.
pub fn load(session: &Session) -> Option<Snapshot> {
    let rows = session.read(sql!("queue/cursor"), &[]);
    rows.first()?.value::<String>(1).parse().ok()
}

/// Everything that `settled` sees is finished or in the slow lane.
pub fn save(session: &Session, settled: &Snapshot) {
    session.write(sql!("queue/advance"), &[arg(settled.clone())]);
}

/// The installation's id and whether this database is the one that may send.
pub fn installation(session: &Session) -> Option<(String, bool)> {
    // SAFETY: reads the control file's copy in shared memory, and an oid of this process.
    let (system, database) = unsafe { (pg_sys::GetSystemIdentifier(), pg_sys::MyDatabaseId) };
    let rows = session.read(
        sql!("queue/installation"),
        &[arg(system as i64), arg(database)],
    );
    rows.first().map(|row| (row.value(1), row.value(2)))
}
