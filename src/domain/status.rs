//! Where a delivery stands, as users see it.

use super::words::words;

words! {
    /// The status of a delivery.
    Status, UnknownStatus: "\"{0}\" is not a status";
    /// Not tried yet.
    Pending = "pending",
    /// Tried, and to be tried again.
    Retrying = "retrying",
    /// Behind an earlier event of its key, which is not finished.
    Held = "held",
    /// The receiver has answered 2xx.
    Delivered = "delivered",
    /// It is not attempted any more: its retries are used up, its transform has failed, or it was beyond a bound of the backlog.
    Dead = "dead",
    /// Somebody has cancelled it, or deleted its webhook.
    Cancelled = "cancelled",
}
