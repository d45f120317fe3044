//! Memory outside of the server's contexts: getting it without ending the process, and giving it back.

use std::borrow::Cow;
use std::ffi::{CStr, c_int};

use pgrx::prelude::*;

/// Blocks from this size on are mapped, and unmapped when they are freed.
const MAPPED: c_int = 256 * 1024;

/// Free memory that is kept at the top. More than a usual turn takes, which would otherwise be given back and
/// fetched again many times a second.
const KEPT: c_int = 4 * 1024 * 1024;

/// glibc raises its threshold to the largest block that was freed, up to 32 MiB, and keeps what is below:
/// a burst of large bodies would stay in the process. A fixed one keeps that to small ones.
pub fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets parameters of the allocator, which takes them at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// A copy of a text of any size. Where there is no memory for it, that is an error of the statement: Rust by itself
/// would end the process, and the server with it.
pub fn text(text: &CStr) -> String {
    let mut copy = Vec::new();
    if copy.try_reserve_exact(text.count_bytes()).is_err() {
        exhausted();
    }
    copy.extend_from_slice(text.to_bytes());
    // The server's texts are UTF-8.
    String::from_utf8(copy)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// As [`text`], of one that may be borrowed.
pub fn owned(text: Cow<'_, str>) -> String {
    match text {
        Cow::Owned(text) => text,
        Cow::Borrowed(text) => {
            let mut copy = String::new();
            if copy.try_reserve_exact(text.len()).is_err() {
                exhausted();
            }
            copy.push_str(text);
            copy
        }
    }
}

/// Says that there is no memory, as an error of the statement.
pub fn exhausted() -> ! {
    ereport!(ERROR, PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory");
}
