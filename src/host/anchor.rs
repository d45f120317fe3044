//! What ties webhooks to roles and functions as PostgreSQL ties what is its own.
//!
//! An anchor is a domain in schema `webhook`. Nothing has a column of such a type, and nobody but its owner may.
//!
//! One stands for a role as the owner of webhooks: they belong to whoever owns it. So DROP ROLE is refused, DROP OWNED
//! ends them, REASSIGN OWNED gives them away, and a dump holds whose they are.
//!
//! Another belongs to a webhook's owner, and its default value, which is never evaluated, is a call of the webhook's
//! transform. So a dependency of PostgreSQL's own refuses to drop the function and follows it through a rename.
//!
//! Its owner may change or drop an anchor. So what it says is taken only from the exact shape in which it is made here;
//! of one for a role, by its number as well, because its owner could rename it to what another one was called.

use std::ffi::{CString, c_char};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReportWithLevel;
use pgrx::prelude::*;

use super::adoption;
use crate::pg::guc::Local;
use crate::pg::{compat, ffi, identity, subtransaction};

/// The cache whose invalidations tell of a change of an anchor: domains by name and schema.
pub const CACHE: pg_sys::SysCacheIdentifier::Type = pg_sys::SysCacheIdentifier::TYPENAMENSP;

/// An anchor that somebody holds is not waited for longer: who deletes a webhook need not be its owner.
pub const PATIENCE: &std::ffi::CStr = c"2s";

/// Where others wait meanwhile: as short as a lock can be waited for.
pub const NO_PATIENCE: &std::ffi::CStr = c"1ms";

/// How PostgreSQL says that an anchor cannot be dropped: something is made with it, or somebody holds it.
const KEPT: [PgSqlErrorCode; 3] = [
    PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
    PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
    PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED,
];

/// How it says, without a code of its own and in every language, that somebody has changed it since it was read.
const CHANGED: [&str; 2] = ["tuple concurrently updated", "tuple concurrently deleted"];

/// Makes the anchor `name` that stands for `role`, and returns its number; otherwise as [`of_function`].
pub fn of_role(name: &str, role: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: in a transaction; there is no default value.
    unsafe { create(name, pg_sys::BOOLOID, None, role) }
}

/// Makes the anchor `name` of `function`, which takes one jsonb, for `owner`. To be called with the rights of the
/// extension's owner. No event trigger fires: as SQL it would run those of others with these rights.
///
/// Raises the server's error where there is one of that name.
pub fn of_function(name: &str, function: pg_sys::Oid, owner: pg_sys::Oid) {
    // SAFETY: in a transaction; nodes are made whole and live in the current memory context until they have been read,
    // and the function exists.
    unsafe {
        let schema = pg_sys::get_namespace_name(pg_sys::get_func_namespace(function));
        let function = list(&[schema, pg_sys::get_func_name(function)]);
        let nothing = node::<pg_sys::A_Const>(pg_sys::NodeTag::T_A_Const);
        (*nothing).isnull = true;
        (*nothing).location = -1;
        let argument = node::<pg_sys::TypeCast>(pg_sys::NodeTag::T_TypeCast);
        (*argument).arg = nothing.cast();
        (*argument).typeName = pg_sys::makeTypeNameFromOid(pg_sys::JSONBOID, -1);
        (*argument).location = -1;
        let arguments = pg_sys::lappend(std::ptr::null_mut(), argument.cast());
        let form = pg_sys::CoercionForm::COERCE_EXPLICIT_CALL;
        let default = node::<pg_sys::Constraint>(pg_sys::NodeTag::T_Constraint);
        (*default).contype = pg_sys::ConstrType::CONSTR_DEFAULT;
        (*default).raw_expr = pg_sys::makeFuncCall(function, arguments, form, -1).cast();
        (*default).location = -1;
        create(name, pg_sys::JSONBOID, Some(default), owner);
    }
}

/// # Safety
///
/// In a transaction; the default value is a whole node.
unsafe fn create(
    name: &str,
    base: pg_sys::Oid,
    default: Option<*mut pg_sys::Constraint>,
    owner: pg_sys::Oid,
) -> pg_sys::Oid {
    let name = CString::new(name).expect("a name of our own");
    // SAFETY: the caller's; nodes are made whole and live in the current memory context until they have been read.
    unsafe {
        let full_name = list(&[identity::SCHEMA.as_ptr().cast_mut(), name.as_ptr().cast_mut()]);
        let domain = node::<pg_sys::CreateDomainStmt>(pg_sys::NodeTag::T_CreateDomainStmt);
        (*domain).domainname = full_name;
        (*domain).typeName = pg_sys::makeTypeNameFromOid(base, -1);
        (*domain).constraints = default.map_or(std::ptr::null_mut(), |default| {
            pg_sys::lappend(std::ptr::null_mut(), default.cast())
        });
        let made = compat::define_domain(domain);
        pg_sys::CommandCounterIncrement();

        // A column of this type, which PUBLIC and whoever default privileges name could have otherwise, would keep the
        // anchor.
        let revoke = node::<pg_sys::GrantStmt>(pg_sys::NodeTag::T_GrantStmt);
        (*revoke).targtype = pg_sys::GrantTargetType::ACL_TARGET_OBJECT;
        (*revoke).objtype = pg_sys::ObjectType::OBJECT_DOMAIN;
        (*revoke).objects = pg_sys::lappend(std::ptr::null_mut(), full_name.cast());
        (*revoke).grantees = others_with_rights_on(made.objectId);
        pg_sys::ExecuteGrantStmt(revoke);
        pg_sys::CommandCounterIncrement();

        ffi::give_type(made.objectId, owner);
        adoption::one(made.objectId);
        pg_sys::CommandCounterIncrement();
        made.objectId
    }
}

/// PUBLIC, and all others who may use a type that the current role has just made, as a list of RoleSpec.
///
/// # Safety
///
/// In a transaction.
unsafe fn others_with_rights_on(type_oid: pg_sys::Oid) -> *mut pg_sys::List {
    // SAFETY: the caller's; the list of rights is a copy, and has as many members as the server counts. Names are copies.
    unsafe {
        let public = node::<pg_sys::RoleSpec>(pg_sys::NodeTag::T_RoleSpec);
        (*public).roletype = pg_sys::RoleSpecType::ROLESPEC_PUBLIC;
        let mut others = pg_sys::lappend(std::ptr::null_mut(), public.cast());
        let cache = pg_sys::SysCacheIdentifier::TYPEOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, type_oid.into());
        if tuple.is_null() {
            return others;
        }
        let mut is_null = false;
        let number = pg_sys::Anum_pg_type_typacl as pg_sys::AttrNumber;
        let rights = pg_sys::SysCacheGetAttr(cache, tuple, number, &mut is_null);
        let (mut members, mut count) = (std::ptr::null_mut(), 0);
        if !is_null {
            let rights = pg_sys::pg_detoast_datum_copy(rights.cast_mut_ptr());
            count = pg_sys::aclmembers(rights.cast::<pg_sys::Acl>(), &mut members);
        }
        pg_sys::ReleaseSysCache(tuple);
        for index in 0..count as usize {
            let role = *members.add(index);
            if role == pg_sys::InvalidOid || role == pg_sys::GetUserId() {
                continue;
            }
            let other = node::<pg_sys::RoleSpec>(pg_sys::NodeTag::T_RoleSpec);
            (*other).roletype = pg_sys::RoleSpecType::ROLESPEC_CSTRING;
            (*other).rolename = pg_sys::GetUserNameFromId(role, false);
            others = pg_sys::lappend(others, other.cast());
        }
        others
    }
}

/// The domain of this name, if it is there and belongs to `owner`.
fn domain(name: &str, owner: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let is_one = |form: &pg_sys::FormData_pg_type| {
        form.typtype as u8 == pg_sys::TYPTYPE_DOMAIN
            && form.typbasetype == pg_sys::JSONBOID
            && form.typowner == owner
    };
    look_up(name, |_, form| is_one(form).then_some(form.oid))?
}

/// What `read` makes of the row of pg_type that the type of this name has, if there is one.
fn look_up<R>(
    name: &str,
    read: impl FnOnce(pg_sys::HeapTuple, &pg_sys::FormData_pg_type) -> R,
) -> Option<R> {
    let name = CString::new(name).ok()?;
    // SAFETY: a catalog read in a transaction, by a name and a schema; the tuple is released when it has been read. It
    // begins with that struct.
    unsafe {
        let schema = identity::schema();
        let tuple = pg_sys::SearchSysCache2(CACHE as i32, name.as_ptr().into(), schema.into());
        if tuple.is_null() {
            return None;
        }
        let found = read(tuple, &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_type>());
        pg_sys::ReleaseSysCache(tuple);
        Some(found)
    }
}

/// The role that the domain `name` says a webhook belongs to, as the view `webhook.owner_role` has it; `made` is that domain
/// as it was recorded, if it was. A look at the catalog, where the view would take a session some milliseconds to plan.
pub fn role(name: &str, made: Option<pg_sys::Oid>) -> Option<pg_sys::Oid> {
    if !name.starts_with("owner_") {
        return None;
    }
    let (domain, owner) = look_up(name, |tuple, form| {
        let is_null = |number: u32| {
            let (number, mut is_null) = (number as pg_sys::AttrNumber, false);
            // SAFETY: a tuple of that cache, and a number of one of its columns.
            unsafe { pg_sys::SysCacheGetAttr(CACHE as i32, tuple, number, &mut is_null) };
            is_null
        };
        let good = made.is_none_or(|made| made == form.oid)
            && form.typtype as u8 == pg_sys::TYPTYPE_DOMAIN
            && form.typbasetype == pg_sys::BOOLOID
            && !form.typnotnull
            && is_null(pg_sys::Anum_pg_type_typdefault)
            && is_null(pg_sys::Anum_pg_type_typdefaultbin);
        good.then_some((form.oid, form.typowner))
    })??;
    // SAFETY: a catalog read in a transaction.
    let constrained = unsafe { pg_sys::DomainHasConstraints(domain) };
    (!constrained).then_some(owner)
}

/// The function that the anchor `name` of `owner` names; `None` where there is no such anchor any more.
pub fn function(name: &str, owner: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let domain = domain(name, owner)?;
    // SAFETY: in a transaction; nodes are read after their tags.
    unsafe {
        let default = pg_sys::get_typdefault(domain);
        if default.is_null() || !pgrx::is_a(default, pg_sys::NodeTag::T_FuncExpr) {
            return None;
        }
        let call = &*default.cast::<pg_sys::FuncExpr>();
        if pg_sys::list_length(call.args) != 1 {
            return None;
        }
        let argument = pg_sys::list_nth(call.args, 0).cast::<pg_sys::Node>();
        let null = pgrx::is_a(argument, pg_sys::NodeTag::T_Const)
            && (*argument.cast::<pg_sys::Const>()).constisnull
            && (*argument.cast::<pg_sys::Const>()).consttype == pg_sys::JSONBOID;
        null.then_some(call.funcid)
    }
}

/// What a change of which invalidates `function(name, ..)`: a hash as the server tells it.
pub fn hash(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: in a transaction; the keys are a name and a schema.
    unsafe {
        let schema = identity::schema();
        let none = pg_sys::Datum::null();
        let key = name.as_ptr().into();
        Some(pg_sys::GetSysCacheHashValue(CACHE as i32, key, schema.into(), none, none))
    }
}

/// The type of this name.
fn find(name: &str) -> Option<pg_sys::Oid> {
    look_up(name, |_, form| form.oid)
}

/// Removes the anchor `name`, whoever it belongs to by now. One that its owner has made part of something else, or
/// changes in a transaction that stays open for longer than `patience`, stays: nothing asks for it any more, and
/// `webhook_check` shows it.
pub fn remove(name: &str, patience: &std::ffi::CStr) {
    let Some(anchor) = find(name) else {
        return;
    };
    let _timeout = Local::set(c"lock_timeout", patience);
    let kept = |error: &ErrorReportWithLevel| {
        KEPT.contains(&error.sql_error_code()) || CHANGED.contains(&error.message())
    };
    // Nothing else that can go wrong is passed over.
    let _ = subtransaction::attempt(kept, || {
        // SAFETY: in a transaction; what has been dropped before we had the lock is not found again.
        unsafe {
            let exclusive = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
            pg_sys::LockDatabaseObject(pg_sys::TypeRelationId, anchor, 0, exclusive);
            if find(name) == Some(anchor) {
                let address = pg_sys::ObjectAddress {
                    classId: pg_sys::TypeRelationId,
                    objectId: anchor,
                    objectSubId: 0,
                };
                pg_sys::performDeletion(&address, pg_sys::DropBehavior::DROP_RESTRICT, 0);
            }
        }
    });
    // SAFETY: in a transaction.
    unsafe { pg_sys::CommandCounterIncrement() };
}

/// A node of zeros with its tag.
///
/// # Safety
///
/// `T` is the structure of that tag.
unsafe fn node<T>(tag: pg_sys::NodeTag) -> *mut T {
    // SAFETY: the caller's: a node begins with its tag, and zeros are a value of each.
    unsafe {
        let node = pg_sys::palloc0(size_of::<T>());
        (*node.cast::<pg_sys::Node>()).type_ = tag;
        node.cast()
    }
}

/// A list of String nodes.
///
/// # Safety
///
/// The names end with NUL; they are copied.
unsafe fn list(names: &[*mut c_char]) -> *mut pg_sys::List {
    // SAFETY: the caller's.
    names.iter().fold(std::ptr::null_mut(), |list, name| unsafe {
        pg_sys::lappend(list, pg_sys::makeString(pg_sys::pstrdup(*name)).cast())
    })
}
