//! Settings that act as soon as they are set, so that it is no help that they are rolled back.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use pgrx::pg_sys;

use crate::pg::compat;

/// What makes the session end with the next error, or at a time; what sets where its random numbers are; and what lets
/// other processes run parts of a query.
const ACTING: [&CStr; 4] =
    [c"exit_on_error", c"transaction_timeout", c"seed", c"max_parallel_workers"];

const CLOSED: i32 = pg_sys::GUC_NOT_WHILE_SEC_REST as i32;

type Records = [Option<*mut pg_sys::config_generic>; ACTING.len()];

thread_local! {
    /// They stay as long as the process, and looking for them would cost each row.
    static RECORDS: Cell<Option<Records>> = const { Cell::new(None) };
}

/// While it lives, nothing that runs as another role than the session's, as code of others does, can set them. Only then:
/// functions with SECURITY DEFINER could not, either. And there are no parallel workers: they have the rights and the
/// temporary schema of this process, and nothing there would ask us.
pub(super) struct Closed {
    settings: Records,
    workers: c_int,
}

impl Closed {
    pub(super) fn begin() -> Self {
        // SAFETY: the server's own records, which stay; main thread.
        let is_open =
            |setting: &*mut pg_sys::config_generic| unsafe { (**setting).flags } & CLOSED == 0;
        let records = RECORDS.get().unwrap_or_else(|| ACTING.map(compat::setting));
        RECORDS.set(Some(records));
        let settings = records.map(|record| record.filter(is_open));
        for setting in settings.into_iter().flatten() {
            // SAFETY: as above.
            unsafe { (*setting).flags |= CLOSED };
        }
        // SAFETY: a plain variable of the main thread, which the server reads when it would start a worker. Nothing sets it
        // meanwhile: its setting is closed, and the end of a level of settings restores only what was set in that level.
        let workers = unsafe { pg_sys::max_parallel_workers };
        // SAFETY: as above.
        unsafe { pg_sys::max_parallel_workers = 0 };
        Self { settings, workers }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        // SAFETY: as above; the value was found there.
        unsafe { pg_sys::max_parallel_workers = self.workers };
        for setting in self.settings.into_iter().flatten() {
            // SAFETY: as above; these were open before.
            unsafe { (*setting).flags &= !CLOSED };
        }
    }
}
