//! The queue: from a captured event to its end, as rows. What of it is in memory meanwhile is the room `transit`'s.
//!
//! # The life of a delivery
//!
//! One row in the ring (`webhook.event`) is one event for one webhook: a delivery. It is *captured*
//! when the transaction that wrote it commits. From there:
//!
//! * captured → sent → **delivered**: the leader reads it in a window, puts it into its endpoint's queue,
//!   a thread sends it, the receiver answers 2xx. One attempt row says so, unless `pg_webhook.log_level` leaves
//!   it out. Nothing else is written.
//! * captured → **pending**: the endpoint is paused, broken, behind, or has older events waiting. The
//!   event moves to the backlog (`webhook.pending`) and is claimed from there.
//! * sent → **retrying**: the attempt failed. An attempt row says why, and the event is in the backlog
//!   with the time of its next attempt.
//! * retrying → **dead**: the retries are used up. The row stays in the backlog, due at infinity, which
//!   no claim asks for. Once somebody has replayed it, a row in `webhook.closed` says so.
//! * pending or retrying → **dead** as well where more waits of its webhook than may
//!   ([`domain::bounds`]): the oldest go, without an attempt. A dead letter that is beyond a bound leaves the backlog
//!   for good, once the ring holds its event no more.
//! * captured, pending, retrying or dead → **cancelled**: somebody has cancelled it, and a row in
//!   `webhook.closed` says so. From then on nobody takes it out of the ring or the backlog. The leader
//!   takes it out of its queue, moves it to the backlog and makes it due at infinity; this marks the row
//!   as settled. What a thread has taken by then ends as it does, and if the receiver takes it the
//!   delivery is delivered: it leaves the backlog, and the row in `webhook.closed` means nothing.
//! * captured, pending, retrying or dead → **cancelled** as well by a job ([`jobs`]). What it covers is not sent, whether it is in the
//!   memory, the ring or the backlog; from the ring it goes to the backlog, and there the row itself says that it is cancelled.
//! * captured → **held** or pending, where it has an order ([`order`]) and something before it has failed: in the backlog, due at
//!   infinity as long as an earlier one of its key is not finished. held → pending when that is. A dead letter in an order that somebody
//!   replays is held or pending again.
//! * captured, held, pending or retrying → **cancelled** as well when its webhook is deleted. The deletion says it: what is
//!   in the backlog is not touched, and what is not goes there.
//!
//! # What always holds
//!
//! 1. Every committed event is read exactly once per run ([`transit::window`]).
//! 2. Each delivery is either before the cursor or after it. Before it, it is finished or in the backlog. A final attempt row
//!    says that it is finished; one that is delivered may have none, where `pg_webhook.log_level` leaves it out, and then its
//!    place before the cursor says so. So a start reads what is after the cursor, drops what has a final attempt row, is in the
//!    backlog or has been renewed, and has everything.
//! 3. The consequences of an attempt are written in one transaction: its row in the log and the event's
//!    way into, within or out of the backlog. The event leaves the memory only when that has
//!    committed.
//! 4. So a crash can repeat the attempts that were under way or not yet written, and those after the cursor that are not
//!    logged; it loses none.
//! 5. An event is sent only when the commit of its transaction is on disk.
//! 6. There is one leader per database, which holds a lock for its life; nobody else claims, or
//!    writes `webhook.pending`, but for `webhook_backlog_import`, which adds to it, and `webhook_arm`, which takes out what came
//!    along.
//! 7. A slot of the ring is emptied only when all in it is before the cursor, and older than the retention or the log is
//!    full. Writers may still use an old slot meanwhile: the leader reads all of them.
//! 8. No transaction is open while a request is under way.
//! 9. A delivery is its id together with the transaction that wrote its event. Ids are given once
//!    ([`domain::ids`]); should one be there twice all the same, neither delivery is taken for the
//!    other: the one that is read later is *renewed*, written once more under another id, and a row in
//!    `webhook.closed` says so of what it was.
//! 10. What goes in one request with others is on disk before it goes ([`batch`]), as a row of `webhook.batch` that is there until the
//!     request is over for good. So a request that is repeated, after a crash as well, carries the same deliveries under the same id.
//! 11. A statement that changes the stage of rows of `webhook.pending`, or how many there are, says so in `webhook.movement`
//!     ([`movement`]). None but the leader takes rows away there.
//!
//! 12. What has a row in `webhook.place` is not finished, and of two with the same key the one that has come first into the backlog has
//!     the smaller position. What is due has none before it but others of its batch: only what leaves that table lets others be due, in
//!     the same transaction.
//!
//! What is in the ring and in the log is written once and not changed, but for erasing ([`jobs`]): then a row without body or answer
//! takes the place of the one before. An empty body is one that has been erased.

pub mod batch;
pub mod bounds;
pub mod consequences;
pub mod cursor;
pub mod installation;
pub mod jobs;
pub mod movement;
pub mod order;
pub mod pending;
pub mod ring;
pub mod walk;
