//! The log: what was attempted, how long that is kept, lists of deliveries, and what has been counted of them.
//!
//! The worker writes attempts, and so does `webhook_test`; the views of `sql/views.sql` read them, and `webhook_log` does. What
//! always holds: an attempt is a row that is written once and never changed, with the consequences that it has for its event in one
//! transaction; and a slot of the ring goes as a whole, or stays.

pub mod attempt;
pub mod list;
pub mod metric;
pub mod retention;
