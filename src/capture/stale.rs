//! When what a session knows about its sources is no longer so.
//!
//! What a trigger is for, what an owner may read, and whether a function may be called, is found out once and kept, not
//! asked for each row. It changes with webhooks, with the tables on the way from the one that fired to the one that is
//! watched, with roles and memberships, the database's owner, anchors, functions and casts, and with privileges on a
//! table, which the server tells as a change of the table.
//!
//! The server tells while something is read, too: whoever waits for a lock hears of all that has happened meanwhile. So
//! we listen before the first row is read, and what is heard before the reader has noted what it depends on is taken to
//! concern it.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use pgrx::pg_sys;

use super::casts::Casts;
use super::transform::Transform;
use crate::pg::{anchor, invalidation, server};

type Cache = pg_sys::SysCacheIdentifier::Type;

const FUNCTIONS: Cache = pg_sys::SysCacheIdentifier::PROCOID;
const CASTS: Cache = pg_sys::SysCacheIdentifier::CASTSOURCETARGET;
const ROLES: Cache = pg_sys::SysCacheIdentifier::AUTHOID;
const MEMBERS: Cache = pg_sys::SysCacheIdentifier::AUTHMEMMEMROLE;
/// Whoever owns the database is a member of pg_database_owner.
const DATABASES: Cache = pg_sys::SysCacheIdentifier::DATABASEOID;

/// What all sources of this session depend on.
#[derive(Default)]
struct Known {
    /// Rows of a catalog by the hash by which the server tells of their change.
    rows: HashSet<(Cache, u32)>,
    /// `webhook.webhook`; the tables that fired, and all that they are partitions of or inherit from: taking one in the
    /// middle out of its inheritance invalidates neither end; and those behind composite types.
    relations: HashSet<pg_sys::Oid>,
    /// There are types that could get a cast.
    casts: bool,
    /// There are sources, and so owners.
    owners: bool,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
    static LISTENING: Cell<bool> = const { Cell::new(false) };
    /// Something is being read of which it is not known yet what it depends on.
    static READING: Cell<bool> = const { Cell::new(false) };
    /// All sources are to be read again.
    static STALE: Cell<bool> = const { Cell::new(false) };
}

/// Whether all sources are to be read again, since the last call. What has been noted is forgotten then.
pub fn take() -> bool {
    let stale = STALE.replace(false);
    if stale {
        forget();
    }
    stale
}

/// Whether they will have to be.
pub fn is() -> bool {
    STALE.get()
}

/// Forgets what sources depend on, which are forgotten themselves.
pub fn forget() {
    KNOWN.set(Known::default());
}

/// Runs `read`, which notes what it depends on: whatever is told before it ends makes all stale. In a transaction.
pub fn while_reading<R>(read: impl FnOnce() -> R) -> R {
    listen();
    let _reading = Reading::begin();
    read()
}

/// Ends with an error as well.
struct Reading;

impl Reading {
    fn begin() -> Self {
        READING.set(true);
        Self
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        READING.set(false);
    }
}

/// Notes relations by whose change the server tells of one of a source.
pub fn note_relations(relations: impl IntoIterator<Item = pg_sys::Oid>) {
    KNOWN.with_borrow_mut(|known| known.relations.extend(relations));
}

/// Notes what says whose a webhook is, be it one that captures nothing for now. In a transaction.
pub fn note_owner(anchor: &str) {
    let hash = anchor::hash(anchor);
    let database = invalidation::hash(DATABASES, server::database());
    KNOWN.with_borrow_mut(|known| {
        known.rows.extend(hash.map(|hash| (anchor::CACHE, hash)));
        known.rows.insert((DATABASES, database));
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
        known.relations.extend(casts.composites.iter().copied());
        known.casts |= casts.foreign;
    });
}

fn listen() {
    if !LISTENING.replace(true) {
        invalidation::on_relation(relation_changed);
        invalidation::on_schema(schema_changed);
        for cache in [FUNCTIONS, anchor::CACHE, CASTS, ROLES, MEMBERS, DATABASES] {
            invalidation::on_catalog(cache, changed);
        }
    }
}

/// Whether `concerns` holds for what is known; what is in use right now, or not known yet, is taken as concerned.
fn mark_where(concerns: impl FnOnce(&Known) -> bool) {
    let concerned = READING.get()
        || KNOWN.with(|known| known.try_borrow().map_or(true, |known| concerns(&known)));
    if concerned {
        STALE.set(true);
    }
}

extern "C-unwind" fn relation_changed(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    mark_where(|known| relation == pg_sys::InvalidOid || known.relations.contains(&relation));
}

extern "C-unwind" fn schema_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    STALE.set(true);
}

extern "C-unwind" fn changed(_argument: pg_sys::Datum, cache: i32, hash: u32) {
    mark_where(|known| match cache as Cache {
        CASTS => known.casts,
        ROLES | MEMBERS => known.owners,
        cache => hash == 0 && known.owners || known.rows.contains(&(cache, hash)),
    });
}
