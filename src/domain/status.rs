//! Where a delivery stands, as users see it.

use super::words::words;

words! {
    /// The status of a delivery.
    Status, UnknownStatus: "\"{0}\" is not a status";
    /// Not tried yet.
    Pending = "pending",
    /// Tried, and to be tried again.
    Retrying = "retrying",
    /// The receiver has answered 2xx.
    Delivered = "delivered",
    /// The retries are used up.
    Dead = "dead",
    /// Somebody has cancelled it, or deleted its webhook.
    Cancelled = "cancelled",
}
