//! Databases that must be without a worker for the time of a statement.
//!
//! By their numbers and not in their entries: a database that nobody has visited yet has none, and can be visited at any
//! moment.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use pgrx::pg_sys;

use crate::pg::server;

/// Statements at the same time. With more of them the last ones do as they would without us.
const HOLDS: usize = 32;

/// One statement's.
pub struct Hold {
    /// The process that runs it; 0 where there is none.
    holder: AtomicI32,
    database: AtomicU32,
}

pub(super) struct Holds([Hold; HOLDS]);

impl Holds {
    pub(super) fn new() -> Self {
        let none = |_| Hold { holder: AtomicI32::new(0), database: AtomicU32::new(0) };
        Self(std::array::from_fn(none))
    }

    /// Holds `database` for this process, until [`Hold::end`] or the end of the process. `None` where there are too many.
    pub(super) fn begin(&self, database: pg_sys::Oid) -> Option<&Hold> {
        let own = server::pid();
        self.0.iter().find(|hold| {
            let holder = hold.holder.load(Ordering::SeqCst);
            let free = holder == 0 || !server::has_process(holder);
            let taken = free
                && hold
                    .holder
                    .compare_exchange(holder, own, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok();
            if taken {
                hold.database.store(database.into(), Ordering::SeqCst);
            }
            taken
        })
    }

    /// Whether somebody who is alive holds `database`.
    pub(super) fn has(&self, database: pg_sys::Oid) -> bool {
        let oid = u32::from(database);
        self.0.iter().any(|hold| {
            let holder = hold.holder.load(Ordering::SeqCst);
            holder != 0
                && hold.database.load(Ordering::SeqCst) == oid
                && server::has_process(holder)
        })
    }
}

impl Hold {
    pub(super) fn end(&self) {
        self.database.store(0, Ordering::SeqCst);
        self.holder.store(0, Ordering::SeqCst);
    }
}
