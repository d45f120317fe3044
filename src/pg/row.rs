//! A row of a table, taken apart into its columns.

use std::marker::PhantomData;

use pgrx::pg_sys;

use super::compat;

/// A tuple with the values of its columns, both of which are there for as long as `'a`.
pub struct Row<'a> {
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
    _there: PhantomData<&'a ()>,
}

impl Row<'_> {
    /// Fetches nothing that is stored elsewhere.
    ///
    /// # Safety
    ///
    /// `tuple` is one of `descriptor`, and both stay as they are for the lifetime of the row. So it is for the tuples of
    /// a trigger and the descriptor of its table during a call: they belong to the query, whose lock keeps the table
    /// from being changed, by this session as well.
    pub unsafe fn new(tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc) -> Self {
        // SAFETY: the caller's; there is room for as many columns as the descriptor has, and each is written.
        unsafe {
            let columns = (*descriptor).natts as usize;
            let mut values = vec![pg_sys::Datum::null(); columns];
            let mut nulls = vec![false; columns];
            pg_sys::heap_deform_tuple(tuple, descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
            Self { tuple, descriptor, values, nulls, _there: PhantomData }
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

/// Whether this is the column of that name. Compared byte by byte: the name ends where the catalog has the first zero. Each event's row
/// is read so.
pub fn is_named(found: &pg_sys::FormData_pg_attribute, name: &str) -> bool {
    let (data, length) = (&found.attname.data, name.len());
    length < data.len()
        && data[length] == 0
        && name.bytes().zip(data).all(|(wanted, there)| wanted == *there as u8)
}
