//! The durable cursor.

use super::walk::{self, Place};
use crate::host::quit;
use crate::pg::spi::{Session, arg, sql};
use crate::pg::{server, snapshot};
use domain::clock::Reading;
use domain::key::DeliveryId;
use domain::snapshot::Snapshot;
use domain::time::Timestamp;
use domain::timeline::{Absence, Timeline};

/// Begins a run; returns where the one before has come to, `None` where the row has been removed by
/// hand. The commit of this is flushed, and with it every commit before it: what this sees is on disk.
pub fn begin(session: &Session) -> Option<Start> {
    let rows = session.run(sql!("queue/begin"), &[arg(server::started()), arg(quit::ended())]);
    let row = rows.first()?;
    Some(Start {
        settled: row.value::<String>("snap").parse().ok()?,
        begun: snapshot::current(),
        runs: row.value("runs"),
        suspect: row.get("suspect"),
        suspicions: row.value("suspicions"),
        left: Reading { at: row.value("at"), step: row.value("step") },
        timeline: Timeline { absences: absences(session) },
        place: walk::take(session),
    })
}

/// What the run before has left.
pub struct Start {
    /// Everything that this sees is finished or in the backlog.
    pub settled: Snapshot,
    /// Everything that this sees is on disk.
    pub begun: Snapshot,
    /// Runs since the server started that have not ended well, this one included, but for those that were ended because
    /// another process had crashed.
    pub runs: i32,
    /// The delivery that was under way alone when the last one ended.
    pub suspect: Option<DeliveryId>,
    /// How many of these runs have ended so.
    pub suspicions: i32,
    /// The clock, as the run before has written it for the last time.
    pub left: Reading,
    /// How times of the backlog are read.
    pub timeline: Timeline,
    /// Of the walk through the backlog, if it was not at its end.
    pub place: Option<Place>,
}

/// This run goes well, or ends well.
pub fn calm(session: &Session) {
    session.run(sql!("queue/calm"), &[]);
}

/// `delivery` is about to be sent alone; `None`: it is back.
pub fn suspect(session: &Session, delivery: Option<DeliveryId>) {
    session.run(sql!("queue/suspect"), &[arg(delivery)]);
}

/// Makes a delivery a dead letter for `reason`. `now` in the time of the queue.
pub fn condemn(session: &Session, delivery: DeliveryId, reason: &str, now: Timestamp) {
    session.run(sql!("queue/condemn"), &[arg(delivery), arg(reason), arg(now)]);
}

/// The worker is at work, and everything that `settled` sees is finished or in the backlog.
pub fn save(session: &Session, settled: Option<&Snapshot>, clock: Reading) {
    let args = [arg(settled), arg(clock.at), arg(clock.step)];
    session.run(sql!("queue/advance"), &args);
}

/// The worker is there, which is written where anything waits.
pub fn mark(session: &Session, clock: Reading) {
    session.run(sql!("queue/mark"), &[arg(clock.at), arg(clock.step)]);
}

fn absences(session: &Session) -> Vec<Absence> {
    let rows = session.read(sql!("queue/absences"), &[]);
    rows.iter().map(|row| Absence { from: row.value("began"), until: row.value("ended") }).collect()
}

/// Those that there are from now on.
pub fn save_absences(session: &Session, absences: &[Absence]) {
    let (from, until): (Vec<Timestamp>, Vec<Timestamp>) =
        absences.iter().map(|absence| (absence.from, absence.until)).unzip();
    session.run(sql!("queue/save_absences"), &[arg(from), arg(until)]);
}
