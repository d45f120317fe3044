//! The write-ahead log: announcing only what a crash cannot take back, and what logical decoding reads of it.

use pgrx::pg_sys;

use domain::snapshot::Xid8;

/// Makes sure that the commits of `xids` are on disk.
///
/// A transaction with `synchronous_commit = off` is visible before its commit record is flushed; of
/// the others the server knows no position to wait for, and this costs a look into the commit log.
/// Each xid must have committed after this process started, so that the commit log still covers it.
pub fn flush_commits(xids: impl IntoIterator<Item = Xid8>) {
    let mut target = 0;
    for Xid8(xid) in xids {
        let xid = pg_sys::TransactionId::from(xid as u32);
        // SAFETY: main thread in a transaction; the commit log covers the xid.
        target = target.max(unsafe { pg_sys::TransactionIdGetCommitLSN(xid) });
    }
    if target != 0 {
        // SAFETY: a position that the server returned.
        unsafe { pg_sys::XLogFlush(target) };
    }
}

/// Has the current transaction wait for the disk when it commits, whatever its `synchronous_commit`.
pub fn commit_durably() {
    // SAFETY: sets a flag of the transaction.
    unsafe { pg_sys::ForceSyncCommit() };
}

/// Whether the server writes what logical decoding needs.
pub fn is_logical() -> bool {
    // SAFETY: a setting of the server, which stays as it is while it runs.
    unsafe { pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_LOGICAL as i32 }
}
