//! The allocator of our code in every process: the system's, with a reserve for who cannot go on without memory. Rust ends the
//! process there, and the server with it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::memory::LITTLE;

/// What is in reserve: a third of it for a captured row, the rest for the copies of an error, before which it is given back. The
/// server's memory contexts ask for a mebibyte or more when they are full, and as much is left for us. Less, and an error without
/// memory ends the process.
///
/// Nothing is written to it, so it is room in the address space, which other processes do not lack.
const RESERVE: Layout = match Layout::array::<u8>(3 * LITTLE) {
    Ok(layout) => layout,
    Err(_) => panic!("more than there can be"),
};

#[global_allocator]
static ALLOCATOR: Reserving = Reserving;

/// The reserve; null where there is none.
static RESERVED: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

/// Whether there is a reserve from now on: where there was none it is fetched.
pub fn reserve() -> bool {
    if !RESERVED.load(Ordering::Acquire).is_null() {
        return true;
    }
    // SAFETY: of a size that is not zero.
    let block = unsafe { System.alloc(RESERVE) };
    let before = RESERVED.swap(block, Ordering::AcqRel);
    free(before);
    !block.is_null()
}

/// Gives the reserve back, for somebody to take. Whether there was one.
pub fn release() -> bool {
    let block = RESERVED.swap(ptr::null_mut(), Ordering::AcqRel);
    free(block);
    !block.is_null()
}

/// Frees what was [`RESERVED`] and is not any more.
fn free(block: *mut u8) {
    if !block.is_null() {
        // SAFETY: it is of this layout and this allocator, and was taken out of the only place where it stands.
        unsafe { System.dealloc(block, RESERVE) }
    }
}

/// The system's allocator, which is asked again after the reserve has been given back. Not for a block that is larger than
/// what that is for: who needs such a one asks whether it is there.
struct Reserving;

// SAFETY: each call is the system's, with what it was called with; one that has failed has changed nothing.
unsafe impl GlobalAlloc for Reserving {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        again(layout.size(), || unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        again(layout.size(), || unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's; where it fails the block stays as it was.
        again(size, || unsafe { System.realloc(block, layout, size) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(block, layout) }
    }
}

fn again(size: usize, get: impl Fn() -> *mut u8) -> *mut u8 {
    let block = get();
    if block.is_null() && size <= LITTLE && release() { get() } else { block }
}
