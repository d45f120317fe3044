//! Settings that act as soon as they are set, so that it is no help that they are rolled back.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::compat;

/// What makes the session end with the next error, or at a time; and what sets where its random numbers are.
const ACTING: [&CStr; 3] = [c"exit_on_error", c"transaction_timeout", c"seed"];

const CLOSED: i32 = pg_sys::GUC_NOT_WHILE_SEC_REST as i32;

/// While it lives, nothing that runs as another role than the session's, as code of others does, can set them. Only then:
/// functions with SECURITY DEFINER could not, either.
pub(super) struct Closed {
    settings: [Option<*mut pg_sys::config_generic>; ACTING.len()],
}

impl Closed {
    pub(super) fn begin() -> Self {
        // SAFETY: the server's own records, which stay; main thread.
        let is_open =
            |setting: &*mut pg_sys::config_generic| unsafe { (**setting).flags } & CLOSED == 0;
        let settings = ACTING.map(|name| compat::setting(name).filter(is_open));
        for setting in settings.into_iter().flatten() {
            // SAFETY: as above.
            unsafe { (*setting).flags |= CLOSED };
        }
        Self { settings }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        for setting in self.settings.into_iter().flatten() {
            // SAFETY: as above; these were open before.
            unsafe { (*setting).flags &= !CLOSED };
        }
    }
}
