//! Heavyweight locks: one leader per database, one maker of what stands for a role, none of ours under DROP EXTENSION or where
//! a database is needed without sessions.

use pgrx::pg_sys;

use crate::pg::identity::{self, Extension};
use crate::pg::server;

/// In the advisory lock space of this database, in a class that no SQL function reaches (those use 1
/// and 2).
const CLASS: u16 = 0x7768;

/// In the place of a role: that of the leader.
const LEADER: pg_sys::Oid = pg_sys::InvalidOid;

fn tag(role: pg_sys::Oid) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        locktag_field1: server::database().into(),
        locktag_field2: role.into(),
        locktag_field3: 0,
        locktag_field4: CLASS,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

/// Of the server's own lock on a database, which each session takes in connecting.
fn connection(database: pg_sys::Oid) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        locktag_field1: 0,
        locktag_field2: pg_sys::DatabaseRelationId.into(),
        locktag_field3: database.into(),
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    }
}

/// Runs `work` with the lock that a session takes in connecting to `database`; `None` where somebody keeps everybody from it.
/// It waits for nobody, and needs no transaction. Where `work` connects, that waits for nobody either, and the database is
/// neither dropped nor renamed before.
pub fn as_if_connecting<R>(database: pg_sys::Oid, work: impl FnOnce() -> R) -> Option<R> {
    let (tag, mode) = (connection(database), pg_sys::RowExclusiveLock as i32);
    // SAFETY: a well-formed tag; a session lock needs no transaction.
    unsafe {
        let result = pg_sys::LockAcquire(&tag, mode, true, true);
        if result == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL {
            return None;
        }
        let result = work();
        pg_sys::LockRelease(&tag, mode, true);
        Some(result)
    }
}

/// Has this process, however it ends, give back what [`as_if_connecting`] has taken. The server sees to that only in a
/// process that has connected.
pub fn release_at_exit() {
    unsafe extern "C-unwind" fn release(_code: i32, _: pg_sys::Datum) {
        // SAFETY: the last of the callbacks that may use locks; what has been given back is not there any more.
        unsafe { pg_sys::LockReleaseAll(pg_sys::DEFAULT_LOCKMETHOD as u16, true) };
    }
    // SAFETY: the callback lives as long as the library.
    unsafe { pg_sys::before_shmem_exit(Some(release), pg_sys::Datum::null()) };
}

/// Waits until nobody is connecting to `database`, and keeps everybody from it until the transaction ends.
pub fn bar_database(database: pg_sys::Oid, mode: u32) {
    // SAFETY: in a transaction; released at its end.
    unsafe { pg_sys::LockSharedObject(pg_sys::DatabaseRelationId, database, 0, mode as i32) };
}

/// Takes the leader's lock for the life of this process; `false` where another process has it.
pub fn become_leader() -> bool {
    // SAFETY: a well-formed tag; a session lock needs no transaction.
    let result =
        unsafe { pg_sys::LockAcquire(&tag(LEADER), pg_sys::ExclusiveLock as i32, true, true) };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

/// Waits until nobody else makes what stands for `role` as an owner, and keeps others from it until the transaction ends.
/// For as long as `lock_timeout` lets it.
pub fn hold_owner(role: pg_sys::Oid) {
    // SAFETY: a well-formed tag, in a transaction.
    unsafe { pg_sys::LockAcquire(&tag(role), pg_sys::ExclusiveLock as i32, false, false) };
}

/// Keeps `extension` from being dropped until the transaction ends, or waits until a transaction that drops it has ended.
/// `false` where it is gone then.
///
/// Taken before any of our tables is touched: a DROP EXTENSION that has passed by us locks the schema before they are, so the
/// two do not wait for each other. Nor do they where another statement drops it, as long as the catalog lists what belongs to
/// it as it was made, the schema first. Not the extension itself: any role may have that locked, as ALTER FUNCTION .. DEPENDS
/// ON EXTENSION does for its transaction.
pub fn hold_extension(extension: Extension) -> bool {
    lock_schema(pg_sys::AccessShareLock);
    identity::extension() == Some(extension)
}

/// Waits until nobody holds `extension`, and keeps everybody from it until the transaction ends, as dropping it does. It has
/// waited for those who have locked the extension itself by then, and meanwhile nobody for it.
pub fn bar_extension(extension: Extension) {
    lock_object(pg_sys::ExtensionRelationId, extension.oid, pg_sys::AccessExclusiveLock);
    lock_schema(pg_sys::AccessExclusiveLock);
}

fn lock_schema(mode: u32) {
    let schema = identity::schema();
    if schema != pg_sys::InvalidOid {
        lock_object(pg_sys::NamespaceRelationId, schema, mode);
    }
}

fn lock_object(class: pg_sys::Oid, object: pg_sys::Oid, mode: u32) {
    // SAFETY: in a transaction; released at its end.
    unsafe { pg_sys::LockDatabaseObject(class, object, 0, mode as pg_sys::LOCKMODE) };
}
