//! What the trigger knows of its webhook and table, kept from row to row.
//!
//! Read from the tables once per backend, and dropped when PostgreSQL says that one of them has
//! changed: a change of a webhook invalidates `webhook.webhook`, DDL on the table invalidates the table.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::prelude::*;

use crate::domain::event::Envelope;
use crate::pg::spi::{self, arg, sql};
use crate::pg::{identity, invalidation, snapshot};
use crate::queue::ring::Target;
use crate::registry;

/// One webhook and one table.
pub struct Source {
    /// Changes become events.
    pub enabled: bool,
    /// Schema of the table that was registered.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// The body around the row.
    pub envelope: Envelope,
    /// Attribute numbers of the table's primary key.
    pub key: Vec<i16>,
    /// Makes event ids unique among databases.
    pub installation: String,
    /// Where events go.
    pub target: Target,
    /// The table that was registered, which a partition speaks for.
    registered: pg_sys::Oid,
}

/// Webhooks without a source have been deleted.
type Sources = HashMap<(i32, pg_sys::Oid), Option<Rc<Source>>>;

thread_local! {
    static SOURCES: RefCell<Sources> = RefCell::default();
    static LISTENING: Cell<bool> = const { Cell::new(false) };
    /// All of them are to be read again.
    static STALE: Cell<bool> = const { Cell::new(false) };
    static REGISTRY: Cell<pg_sys::Oid> = const { Cell::new(pg_sys::InvalidOid) };
}

/// The source of `webhook`'s events on `relation`; `None` where the webhook has been deleted.
pub fn find(webhook: i32, relation: pg_sys::Oid) -> Option<Rc<Source>> {
    if STALE.replace(false) {
        SOURCES.with_borrow_mut(HashMap::clear);
    }
    let key = (webhook, relation);
    if let Some(known) = SOURCES.with_borrow(|sources| sources.get(&key).cloned()) {
        return known;
    }
    listen();
    let source = load(webhook, relation).map(Rc::new);
    SOURCES.with_borrow_mut(|sources| sources.insert(key, source.clone()));
    source
}

/// Reads in the latest snapshot, not in the transaction's: what an old snapshot sees must not stay in
/// the cache after its transaction.
fn load(webhook: i32, relation: pg_sys::Oid) -> Option<Source> {
    let read = || {
        REGISTRY.set(registry::relation());
        spi::connect(|session| {
            let rows = session.read(sql!("capture/source"), &[arg(webhook), arg(relation)]);
            rows.first().map(|row| {
                let (uuid, schema, table): (String, String, String) =
                    (row.value(1), row.value(3), row.value(4));
                Source {
                    enabled: row.value(2),
                    envelope: Envelope::new(Some((&schema, &table)), &uuid),
                    schema,
                    table,
                    key: row.get(5).unwrap_or_default(),
                    installation: row.value(6),
                    target: Target {
                        slot: row.value(7),
                        relation: row.value(8),
                        sequence: row.value(9),
                    },
                    registered: row.value(10),
                }
            })
        })
    };
    snapshot::with_latest(|| identity::as_owner(read))
}

fn listen() {
    if !LISTENING.replace(true) {
        invalidation::on_relation(relation_changed);
        invalidation::on_schema(schema_changed);
    }
}

unsafe extern "C-unwind" fn relation_changed(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    if relation == pg_sys::InvalidOid || relation == REGISTRY.get() {
        STALE.set(true);
        return;
    }
    // A cache that is in use right now is dropped whole at the next row.
    let used = SOURCES.with(|sources| match sources.try_borrow() {
        Ok(sources) => sources.iter().any(|((_, fired), source)| {
            *fired == relation
                || source.as_ref().is_some_and(|source| source.registered == relation)
        }),
        Err(_) => true,
    });
    if used {
        STALE.set(true);
    }
}

unsafe extern "C-unwind" fn schema_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    STALE.set(true);
}
