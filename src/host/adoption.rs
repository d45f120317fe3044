//! Anchors ([`super::anchor`]) are dropped with the extension, by a dependency of the catalog.
//!
//! A dump does not hold that dependency. It is recorded again when a restored database is armed, and before DROP EXTENSION,
//! which would be refused without it: a copy that is not to send may be rid of the extension before anybody has armed it.

use std::ffi::{CStr, c_char};

use pgrx::is_a;
use pgrx::prelude::*;

use super::lock;
use crate::pg::{catalog, compat, identity, rights};

/// What the names of anchors begin with, unless their owners have renamed them. Nobody but superusers makes anything else in
/// their schema.
const BEGINNINGS: [&[u8]; 2] = [b"owner_", b"transform_of_"];

/// A statement is about to run: where it drops the extension, anchors are to go along. Whoever may not is refused at once,
/// where PostgreSQL would first wait for whoever uses it, and have others wait behind.
///
/// # Safety
///
/// `node` is a utility statement, in a session that PostgreSQL runs it in.
#[pg_guard]
pub unsafe extern "C-unwind" fn before(node: *mut pg_sys::Node) {
    // SAFETY: the caller's; the node is what its tag says.
    let (kind, objects) = unsafe {
        if !is_a(node, pg_sys::NodeTag::T_DropStmt) {
            return;
        }
        let statement = &*node.cast::<pg_sys::DropStmt>();
        (statement.removeType, pgrx::PgList::<pg_sys::Node>::from_pg(statement.objects))
    };
    let names = |ours| {
        // SAFETY: the caller's; the node is what its tag says.
        objects.iter_ptr().any(|name| unsafe {
            is_a(name, pg_sys::NodeTag::T_String) && text(name.cast()) == ours
        })
    };
    // Where nothing may be written the server refuses the statement itself in a moment.
    // SAFETY: reads variables of this process.
    if unsafe { pg_sys::XactReadOnly || pg_sys::RecoveryInProgress() } {
        return;
    }
    match kind {
        pg_sys::ObjectType::OBJECT_EXTENSION if names(identity::NAME) => {
            let Some(extension) = identity::extension() else {
                return;
            };
            refuse_unless(compat::owns_extension(extension.oid), kind, identity::NAME);
            lock::bar_extension(extension);
            all();
            // SAFETY: in a transaction.
            unsafe { pg_sys::CommandCounterIncrement() };
        }
        pg_sys::ObjectType::OBJECT_SCHEMA if names(identity::SCHEMA) => {
            refuse_unless(rights::has_schema(&identity::caller()), kind, identity::SCHEMA);
        }
        _ => {}
    }
}

/// As the server refuses whoever does not own what there is.
fn refuse_unless(owns: bool, kind: pg_sys::ObjectType::Type, name: &CStr) {
    if !owns {
        // SAFETY: raises an error; the name ends with NUL.
        unsafe {
            pg_sys::aclcheck_error(pg_sys::AclResult::ACLCHECK_NOT_OWNER, kind, name.as_ptr())
        };
    }
}

/// # Safety
///
/// It is a String node.
unsafe fn text<'a>(node: *mut pg_sys::String) -> &'a CStr {
    // SAFETY: the caller's; the text ends with NUL.
    unsafe { CStr::from_ptr((*node).sval) }
}

/// All anchors that there are go with the extension from now on, also those that no webhook has.
pub fn all() {
    anchors().into_iter().for_each(one);
}

fn anchors() -> Vec<pg_sys::Oid> {
    let in_schema = (pg_sys::Anum_pg_type_typnamespace as i16, identity::schema());
    let anchor = |form: &pg_sys::FormData_pg_type| {
        // SAFETY: a name of the catalog ends with NUL.
        let name = unsafe { CStr::from_ptr(form.typname.data.as_ptr()) }.to_bytes();
        let is_domain = form.typtype as u8 == pg_sys::TYPTYPE_DOMAIN;
        let is_named = BEGINNINGS.iter().any(|beginning| name.starts_with(beginning));
        // SAFETY: looks at the catalog.
        let is_anchor = is_domain && (is_named || !unsafe { pg_sys::superuser_arg(form.typowner) });
        is_anchor.then_some(form.oid)
    };
    // SAFETY: in a transaction; rows of pg_type begin with that struct, and none of its indexes is on the schema.
    unsafe { catalog::rows(pg_sys::TypeRelationId, None, in_schema, anchor) }
}

/// It goes with the extension from now on.
pub fn one(anchor: pg_sys::Oid) {
    let Some(extension) = identity::extension() else {
        return;
    };
    let address =
        |class, object| pg_sys::ObjectAddress { classId: class, objectId: object, objectSubId: 0 };
    let (domain, extension) = (
        address(pg_sys::TypeRelationId, anchor),
        address(pg_sys::ExtensionRelationId, extension.oid),
    );
    // SAFETY: in a transaction; both exist.
    unsafe {
        pg_sys::deleteDependencyRecordsForSpecific(
            domain.classId,
            domain.objectId,
            pg_sys::DependencyType::DEPENDENCY_AUTO as c_char,
            extension.classId,
            extension.objectId,
        );
        pg_sys::recordDependencyOn(&domain, &extension, pg_sys::DependencyType::DEPENDENCY_AUTO);
    }
}
