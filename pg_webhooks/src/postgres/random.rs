//! Random bytes from the source that Postgres has them from.

use pgrx::prelude::*;

/// Returns random bytes that are good enough for a secret.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: writes N bytes into an array of N.
    if !unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), N) } {
        error!("could not generate random bytes");
    }
    bytes
}
