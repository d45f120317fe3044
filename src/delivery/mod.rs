//! Threads and HTTP: a message goes in, an outcome comes out.
//!
//! Nothing here knows PostgreSQL, and no thread of this room may call it. A webhook's messages wait
//! in its lane ([`lane`]); runners take them from there as the lanes' turns come ([`line`]), make one attempt
//! after another ([`attempt`]), many of them on one thread ([`pool`], [`fiber`], [`burst`]), and report
//! through a channel. Names are resolved and judged in one place ([`resolver`]), sockets are opened ([`race`], in the order of [`standing`])
//! and read ([`transport`], and [`tls`] with the certificates of [`trust`] and [`authority`]) in few others; they implement traits of ureq that may change with its minor versions.

pub mod attempt;
pub mod authority;
pub mod bell;
pub mod burst;
pub mod client;
pub mod fiber;
pub mod files;
pub mod lane;
pub mod line;
pub mod lookup;
pub mod pool;
pub mod race;
pub mod resolver;
pub mod route;
pub mod standing;
pub mod thread;
pub mod tls;
pub mod transport;
pub mod trust;
