//! [`UnixDatagram`], and what it does about a peer whose queue is full.

mod full_peer;
mod readiness;
mod socket;
mod transfer;

pub use socket::UnixDatagram;
