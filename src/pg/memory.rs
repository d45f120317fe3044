//! How the worker gives memory back.

use std::ffi::c_int;

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
