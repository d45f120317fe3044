//! What is needed to make events of the rows of a table for a webhook.

use std::borrow::Cow;
use std::rc::Rc;

use pgrx::datum::Uuid;
use pgrx::prelude::*;

use super::record::Writer;
use super::stale;
use crate::compose::casts::Casts;
use crate::compose::recipient::Recipient;
use crate::compose::{image, order};
use crate::pg::row::Row;
use crate::pg::spi::{Session, arg, sql};
use crate::pg::{compat, table, typcache};
use domain::envelope::{Envelope, Kind};
use domain::event::Operation;
use domain::key::WebhookId;
use domain::order::{self as keys, Of, Ordering};

/// What pg_attribute.attgenerated says of a virtual generated column, since PostgreSQL 18.
const VIRTUAL: std::ffi::c_char = b'v' as std::ffi::c_char;

/// Why nothing is captured.
pub(super) struct Barred {
    /// The webhook's name, which others can have as well.
    pub name: String,
    pub reason: String,
}

/// What a trigger is for.
pub(super) struct Watched {
    pub watch: Uuid,
    pub webhook: WebhookId,
    /// What says whose that is.
    pub owner: String,
    /// The table that was registered.
    pub relation: pg_sys::Oid,
    /// Columns have been chosen that are to be sent.
    pub chosen: bool,
    /// Those of which an UPDATE must change one; `None` for any. These and the others are numbers in the table that fires.
    pub columns: Option<Vec<i16>>,
    /// Those of the primary key.
    pub key: Vec<i16>,
    /// Where the table inherits from the one that was registered: the columns that it has from there.
    pub inherited: Option<Vec<i16>>,
}

/// One webhook and one table.
pub struct Source {
    /// The webhook, for which there can be many sources.
    pub recipient: Rc<Recipient>,
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
    /// The body around a row.
    pub envelope: Envelope,
    /// By what its events are ordered.
    order: Order,
}

/// By what events are ordered.
enum Order {
    /// Nothing.
    None,
    /// All of the webhook's have one key.
    One,
    /// Rows of the table of this watch by its columns at these places.
    Row(Uuid, Vec<Option<usize>>),
    /// Any rows by theirs.
    Any(Vec<Option<usize>>),
}

impl Source {
    /// That of what a trigger of table `fires` for `operation` is for, unless its webhook, which is `recipient`, or its table is
    /// gone.
    ///
    /// # Errors
    ///
    /// The webhook's owner may not read what is to be sent.
    ///
    /// # Safety
    ///
    /// The descriptor is that of table `fires`, which is open, and the numbers of columns are in it.
    pub(super) unsafe fn read(
        session: &Session,
        watched: Watched,
        recipient: Option<Rc<Recipient>>,
        (fires, operation): (pg_sys::Oid, Operation),
        descriptor: pg_sys::TupleDesc,
    ) -> Result<Option<Self>, Barred> {
        let Watched { watch, relation, chosen, columns, key, inherited, .. } = watched;
        let may_read = |recipient: &Rc<Recipient>| table::is_open_to(relation, recipient.owner);
        let mut payload: Option<Vec<i16>> = None;
        if chosen || !recipient.as_ref().is_some_and(may_read) {
            let rows = session.look_up(sql!("capture/right"), &[arg(watch), arg(fires)]);
            if let Some(right) = rows.first() {
                if let Some(reason) = right.get("bar") {
                    return Err(Barred { name: right.value("name"), reason });
                }
                payload = right.get("columns");
            }
        }
        let Some((recipient, (schema, table))) = recipient.zip(table::name(relation)) else {
            return Ok(None);
        };
        // SAFETY: the caller's.
        let stored = || unsafe { stored(descriptor) };
        let payload = payload.or_else(|| inherited.clone()).or_else(stored);
        let is_sent = |number: &i16| payload.as_ref().is_none_or(|sent| sent.contains(number));
        let kind = Kind::Row(operation.as_str());
        let envelope = recipient.envelope(kind, Some((&schema, &table)));
        // SAFETY: the caller's.
        let attributes = unsafe { compat::attributes(descriptor) };
        let types: Vec<pg_sys::Oid> =
            attributes.iter().map(|attribute| attribute.atttypid).collect();
        let casts = Casts::find(session, &types, recipient.runs_as());
        stale::note(recipient.transform(), &casts);
        // SAFETY: the caller's; the numbers are those of the table's columns.
        let record = unsafe { Writer::new(descriptor, payload.as_deref(), &casts) };
        let place = |number: &i16| usize::try_from(*number - 1).ok();
        let order = match (recipient.ordering, &recipient.order_key) {
            (Ordering::None, _) => Order::None,
            (Ordering::Webhook, _) => Order::One,
            (Ordering::Key, Some(names)) => Order::Any(order::places(attributes, names)),
            (Ordering::Key, None) => Order::Row(watch, key.iter().map(place).collect()),
        };
        Ok(Some(Self {
            envelope,
            order,
            key: key.into_iter().filter(is_sent).collect(),
            payload,
            record,
            casts,
            inherited,
            columns,
            recipient,
            schema,
            table,
        }))
    }

    /// Its events are ordered by something.
    pub fn has_order(&self) -> bool {
        !matches!(self.order, Order::None)
    }

    /// By what the event of a change is ordered, if it is: by the row as it is and as it was, or where there is none, by all of the
    /// webhook. Needs the settings that make values the same text always.
    ///
    /// # Safety
    ///
    /// The values of the rows are of the types of their columns.
    pub unsafe fn keys(&self, new: Option<&Row<'_>>, old: Option<&Row<'_>>) -> Option<Vec<i64>> {
        let (of, columns) = match &self.order {
            Order::None => return None,
            Order::One => return Some(vec![keys::ONE]),
            Order::Row(watch, columns) => (Of::Watch(watch.as_bytes()), columns),
            Order::Any(columns) => (Of::Any, columns),
        };
        // SAFETY: the caller's.
        let key = |row: &Row<'_>| unsafe { order::key(row, of, columns) };
        Some(keys::keys(new.map(key), old.map(key)))
    }

    /// Whether an UPDATE of the row counts.
    pub fn is_change(&self, old: &Row, new: &Row) -> bool {
        self.changes_columns(old, new) && self.is_distinct(old, new)
    }

    /// Whether one of the columns changes that an UPDATE must change one of.
    pub fn changes_columns(&self, old: &Row, new: &Row) -> bool {
        self.columns.as_ref().is_none_or(|columns| typcache::has_changed(old, new, columns))
    }

    /// Whether the new row is another one than the old one.
    pub fn is_distinct(&self, old: &Row, new: &Row) -> bool {
        typcache::is_distinct(old, new, self.inherited.as_deref())
    }

    /// What is sent of a row that makes its body too large, as JSON: the primary key. `None` as for [`Self::image`].
    ///
    /// # Safety
    ///
    /// As for [`Self::image`].
    pub unsafe fn key_image(&self, row: &Row<'_>) -> Option<String> {
        // SAFETY: the caller's.
        unsafe { self.columns_image(row, Some(&self.key)) }.map(str::to_owned)
    }

    /// What is sent of a row, as JSON, however large; `None` for a row that is not of the trigger's table.
    ///
    /// # Safety
    ///
    /// The row is borrowed for no longer than the current memory context is there.
    pub unsafe fn image<'r>(&self, row: &'r Row<'_>) -> Option<Cow<'r, str>> {
        if let Some(text) = self.record.as_ref().and_then(|record| record.write(row)) {
            return Some(text.into());
        }
        // SAFETY: the caller's.
        unsafe { self.columns_image(row, self.payload.as_deref()) }.map(Cow::from)
    }

    /// These columns of a row, or all.
    ///
    /// # Safety
    ///
    /// As for [`Self::image`].
    unsafe fn columns_image<'r>(
        &self,
        row: &'r Row<'_>,
        numbers: Option<&[i16]>,
    ) -> Option<&'r str> {
        let columns = row.attributes().len();
        let there = |number: &i16| *number as usize <= columns;
        if !numbers.is_none_or(|numbers| numbers.iter().all(there)) {
            return None;
        }
        let casts = &self.casts;
        Some(image::calling_casts(casts, self.recipient.owner, |calling| {
            // SAFETY: the row has columns of these numbers; the rest is the caller's.
            unsafe { image::json(row, numbers, casts, calling) }
        }))
    }
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
