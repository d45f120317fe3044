//! PostgreSQL, made safe: thin adapters, one concept of the server a file, and the home of `unsafe`.
//!
//! Every room above calls it. What always holds: a function that is not `unsafe` asks for no more than the main thread, which
//! pgrx checks, and where it says so a transaction; an error of the server keeps its SQLSTATE, message, detail and hint, and
//! its CONTEXT where [`context`] carries it; a value is put into a statement as a parameter, and a name as PostgreSQL quotes
//! it. Nothing here knows what a webhook is, or which processes there are; but for the names of the extension and its schema
//! ([`identity`]) and its settings ([`settings`]).

pub mod activity;
mod allocator;
pub mod applied;
pub mod arguments;
mod array;
pub mod backtrace;
pub mod call;
pub mod catalog;
pub mod compat;
pub mod composite;
pub mod condition;
pub mod context;
pub mod cursor;
pub mod databases;
pub mod debug;
pub mod ffi;
pub mod foreign;
pub mod grant;
pub mod guc;
pub mod heap;
pub mod identity;
pub mod input;
pub mod interrupt;
pub mod invalidation;
pub mod json;
pub mod memory;
pub mod output;
pub mod parse;
pub mod plain;
pub mod random;
pub mod report;
pub mod reserve;
pub mod rights;
pub mod row;
pub mod sequence;
pub mod server;
pub mod settings;
pub mod snapshot;
pub mod spi;
pub mod subtransaction;
pub mod table;
pub mod trigger;
pub mod typcache;
pub mod types;
pub mod wal;
