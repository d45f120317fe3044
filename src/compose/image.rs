//! A row as JSON.
//!
//! The server's own `row_to_json` writes it, so that a record is what a user would get from it. For types that users have
//! made it is given what it would make of their values, see [`plain`], so that no function is called by it that we have
//! not seen.

use pgrx::prelude::*;
use pgrx::{FromDatum, direct_function_call_as_datum};

use super::casts::{Called, Casts};
use crate::pg::row::Row;
use crate::pg::{composite, foreign, plain};

/// No compression that PostgreSQL has makes values smaller than by this factor (LZ4's is the higher).
const COMPRESSION: usize = 255;

/// A row of this size has no text that PostgreSQL could not build: the worst is an array of numerics,
/// of which eight bytes can be 130,000 digits.
pub const HARMLESS: usize = 32 * 1024;

/// Rows up to this many bytes, with nothing stored elsewhere, need not be looked into for their size.
const SHORT: usize = HARMLESS / COMPRESSION;

/// The columns `numbers` of the row, or all of it, as a JSON object, `calling` the casts that may be called, or none. The
/// text is in the current memory context.
///
/// # Safety
///
/// `numbers` are attribute numbers of the row's table. The row is borrowed for no longer than the current memory context
/// is there.
pub unsafe fn json<'r>(
    row: &'r Row<'_>,
    numbers: Option<&[i16]>,
    casts: &Casts,
    calling: bool,
) -> &'r str {
    let all = || {
        let attributes = row.attributes().iter();
        attributes.filter(|found| !found.attisdropped).map(|found| found.attnum).collect()
    };
    // SAFETY: the numbers are the caller's, or those of the descriptor, which the tuple is of.
    unsafe {
        write(if casts.foreign {
            let numbers = numbers.map_or_else(all, <[i16]>::to_vec);
            plain::row(row, &numbers, &Called(calling.then_some(casts)))
        } else if let Some(numbers) = numbers {
            composite::of_columns(row, numbers, |type_oid, value| (type_oid, value))
        } else {
            pg_sys::heap_copy_tuple_as_datum(row.tuple(), row.descriptor())
        })
    }
}

/// A row that somebody has given, for a webhook of `role`, as [`json`] makes it.
///
/// # Safety
///
/// The row is borrowed for no longer than the current memory context is there.
pub unsafe fn given<'r>(row: &'r Row<'_>, casts: &Casts, role: pg_sys::Oid) -> &'r str {
    // SAFETY: the memory context is the caller's promise, and no numbers of columns are given.
    calling_casts(casts, role, |calling| unsafe { json(row, None, casts, calling) })
}

/// What `render` makes with the casts that may be called, as `role`, or where there are none or one fails, without them.
pub fn calling_casts<R>(casts: &Casts, role: pg_sys::Oid, render: impl Fn(bool) -> R) -> R {
    let called = casts.are_called().then(|| foreign::run(role, || render(true)).ok());
    called.flatten().unwrap_or_else(|| render(false))
}

/// # Safety
///
/// It is a composite value, all of which is of types that are built in. The current memory context is there for as long
/// as `'m`.
unsafe fn write<'m>(composite: pg_sys::Datum) -> &'m str {
    // SAFETY: the caller's; the function takes such a value and returns a text. Nothing in there has a cast.
    let text = unsafe { direct_function_call_as_datum(pg_sys::row_to_json, &[Some(composite)]) };
    // SAFETY: it is one, in the current memory context.
    text.and_then(|text| unsafe { <&str>::from_datum(text, false) }).unwrap_or("null")
}

/// The size of a row with everything fetched and uncompressed, in bytes. Fetches nothing.
pub fn raw_size(row: &Row) -> usize {
    // SAFETY: a row has a tuple for as long as it is there.
    let (stored, flags) =
        unsafe { ((*row.tuple()).t_len as usize, (*(*row.tuple()).t_data).t_infomask) };
    if stored <= SHORT && flags & pg_sys::HEAP_HASEXTERNAL as u16 == 0 {
        return stored;
    }
    let lengths = row.attributes().iter().enumerate().filter_map(|(index, attribute)| {
        let varying = attribute.attlen == -1 && !attribute.attisdropped;
        // SAFETY: a value of variable length.
        let length = |value| unsafe { pg_sys::toast_raw_datum_size(value) };
        row.value(index).filter(|_| varying).map(length)
    });
    lengths.sum::<usize>() + stored
}
