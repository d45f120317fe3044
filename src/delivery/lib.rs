//! Threads and HTTP: a parcel goes in, an outcome comes out.
//!
//! Nothing here knows PostgreSQL, and no thread of this room may call it. A webhook's parcels wait
//! in its endpoint queue ([`endpoint_queue`]); runners take them from there as permits are free ([`admission`]), make one attempt
//! after another ([`attempt`]), many of them on one thread ([`pool`], [`fiber`], [`write_batch`]), and report
//! through a channel. Names are resolved and judged in one place ([`resolver`]), sockets are opened ([`race`], in the order of [`standing`])
//! and read ([`transport`], and [`tls`] with the certificates of [`trust`] and [`authority`]) in few others; they implement traits of ureq that may change with its minor versions.

mod admission;
pub mod attempt;
mod authority;
pub mod client;
pub mod endpoint_queue;
mod fiber;
pub mod files;
pub mod lookup;
pub mod pool;
mod race;
pub mod resolver;
mod standing;
pub mod thread;
mod tls;
mod transport;
pub mod trust;
pub mod wakeup;
mod write_batch;
