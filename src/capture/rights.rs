//! When what a session knows about the rights of webhooks is no longer so.
//!
//! What an owner may read, and whether a function may be called, is found out with a source and kept with it, not asked
//! for each row. It changes with roles and memberships, anchors, functions, casts, and with privileges on a table, which
//! the server tells as a change of the table.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use pgrx::pg_sys;

use super::casts::Casts;
use super::source;
use super::transform::Transform;
use crate::pg::{anchor, invalidation};

type Cache = pg_sys::SysCacheIdentifier::Type;

const FUNCTIONS: Cache = pg_sys::SysCacheIdentifier::PROCOID;
const CASTS: Cache = pg_sys::SysCacheIdentifier::CASTSOURCETARGET;
const ROLES: Cache = pg_sys::SysCacheIdentifier::AUTHOID;
const MEMBERS: Cache = pg_sys::SysCacheIdentifier::AUTHMEMMEMROLE;

/// What all sources of this session call, or could.
#[derive(Default)]
struct Known {
    /// Rows of a catalog by the hash by which the server tells of their change.
    rows: HashSet<(Cache, u32)>,
    /// Tables behind composite types.
    composites: HashSet<pg_sys::Oid>,
    /// There are types that could get a cast.
    casts: bool,
    /// There are sources, and so owners.
    owners: bool,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
    static LISTENING: Cell<bool> = const { Cell::new(false) };
}

/// Notes what says whose a webhook is, be it one that captures nothing for now. In a transaction.
pub fn note_owner(anchor: Option<String>) {
    let Some(anchor) = anchor else {
        return;
    };
    if !LISTENING.replace(true) {
        for cache in [FUNCTIONS, anchor::CACHE, CASTS, ROLES, MEMBERS] {
            invalidation::on_catalog(cache, changed);
        }
    }
    let hash = anchor::hash(&anchor);
    KNOWN.with_borrow_mut(|known| {
        known.rows.extend(hash.map(|hash| (anchor::CACHE, hash)));
        known.owners = true;
    });
}

/// Notes what a source calls. In a transaction.
pub fn note(transform: Option<&Transform>, casts: &Casts) {
    let named = transform.and_then(|transform| transform.named);
    let functions: Vec<pg_sys::Oid> = casts.functions.iter().copied().chain(named).collect();
    let mut rows: Vec<(Cache, u32)> = functions
        .iter()
        .map(|function| (FUNCTIONS, invalidation::hash(FUNCTIONS, *function)))
        .collect();
    let anchor = transform.and_then(|transform| anchor::hash(&transform.anchor));
    rows.extend(anchor.map(|hash| (anchor::CACHE, hash)));
    KNOWN.with_borrow_mut(|known| {
        known.rows.extend(rows);
        known.composites.extend(casts.composites.iter().copied());
        known.casts |= casts.foreign;
    });
}

/// All sources are read again.
pub fn forget() {
    KNOWN.set(Known::default());
}

/// Whether a source depends on what has happened to this relation.
pub fn concerns(relation: pg_sys::Oid) -> bool {
    // What is in use right now is taken as concerned.
    KNOWN
        .with(|known| known.try_borrow().map_or(true, |known| known.composites.contains(&relation)))
}

extern "C-unwind" fn changed(_argument: pg_sys::Datum, cache: i32, hash: u32) {
    let concerned = KNOWN.with(|known| {
        known.try_borrow().map_or(true, |known| match cache as Cache {
            CASTS => known.casts,
            ROLES | MEMBERS => known.owners,
            cache => hash == 0 && known.owners || known.rows.contains(&(cache, hash)),
        })
    });
    if concerned {
        source::forget();
    }
}
