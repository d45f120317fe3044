//! What a trigger is for, and what it needs to know of its webhook and table, kept from row to row.
//!
//! Anybody can make a trigger that calls our function, and a dump of a table carries ours elsewhere. So it is looked up
//! what a trigger was made for, and one that is not as it was made is for nothing. That is read from the tables once per
//! backend, and dropped when PostgreSQL says that one of them has changed: a change of a webhook invalidates
//! `webhook.webhook`, DDL on a table that of the table, a change of a trigger too.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::rc::Rc;

use pgrx::datum::Uuid;
use pgrx::prelude::*;
use sha2::{Digest, Sha256};

use super::casts::Casts;
use super::record::Writer;
use super::sender::Sender;
use super::{image, rights};
use crate::domain::envelope::{Envelope, Kind};
use crate::domain::event::Operation;
use crate::pg::row::Row;
use crate::pg::spi::{self, Rows, Session, arg, sql};
use crate::pg::trigger::Table;
use crate::pg::{compat, identity, invalidation, server, snapshot, typcache};
use crate::registry;

/// What pg_attribute.attgenerated says of a virtual generated column, since PostgreSQL 18.
const VIRTUAL: std::ffi::c_char = b'v' as std::ffi::c_char;

/// Triggers that a backend remembers. Some kilobytes for each; with more partitions than that in one session, all are
/// looked up again.
const MOST: usize = 10_000;

/// A trigger that fires, or would.
pub struct Trigger<'a> {
    /// Its oid.
    pub oid: pg_sys::Oid,
    /// The table that it fires on.
    pub relation: pg_sys::Oid,
    /// What it fires for.
    pub operation: Operation,
    /// Its name.
    pub name: &'a CStr,
    /// The argument of our function.
    pub argument: &'a CStr,
    /// The tree of its WHEN.
    pub condition: Option<&'a CStr>,
}

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
    /// Of a table that inherits from the one that was registered: the columns that it has from there.
    inherited: Option<Vec<i16>>,
    /// Those of which an UPDATE must change one.
    columns: Option<Vec<i16>>,
    /// What writing the table's columns calls.
    pub casts: Casts,
    /// The bodies around the rows, in the order of [`Operation::ALL`].
    envelopes: [Envelope; Operation::ALL.len()],
}

impl Source {
    /// The body around a row that `operation` has changed.
    pub fn envelope(&self, operation: Operation) -> &Envelope {
        &self.envelopes[operation as usize]
    }

    /// Whether an UPDATE of the row counts.
    pub fn is_change(&self, old: &Row, new: &Row) -> bool {
        self.columns.as_ref().is_none_or(|columns| typcache::has_changed(old, new, columns))
            && typcache::is_distinct(old, new, self.inherited.as_deref())
    }

    /// What is sent of a row, as JSON, however large; `None` for a row that is not of the trigger's table.
    pub fn image(&self, row: &Row) -> Option<Cow<'static, str>> {
        if let Some(text) = self.record.as_ref().and_then(|record| record.write(row)) {
            return Some(text.into());
        }
        let columns = row.attributes().len();
        let there = |number: &i16| *number as usize <= columns;
        if !self.payload.as_ref().is_none_or(|numbers| numbers.iter().all(there)) {
            return None;
        }
        let (numbers, casts) = (self.payload.as_deref(), &self.casts);
        let text = image::calling_casts(casts, self.sender.owner, |calling| {
            // SAFETY: the row has columns of these numbers.
            unsafe { image::json(row, numbers, casts, calling) }
        });
        Some(text.into())
    }
}

/// What a trigger was for when it was looked up.
struct Known {
    name: CString,
    argument: CString,
    condition: Option<CString>,
    /// Itself, and all tables that it is a partition of or inherits from. Taking one in the middle out of its
    /// inheritance invalidates neither end.
    path: Vec<pg_sys::Oid>,
    /// `None` for nothing.
    source: Option<Rc<Source>>,
    /// Why, where it was made by pg_webhook.
    bar: Option<String>,
}

impl Known {
    /// A statement keeps the triggers that it began with, whatever they are in the catalog by now.
    fn is(&self, trigger: &Trigger) -> bool {
        self.name.as_c_str() == trigger.name
            && self.argument.as_c_str() == trigger.argument
            && self.condition.as_deref() == trigger.condition
    }
}

type Sources = HashMap<(pg_sys::Oid, pg_sys::Oid, Operation), Known>;

thread_local! {
    static SOURCES: RefCell<Sources> = RefCell::default();
    static LISTENING: Cell<bool> = const { Cell::new(false) };
    /// All of them are to be read again.
    static STALE: Cell<bool> = const { Cell::new(false) };
    static REGISTRY: Cell<pg_sys::Oid> = const { Cell::new(pg_sys::InvalidOid) };
}

/// What `trigger` makes events of; `None` where it is for nothing: not made by pg_webhook, not as it was made, or of
/// something that is not watched any more.
///
/// # Safety
///
/// The descriptor is that of the table that the trigger fires on, which is open.
pub unsafe fn find(trigger: &Trigger, descriptor: pg_sys::TupleDesc) -> Option<Rc<Source>> {
    if STALE.replace(false) {
        SOURCES.with_borrow_mut(HashMap::clear);
        rights::forget();
    }
    let key = (trigger.relation, trigger.oid, trigger.operation);
    let known = SOURCES.with_borrow(|sources| {
        let known = sources.get(&key).filter(|known| known.is(trigger));
        known.map(|known| known.source.clone())
    });
    if let Some(source) = known {
        return source;
    }
    listen();
    // SAFETY: the caller's.
    let known = unsafe { load(trigger, descriptor) };
    let source = known.source.clone();
    SOURCES.with_borrow_mut(|sources| {
        if sources.len() >= MOST {
            sources.clear();
        }
        sources.insert(key, known);
    });
    source
}

/// As [`find`], for a trigger of an open table that does not fire.
///
/// # Errors
///
/// Why it is for nothing, where it is one that pg_webhook has made.
pub fn of(table: &Table, trigger: &Trigger) -> Result<Rc<Source>, Option<String>> {
    if table.oid() != trigger.relation {
        return Err(None);
    }
    // SAFETY: the table is open, and it is the trigger's.
    unsafe { find(trigger, table.descriptor()) }.ok_or_else(|| {
        let key = (trigger.relation, trigger.oid, trigger.operation);
        SOURCES.with_borrow(|sources| sources.get(&key)?.bar.clone())
    })
}

/// Reads in the latest snapshot, not in the transaction's: what an old snapshot sees must not stay in
/// the cache after its transaction.
///
/// # Safety
///
/// As for [`find`].
unsafe fn load(trigger: &Trigger, descriptor: pg_sys::TupleDesc) -> Known {
    let mut known = Known {
        name: trigger.name.to_owned(),
        argument: trigger.argument.to_owned(),
        condition: trigger.condition.map(CStr::to_owned),
        path: vec![trigger.relation],
        source: None,
        bar: None,
    };
    let argument = trigger.argument.to_str().ok();
    let Some(watch) = argument.and_then(|text| uuid::Uuid::try_parse(text).ok()) else {
        return known;
    };
    let read = || {
        REGISTRY.set(registry::relation());
        spi::connect(|session| {
            let hash = trigger.condition.map(|tree| Sha256::digest(tree.to_bytes()).to_vec());
            let rows = session.read(
                sql!("capture/source"),
                &[
                    arg(Uuid::from_bytes(watch.into_bytes())),
                    arg(trigger.relation),
                    arg(trigger.oid),
                    arg(trigger.name.to_string_lossy().into_owned()),
                    arg(hash),
                    arg(trigger.operation.as_str()),
                    arg(server::system_identifier() as i64),
                    arg(server::database()),
                ],
            );
            if let Some(row) = rows.first() {
                known.path = row.get(1).unwrap_or_default();
                known.bar = row.get(9);
                rights::note_owner(row.get(11));
                if let (Some(bar), Some(webhook)) = (&known.bar, row.get::<String>(10)) {
                    log!("pg_webhook: webhook \"{webhook}\" captures nothing: {bar}");
                }
            }
            // SAFETY: the caller's; the rows are of that statement.
            known.source = unsafe { source(session, &rows, descriptor) }.map(Rc::new);
        });
    };
    snapshot::with_latest(|| identity::as_owner(read));
    known
}

/// # Safety
///
/// As for [`find`]; the rows are those of `capture/source`.
unsafe fn source(session: &Session, rows: &Rows, descriptor: pg_sys::TupleDesc) -> Option<Source> {
    let row = rows.first()?;
    let sender = Sender::load(session, row.get(2)?)?;
    let (schema, table): (String, String) = (row.value(3), row.value(4));
    let key: Vec<i16> = row.get(5).unwrap_or_default();
    let inherited: Option<Vec<i16>> = row.get(7);
    // SAFETY: the caller's.
    let stored = || unsafe { stored(descriptor) };
    let payload: Option<Vec<i16>> = row.get(6).or_else(|| inherited.clone()).or_else(stored);
    let is_sent = |number: &i16| payload.as_ref().is_none_or(|sent| sent.contains(number));
    let envelope = |operation: Operation| {
        sender.envelope(Kind::Row(operation.as_str()), Some((&schema, &table)))
    };
    // SAFETY: the caller's.
    let attributes = unsafe { compat::attributes(descriptor) };
    let types: Vec<pg_sys::Oid> = attributes.iter().map(|attribute| attribute.atttypid).collect();
    let casts = Casts::find(session, &types, sender.owner);
    rights::note(sender.transform(), &casts);
    // SAFETY: the caller's; the numbers are those of the table's columns.
    let record = unsafe { Writer::new(descriptor, payload.as_deref(), &casts) };
    Some(Source {
        envelopes: Operation::ALL.map(envelope),
        key: key.into_iter().filter(is_sent).collect(),
        payload,
        record,
        casts,
        inherited,
        columns: row.get(8),
        sender,
        schema,
        table,
    })
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

/// All of them are to be read again.
pub(super) fn forget() {
    STALE.set(true);
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
        Ok(sources) => sources.values().any(|known| known.path.contains(&relation)),
        Err(_) => true,
    });
    if used || rights::concerns(relation) {
        STALE.set(true);
    }
}

unsafe extern "C-unwind" fn schema_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    STALE.set(true);
}
