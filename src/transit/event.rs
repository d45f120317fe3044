//! What moves through the queue: events, on their way out and back.

use std::sync::Arc;
use std::time::Duration;

use super::notice::Turn;
use domain::failure::Failure;
use domain::key::{BatchId, DeliveryId, WebhookId};
use domain::snapshot::Xid8;
use domain::time::Timestamp;
use domain::verdict::{self, Answer, Verdict};

/// Where an event was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The ring: slot of the row, and the window that waits for it.
    Ring {
        /// Of the row.
        slot: i16,
        /// See [`crate::window`].
        window: u64,
    },
    /// The backlog.
    Pending {
        /// Of the row in the ring that it was, if it was one.
        slot: Option<i16>,
    },
}

impl Origin {
    /// Whether it came from the backlog.
    pub fn is_pending(self) -> bool {
        matches!(self, Self::Pending { .. })
    }

    /// Where in the ring the event's row is, or was.
    pub fn slot(self) -> Option<i16> {
        match self {
            Self::Ring { slot, .. } => Some(slot),
            Self::Pending { slot } => slot,
        }
    }

    /// As the event of that delivery is named where it is in the ring.
    pub fn spill(self, id: DeliveryId, xid: Xid8) -> Option<Spill> {
        match self {
            Self::Ring { slot, window } => Some(Spill { slot, xid, id, window }),
            Self::Pending { .. } => None,
        }
    }
}

/// An event to be sent.
#[derive(Debug)]
pub struct Event {
    /// Its row.
    pub id: DeliveryId,
    /// Its transaction.
    pub xid: Xid8,
    /// The transaction that has brought it into this database: that one, unless it was another database's.
    pub written: Xid8,
    /// Whose it is.
    pub webhook: WebhookId,
    /// Where its row is.
    pub origin: Origin,
    /// Attempts made.
    pub attempts: u32,
    /// When the first of them began, in the time of the queue.
    pub first_attempt_at: Option<Timestamp>,
    /// When it was written; where its transaction is known to have been open later, that.
    pub since: Timestamp,
    /// The public id.
    pub event_id: String,
    /// It repeats another delivery of this database, the id of whose event it has.
    pub replay: bool,
    /// The body; `None` where it was clear that it is not needed.
    pub body: Option<String>,
    /// Why it is not sent: its transform has failed.
    pub failure: Option<String>,
    /// The batch that its last attempt was one of.
    pub batch: Option<BatchId>,
}

/// An event of the ring that must go to the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spill {
    /// Of its row.
    pub slot: i16,
    /// Of its row.
    pub xid: Xid8,
    /// Of its row.
    pub id: DeliveryId,
    /// The window that waits for it.
    pub window: u64,
}

/// What tells whether a job covers a delivery that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its row.
    pub id: DeliveryId,
    /// Whose it is.
    pub webhook: WebhookId,
    /// The transaction that has brought it into this database.
    pub written: Xid8,
    /// There has been an attempt.
    pub tried: bool,
}

impl Event {
    /// As a job looks at it.
    pub fn candidate(&self) -> Candidate {
        let Self { id, webhook, written, .. } = *self;
        Candidate { id, webhook, written, tried: self.attempts > 0 }
    }

    /// As it is named where it is in the ring.
    pub fn spill(&self) -> Option<Spill> {
        self.origin.spill(self.id, self.xid)
    }
}

/// One request for a delivery, as the log has it.
#[derive(Debug)]
pub struct Attempt {
    /// The event's row.
    pub delivery: DeliveryId,
    /// Of the event.
    pub xid: Xid8,
    /// Whose.
    pub webhook: WebhookId,
    /// Where in the ring the event's row is, or was.
    pub event_slot: Option<i16>,
    /// Counted from 1; 0 where the event is dead without a request.
    pub number: u32,
    /// When it began.
    pub started: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The answer, or why there is none; of a batch the same for all.
    pub result: Arc<Result<Answer, Failure>>,
    /// The batch that it was sent in.
    pub batch: Option<BatchId>,
    /// What follows.
    pub verdict: Verdict,
}

impl Attempt {
    /// 0 where there was no answer.
    pub fn status_code(&self) -> i16 {
        self.result.as_ref().as_ref().map_or(0, |answer| answer.status as i16)
    }

    /// What is kept of the answer's body.
    pub fn response_body(&self) -> Option<&str> {
        self.result.as_ref().as_ref().ok().map(|answer| answer.body.as_str())
    }

    /// Why it is not delivered.
    pub fn failure(&self) -> Option<Failure> {
        verdict::failure_of(&self.result)
    }
}

/// An attempt with its consequences, to be written to the database.
#[derive(Debug)]
pub struct Settlement {
    /// The attempt.
    pub attempt: Attempt,
    /// Where the event's row is.
    pub origin: Origin,
    /// As that of its event.
    pub since: Timestamp,
    /// When the delivery's first attempt began, in the time of the queue.
    pub first_attempt_at: Timestamp,
    /// Attempts that count, this one included: not those of a batch that has been divided because of it.
    pub attempts: u32,
    /// When the delivery is due again, in the time of the queue; at infinity when it is dead.
    pub next_at: Option<Timestamp>,
    /// As part of this batch, if of one.
    pub batch: Option<BatchId>,
    /// The webhook is paused by the answer.
    pub pause: Option<Pause>,
    /// How the webhook's endpoint has turned by it.
    pub turn: Option<Turn>,
}

/// A webhook is paused by an answer.
#[derive(Debug, Clone, Copy)]
pub struct Pause {
    /// Unless it has been changed since: when that was last, if it was before the request.
    pub changed: Timestamp,
    /// For people.
    pub reason: &'static str,
}

impl Settlement {
    /// The window that waits for its event, if one does.
    pub fn window(&self) -> Option<u64> {
        match self.origin {
            Origin::Ring { window, .. } => Some(window),
            Origin::Pending { .. } => None,
        }
    }

    /// The delivery is made.
    pub fn is_delivered(&self) -> bool {
        self.attempt.verdict == Verdict::Delivered
    }
}
