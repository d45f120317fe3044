//! Rows of `webhook.attempt`.

use crate::domain::failure::Failure;
use crate::domain::time;
use crate::domain::verdict::{self, Verdict};
use crate::pg::spi::{Session, arg, sql};
use crate::queue::event::Settlement;

/// Writes a row for each attempt into slot `slot` of the ring.
pub fn write(session: &Session, slot: i16, settlements: &[Settlement]) {
    if settlements.is_empty() {
        return;
    }
    let failures: Vec<Option<Failure>> =
        settlements.iter().map(|s| verdict::failure_of(&s.result)).collect();
    let class = |failure: &Option<Failure>| failure.as_ref().map(|f| f.class.as_str());
    let message = |failure: &Option<Failure>| failure.as_ref().map(|f| f.message.clone());
    session.run(
        sql!("log/attempts"),
        &[
            arg(slot),
            arg(settlements.iter().map(|s| s.delivery).collect::<Vec<_>>()),
            arg(settlements.iter().map(|s| s.xid).collect::<Vec<_>>()),
            arg(settlements.iter().map(|s| s.started).collect::<Vec<_>>()),
            arg(settlements.iter().map(|s| time::micros(s.took)).collect::<Vec<_>>()),
            arg(settlements.iter().map(|s| s.webhook).collect::<Vec<_>>()),
            arg(settlements.iter().map(|s| s.attempt as i32).collect::<Vec<_>>()),
            arg(settlements.iter().map(status_code).collect::<Vec<_>>()),
            arg(settlements.iter().map(|s| name(s.verdict)).collect::<Vec<_>>()),
            arg(failures.iter().map(class).collect::<Vec<_>>()),
            arg(failures.iter().map(message).collect::<Vec<_>>()),
            arg(settlements.iter().map(response_body).collect::<Vec<_>>()),
        ],
    );
}

/// As the log names it.
pub fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Delivered => "delivered",
        Verdict::Retry(_) => "retry",
        Verdict::Dead => "dead",
    }
}

/// 0 where there was no answer.
pub fn status_code(settlement: &Settlement) -> i16 {
    settlement.result.as_ref().map_or(0, |answer| answer.status as i16)
}

/// What is kept of the answer's body.
pub fn response_body(settlement: &Settlement) -> Option<&str> {
    settlement.result.as_ref().ok().map(|answer| answer.body.as_str())
}
