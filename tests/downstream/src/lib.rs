//! The tests are in `tests/`.

/// The code in `docs/works-with.md`.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/works-with.md")]
struct WorksWith;
