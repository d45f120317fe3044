//! Equality of values of any type.

use pgrx::pg_sys;

use super::ffi;

/// Whether the type has an equality, for arrays and ranges that of what they hold, and cannot lose it.
/// A composite type can: by an attribute that is added to it.
pub fn has_lasting_equality(type_oid: pg_sys::Oid) -> bool {
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

/// Whether two rows of one table are distinct: some column is, where a column with an equality is
/// judged by it and another by its stored image.
///
/// # Safety
///
/// Both are tuples of `descriptor`.
pub unsafe fn is_distinct(
    old: pg_sys::HeapTuple,
    new: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
) -> bool {
    // SAFETY: the caller's; attributes are read within the descriptor's count.
    unsafe {
        for index in 0..(*descriptor).natts {
            let attribute = &*(*descriptor).attrs.as_ptr().add(index as usize);
            if attribute.attisdropped {
                continue;
            }
            let number = i32::from(attribute.attnum);
            let (mut old_null, mut new_null) = (false, false);
            let a = pg_sys::heap_getattr(old, number, descriptor, &mut old_null);
            let b = pg_sys::heap_getattr(new, number, descriptor, &mut new_null);
            match (old_null, new_null) {
                (true, true) => continue,
                (false, false) if same(a, b, attribute) => continue,
                _ => return true,
            }
        }
        false
    }
}

unsafe fn same(
    a: pg_sys::Datum,
    b: pg_sys::Datum,
    attribute: &pg_sys::FormData_pg_attribute,
) -> bool {
    // SAFETY: the caller's: both are values of the attribute's type.
    unsafe {
        if a == b && (attribute.attbyval || attribute.attlen > 0) {
            return true;
        }
        // An unchanged value stored out of line is the same pointer: no need to fetch it.
        if attribute.attlen == -1 && same_toast_pointer(a, b) {
            return true;
        }
        if ffi::datum_image_eq(a, b, attribute.attbyval, attribute.attlen) {
            return true;
        }
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
