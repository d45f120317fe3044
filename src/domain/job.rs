//! Jobs: what somebody wants done with many deliveries, and which those are.

use super::key::DeliveryId;
use super::snapshot::{Snapshot, Xid8};
use super::status::Status;
use super::words::words;

words! {
    /// What is to be done.
    Kind, UnknownKind: "\"{0}\" is not a job";
    /// They are not to be sent any more.
    Cancel = "cancel",
    /// They are to be sent once more.
    Replay = "replay",
    /// Their bodies and answers are to be forgotten; those that wait are not to be sent any more.
    Erase = "erase",
}

impl Kind {
    /// What it covers is not to be sent.
    pub fn guards(self) -> bool {
        self != Self::Replay
    }
}

/// The deliveries of its webhooks that a job covers: those that its caller could see.
///
/// Ids alone would not do, because an event gets its id when it is written, and the transaction that writes it may be open for long
/// after; snapshots alone would not do for the caller's own events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The first id that may be among them.
    pub first: DeliveryId,
    /// Before this id, which is not above the job's own.
    pub end: DeliveryId,
    /// What the caller saw.
    pub seen: Snapshot,
    /// The caller's transaction.
    pub caller: Xid8,
}

impl Scope {
    /// Whether the delivery of that id is among them, which transaction `written` has brought into the database.
    pub fn covers(&self, id: DeliveryId, written: Xid8) -> bool {
        self.first <= id && id < self.end && (written == self.caller || self.seen.sees(written))
    }
}

/// Whether a delivery that is to be sent, and has been tried or not, has that status; any has `None`.
pub fn has_status(status: Option<Status>, tried: bool) -> bool {
    match status {
        None => true,
        Some(Status::Pending) => !tried,
        Some(Status::Retrying) => tried,
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_what_its_caller_saw() {
        let (first, end) = (DeliveryId(10), DeliveryId(20));
        let seen = "5:9:5,7".parse().unwrap();
        let scope = Scope { first, end, seen, caller: Xid8(7) };
        let covers = |id, xid| scope.covers(DeliveryId(id), Xid8(xid));
        assert!(covers(10, 4) && covers(19, 8));
        assert!(!covers(9, 4) && !covers(20, 4), "other ids");
        assert!(!covers(15, 5), "of a transaction that was open");
        assert!(!covers(15, 9), "of one that came later");
        assert!(covers(15, 7), "of its own");
        assert!(!covers(20, 7), "of its own, after the call");
    }

    #[test]
    fn what_has_not_been_tried_is_pending() {
        for (status, untried, tried) in [
            (None, true, true),
            (Some(Status::Pending), true, false),
            (Some(Status::Retrying), false, true),
            (Some(Status::Dead), false, false),
            (Some(Status::Delivered), false, false),
        ] {
            assert_eq!((has_status(status, false), has_status(status, true)), (untried, tried));
        }
    }
}
