//! Random bytes fit for secrets.

use pgrx::pg_sys;

/// Bytes from the server's strong random source; `None` where it has none to give.
pub fn bytes<const N: usize>() -> Option<[u8; N]> {
    let mut buffer = [0; N];
    // SAFETY: writes N bytes into a buffer of N bytes.
    unsafe { pg_sys::pg_strong_random(buffer.as_mut_ptr().cast(), N) }.then_some(buffer)
}
