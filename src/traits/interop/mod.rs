//! Adapters between this crate and hyper 1 (feature `hyper`).
//!
//! | hyper needs | use |
//! |---|---|
//! | an executor: HTTP/2, `hyper_util::client` | [`HyperExecutor`] |
//! | a timer: time limits of HTTP/1 and HTTP/2 | [`HyperTimer`] |
//! | a connection: `hyper::rt::Read` and `Write` | a stream of [`net`](crate::net) as it is |
#![cfg_attr(
    feature = "futures-io",
    doc = "| the same, for a stream with the traits of `futures-io`, such as TLS | [`HyperIo`] |"
)]
#![cfg_attr(
    feature = "tokio",
    doc = "| the same, for a stream with tokio's traits, such as `tokio-rustls` | [`HyperTokioIo`] |"
)]
//!
//! An upgraded connection of hyper has only hyper's traits. The same two adapters give it those of
//! `futures-io` and of tokio.
//!
//! Services, bodies and connections need not be `Send`.

mod executor;
#[cfg(feature = "futures-io")]
mod futures_io;
#[cfg(feature = "futures-io")]
pub use futures_io::HyperIo;
mod timer;
#[cfg(feature = "tokio")]
mod tokio;
#[cfg(feature = "tokio")]
pub use tokio::HyperTokioIo;

pub use executor::HyperExecutor;
pub use timer::HyperTimer;
