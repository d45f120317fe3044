//! A row as JSON.
//!
//! The server's own `row_to_json` renders it, so that a record is what a user would get from it. It
//! runs as the writer, as any trigger does: a type's cast to json may be a function of its owner.

use pgrx::prelude::*;
use pgrx::{FromDatum, direct_function_call_as_datum};

use crate::pg::row::Row;

/// No compression that PostgreSQL has makes values smaller than by this factor (LZ4's is the higher).
const COMPRESSION: usize = 255;

/// Rows up to this many bytes, with nothing stored elsewhere, need not be looked into for their size.
const SHORT: usize = super::HARMLESS / COMPRESSION;

/// The row as a JSON object. The text lives as long as the current memory context.
pub fn json(row: &Row) -> &'static str {
    // SAFETY: the tuple is of the descriptor.
    unsafe { render(row.tuple(), row.descriptor()) }
}

/// The columns `numbers` of the row as a JSON object, `{}` where there are none; otherwise as [`json`].
///
/// # Safety
///
/// `numbers` are attribute numbers of the row's table.
pub unsafe fn columns(row: &Row, numbers: &[i16]) -> &'static str {
    // SAFETY: the caller's; the new descriptor has as many columns as there are numbers.
    unsafe {
        let subset = pg_sys::CreateTemplateTupleDesc(numbers.len() as i32);
        let mut values = Vec::with_capacity(numbers.len());
        let mut nulls = Vec::with_capacity(numbers.len());
        for (index, number) in numbers.iter().enumerate() {
            pg_sys::TupleDescCopyEntry(subset, index as i16 + 1, row.descriptor(), *number);
            let value = row.value(*number as usize - 1);
            values.push(value.unwrap_or(pg_sys::Datum::null()));
            nulls.push(value.is_none());
        }
        let subset = pg_sys::BlessTupleDesc(subset);
        let tuple = pg_sys::heap_form_tuple(subset, values.as_mut_ptr(), nulls.as_mut_ptr());
        render(tuple, subset)
    }
}

/// # Safety
///
/// `tuple` is one of `descriptor`. The text lives as long as the current memory context.
unsafe fn render<'a>(tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc) -> &'a str {
    // SAFETY: the caller's; the function takes a composite value and returns a text.
    unsafe {
        let composite = pg_sys::heap_copy_tuple_as_datum(tuple, descriptor);
        let text = direct_function_call_as_datum(pg_sys::row_to_json, &[Some(composite)]);
        text.and_then(|text| <&str>::from_datum(text, false)).unwrap_or("null")
    }
}

/// The size of a row with everything fetched and uncompressed, in bytes. Fetches nothing.
pub fn raw_size(row: &Row) -> usize {
    // SAFETY: a row's tuple is one.
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
