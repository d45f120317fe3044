//! By what an event is ordered: the values of its row as text, which are the same whatever the session's settings are.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::row::{Row, is_named};
use domain::order::{self, Of};

/// The key of a row by the columns at these places; one that is not there counts as NULL.
///
/// Output functions are called, in settings that make them write the same always ([`crate::pg::output::Canonical`]). These are functions
/// in C, which none but superusers make.
///
/// # Safety
///
/// The row's values are of its columns' types.
pub unsafe fn key(row: &Row<'_>, of: Of<'_>, columns: &[Option<usize>]) -> i64 {
    let text = |place: &Option<usize>| {
        let index = (*place).filter(|index| *index < row.attributes().len())?;
        let value = row.value(index)?;
        // SAFETY: the caller's; what output functions return ends with NUL and is there as long as the memory context.
        unsafe {
            let (mut output, mut varies) = (pg_sys::InvalidOid, false);
            let type_oid = row.attributes()[index].atttypid;
            pg_sys::getTypeOutputInfo(type_oid, &mut output, &mut varies);
            Some(CStr::from_ptr(pg_sys::OidOutputFunctionCall(output, value)).to_bytes())
        }
    };
    order::hash(of, columns.iter().map(text))
}

/// Where in a row the columns of these names are.
pub fn places(
    attributes: &[pg_sys::FormData_pg_attribute],
    names: &[String],
) -> Vec<Option<usize>> {
    let place = |name: &String| {
        attributes.iter().position(|column| !column.attisdropped && is_named(column, name))
    };
    names.iter().map(place).collect()
}
