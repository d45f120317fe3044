//! Rows of `webhook.metric`: what the worker has counted, over all its runs.

use crate::pg::snapshot;
use crate::pg::spi::{Session, arg, sql};
use domain::histogram::{BUCKETS, Histogram};
use domain::key::WebhookId;
use transit::tally::{Due, Tally};

/// Adds to what has been counted. Of webhooks that have been deleted meanwhile nothing is kept.
pub fn add(session: &Session, due: &Due) {
    if due.is_empty() {
        return;
    }
    let all = |number: fn(&Tally) -> i64| due.iter().map(|(_, it)| number(it)).collect::<Vec<_>>();
    let counts = |of: fn(&Tally) -> &Histogram| {
        due.iter().flat_map(|(_, it)| of(it).counts).collect::<Vec<_>>()
    };
    let webhooks: Vec<WebhookId> = due.iter().map(|(webhook, _)| *webhook).collect();
    session.run(
        sql!("log/count"),
        &[
            arg(webhooks),
            arg(all(|it| it.attempts)),
            arg(all(|it| it.answered)),
            arg(all(|it| it.delivered)),
            arg(all(|it| it.dead)),
            arg(all(|it| it.requests.sum)),
            arg(all(|it| it.deliveries.sum)),
            arg(counts(|it| &it.requests)),
            arg(counts(|it| &it.deliveries)),
            arg(BUCKETS as i64),
        ],
    );
}

/// From here on `webhook`, or each that `role` manages, is counted from nothing.
pub fn reset(session: &Session, role: pgrx::pg_sys::Oid, webhook: Option<WebhookId>) {
    session.run(sql!("log/forget_resets"), &[arg(role), arg(webhook)]);
    // As it is now: an old snapshot shows less than has been counted.
    snapshot::with_latest(|| session.run(sql!("log/reset"), &[arg(role), arg(webhook)]).count());
}
