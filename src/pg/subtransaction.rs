//! Work whose failure must not be the transaction's.

use std::panic::AssertUnwindSafe;

use pgrx::prelude::*;

/// Runs `work` in a subtransaction. Where it raises one of `tolerated`, that is undone and the result
/// is `None`; any other error goes on its way.
pub fn tolerating<R>(tolerated: &[PgSqlErrorCode], work: impl FnOnce() -> R) -> Option<R> {
    // SAFETY: in a transaction. Context and owner are put back as PL/pgSQL does around its exception
    // blocks; an error that goes on is cleaned up by whoever catches it.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = PgTryBuilder::new(AssertUnwindSafe(|| Some(work())))
            .catch_others(|caught| match &caught {
                pg_sys::panic::CaughtError::PostgresError(error)
                    if tolerated.contains(&error.sql_error_code()) =>
                {
                    None
                }
                _ => caught.rethrow(),
            })
            .execute();
        pg_sys::MemoryContextSwitchTo(context);
        match result {
            Some(_) => pg_sys::ReleaseCurrentSubTransaction(),
            None => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}
