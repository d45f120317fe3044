//! Lines of the server's log at DEBUG1: what an administrator of this machine asks for who wants to know what is going on.

use pgrx::pg_sys;

/// Whether somebody would see them. Asked before a line is made: where nobody does, it costs a comparison.
pub fn is_wanted() -> bool {
    let level = pg_sys::DEBUG1 as i32;
    // SAFETY: compares numbers of this process.
    unsafe { pg_sys::message_level_is_interesting(level) }
}

/// A line, in the words of `format!`.
macro_rules! debug {
    ($($text:tt)*) => {
        if $crate::pg::debug::is_wanted() {
            pgrx::debug1!("pg_webhook: {}", format_args!($($text)*));
        }
    };
}
pub(crate) use debug;
