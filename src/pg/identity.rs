//! Who asks, and acting as the extension's owner.

use std::ffi::CStr;

use pgrx::prelude::*;

use super::guc::Local;
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

/// The caller of the function that runs. To be taken before [`as_owner`] changes it.
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

/// Runs `work` with the rights of the owner of our tables and with the search path that every function
/// of ours has.
///
/// Code that the caller chose must not run inside: what it sets for its session, the path of this would be.
pub fn as_owner<R>(work: impl FnOnce() -> R) -> R {
    let _rights = Rights::of(owner(), 0);
    let _path = Local::set(c"search_path", c"pg_catalog, pg_temp");
    work()
}

/// Runs `work` as `role`, where it can neither become another role nor leave anything behind in the
/// session, with a search path that nobody else can write to.
pub fn as_restricted<R>(role: pg_sys::Oid, work: impl FnOnce() -> R) -> R {
    let _rights = Rights::of(role, pg_sys::SECURITY_RESTRICTED_OPERATION as i32);
    let _path = Local::set(c"search_path", c"pg_catalog, pg_temp");
    work()
}

/// Restores the role when dropped, on the way out of an error as well: whoever catches it, and be it without an
/// abort, is not left with rights that it did not have.
struct Rights {
    role: pg_sys::Oid,
    context: i32,
}

impl Rights {
    fn of(role: pg_sys::Oid, more: i32) -> Self {
        let mut before = Self { role: pg_sys::InvalidOid, context: 0 };
        // SAFETY: main thread in a transaction. Both calls only read and write variables of this process; whatever
        // ends this scope restores them, and an abort sets them to what its (sub)transaction began with.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut before.role, &mut before.context);
            pg_sys::SetUserIdAndSecContext(
                role,
                before.context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32 | more,
            );
        }
        before
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        // SAFETY: the values that were read above. It raises no error, so that it may run while one is on its way.
        unsafe { pg_sys::SetUserIdAndSecContext(self.role, self.context) };
    }
}

/// The owner of schema `webhook`'s tables is the owner of the extension.
fn owner() -> pg_sys::Oid {
    // SAFETY: catalog reads in a transaction. A tuple of that cache begins with that struct, whose fixed columns are
    // read while it is pinned; nothing in between raises an error.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"webhook".as_ptr(), false);
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::NAMESPACEOID as i32,
            pg_sys::Datum::from(schema),
        );
        if tuple.is_null() {
            error!("schema \"webhook\" vanished");
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_namespace>();
        let owner = (*form).nspowner;
        pg_sys::ReleaseSysCache(tuple);
        owner
    }
}
