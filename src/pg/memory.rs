//! Memory outside of the server's contexts: getting it without ending the process, and giving it back.

use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::hint::black_box;

use pgrx::prelude::*;

/// Blocks from this size on are mapped, and unmapped when they are freed.
const MAPPED: c_int = 256 * 1024;

/// Free memory that is kept at the top. More than a usual turn takes, which would otherwise be given back and
/// fetched again many times a second.
const KEPT: c_int = 4 * 1024 * 1024;

/// Bytes that a function of ours takes besides what it copies of unknown size: lists of 1,600 words of 10,000 bytes each,
/// conditions of a mebibyte, the memory of a thread. glibc does not take a block of this size as a sign that smaller ones
/// are to be kept.
pub const ROOM: usize = 32 * 1024 * 1024;

/// Bytes that a captured row takes besides what it copies of unknown size: rows that we write ourselves are of 32 KiB, of
/// which each byte can become six, in a block that is doubled. It is in reserve.
pub const LITTLE: usize = 1024 * 1024;

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
    copy(text.to_bytes())
}

/// As [`text`], of the bytes of one.
pub fn copy(text: &[u8]) -> String {
    let mut copy = Vec::new();
    if copy.try_reserve_exact(text.len()).is_err() {
        exhausted();
    }
    copy.extend_from_slice(text);
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

/// The values of a list of any length.
pub fn list<T>(values: impl ExactSizeIterator<Item = T>) -> Vec<T> {
    let mut list = Vec::new();
    if list.try_reserve_exact(values.len()).is_err() {
        exhausted();
    }
    list.extend(values);
    list
}

/// Raises an error where there is no memory for so many bytes: before work that takes up to that, but does not ask.
pub fn ensure(bytes: usize) {
    let mut block = Vec::<u8>::new();
    // Nobody looks at what is in it, so the compiler would leave it out.
    if black_box(&mut block).try_reserve_exact(bytes).is_err() {
        exhausted();
    }
}

/// Says that there is no memory, as an error of the statement.
pub fn exhausted() -> ! {
    ereport!(ERROR, PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory");
}
