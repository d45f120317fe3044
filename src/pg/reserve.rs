//! What is kept for an error, where there may be no memory for it.

use std::ffi::{c_char, c_int, c_void};

use pgrx::prelude::*;

use super::{allocator, memory};

/// How often the text of an error is in memory until the client has it: as the server's, as pgrx's, as a copy for the server
/// of that, as ours; and one to spare. With fewer an error with long texts could end the process for want of memory.
const COPIES: usize = 5;

/// Runs `work` where there is memory for a captured row and for what happens to an error that the server raises meanwhile.
/// pgrx copies it, with texts of any size, without asking whether there is memory, and does not survive another error
/// meanwhile. An error whose texts there is no memory for becomes one that says that.
pub fn with_reserve<R>(work: impl FnOnce() -> R) -> R {
    renew();
    // SAFETY: a variable of the main thread. The context outlives the call.
    let mut context = unsafe { pg_sys::CurrentMemoryContext };
    let mut callback = pg_sys::ErrorContextCallback {
        callback: Some(measure),
        arg: (&raw mut context).cast(),
        ..Default::default()
    };
    // SAFETY: both are variables of this function, which outlive it, since it is dropped first.
    let _end = unsafe { OnStack::put(&raw mut callback) };
    work()
}

/// Has a reserve again, after an error that has taken it away and is over.
pub fn renew() {
    if !allocator::reserve() {
        memory::exhausted();
    }
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
unsafe extern "C-unwind" fn measure(context: *mut c_void) {
    allocator::release();
    // SAFETY: the context is that of a call of `with_reserve` that has not ended. The server has written the error down; the
    // copy is this function's. An error in here takes its place.
    let (size, level) = unsafe {
        let before = pg_sys::MemoryContextSwitchTo(*context.cast::<pg_sys::MemoryContext>());
        let error = pg_sys::CopyErrorData();
        let length = |text: *mut c_char| if text.is_null() { 0 } else { libc::strlen(text) };
        let size: usize =
            [(*error).message, (*error).detail, (*error).hint].map(length).iter().sum();
        let level = (*error).elevel;
        pg_sys::FreeErrorData(error);
        pg_sys::MemoryContextSwitchTo(before);
        (size, level)
    };
    if level < PgLogLevel::ERROR as c_int {
        renew();
    }
    // What ends the session is not copied, and nothing takes its place.
    if level == PgLogLevel::ERROR as c_int {
        memory::ensure(COPIES.saturating_mul(size));
    }
}
