//! Acting as the extension's owner, and as roles that have less.

use pgrx::{IntoDatum, direct_function_call, pg_sys};

use super::guc::Local;
use super::identity::Caller;
use super::{identity, report};
use domain::refusal::Refusal;

/// Runs `work` with the rights of the owner of our tables and with the search path that every function
/// of ours has.
///
/// Code that the caller chose must not run inside: it would have these rights, and a search path that it sets would be that of
/// the rest of `work`.
pub fn as_owner<R>(work: impl FnOnce() -> R) -> R {
    let _rights = Rights::of(owner(), 0);
    let _path = Local::set(c"search_path", c"pg_catalog, pg_temp");
    work()
}

/// Runs `work` as `role`, where it can neither become another role nor make temporary objects, with a search path that nobody
/// else can write to. What else code could leave behind in the session [`super::foreign`] keeps off.
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

/// The owner of schema `webhook`, which has the rights of the owner of the tables in it. Where an administrator has renamed
/// the schema, or given it away alone, nothing of ours can be done, and whoever meets that is told how to mend it.
fn owner() -> pg_sys::Oid {
    let schema = identity::schema();
    // Another schema may have its name by now.
    let (Some(owner), Some(of_tables)) = (owner_of(schema), owner_of_tables(schema)) else {
        report::raise(Refusal::NoSchema)
    };
    // SAFETY: in a transaction; looks at the catalog, and where both are the same at nothing.
    if unsafe { pg_sys::has_privs_of_role(owner, of_tables) } {
        return owner;
    }
    report::raise(Refusal::SchemaGiven {
        role: identity::name_of(owner),
        of_tables: identity::name_of(of_tables),
    })
}

/// Whether `caller` may do with schema `webhook` what its owner may, where there is one.
pub fn has_schema(caller: &Caller) -> bool {
    owner_of(identity::schema()).is_none_or(|owner| caller.has_rights_of(owner))
}

/// Whether the current role may call the function of this signature, with its schema.
pub fn may_call(function: &str) -> bool {
    let arguments = [function.into_datum(), "EXECUTE".into_datum()];
    // SAFETY: in a transaction; the function takes two texts, and raises an error where there is no such function.
    unsafe { direct_function_call(pg_sys::has_function_privilege_name, &arguments) }
        .unwrap_or_default()
}

/// The role that a schema belongs to.
fn owner_of(schema: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: in a transaction. A tuple of that cache begins with that struct, whose fixed columns are read while it is pinned.
    unsafe {
        read(pg_sys::SysCacheIdentifier::NAMESPACEOID as i32, schema, |tuple| {
            (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_namespace>()).nspowner
        })
    }
}

/// The role that our tables belong to, by one that is as old as they are. They are given away one by one: which of them are
/// another role's `webhook_check` shows.
fn owner_of_tables(schema: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: as above.
    unsafe {
        let table = pg_sys::get_relname_relid(c"webhook".as_ptr(), schema);
        read(pg_sys::SysCacheIdentifier::RELOID as i32, table, |tuple| {
            (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>()).relowner
        })
    }
}

/// What there is of an entry of a cache of the catalog; `None` where there is none.
///
/// # Safety
///
/// In a transaction; the cache has one key, an oid, and `look` raises no error.
unsafe fn read(
    cache: i32,
    key: pg_sys::Oid,
    look: impl FnOnce(pg_sys::HeapTuple) -> pg_sys::Oid,
) -> Option<pg_sys::Oid> {
    // SAFETY: the caller's.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(key));
        if tuple.is_null() {
            return None;
        }
        let found = look(tuple);
        pg_sys::ReleaseSysCache(tuple);
        Some(found)
    }
}
