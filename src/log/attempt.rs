//! Rows of `webhook.attempt`.

use crate::domain::failure::Failure;
use crate::domain::time;
use crate::domain::verdict::{self, Verdict};
use crate::pg::settings::{self, LogLevel};
use crate::pg::spi::{Session, arg, sql};
use crate::queue::event::Settlement;

/// Writes a row for each attempt that is to be logged into slot `slot` of the ring.
pub fn write(session: &Session, slot: i16, settlements: &[Settlement]) {
    let level = settings::log_level();
    let is_logged = |s: &&Settlement| match level {
        LogLevel::All => true,
        LogLevel::Failures => s.verdict != Verdict::Delivered,
        LogLevel::None => false,
    };
    let settlements: Vec<&Settlement> = settlements.iter().filter(is_logged).collect();
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
            arg(settlements.iter().map(|s| status_code(s)).collect::<Vec<_>>()),
            arg(settlements.iter().map(|s| name(s.verdict)).collect::<Vec<_>>()),
            arg(failures.iter().map(class).collect::<Vec<_>>()),
            arg(failures.iter().map(message).collect::<Vec<_>>()),
            arg(settlements.iter().map(|s| response_body(s)).collect::<Vec<_>>()),
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
