//! Heavyweight locks: one leader per database, one maker of what stands for a role, and none of ours under DROP EXTENSION.

use pgrx::pg_sys;

use super::identity::Extension;
use super::server;

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
