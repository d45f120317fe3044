//! A row of a table, taken apart into its columns.

use pgrx::FromDatum;
use pgrx::pg_sys;

use super::compat;
use super::spi::Readable;

/// A tuple with the values of its columns.
pub struct Row {
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl Row {
    /// Fetches nothing that is stored elsewhere.
    ///
    /// # Safety
    ///
    /// `tuple` is one of `descriptor`, and both stay as they are as long as the row is used. So it is for the tuples of
    /// a trigger and the descriptor of its table during a call: they belong to the query, whose lock keeps the table
    /// from being changed, by this session as well.
    pub unsafe fn new(tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc) -> Self {
        // SAFETY: the caller's; there is room for as many columns as the descriptor has, and each is written.
        unsafe {
            let columns = (*descriptor).natts as usize;
            let mut values = vec![pg_sys::Datum::null(); columns];
            let mut nulls = vec![false; columns];
            pg_sys::heap_deform_tuple(tuple, descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
            Self { tuple, descriptor, values, nulls }
        }
    }

    /// As it is stored.
    pub fn tuple(&self) -> pg_sys::HeapTuple {
        self.tuple
    }

    /// That of its table.
    pub fn descriptor(&self) -> pg_sys::TupleDesc {
        self.descriptor
    }

    /// The columns of its table.
    pub fn attributes(&self) -> &[pg_sys::FormData_pg_attribute] {
        // SAFETY: the descriptor stays, by the promise to `new`, at least as long as the row, which is borrowed.
        unsafe { compat::attributes(self.descriptor) }
    }

    /// The value of the column at `index`; `None` for NULL.
    pub fn value(&self, index: usize) -> Option<pg_sys::Datum> {
        (!self.nulls[index]).then_some(self.values[index])
    }
}

/// A value of a composite type.
pub struct Composite {
    tuple: pg_sys::HeapTuple,
    type_oid: pg_sys::Oid,
}

impl Composite {
    /// As a row of a table would be; it lives as long as the memory context that the value was read in.
    pub fn tuple(&self) -> pg_sys::HeapTuple {
        self.tuple
    }

    /// The type that it says it has.
    pub fn type_oid(&self) -> pg_sys::Oid {
        self.type_oid
    }
}

// SAFETY: all values of composite types, records among them, are stored alike.
unsafe impl Readable for Composite {
    fn reads(type_oid: pg_sys::Oid) -> bool {
        // SAFETY: in a transaction; a look at the catalog.
        unsafe { pg_sys::type_is_rowtype(type_oid) }
    }
}

impl FromDatum for Composite {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller's datum is a composite value, whose header says how long it is and what it is of.
        unsafe {
            let stored = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
            let header = stored.cast::<pg_sys::HeapTupleHeaderData>();
            let mut value = pg_sys::HeapTupleData {
                t_len: pgrx::varsize(stored) as u32,
                t_data: header,
                ..Default::default()
            };
            Some(Self {
                type_oid: (*header).t_choice.t_datum.datum_typeid,
                tuple: pg_sys::heap_copytuple(&mut value),
            })
        }
    }
}
