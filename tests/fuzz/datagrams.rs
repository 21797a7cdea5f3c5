//! Datagram sockets, of UDP and Unix. Several tasks and other threads receive from one socket in
//! every way, and others send to it, connected or not, one datagram at a time or many. Sockets go,
//! refuse and are shut down in the middle; peers are full; calls are dropped; tasks are aborted.
//!
//! Checked: no datagram arrives twice, changed, or although its send has failed. A Unix datagram is
//! never lost, and those of one sender arrive in order. Of UDP no more are lost than the kernel
//! says it has dropped. Data that poll(2) finds at the socket is received, or else the seed hangs.
//! Each sender gets an error when the receiver is gone.

mod exchange;
mod ledger;
mod socket;
mod sockets;

use super::harness::fuzz;
use super::streams::play;
use reveille::spawn;

#[test]
fn datagrams() {
    fuzz("datagrams", 1..8, |kind, seed| {
        play(kind, seed, |world, _| spawn(exchange::hold(world.clone())));
    });
}
