//! Random bytes fit for secrets.

use pgrx::pg_sys;

use domain::refusal::Refusal;

/// Bytes from the server's strong random source.
///
/// # Errors
///
/// It has none to give.
pub fn bytes<const N: usize>() -> Result<[u8; N], Refusal> {
    let mut buffer = [0; N];
    // SAFETY: writes N bytes into a buffer of N bytes.
    let given = unsafe { pg_sys::pg_strong_random(buffer.as_mut_ptr().cast(), N) };
    if given { Ok(buffer) } else { Err(Refusal::NoRandomBytes) }
}
