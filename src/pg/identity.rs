//! Who asks, and what the extension is.

use std::ffi::{CStr, CString};

use pgrx::prelude::*;

use super::{catalog, memory};
use domain::names;

/// What the extension is called.
pub const NAME: &CStr = c"pg_webhook";

/// What the schema is called that its tables are in.
pub const SCHEMA: &CStr = c"webhook";

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

/// The extension; `None` where this database does not have it.
pub fn extension() -> Option<Extension> {
    // SAFETY: in a transaction; a plain catalog read.
    let oid = unsafe { pg_sys::get_extension_oid(NAME.as_ptr(), true) };
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
    let it = (pg_sys::Anum_pg_extension_oid as i16, extension);
    let index = Some(pg_sys::ExtensionOidIndexId.into());
    let schema = |form: &pg_sys::FormData_pg_extension| Some(form.extnamespace);
    // SAFETY: in a transaction; rows of pg_extension begin with that struct, and that is their index. The name is a copy.
    unsafe {
        let schema = catalog::rows(pg_sys::ExtensionRelationId, index, it, schema).pop()?;
        let name = pg_sys::get_namespace_name(schema);
        (!name.is_null()).then(|| memory::text(CStr::from_ptr(pg_sys::quote_identifier(name))))
    }
}

/// A name, written as an identifier.
pub fn quoted(name: &str) -> String {
    let Ok(name) = CString::new(name) else { return name.to_owned() };
    // SAFETY: a text that ends with NUL; what it returns is that text or a copy.
    unsafe { memory::text(CStr::from_ptr(pg_sys::quote_identifier(name.as_ptr()))) }
}

/// Our schema; invalid where there is none of that name. In a transaction.
pub fn schema() -> pg_sys::Oid {
    // SAFETY: looks at the catalog.
    unsafe { pg_sys::get_namespace_oid(SCHEMA.as_ptr(), true) }
}
