//! Who asks, and acting as the extension's owner.

use std::ffi::{CStr, CString};

use pgrx::prelude::*;

use super::guc::Local;

/// The role that called, with the path by which it resolves names.
pub struct Caller {
    /// The current role.
    pub role: pg_sys::Oid,
    search_path: CString,
}

/// The caller of the function that runs. To be taken before [`as_owner`] changes it.
pub fn caller() -> Caller {
    // SAFETY: main thread inside a function call.
    Caller { role: unsafe { pg_sys::GetUserId() }, search_path: search_path() }
}

/// The schemas of the current path by name: `$user` in the setting would mean another role later.
fn search_path() -> CString {
    let mut names: Vec<Vec<u8>> = Vec::new();
    // SAFETY: main thread in a transaction. The list and the names are copies in the current memory context, which
    // outlives this call; a schema that has been dropped meanwhile has no name.
    unsafe {
        let schemas = pg_sys::fetch_search_path(false);
        for index in 0..pg_sys::list_length(schemas) {
            let name = pg_sys::get_namespace_name(pg_sys::list_nth_oid(schemas, index));
            if !name.is_null() {
                let quoted = CStr::from_ptr(pg_sys::quote_identifier(name));
                names.push(quoted.to_bytes().to_vec());
            }
        }
    }
    CString::new(names.join(&b", "[..])).expect("names have no NUL")
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

/// Runs `work` with the rights of the owner of our tables and with the search path that every function
/// of ours has.
pub fn as_owner<R>(work: impl FnOnce() -> R) -> R {
    let _rights = Rights::of(owner(), 0);
    let _path = Local::set(c"search_path", c"pg_catalog, pg_temp");
    work()
}

/// Runs `work` with the caller's own search path, as the caller's DDL would. To be used inside
/// [`as_owner`], for expressions that the caller wrote.
pub fn with_path_of<R>(caller: &Caller, work: impl FnOnce() -> R) -> R {
    let _path = Local::set(c"search_path", &caller.search_path);
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
