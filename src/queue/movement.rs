//! How many deliveries are at which stage of the backlog, without counting them.
//!
//! Each statement that changes `webhook.pending` writes a row of `webhook.movement` for those that have come from one stage to another:
//! so many of them, in the same transaction. `webhook.at_stage` is the sum, which is true in each snapshot.

use crate::pg::spi::{Session, arg, sql};

/// The most rows of a backlog that are counted, which takes some tens of milliseconds. A larger one is not, because everything else
/// waits for that.
const MOST: i64 = 100_000;

/// Makes one row of all that have been written of a stage. Nobody else may do so at the same time.
pub fn fold(session: &Session) {
    session.run(sql!("queue/fold"), &[]);
}

/// Makes the sum what the rows of the backlog are, unless these are many. Only somebody who has changed them by hand makes it
/// anything else.
pub fn recount(session: &Session) {
    session.run(sql!("queue/recount"), &[arg(MOST)]);
}
