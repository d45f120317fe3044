//! When what a session knows about its sources is no longer so.
//!
//! What a trigger is for, what an owner may read, and whether a function may be called, is found out once and kept, not
//! asked for each row. It changes with webhooks, with the tables on the way from the one that fired to the one that is
//! watched, with roles and memberships, the database's owner, anchors, functions and casts, and with privileges on a
//! table, which the server tells as a change of the table.
//!
//! The server tells while something is read, too: whoever waits for a lock hears of all that has happened meanwhile. So
//! we listen before the first row is read, and what is heard before the reader has noted what it depends on is kept until
//! it has.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use pgrx::pg_sys;

use crate::compose::casts::Casts;
use crate::compose::transform::Transform;
use crate::host::anchor;
use crate::pg::{invalidation, server};

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

/// What the server tells of: a relation, or a row of a catalog by its hash.
#[derive(Clone, Copy)]
enum Change {
    Relation(pg_sys::Oid),
    Row(Cache, u32),
}

/// Changes that are kept while something is read: some of each table that other sessions create or drop meanwhile. With
/// more of them everything is read once more.
const MOST_HEARD: usize = 256;

/// What has been heard since something is being read of which it is not known yet what it depends on. Of a fixed size,
/// because nothing may be allocated where it is heard.
struct Heard {
    changes: [Change; MOST_HEARD],
    count: usize,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
    static LISTENING: Cell<bool> = const { Cell::new(false) };
    /// `None` where nothing is being read.
    static HEARD: RefCell<Option<Heard>> = const { RefCell::new(None) };
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

/// Whether all sources are to be read again; the next [`take`] says so still.
pub fn is() -> bool {
    STALE.get()
}

/// Forgets what sources depend on, which are forgotten themselves.
pub fn forget() {
    KNOWN.set(Known::default());
}

/// Runs `read`, which notes what it depends on: what is told of that before it ends makes all stale. In a transaction.
pub fn while_reading<R>(read: impl FnOnce() -> R) -> R {
    listen();
    let _reading = Reading::begin();
    read()
}

/// Ends with an error as well.
struct Reading;

impl Reading {
    fn begin() -> Self {
        let none = Change::Relation(pg_sys::InvalidOid);
        HEARD.set(Some(Heard { changes: [none; MOST_HEARD], count: 0 }));
        Self
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let Some(heard) = HEARD.take() else {
            return;
        };
        let concerns = |known: &Known| {
            let changes = heard.changes.get(..heard.count);
            changes.is_none_or(|changes| changes.iter().any(|change| known.is_changed(*change)))
        };
        if KNOWN.with_borrow(concerns) {
            STALE.set(true);
        }
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

impl Known {
    fn is_changed(&self, change: Change) -> bool {
        match change {
            Change::Relation(relation) => {
                relation == pg_sys::InvalidOid || self.relations.contains(&relation)
            }
            Change::Row(CASTS, _) => self.casts,
            Change::Row(ROLES | MEMBERS, _) => self.owners,
            Change::Row(cache, hash) => {
                hash == 0 && self.owners || self.rows.contains(&(cache, hash))
            }
        }
    }
}

/// While something is read the change is kept for the end of that. What is borrowed at the moment cannot be looked into, and counts
/// as concerned.
fn hear(change: Change) {
    let is_kept = HEARD.with(|heard| {
        let mut heard = heard.try_borrow_mut().ok()?;
        let heard = heard.as_mut()?;
        if let Some(place) = heard.changes.get_mut(heard.count) {
            *place = change;
        }
        heard.count = heard.count.saturating_add(1);
        Some(())
    });
    let concerns =
        || KNOWN.with(|known| known.try_borrow().map_or(true, |known| known.is_changed(change)));
    if is_kept.is_none() && concerns() {
        STALE.set(true);
    }
}

extern "C-unwind" fn relation_changed(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    hear(Change::Relation(relation));
}

extern "C-unwind" fn schema_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    STALE.set(true);
}

extern "C-unwind" fn changed(_argument: pg_sys::Datum, cache: i32, hash: u32) {
    hear(Change::Row(cache as Cache, hash));
}
