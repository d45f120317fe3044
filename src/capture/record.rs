//! A row as JSON without the server's `row_to_json`, and as that writes it.
//!
//! For each value that function looks up how the type is written. Here this is done once for a table, for types that are
//! often used; a row with any other (arrays, composites, what has a cast to json) is left to the server. It follows
//! `json_categorize_type` (json.c, and jsonfuncs.c since PostgreSQL 17) and `datum_to_json` (json.c) of the server.

use std::ffi::{CStr, c_char};
use std::io::Write;

use pgrx::prelude::*;
use pgrx::varlena_to_byte_slice;

use crate::compose::casts::{Called, Casts};
use crate::pg::compat;
use crate::pg::plain::Kind;
use crate::pg::row::Row;

/// How the values of a type are written; where one is needed, with the output function.
#[derive(Clone, Copy)]
enum Way {
    Boolean,
    Small,
    Integer,
    Big,
    /// Bare, unless it is no number to JSON: NaN and the infinities.
    Number(pg_sys::Oid),
    Text,
    /// A date or timestamp, of this type.
    Moment(pg_sys::Oid),
    /// JSON already.
    Json(pg_sys::Oid),
    /// As a string.
    Other(pg_sys::Oid),
}

struct Column {
    index: usize,
    type_oid: pg_sys::Oid,
    way: Way,
    /// What stands before the value: the name, and what separates it from the value before.
    head: Vec<u8>,
}

/// Writes rows of one table.
pub struct Writer {
    columns: Vec<Column>,
}

impl Writer {
    /// For columns `numbers`, or all. `None` where the server must write.
    ///
    /// # Safety
    ///
    /// `descriptor` is that of an open table, `numbers` are attribute numbers of it.
    pub unsafe fn new(
        descriptor: pg_sys::TupleDesc,
        numbers: Option<&[i16]>,
        casts: &Casts,
    ) -> Option<Self> {
        // SAFETY: the caller's.
        let attributes = unsafe { compat::attributes(descriptor) };
        let all = || (0..attributes.len()).filter(|index| !attributes[*index].attisdropped);
        let indexes: Vec<usize> = match numbers {
            Some(numbers) => numbers.iter().map(|number| *number as usize - 1).collect(),
            None => all().collect(),
        };
        let column = |(at, index): (usize, &usize)| {
            let attribute = attributes.get(*index).filter(|found| !found.attisdropped)?;
            // SAFETY: a name in a descriptor ends with NUL.
            let name = unsafe { CStr::from_ptr(attribute.attname.data.as_ptr()) };
            let mut head = vec![if at == 0 { b'{' } else { b',' }];
            quote(&mut head, name.to_bytes())?;
            head.push(b':');
            let type_oid = attribute.atttypid;
            Some(Column { index: *index, type_oid, way: way(type_oid, casts)?, head })
        };
        let columns: Option<Vec<Column>> = indexes.iter().enumerate().map(column).collect();
        columns.filter(|columns| !columns.is_empty()).map(|columns| Self { columns })
    }

    /// The row as an object; `None` where the server must write it.
    pub fn write(&self, row: &Row) -> Option<String> {
        // SAFETY: a row has a tuple for as long as it is there.
        let stored = unsafe { (*row.tuple()).t_len as usize };
        let mut text = Vec::with_capacity(2 * stored);
        for column in &self.columns {
            if row.attributes().get(column.index)?.atttypid != column.type_oid {
                return None;
            }
            text.extend_from_slice(&column.head);
            match row.value(column.index) {
                None => text.extend_from_slice(b"null"),
                // SAFETY: a value of the type that the column was made for, as has just been seen.
                Some(found) => unsafe { value(&mut text, column.way, found)? },
            }
        }
        text.push(b'}');
        String::from_utf8(text).ok()
    }
}

fn way(type_oid: pg_sys::Oid, casts: &Casts) -> Option<Way> {
    let (kind, base) = Kind::of(type_oid, &Called(Some(casts)));
    let output = || {
        let (mut output, mut varies) = (pg_sys::InvalidOid, false);
        // SAFETY: the type exists, because a column has it.
        unsafe { pg_sys::getTypeOutputInfo(base, &mut output, &mut varies) };
        output
    };
    Some(match (kind, base) {
        (Kind::Text, _) => Way::Other(output()),
        (Kind::Array | Kind::Composite | Kind::Cast(_), _) => return None,
        (Kind::BuiltIn, pg_sys::BOOLOID) => Way::Boolean,
        (Kind::BuiltIn, pg_sys::INT2OID) => Way::Small,
        (Kind::BuiltIn, pg_sys::INT4OID) => Way::Integer,
        (Kind::BuiltIn, pg_sys::INT8OID) => Way::Big,
        (Kind::BuiltIn, pg_sys::FLOAT4OID | pg_sys::FLOAT8OID | pg_sys::NUMERICOID) => {
            Way::Number(output())
        }
        (Kind::BuiltIn, pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID) => Way::Text,
        (Kind::BuiltIn, pg_sys::DATEOID | pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID) => {
            Way::Moment(base)
        }
        (Kind::BuiltIn, pg_sys::JSONOID | pg_sys::JSONBOID) => Way::Json(output()),
        (
            Kind::BuiltIn,
            pg_sys::UUIDOID | pg_sys::BYTEAOID | pg_sys::TIMEOID | pg_sys::INTERVALOID,
        ) => Way::Other(output()),
        (Kind::BuiltIn, _) => return None,
    })
}

/// Appends a value.
///
/// # Safety
///
/// It is of a type that is written in this way, and not NULL.
unsafe fn value(text: &mut Vec<u8>, way: Way, value: pg_sys::Datum) -> Option<()> {
    // SAFETY: the caller's; what output functions return ends with NUL.
    let output = |function| unsafe {
        CStr::from_ptr(pg_sys::OidOutputFunctionCall(function, value)).to_bytes()
    };
    match way {
        Way::Boolean if value.value() as u8 != 0 => text.extend_from_slice(b"true"),
        Way::Boolean => text.extend_from_slice(b"false"),
        Way::Small => write!(text, "{}", value.value() as i16).ok()?,
        Way::Integer => write!(text, "{}", value.value() as i32).ok()?,
        Way::Big => write!(text, "{}", value.value() as i64).ok()?,
        Way::Number(function) => match output(function) {
            number if number.last().is_some_and(u8::is_ascii_digit) => {
                text.extend_from_slice(number);
            }
            other => quote(text, other)?,
        },
        // SAFETY: the caller's: a varlena, which is read where it is unless it is compressed or elsewhere.
        Way::Text => unsafe {
            let stored = value.cast_mut_ptr::<pg_sys::varlena>();
            let plain = pgrx::varatt_is_4b_u(stored)
                || pgrx::varatt_is_1b(stored) && !pgrx::varatt_is_1b_e(stored);
            let whole = if plain { stored } else { pg_sys::pg_detoast_datum_packed(stored) };
            quote(text, varlena_to_byte_slice(whole))?;
        },
        Way::Moment(type_oid) => {
            let mut buffer = [0 as c_char; pg_sys::MAXDATELEN as usize + 1];
            // SAFETY: the caller's; the buffer is as large as the server's own.
            let moment = unsafe {
                let at = buffer.as_mut_ptr();
                pg_sys::JsonEncodeDateTime(at, value, type_oid, std::ptr::null());
                CStr::from_ptr(at)
            };
            quote(text, moment.to_bytes())?;
        }
        Way::Json(function) => text.extend_from_slice(output(function)),
        Way::Other(function) => quote(text, output(function))?,
    }
    Some(())
}

/// Appends a JSON string; `None` where the bytes are no text.
fn quote(text: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    serde_json::to_writer(text, std::str::from_utf8(bytes).ok()?).ok()
}
