//! What has happened becomes an event: its body, what a webhook's transform makes of that, and its row in the ring.
//!
//! The trigger calls it for each row that changes, and the functions that make or show events. An event is a row at once, or
//! nothing; code of users runs with the rights of the webhook's owner, or not at all.

pub mod casts;
pub mod image;
pub mod notice;
pub mod order;
pub mod recipient;
pub mod transform;
