//! What all byte streams have in common, each on every backend: reading without zeroing, the end of
//! the peer's side, the owned halves. Each test is a function over the kind.

mod buffers;
mod closed;
mod halves;
#[path = "../support/mod.rs"]
mod support;

use reveille::net::kind::Duplex;
use reveille::net::pipe::{Receiver, Sender, pipe};
use reveille::net::{ByteStream, UnixStream};
use support::{on_every_backend, pair};

/// Two connected streams.
type Pair<K> = (ByteStream<K>, ByteStream<K>);

/// The ends of a pipe: to write, and to read.
fn ends() -> (Sender, Receiver) {
    pipe().unwrap()
}

/// Two Unix streams.
fn unix_pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}
