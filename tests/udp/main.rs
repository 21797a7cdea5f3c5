//! UDP sockets, on every backend of this host.
//!
//! | file | what it tests |
//! |---|---|
//! | `basics.rs` | sending and receiving, both families, peek, empty and long datagrams, conversions, options |
//! | `errors.rs` | refused datagrams, datagrams that are too long, full buffers, peers that vanish |
//! | `waiters.rs` | several tasks on one socket, cancelled waits, other threads, many sockets |
//! | `batch.rs` | several datagrams by one call |

mod basics;
mod batch;
mod errors;
mod waiters;

#[path = "../support/mod.rs"]
mod support;

use reveille::net::UdpSocket;
use std::net::SocketAddr;

/// A socket bound to the loopback address of IPv4, and its address.
async fn bound() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// Two sockets, each connected to the other one.
async fn pair() -> (UdpSocket, UdpSocket) {
    let ((here, here_addr), (there, there_addr)) = (bound().await, bound().await);
    here.connect(there_addr).await.unwrap();
    there.connect(here_addr).await.unwrap();
    (here, there)
}
