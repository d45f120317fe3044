//! Transactions and what they see.

use pgrx::pg_sys;

use domain::snapshot::{Snapshot, Xid8};

/// The id of the current top-level transaction, which gets one if it has none.
pub fn top_xid() -> Xid8 {
    // SAFETY: in a transaction.
    Xid8(unsafe { pg_sys::GetTopFullTransactionId() }.value)
}

/// What has committed by now, as the active snapshot sees it.
pub fn current() -> Snapshot {
    // SAFETY: in a transaction with an active snapshot, which is not freed meanwhile; `xip` has `xcnt`
    // entries.
    unsafe {
        let snapshot = &*pg_sys::GetActiveSnapshot();
        let next = pg_sys::ReadNextFullTransactionId().value;
        let in_progress = match snapshot.xcnt {
            // the pointer is null then
            0 => &[],
            count => std::slice::from_raw_parts(snapshot.xip, count as usize),
        };
        Snapshot::new(
            widen(snapshot.xmax.into_inner(), next),
            in_progress.iter().map(|xid| widen(xid.into_inner(), next)).collect(),
        )
    }
}

/// The transaction sees nothing that others commit while it runs.
pub fn is_kept() -> bool {
    // SAFETY: a variable of this process, which the transaction has set.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Runs `work` with the latest snapshot as the active one, whatever the transaction's own sees.
pub fn with_latest<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: in a transaction; popped below, or by the abort.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
    let result = work();
    // SAFETY: pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
    result
}

/// The full id of a recent xid, given that the next one to be assigned is `next`.
fn widen(xid: u32, next: u64) -> Xid8 {
    let (epoch, low) = (next >> 32, next as u32);
    let epoch = if xid > low { epoch - 1 } else { epoch };
    Xid8(epoch << 32 | u64::from(xid))
}
