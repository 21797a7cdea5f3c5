//! UDP: the socket, and batches of datagrams.

mod batch;
mod options;
mod readiness;
mod socket;
mod transfer;

pub use batch::{Datagram, Datagrams, Outgoing, RecvBatch};
pub use socket::UdpSocket;
