//! Events on their way, as far as they are in memory: which of them are read, where each waits, and what its outcome means.
//!
//! The worker calls it, between a transaction that reads and one that writes. Nothing here knows PostgreSQL or a socket: rows
//! are the room `queue`'s, and whoever sends is asked for a queue for each endpoint ([`sending`]). Nothing here waits, and
//! what the time is comes as an argument.
//!
//! What always holds: an event is in one window until it is settled ([`window`]), and in one endpoint queue at most; what leaves the
//! memory unsent is returned, to be written ([`event::Spill`]); no endpoint's events keep another's from being read
//! ([`schedule`]).

#![forbid(unsafe_code)]

pub mod batches;
pub mod event;
pub mod health;
mod lines;
pub mod moment;
pub mod notice;
pub mod order;
pub mod pacing;
pub mod route;
pub mod schedule;
pub mod sending;
pub mod tally;
pub mod track;
pub mod window;
