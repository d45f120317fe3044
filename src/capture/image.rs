//! A row as JSON.
//!
//! The server's own `row_to_json` renders it, so that a record is what a user would get from it, but for types with
//! a cast to json: see [`super::casts`].

use pgrx::prelude::*;
use pgrx::{FromDatum, direct_function_call_as_datum};

use super::casts::Casts;
use crate::pg::row::Row;
use crate::pg::{compat, foreign, identity};

/// No compression that PostgreSQL has makes values smaller than by this factor (LZ4's is the higher).
const COMPRESSION: usize = 255;

/// Rows up to this many bytes, with nothing stored elsewhere, need not be looked into for their size.
const SHORT: usize = super::HARMLESS / COMPRESSION;

/// The columns `numbers` of the row, or all of it, as a JSON object. The text lives as long as the current memory
/// context. `calling` the casts that may be called, or none.
///
/// # Safety
///
/// `numbers` are attribute numbers of the row's table.
pub unsafe fn json(
    row: &Row,
    numbers: Option<&[i16]>,
    casts: &Casts,
    calling: bool,
) -> &'static str {
    // SAFETY: the tuple is of the descriptor; the numbers are the caller's, or those of the descriptor.
    unsafe {
        match numbers {
            Some(numbers) => columns(row, numbers, casts, calling),
            None if casts.matter(calling) => {
                let attributes = compat::attributes(row.descriptor());
                let there = attributes.iter().filter(|attribute| !attribute.attisdropped);
                let numbers: Vec<i16> = there.map(|attribute| attribute.attnum).collect();
                columns(row, &numbers, casts, calling)
            }
            None => render(row.tuple(), row.descriptor()),
        }
    }
}

/// A row that somebody has given, for a webhook of `role`: as that role, whatever is in it.
pub fn given(row: &Row, casts: &Casts, role: pg_sys::Oid) -> &'static str {
    // SAFETY: all of its columns.
    let json = |calling| unsafe { json(row, None, casts, calling) };
    identity::as_confined(role, || calling_casts(casts, role, json))
}

/// What `render` makes with the casts that may be called, or where there are some and one fails, without them. As
/// `role` in any case: the server looks casts up again, and may find one that has been made since we looked.
pub fn calling_casts<R>(casts: &Casts, role: pg_sys::Oid, render: impl Fn(bool) -> R) -> R {
    if !casts.foreign {
        return render(false);
    }
    let called = casts.are_called().then(|| foreign::run(role, || render(true)).ok());
    called.flatten().unwrap_or_else(|| identity::as_confined(role, || render(false)))
}

/// `{}` where there are none.
///
/// # Safety
///
/// `numbers` are attribute numbers of the row's table.
unsafe fn columns(row: &Row, numbers: &[i16], casts: &Casts, calling: bool) -> &'static str {
    // SAFETY: the caller's; the new descriptor has as many columns as there are numbers.
    unsafe {
        let subset = pg_sys::CreateTemplateTupleDesc(numbers.len() as i32);
        let mut values = Vec::with_capacity(numbers.len());
        let mut nulls = Vec::with_capacity(numbers.len());
        for (index, number) in numbers.iter().enumerate() {
            let (at, column) = (index as i16 + 1, *number as usize - 1);
            let mut value = row.value(column);
            if casts.is_text(column, calling) {
                let attribute = &row.attributes()[column];
                let name = attribute.attname.data.as_ptr();
                pg_sys::TupleDescInitEntry(subset, at, name, pg_sys::TEXTOID, -1, 0);
                value = value.map(|value| text(attribute.atttypid, value));
            } else {
                pg_sys::TupleDescCopyEntry(subset, at, row.descriptor(), *number);
            }
            values.push(value.unwrap_or(pg_sys::Datum::null()));
            nulls.push(value.is_none());
        }
        let subset = pg_sys::BlessTupleDesc(subset);
        let tuple = pg_sys::heap_form_tuple(subset, values.as_mut_ptr(), nulls.as_mut_ptr());
        render(tuple, subset)
    }
}

/// A value as its type's output function writes it.
///
/// # Safety
///
/// The value is of the type.
unsafe fn text(type_oid: pg_sys::Oid, value: pg_sys::Datum) -> pg_sys::Datum {
    let (mut output, mut varies) = (pg_sys::InvalidOid, false);
    // SAFETY: the caller's; the type exists, because a column has it.
    unsafe {
        pg_sys::getTypeOutputInfo(type_oid, &mut output, &mut varies);
        let written = pg_sys::OidOutputFunctionCall(output, value);
        pg_sys::cstring_to_text(written).into()
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
