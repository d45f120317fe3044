//! A composite value that a function was given, taken apart.

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{FromDatum, pg_sys};

use super::array::{self, Array};
use super::row::{Row, is_named};
use super::spi::Arg as SqlArg;
use super::types::Readable;

/// A composite value of any type; it lives as long as the call that it is an argument of, or as the rows that it is in.
pub struct Record<'a>(pub Row<'a>);

// SAFETY: all values of composite types, records among them, are stored alike.
unsafe impl<'a> Readable<'a> for Record<'a> {
    fn reads(type_oid: pg_sys::Oid) -> bool {
        // SAFETY: in a transaction; a look at the catalog.
        unsafe { pg_sys::type_is_rowtype(type_oid) }
    }

    unsafe fn read(datum: pg_sys::Datum, null: bool, _: pg_sys::Oid) -> Option<Self> {
        // SAFETY: the caller's datum is a composite value.
        (!null).then(|| Self(unsafe { take_apart(datum) }))
    }
}

impl FromDatum for Record<'_> {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        null: bool,
        type_oid: pg_sys::Oid,
    ) -> Option<Self> {
        // SAFETY: the caller's.
        unsafe { Self::read(datum, null, type_oid) }
    }
}

// SAFETY: a composite value is passed by a datum.
unsafe impl<'fcx> ArgAbi<'fcx> for Record<'fcx> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the declaration says that the argument is a record; a NULL does not get here.
        unsafe { arg.unbox_arg_using_from_datum() }.expect("a record that is not NULL")
    }
}

// SAFETY: it is what the SQL declaration says.
unsafe impl SqlTranslatable for Record<'_> {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Record<'static>);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("record"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("record")));
}

/// The table whose row it is, if it is one's.
pub fn relation(row: &Row) -> Option<pg_sys::Oid> {
    // SAFETY: a row's descriptor is one; a catalog read in a transaction.
    let relation = unsafe { pg_sys::get_typ_typrelid((*row.descriptor()).tdtypeid) };
    (relation != pg_sys::InvalidOid).then_some(relation)
}

/// The value of a column, as an argument of a statement; `None` where there is no column of that name and type.
pub fn column(row: &Row, name: &str, type_oid: pg_sys::Oid) -> Option<SqlArg> {
    let is_it = |column: &pg_sys::FormData_pg_attribute| {
        column.atttypid == type_oid && is_named(column, name)
    };
    let index = row.attributes().iter().position(is_it)?;
    Some(SqlArg { type_oid, datum: row.value(index) })
}

/// The types of its values, each once: what is in arrays and composite values, because of `record`, `anyarray` and what
/// contains them nothing else says what is in there.
pub fn types(row: &Row) -> Vec<pg_sys::Oid> {
    let mut found = Vec::new();
    // SAFETY: values of the columns.
    of_each(row, |type_oid, value| unsafe { gather(type_oid, value, &mut found) });
    found
}

/// Raises an error where values are nested too deeply, as the server does where it writes them.
///
/// # Safety
///
/// The value is of the type.
unsafe fn gather(
    type_oid: pg_sys::Oid,
    value: Option<pg_sys::Datum>,
    found: &mut Vec<pg_sys::Oid>,
) {
    let Some(value) = value else {
        return;
    };
    // SAFETY: the caller's; a domain's value is one of its base type, and an array says what it is of.
    unsafe {
        pg_sys::check_stack_depth();
        let base = pg_sys::getBaseType(type_oid);
        if pg_sys::type_is_rowtype(base) {
            of_each(&take_apart(value), |type_oid, value| gather(type_oid, value, found));
        } else if array::is_one(base) {
            let array = Array::open(value);
            if is_scalar(array.element) {
                gather_type(array.element, found);
            } else {
                array.values().into_iter().for_each(|value| gather(array.element, value, found));
            }
        } else {
            gather_type(type_oid, found);
        }
    }
}

/// The values of a row with their types. One of a column that has been dropped is there as well, but its type is not.
fn of_each(row: &Row, mut work: impl FnMut(pg_sys::Oid, Option<pg_sys::Datum>)) {
    for (index, attribute) in row.attributes().iter().enumerate() {
        if !attribute.attisdropped {
            work(attribute.atttypid, row.value(index));
        }
    }
}

fn gather_type(type_oid: pg_sys::Oid, found: &mut Vec<pg_sys::Oid>) {
    if !found.contains(&type_oid) {
        found.push(type_oid);
    }
}

/// Whether values of the type have no others in them.
fn is_scalar(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: in a transaction; looks at the catalog.
    unsafe {
        let base = pg_sys::getBaseType(type_oid);
        !array::is_one(base) && !pg_sys::type_is_rowtype(base)
    }
}

/// # Safety
///
/// `value` is a composite value, which is there for as long as `'a`, as is the current memory context.
pub(super) unsafe fn take_apart<'a>(value: pg_sys::Datum) -> Row<'a> {
    // SAFETY: the caller's; the header names the type, whose descriptor is copied, and the tuple is where the
    // value is.
    unsafe {
        let header =
            pg_sys::pg_detoast_datum(value.cast_mut_ptr()).cast::<pg_sys::HeapTupleHeaderData>();
        let (type_oid, modifier) =
            ((*header).t_choice.t_datum.datum_typeid, (*header).t_choice.t_datum.datum_typmod);
        let descriptor = pg_sys::lookup_rowtype_tupdesc_copy(type_oid, modifier);
        (*descriptor).tdtypeid = type_oid;
        (*descriptor).tdtypmod = modifier;
        let tuple =
            pg_sys::palloc0(size_of::<pg_sys::HeapTupleData>()).cast::<pg_sys::HeapTupleData>();
        (*tuple).t_len = pgrx::varsize_4b(header.cast()) as u32;
        (*tuple).t_data = header;
        Row::new(tuple, descriptor)
    }
}

/// Columns `numbers` of a row, with other values: `change` says of which type they are then, which follows from the type
/// that they had, so that rows of one table are all of one type. The composite value lives as long as the current memory
/// context.
///
/// # Safety
///
/// `numbers` are attribute numbers of the row's descriptor; a value that `change` returns is of the type beside it.
pub unsafe fn of_columns(
    row: &Row,
    numbers: &[i16],
    change: impl Fn(pg_sys::Oid, Option<pg_sys::Datum>) -> (pg_sys::Oid, Option<pg_sys::Datum>),
) -> pg_sys::Datum {
    // SAFETY: the caller's; the new descriptor has as many columns as there are numbers.
    unsafe {
        let subset = pg_sys::CreateTemplateTupleDesc(numbers.len() as i32);
        let mut values = Vec::with_capacity(numbers.len());
        let mut nulls = Vec::with_capacity(numbers.len());
        for (at, number) in (1..).zip(numbers) {
            let index = *number as usize - 1;
            let attribute = &row.attributes()[index];
            let (type_oid, value) = change(attribute.atttypid, row.value(index));
            if type_oid == attribute.atttypid {
                pg_sys::TupleDescCopyEntry(subset, at, row.descriptor(), *number);
            } else {
                let name = attribute.attname.data.as_ptr();
                pg_sys::TupleDescInitEntry(subset, at, name, type_oid, -1, 0);
            }
            nulls.push(value.is_none());
            values.push(value.unwrap_or(pg_sys::Datum::null()));
        }
        let subset = pg_sys::BlessTupleDesc(subset);
        let tuple = pg_sys::heap_form_tuple(subset, values.as_mut_ptr(), nulls.as_mut_ptr());
        pg_sys::heap_copy_tuple_as_datum(tuple, subset)
    }
}
