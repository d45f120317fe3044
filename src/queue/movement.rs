//! How many deliveries are at which stage of the backlog, without counting them.
//!
//! Each statement that changes `webhook.pending` writes a row of `webhook.movement` for those that have come from one stage to another:
//! so many of them, in the same transaction. `webhook.at_stage` is the sum, which is true in each snapshot, because none but the leader
//! takes rows away, and only with all that its statement sees of a webhook.

use crate::pg::spi::{Session, arg, sql};

/// The most rows of a backlog that are counted, which takes some milliseconds. A larger one is not, because everything else waits for
/// that.
const MOST: i64 = 10_000;

/// Rows of a webhook that are left as they are. With fewer they are written anew more often, each time for autovacuum; with more,
/// whoever asks how many wait reads more.
const FEW: i64 = 16;

/// Makes one row of all that have been written of a stage of a webhook, where these are many.
pub fn fold(session: &Session) {
    session.run(sql!("queue/fold"), &[arg(FEW)]);
}

/// Makes the sum what the rows of the backlog are, unless these are many. Only somebody who has changed them by hand makes it
/// anything else.
pub fn recount(session: &Session) {
    session.run(sql!("queue/recount"), &[arg(MOST)]);
}
