//! What the trigger knows of its webhook and table, kept from row to row.
//!
//! Read from the tables once per backend, and dropped when PostgreSQL says that one of them has
//! changed: a change of a webhook invalidates `webhook.webhook`, DDL on the table invalidates the table.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::prelude::*;

use super::record::Writer;
use super::sender::Sender;
use crate::domain::envelope::{Envelope, Kind};
use crate::domain::event::Operation;
use crate::pg::spi::{self, arg, sql};
use crate::pg::{compat, identity, invalidation, snapshot};
use crate::registry;

/// What pg_attribute.attgenerated says of a virtual generated column, since PostgreSQL 18.
const VIRTUAL: std::ffi::c_char = b'v' as std::ffi::c_char;

/// One webhook and one table.
pub struct Source {
    /// The webhook.
    pub sender: Sender,
    /// Schema of the table that was registered.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Attribute numbers of the table's primary key.
    pub key: Vec<i16>,
    /// Those of the columns that are sent; `None` for all that the row has.
    pub payload: Option<Vec<i16>>,
    /// Writes their values, unless the server must.
    pub record: Option<Writer>,
    /// The bodies around the rows, in the order of [`Operation::ALL`].
    envelopes: [Envelope; Operation::ALL.len()],
    /// The table that was registered, which a partition speaks for.
    registered: pg_sys::Oid,
}

impl Source {
    /// The body around a row that `operation` has changed.
    pub fn envelope(&self, operation: Operation) -> &Envelope {
        &self.envelopes[operation as usize]
    }
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
///
/// # Safety
///
/// The relation is open and has this descriptor.
pub unsafe fn find(
    webhook: i32,
    relation: pg_sys::Oid,
    descriptor: pg_sys::TupleDesc,
) -> Option<Rc<Source>> {
    if STALE.replace(false) {
        SOURCES.with_borrow_mut(HashMap::clear);
    }
    let key = (webhook, relation);
    if let Some(known) = SOURCES.with_borrow(|sources| sources.get(&key).cloned()) {
        return known;
    }
    listen();
    // SAFETY: the caller's.
    let source = unsafe { load(webhook, relation, descriptor) }.map(Rc::new);
    SOURCES.with_borrow_mut(|sources| sources.insert(key, source.clone()));
    source
}

/// Reads in the latest snapshot, not in the transaction's: what an old snapshot sees must not stay in
/// the cache after its transaction.
///
/// # Safety
///
/// As for [`find`].
unsafe fn load(
    webhook: i32,
    relation: pg_sys::Oid,
    descriptor: pg_sys::TupleDesc,
) -> Option<Source> {
    let read = || {
        REGISTRY.set(registry::relation());
        spi::connect(|session| {
            let sender = Sender::load(session, webhook)?;
            let rows = session.read(sql!("capture/source"), &[arg(webhook), arg(relation)]);
            rows.first().map(|row| {
                let (schema, table): (String, String) = (row.value(1), row.value(2));
                let key: Vec<i16> = row.get(3).unwrap_or_default();
                let sent: Vec<i16> = row.get(4).unwrap_or_default();
                let named = row.get(5).unwrap_or(false).then_some(sent);
                // SAFETY: the caller's.
                let payload = named.or_else(|| unsafe { stored(descriptor) });
                let is_sent =
                    |number: &i16| payload.as_ref().is_none_or(|sent| sent.contains(number));
                let envelope = |operation: Operation| {
                    sender.envelope(Kind::Row(operation.as_str()), Some((&schema, &table)))
                };
                // SAFETY: the caller's; the numbers are those of the table's columns.
                let record = unsafe { Writer::new(descriptor, payload.as_deref()) };
                Source {
                    envelopes: Operation::ALL.map(envelope),
                    key: key.into_iter().filter(is_sent).collect(),
                    payload,
                    record,
                    registered: row.value(6),
                    sender,
                    schema,
                    table,
                }
            })
        })
    };
    snapshot::with_latest(|| identity::as_owner(read))
}

/// The columns that a row has when triggers fire, where those are not all: PostgreSQL computes virtual generated
/// columns when they are read, and a row in a trigger has NULL there.
///
/// # Safety
///
/// The descriptor is that of an open relation.
unsafe fn stored(descriptor: pg_sys::TupleDesc) -> Option<Vec<i16>> {
    // SAFETY: the caller's.
    let attributes = unsafe { compat::attributes(descriptor) };
    let is_virtual = |attribute: &pg_sys::FormData_pg_attribute| {
        attribute.attgenerated == VIRTUAL && !attribute.attisdropped
    };
    attributes.iter().any(is_virtual).then(|| {
        let there = |attribute: &&pg_sys::FormData_pg_attribute| {
            !attribute.attisdropped && !is_virtual(attribute)
        };
        attributes.iter().filter(there).map(|attribute| attribute.attnum).collect()
    })
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
