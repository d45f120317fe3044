//! Who asks, and what the extension is.

use std::ffi::CStr;

use pgrx::prelude::*;

use super::memory;
use crate::domain::names;

/// The role that called.
pub struct Caller {
    /// The current role.
    pub role: pg_sys::Oid,
}

impl Caller {
    /// Whether it could act as `role` by what it has been granted; a superuser always could.
    pub fn has_rights_of(&self, role: pg_sys::Oid) -> bool {
        // SAFETY: main thread in a transaction; looks at the catalog.
        unsafe { pg_sys::has_privs_of_role(self.role, role) }
    }
}

/// The caller of the function that runs. To be taken before `rights::as_owner` changes it.
pub fn caller() -> Caller {
    // SAFETY: main thread inside a function call.
    Caller { role: unsafe { pg_sys::GetUserId() } }
}

/// What a role is called; of one that is gone, its number.
pub fn name_of(role: pg_sys::Oid) -> String {
    // SAFETY: in a transaction; a look at the catalog. The name is a copy, or null.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        if name.is_null() {
            return u32::from(role).to_string();
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

/// The owner of the extension, and the extension itself; `None` where this database does not have it.
pub fn extension() -> Option<Extension> {
    // SAFETY: in a transaction; a plain catalog read.
    let oid = unsafe { pg_sys::get_extension_oid(c"pg_webhook".as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(Extension { oid })
}

/// The extension in this database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    /// Another one after DROP and CREATE.
    pub oid: pg_sys::Oid,
}

/// A text of the program, with the schema that our functions are in before each of their names. Whoever does what a message
/// says finds no other function then that somebody has put where their `search_path` leads. In a transaction.
pub fn qualified(text: &str) -> String {
    let schema = extension().and_then(|extension| schema_of(extension.oid));
    schema.map_or_else(|| text.to_owned(), |schema| names::qualify(text, &schema))
}

/// Written as an identifier.
fn schema_of(extension: pg_sys::Oid) -> Option<String> {
    // SAFETY: in a transaction; a catalog scan, which is closed before what it has found is used. The name is a copy.
    unsafe {
        let lock = pg_sys::AccessShareLock as i32;
        let catalog = pg_sys::table_open(pg_sys::ExtensionRelationId, lock);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            pg_sys::Anum_pg_extension_oid as i16,
            pg_sys::BTEqualStrategyNumber as u16,
            pg_sys::F_OIDEQ.into(),
            extension.into(),
        );
        let index = pg_sys::ExtensionOidIndexId.into();
        let scan =
            pg_sys::systable_beginscan(catalog, index, true, std::ptr::null_mut(), 1, &mut key);
        let found = pg_sys::systable_getnext(scan);
        let schema = (!found.is_null()).then(|| {
            (*pg_sys::GETSTRUCT(found).cast::<pg_sys::FormData_pg_extension>()).extnamespace
        });
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, lock);
        let name = pg_sys::get_namespace_name(schema?);
        (!name.is_null()).then(|| memory::text(CStr::from_ptr(pg_sys::quote_identifier(name))))
    }
}
