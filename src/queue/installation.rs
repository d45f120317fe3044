//! The installation: the database that sends, and how a copy of it is known.
//!
//! A webhook sends only in the installation that it carries, and only while that is where it was made: in a server of
//! that number, in a database of that number, under that setting `pg_webhook.server`. A dump loses the installation and
//! keeps what webhooks carry; a copy keeps the installation and changes one of the numbers, or the setting.

use sha2::{Digest, Sha256};

use crate::host::arrival;
use crate::pg::spi::{Session, arg, sql};
use crate::pg::{heap, random, server, settings, snapshot};
use domain::refusal::Refusal;
use domain::snapshot::Xid8;

/// Bytes of an installation's id, which is in those of its events. Fewer, and two installations may have the same, so that a receiver
/// takes events of the one for repeats of the other's.
const ID: usize = 6;

/// The installation that the database holds.
pub struct Installation {
    /// The random part of its events' ids.
    pub id: String,
    /// It is that of this database. Otherwise this is a copy, and sends nothing.
    pub is_here: bool,
    /// The transaction that has written it.
    pub since: i64,
    /// It is that of this database, whatever `pg_webhook.server` says.
    pub is_database: bool,
}

/// The installation; `None` where the row has been removed by hand.
pub fn find(session: &Session) -> Option<Installation> {
    let rows = session.read(sql!("queue/installation"), &[]);
    let row = rows.first()?;
    Some(Installation {
        id: row.value("id"),
        is_here: row.value("is_here"),
        since: row.value("since"),
        is_database: row.value("is_database"),
    })
}

/// Whether somebody keeps it from sending by webhook_stop(), as it is now.
pub fn is_stopped(session: &Session) -> bool {
    let rows = snapshot::with_latest(|| session.look_up(sql!("queue/stopped"), &[]));
    rows.first().is_some_and(|row| row.value("stopped"))
}

/// Makes this database the one that sends, under the id `id` or one of its own.
///
/// # Errors
///
/// The server has no random bytes.
pub fn claim(session: &Session, id: Option<String>) -> Result<(), Refusal> {
    let id = match id {
        Some(id) => id,
        None => hex::encode(random::bytes::<ID>()?),
    };
    let (system, database) = (server::system_identifier() as i64, server::database());
    let args = [arg(id), arg(system), arg(database), arg(settings::server())];
    session.run(sql!("queue/install"), &args);
    Ok(())
}

/// What a copy of the installation `id` that is not armed calls itself: the original draws ids beside it.
pub fn of_copy(id: &str) -> String {
    let (system, database) = (server::system_identifier(), u32::from(server::database()));
    let mut digest = Sha256::new();
    digest.update(id);
    digest.update(system.to_be_bytes());
    digest.update(database.to_be_bytes());
    digest.update(settings::server());
    hex::encode(&digest.finalize()[..ID])
}

/// For whoever writes deliveries without a `Recipient`, which notes them itself. In a copy, webhook_arm tells by this what has been
/// written here from what came along.
pub fn note_arrival(session: &Session) {
    if let Some(copied) = find(session).filter(|installation| !installation.is_here) {
        arrival::note(copied.since);
    }
}

/// Forgets what has come along with a copy. Where nobody has noted when that was made, all that there is.
pub fn forget_what_came(session: &Session, copied: &Installation) {
    // Webhooks first, as each function locks them that changes one and then what waits of it.
    session.run(sql!("queue/lock_webhooks"), &[]);
    // Then the ring, and the backlog after it, as a rotation does.
    session.run(sql!("queue/lock_ring"), &[]);
    // Until this is committed the worker sees in the ring what came along, and would move it to the backlog.
    session.run(sql!("queue/lock_backlog"), &[]);
    let own = snapshot::top_xid();
    let there = session.run(sql!("queue/ring_before"), &[arg(own)]);
    // Read after the rows: whoever has written one of them here has noted that before.
    let arrived = arrival::noted(copied.since).unwrap_or(own);
    let came = there.iter().filter(|row| row.value::<Xid8>("xid") < arrived);
    came.for_each(|row| heap::remove(row.value("tableoid"), row.value("ctid")));
    session.run(sql!("queue/forget_backlog"), &[arg(arrived)]);
}
