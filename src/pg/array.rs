//! An array, taken apart and made again with elements of another type.

use pgrx::pg_sys;

use super::memory;

/// An array, which lives as long as the memory context in which it was opened.
pub(super) struct Array {
    stored: *mut pg_sys::ArrayType,
    /// The type of its elements; it says so itself, whatever its own type is.
    pub element: pg_sys::Oid,
}

/// Whether values of the type, which is no domain, are arrays.
pub(super) fn is_one(base: pg_sys::Oid) -> bool {
    // SAFETY: in a transaction; a look at the catalog.
    base == pg_sys::ANYARRAYOID || unsafe { pg_sys::get_element_type(base) } != pg_sys::InvalidOid
}

impl Array {
    /// Fetches it where it is stored elsewhere.
    ///
    /// # Safety
    ///
    /// `value` is an array.
    pub unsafe fn open(value: pg_sys::Datum) -> Self {
        // SAFETY: the caller's.
        unsafe {
            let stored = pg_sys::pg_detoast_datum(value.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
            Self { stored, element: (*stored).elemtype }
        }
    }

    /// Its elements, in the order in which they are stored; `None` for NULL.
    pub fn values(&self) -> Vec<Option<pg_sys::Datum>> {
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        // SAFETY: an array, by the promise to `open`; its elements are stored as their type says; the arrays that are
        // written have `count` entries.
        unsafe {
            let (length, by_value, align) = layout(self.element);
            pg_sys::deconstruct_array(
                self.stored,
                self.element,
                length,
                by_value,
                align,
                &mut values,
                &mut nulls,
                &mut count,
            );
            let value = |index: usize| (!*nulls.add(index)).then(|| *values.add(index));
            memory::list((0..count as usize).map(value))
        }
    }

    /// The same with other elements, in its dimensions.
    ///
    /// # Safety
    ///
    /// There are as many values as there were, all of type `element`.
    pub unsafe fn with(
        &self,
        element: pg_sys::Oid,
        values: &[Option<pg_sys::Datum>],
    ) -> pg_sys::Datum {
        let mut nulls = memory::list(values.iter().map(Option::is_none));
        let value = |value: &Option<pg_sys::Datum>| value.unwrap_or(pg_sys::Datum::null());
        let mut values = memory::list(values.iter().map(value));
        // SAFETY: the caller's. Behind the header of an array, which is whole, are as many lengths as it has
        // dimensions, and then as many lower bounds.
        unsafe {
            let dimensions = self.stored.add(1).cast::<i32>();
            let lower_bounds = dimensions.add((*self.stored).ndim as usize);
            let (length, by_value, align) = layout(element);
            pg_sys::construct_md_array(
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
                (*self.stored).ndim,
                dimensions,
                lower_bounds,
                element,
                length,
                by_value,
                align,
            )
            .into()
        }
    }
}

/// Length, whether it is passed by value, and alignment.
fn layout(type_oid: pg_sys::Oid) -> (i32, bool, std::ffi::c_char) {
    let (mut length, mut by_value, mut align) = (0, false, 0);
    // SAFETY: in a transaction; a look at the catalog, which raises an error where there is no such type.
    unsafe { pg_sys::get_typlenbyvalalign(type_oid, &mut length, &mut by_value, &mut align) };
    (length.into(), by_value, align)
}
