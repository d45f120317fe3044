//! When what a session knows about code of others is no longer so.
//!
//! Whether a function may be called is found out with a source and kept with it, not asked for each row. It changes
//! with the function, its owner, the roles of the owner, the anchor of a transform, and casts.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use pgrx::pg_sys;

use super::casts::Casts;
use super::source;
use super::transform::Transform;
use crate::pg::{anchor, invalidation};

type Cache = pg_sys::SysCacheIdentifier::Type;

/// Functions by their oid, domains by name and schema.
const FUNCTIONS: Cache = pg_sys::SysCacheIdentifier::PROCOID;
const DOMAINS: Cache = pg_sys::SysCacheIdentifier::TYPENAMENSP;
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
    /// There are functions that somebody else may own.
    functions: bool,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
    static LISTENING: Cell<bool> = const { Cell::new(false) };
}

/// Notes what a source depends on. In a transaction.
pub fn note(transform: Option<&Transform>, casts: &Casts) {
    if transform.is_none() && !casts.foreign {
        return;
    }
    if !LISTENING.replace(true) {
        for cache in [FUNCTIONS, DOMAINS, CASTS, ROLES, MEMBERS] {
            invalidation::on_catalog(cache, changed);
        }
    }
    let named = transform.and_then(|transform| transform.named);
    let functions: Vec<pg_sys::Oid> = casts.functions.iter().copied().chain(named).collect();
    let mut rows: Vec<(Cache, u32)> = functions
        .iter()
        .map(|function| (FUNCTIONS, invalidation::hash(FUNCTIONS, *function)))
        .collect();
    rows.extend(
        transform.and_then(|transform| anchor::hash(&transform.anchor)).map(|hash| (DOMAINS, hash)),
    );
    KNOWN.with_borrow_mut(|known| {
        known.rows.extend(rows);
        known.composites.extend(casts.composites.iter().copied());
        known.casts |= casts.foreign;
        known.functions |= transform.is_some() || !functions.is_empty();
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
            ROLES | MEMBERS => known.functions,
            cache => hash == 0 && known.functions || known.rows.contains(&(cache, hash)),
        })
    });
    if concerned {
        source::forget();
    }
}
