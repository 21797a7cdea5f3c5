//! TCP: listener, stream, and the halves of a stream.

mod backoff;
#[cfg(feature = "futures-io")]
mod futures_io;
mod incoming;
mod listener;
mod readiness;
mod split;
mod split_owned;
mod stream;
mod transfer;

pub use incoming::Incoming;
pub use listener::TcpListener;
pub use split::{ReadHalf, WriteHalf};
pub use split_owned::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};
pub use stream::TcpStream;
