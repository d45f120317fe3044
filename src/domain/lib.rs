//! What a webhook is, without a database, a socket, a thread or a clock.
//!
//! Everything here is a function of its arguments: time and randomness are passed in, so that every
//! rule of `docs/guarantees.md` can be read and tested in one place.

#![forbid(unsafe_code)]

pub mod address;
pub mod backoff;
pub mod batch;
pub mod batching;
pub mod bounds;
pub mod breaker;
pub mod brief;
pub mod clock;
pub mod envelope;
pub mod event;
pub mod failure;
pub mod flow;
pub mod format;
pub mod header;
pub mod histogram;
pub mod ids;
pub mod if_exists;
pub mod job;
pub mod key;
pub mod level;
pub mod names;
pub mod on_error;
pub mod order;
pub mod overdue;
pub mod processors;
pub mod rate;
pub mod redirect;
pub mod refusal;
pub mod reminder;
pub mod retry_after;
pub mod secret;
pub mod signature;
pub mod snapshot;
pub mod status;
pub mod time;
pub mod timeline;
pub mod url;
pub mod verdict;
pub mod verification;
pub mod version;
mod words;
