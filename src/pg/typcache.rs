//! Equality of values of any type.

use pgrx::pg_sys;

use super::ffi;
use super::row::Row;

/// Whether the type has an equality, for arrays and ranges that of what they hold, and cannot lose it.
/// A composite type can: by an attribute that is added to it.
fn has_lasting_equality(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: in a transaction; entries of the type cache live as long as the process.
    unsafe {
        let base = pg_sys::getBaseType(type_oid);
        let element = pg_sys::get_element_type(base);
        if element != pg_sys::InvalidOid {
            return has_lasting_equality(element);
        }
        let entry = pg_sys::lookup_type_cache(base, pg_sys::TYPECACHE_EQ_OPR as i32);
        (*entry).typtype as u8 != pg_sys::TYPTYPE_COMPOSITE && (*entry).eq_opr != pg_sys::InvalidOid
    }
}

/// Whether two rows of one table are distinct in one of the columns `numbers`, or in any: a column with an equality is
/// judged by it and another by its stored image.
pub fn is_distinct(old: &Row, new: &Row, numbers: Option<&[i16]>) -> bool {
    match numbers {
        Some(numbers) => numbers.iter().any(|number| differs(old, new, *number as usize - 1, same)),
        None => (0..old.attributes().len()).any(|index| differs(old, new, index, same)),
    }
}

/// Whether one of the columns `numbers` has changed: by the equality of its type, where that has one for good, and
/// otherwise by the stored image.
pub fn has_changed(old: &Row, new: &Row, numbers: &[i16]) -> bool {
    numbers.iter().any(|number| differs(old, new, *number as usize - 1, lastingly_same))
}

/// Whether the column at `index` differs. NULL is equal to NULL.
fn differs(
    old: &Row,
    new: &Row,
    index: usize,
    same: unsafe fn(pg_sys::Datum, pg_sys::Datum, &pg_sys::FormData_pg_attribute) -> bool,
) -> bool {
    let attribute = &old.attributes()[index];
    if attribute.attisdropped {
        return false;
    }
    let is_of_its_type =
        |other: &pg_sys::FormData_pg_attribute| other.atttypid == attribute.atttypid;
    if !new.attributes().get(index).is_some_and(is_of_its_type) {
        return true;
    }
    match (old.value(index), new.value(index)) {
        // SAFETY: both are values of this column's type, as has just been seen.
        (Some(old), Some(new)) => unsafe { !same(old, new, attribute) },
        (old, new) => old.is_some() || new.is_some(),
    }
}

unsafe fn lastingly_same(
    a: pg_sys::Datum,
    b: pg_sys::Datum,
    attribute: &pg_sys::FormData_pg_attribute,
) -> bool {
    // SAFETY: the caller's: both are values of the attribute's type.
    unsafe {
        same_image(a, b, attribute)
            || has_lasting_equality(attribute.atttypid) && equal(a, b, attribute)
    }
}

unsafe fn same(
    a: pg_sys::Datum,
    b: pg_sys::Datum,
    attribute: &pg_sys::FormData_pg_attribute,
) -> bool {
    // SAFETY: the caller's: both are values of the attribute's type.
    unsafe { same_image(a, b, attribute) || equal(a, b, attribute) }
}

unsafe fn same_image(
    a: pg_sys::Datum,
    b: pg_sys::Datum,
    attribute: &pg_sys::FormData_pg_attribute,
) -> bool {
    // SAFETY: the caller's: both are values of the attribute's type. An unchanged value stored out of line is the same
    // pointer: no need to fetch it.
    unsafe {
        a == b && (attribute.attbyval || attribute.attlen > 0)
            || attribute.attlen == -1 && same_toast_pointer(a, b)
            || ffi::datum_image_eq(a, b, attribute.attbyval, attribute.attlen)
    }
}

unsafe fn equal(
    a: pg_sys::Datum,
    b: pg_sys::Datum,
    attribute: &pg_sys::FormData_pg_attribute,
) -> bool {
    // SAFETY: the caller's: both are values of the attribute's type.
    unsafe {
        let flags = pg_sys::TYPECACHE_EQ_OPR_FINFO as i32;
        let entry = pg_sys::lookup_type_cache(attribute.atttypid, flags);
        if (*entry).eq_opr_finfo.fn_oid == pg_sys::InvalidOid {
            return false;
        }
        let equal =
            pg_sys::FunctionCall2Coll(&mut (*entry).eq_opr_finfo, attribute.attcollation, a, b);
        equal.value() != 0
    }
}

unsafe fn same_toast_pointer(a: pg_sys::Datum, b: pg_sys::Datum) -> bool {
    let (a, b) = (a.cast_mut_ptr::<pg_sys::varlena>(), b.cast_mut_ptr::<pg_sys::varlena>());
    // SAFETY: the caller's: both are varlena values; external ones have a readable pointer of that size.
    unsafe {
        if !pgrx::varatt_is_1b_e(a) || !pgrx::varatt_is_1b_e(b) {
            return false;
        }
        let size = pgrx::varsize_any(a);
        size == pgrx::varsize_any(b)
            && std::slice::from_raw_parts(a.cast::<u8>(), size)
                == std::slice::from_raw_parts(b.cast::<u8>(), size)
    }
}
