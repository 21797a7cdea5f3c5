//! Traits of other crates for the types of this crate: one file for each crate, compiled with the
//! feature of the same name. [`interop`] has adapters for types that cannot have such a trait.

#[cfg(any(feature = "futures-io", feature = "tokio", feature = "hyper"))]
mod async_fd;
#[cfg(feature = "futures-io")]
mod futures_io;
#[cfg(feature = "hyper")]
mod hyper;
#[cfg(feature = "hyper")]
pub mod interop;
#[cfg(feature = "tokio")]
mod tokio;

/// The most bytes that a read initializes and lends to a `Read` of std or of `futures-io`. Callers
/// offer large buffers, and to fill more with zeroes than one read returns would be wasted. Also
/// the most that a read for hyper takes from a stream.
#[cfg(any(feature = "tokio", feature = "hyper"))]
const LENT_BYTES: usize = 64 * 1024;

/// Returns `n`, the result of a read into `len` bytes.
#[cfg(any(feature = "futures-io", feature = "tokio", feature = "hyper"))]
#[track_caller]
fn check_read(n: usize, len: usize) -> usize {
    assert!(
        n <= len,
        "a reader returned {n} for a buffer of {len} bytes: its `Read` or `AsyncRead` is wrong"
    );
    n
}
