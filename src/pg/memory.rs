//! Memory outside of the server's contexts: getting it without ending the process, and giving it back.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int, c_void};
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
/// which each byte can become six, in a block that is doubled. Asked for at each row, and kept at the top of the heap.
pub const LITTLE: usize = 1024 * 1024;

/// Bytes that are kept for the copies of an error.
const RESERVE: usize = 2 * LITTLE;

/// How often the text of an error is there until the client has it: as the server's, as pgrx's, as a copy for the server
/// of that, as ours.
const COPIES: usize = 5;

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
    let mut room: Vec<u8> = Vec::new();
    if black_box(&mut room).try_reserve_exact(bytes).is_err() {
        exhausted();
    }
}

/// Runs `work` where there is memory for so many bytes, and for what happens to an error that the server raises meanwhile.
/// pgrx copies it, with texts of any size, without asking, and cannot do with an error while it does so. An error whose
/// texts there is no memory for becomes one that says that.
pub fn with_room<R>(bytes: usize, work: impl FnOnce() -> R) -> R {
    ensure(bytes);
    // SAFETY: a variable of the main thread.
    let context = unsafe { pg_sys::CurrentMemoryContext };
    let mut kept = Kept { reserve: Some(reserve()), context };
    let mut callback = pg_sys::ErrorContextCallback {
        callback: Some(measure),
        arg: (&raw mut kept).cast(),
        ..Default::default()
    };
    // SAFETY: both are variables of this function, which outlive it, since it is dropped first.
    let _end = unsafe { OnStack::put(&raw mut callback) };
    work()
}

/// What is kept for an error, to be given back before that is copied: the server's contexts ask for a mebibyte or more
/// when they are full, and get it, and there is as much for us.
fn reserve() -> Vec<u8> {
    let mut room = Vec::new();
    if black_box(&mut room).try_reserve_exact(RESERVE).is_err() {
        exhausted();
    }
    room
}

/// What [`measure`] needs to know of a call of [`with_room`].
struct Kept {
    reserve: Option<Vec<u8>>,
    /// The memory context, which outlives the call.
    context: pg_sys::MemoryContext,
}

/// A callback is on the server's stack of callbacks, until this is dropped.
struct OnStack(*mut pg_sys::ErrorContextCallback);

impl OnStack {
    /// # Safety
    ///
    /// The callback stays where it is for as long, and so does what it is given. On the main thread.
    unsafe fn put(callback: *mut pg_sys::ErrorContextCallback) -> Self {
        // SAFETY: the caller's.
        unsafe {
            (*callback).previous = pg_sys::error_context_stack;
            pg_sys::error_context_stack = callback;
        }
        Self(callback)
    }
}

impl Drop for OnStack {
    /// Takes out this one: above it may be the one that an error which is on its way takes along.
    fn drop(&mut self) {
        // SAFETY: main thread. What is on the stack is there: who catches an error takes away what was put on it since,
        // but for what has been put there for that error, which is no part of a function's frame.
        unsafe {
            let mut place = &raw mut pg_sys::error_context_stack;
            while !(*place).is_null() && *place != self.0 {
                place = &raw mut (**place).previous;
            }
            if *place == self.0 {
                *place = (*self.0).previous;
            }
        }
    }
}

/// Called by the server when it is about to raise an error, or to send a message.
#[pg_guard]
unsafe extern "C-unwind" fn measure(kept: *mut c_void) {
    // SAFETY: that of a call of `with_room` that has not ended, which does not look at it meanwhile. The server has written
    // the error down; the copy is this function's. An error in here takes its place.
    let (size, level) = unsafe {
        let kept = &mut *kept.cast::<Kept>();
        drop(kept.reserve.take());
        let before = pg_sys::MemoryContextSwitchTo(kept.context);
        let error = pg_sys::CopyErrorData();
        let length = |text: *mut c_char| if text.is_null() { 0 } else { libc::strlen(text) };
        let size: usize =
            [(*error).message, (*error).detail, (*error).hint].map(length).iter().sum();
        let level = (*error).elevel;
        pg_sys::FreeErrorData(error);
        pg_sys::MemoryContextSwitchTo(before);
        if level < PgLogLevel::ERROR as c_int {
            kept.reserve = Some(reserve());
        }
        (size, level)
    };
    // What ends the session is not copied, and nothing takes its place.
    if level == PgLogLevel::ERROR as c_int {
        ensure(COPIES.saturating_mul(size));
    }
}

/// Says that there is no memory, as an error of the statement.
pub fn exhausted() -> ! {
    ereport!(ERROR, PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory");
}
