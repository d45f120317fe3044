//! The visit to a database without an entry: who makes it, and what has been found. There is one at a time.

use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, Ordering};

use pgrx::pg_sys;

use crate::host::state::Visit;
use crate::pg::server;

pub(super) struct Visits {
    /// The database that is visited, and the process that visits it; it may stay there.
    place: AtomicU32,
    visitor: AtomicI32,
    /// The database that was visited last, and what was found there.
    visited: AtomicU32,
    found: AtomicU8,
}

impl Visits {
    pub(super) fn new() -> Self {
        Self {
            place: AtomicU32::new(0),
            visitor: AtomicI32::new(0),
            visited: AtomicU32::new(0),
            found: AtomicU8::new(0),
        }
    }

    /// This process is about to connect to `database`.
    pub(super) fn begin(&self, database: pg_sys::Oid) {
        self.place.store(database.into(), Ordering::SeqCst);
        self.visitor.store(server::pid(), Ordering::SeqCst);
    }

    /// Whether the visitor of `database` is connected to it.
    pub(super) fn are_in(&self, database: pg_sys::Oid) -> bool {
        let here = self.place.load(Ordering::SeqCst) == u32::from(database);
        here && server::is_connected(self.visitor.load(Ordering::SeqCst), database)
    }

    /// The visit is over.
    pub(super) fn end(&self) {
        self.visitor.store(0, Ordering::SeqCst);
        self.place.store(0, Ordering::SeqCst);
    }

    pub(super) fn note(&self, database: pg_sys::Oid, found: Visit) {
        self.found.store(found as u8, Ordering::SeqCst);
        self.visited.store(database.into(), Ordering::SeqCst);
    }

    pub(super) fn take(&self, database: pg_sys::Oid) -> Option<Visit> {
        let visited = self.visited.swap(0, Ordering::SeqCst);
        let found = Visit::from_u8(self.found.load(Ordering::SeqCst));
        (visited == u32::from(database)).then_some(found)
    }
}
