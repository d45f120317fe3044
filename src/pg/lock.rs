//! Heavyweight locks: one leader per database, and none of ours under DROP EXTENSION.

use pgrx::pg_sys;

use super::identity::Extension;

/// In the advisory lock space of this database, in a class that no SQL function reaches (those use 1
/// and 2).
const CLASS: u16 = 0x7768;

/// Takes the leader's lock for the life of this process; `false` where another process has it.
pub fn become_leader() -> bool {
    // SAFETY: a well-formed tag; a session lock needs no transaction.
    unsafe {
        let tag = pg_sys::LOCKTAG {
            locktag_field1: u32::from(pg_sys::MyDatabaseId),
            locktag_field2: 0,
            locktag_field3: 0,
            locktag_field4: CLASS,
            locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
            locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
        };
        let result = pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, true, true);
        result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    }
}

/// Keeps `extension` from being dropped until the transaction ends, or waits until a transaction that
/// drops it has ended. `false` where it is gone then.
///
/// Taken before any of our tables is touched: DROP EXTENSION locks the extension first and its tables
/// later, so the two never wait for each other.
pub fn hold_extension(extension: Extension) -> bool {
    // SAFETY: in a transaction; released at its end.
    unsafe {
        pg_sys::LockDatabaseObject(
            pg_sys::ExtensionRelationId,
            extension.oid,
            0,
            pg_sys::AccessShareLock as i32,
        );
    }
    super::identity::extension() == Some(extension)
}
