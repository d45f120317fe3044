//! The durable cursor, and the identity of the database that it belongs to.

use pgrx::pg_sys;

use crate::domain::snapshot::Snapshot;
use crate::pg::spi::{Session, arg, sql};

/// Begins a run; returns where the one before has come to, `None` where the row has been removed by
/// hand. The commit of this is flushed, and with it every commit before it: what the run finds there
/// already is on disk.
pub fn begin(session: &Session) -> Option<Snapshot> {
    let rows = session.write(sql!("queue/begin"), &[]);
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
    let rows = session.read(sql!("queue/installation"), &[arg(system as i64), arg(database)]);
    rows.first().map(|row| (row.value(1), row.value(2)))
}
