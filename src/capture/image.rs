//! A row as JSON.
//!
//! The server's own `row_to_json` renders it, so that a record is what a user would get from it. It
//! runs as the writer, as any trigger does: a type's cast to json may be a function of its owner.

use pgrx::prelude::*;
use pgrx::{FromDatum, direct_function_call_as_datum};

/// No compression that PostgreSQL has makes values smaller than by this factor (LZ4's is the higher).
const COMPRESSION: usize = 255;

/// Rows up to this many bytes, with nothing stored elsewhere, need not be looked into for their size.
const SHORT: usize = super::HARMLESS / COMPRESSION;

/// The row as a JSON object.
///
/// # Safety
///
/// `row` is a tuple of `descriptor`. The text lives as long as the current memory context.
pub unsafe fn json<'a>(row: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc) -> &'a str {
    // SAFETY: the caller's; the function takes a composite value and returns a text.
    unsafe {
        let composite = pg_sys::heap_copy_tuple_as_datum(row, descriptor);
        let text = direct_function_call_as_datum(pg_sys::row_to_json, &[Some(composite)]);
        text.and_then(|text| <&str>::from_datum(text, false)).unwrap_or("null")
    }
}

/// The columns `numbers` of the row as a JSON object, `{}` where there are none.
///
/// # Safety
///
/// As for [`json`]; `numbers` are attribute numbers of `descriptor`.
pub unsafe fn columns<'a>(
    row: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
    numbers: &[i16],
) -> &'a str {
    // SAFETY: the caller's; the new descriptor has as many columns as there are keys.
    unsafe {
        let subset = pg_sys::CreateTemplateTupleDesc(numbers.len() as i32);
        let mut values = Vec::with_capacity(numbers.len());
        let mut nulls = Vec::with_capacity(numbers.len());
        for (index, number) in numbers.iter().enumerate() {
            pg_sys::TupleDescCopyEntry(subset, index as i16 + 1, descriptor, *number);
            let mut null = false;
            values.push(pg_sys::heap_getattr(row, i32::from(*number), descriptor, &mut null));
            nulls.push(null);
        }
        let subset = pg_sys::BlessTupleDesc(subset);
        let tuple = pg_sys::heap_form_tuple(subset, values.as_mut_ptr(), nulls.as_mut_ptr());
        json(tuple, subset)
    }
}

/// The size of a row with everything fetched and uncompressed, in bytes. Fetches nothing.
///
/// # Safety
///
/// As for [`json`].
pub unsafe fn raw_size(row: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc) -> usize {
    // SAFETY: the caller's; only values of variable length are looked into.
    unsafe {
        let stored = (*row).t_len as usize;
        let elsewhere = (*(*row).t_data).t_infomask & pg_sys::HEAP_HASEXTERNAL as u16 != 0;
        if stored <= SHORT && !elsewhere {
            return stored;
        }
        let columns = (*descriptor).natts as usize;
        let attributes = std::slice::from_raw_parts((*descriptor).attrs.as_ptr(), columns);
        let mut values = vec![pg_sys::Datum::null(); columns];
        let mut nulls = vec![false; columns];
        pg_sys::heap_deform_tuple(row, descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
        let lengths =
            attributes.iter().zip(&values).zip(&nulls).filter_map(|((attribute, value), null)| {
                let varying = attribute.attlen == -1 && !attribute.attisdropped && !null;
                varying.then(|| pg_sys::toast_raw_datum_size(*value))
            });
        lengths.sum::<usize>() + stored
    }
}
