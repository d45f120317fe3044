//! Rows of `webhook.attempt`.

use pgrx::pg_sys;

use crate::pg::heap::{self, Field, column};
use crate::pg::settings::LogLevel;
use crate::pg::spi::{Session, arg, sql};
use domain::time;
use domain::verdict::Verdict;
use transit::event::Settlement;

/// The tables of attempts, one for each slot of the ring.
pub struct Log {
    tables: Vec<pg_sys::Oid>,
}

impl Log {
    /// Finds them. They are the same as long as the extension is.
    pub fn open(session: &Session) -> Self {
        let rows = session.read(sql!("log/tables"), &[]);
        Self { tables: rows.iter().map(|row| row.value(1)).collect() }
    }

    /// Writes a row for each attempt that is to be logged into `slot`: those that `level` is for.
    pub fn write(&self, slot: i16, level: LogLevel, settlements: &[Settlement]) {
        let is_logged = |s: &&Settlement| match level {
            LogLevel::All => true,
            LogLevel::Failures => s.verdict != Verdict::Delivered,
            LogLevel::None => false,
        };
        let rows: Vec<_> = settlements.iter().filter(is_logged).map(|s| row(slot, s)).collect();
        if !rows.is_empty() {
            heap::insert_all(self.tables[slot as usize], &rows);
        }
    }
}

fn row(slot: i16, settlement: &Settlement) -> heap::Columns<13> {
    let failure = settlement.failure();
    let class = failure.as_ref().map(|failure| failure.class.as_str());
    let message = failure.as_ref().map(|failure| failure.message.as_str());
    [
        Field::needed(column!(c"delivery"), arg(settlement.delivery)),
        Field::needed(column!(c"xid"), arg(settlement.xid)),
        Field::needed(column!(c"started_at"), arg(settlement.started)),
        Field::needed(column!(c"duration_us"), arg(time::micros(settlement.took))),
        Field::needed(column!(c"webhook"), arg(settlement.webhook)),
        Field::needed(column!(c"attempt"), arg(settlement.attempt as i32)),
        Field::needed(column!(c"slot"), arg(slot)),
        Field::needed(column!(c"status_code"), arg(settlement.status_code())),
        Field::needed(column!(c"verdict"), arg(name(settlement.verdict))),
        Field::extra(column!(c"error_class"), arg(class)),
        Field::extra(column!(c"error"), arg(message)),
        Field::extra(column!(c"response_body"), arg(settlement.response_body())),
        Field::extra(column!(c"event_slot"), arg(settlement.origin.slot())),
    ]
}

/// As the log names it.
pub fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Delivered => "delivered",
        Verdict::Retry(_) => "retry",
        Verdict::Dead => "dead",
    }
}
