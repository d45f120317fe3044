//! Thin adapters to PostgreSQL, and the home of `unsafe`.

pub mod board;
pub mod databases;
pub mod ffi;
pub mod guc;
pub mod heap;
pub mod identity;
pub mod interrupt;
pub mod invalidation;
pub mod json;
pub mod lock;
pub mod output;
pub mod parse;
pub mod random;
pub mod report;
pub mod server;
pub mod settings;
pub mod snapshot;
pub mod spi;
pub mod state;
pub mod subtransaction;
pub mod txn;
pub mod typcache;
pub mod types;
pub mod wake;
pub mod wal;
