//! Receiving datagrams that wait already: what one costs alone and in batches.

use std::net::UdpSocket;

use crate::batch::Batch;
use crate::contestant::{Args, Datagrams, Micro};
use crate::report::Report;
use crate::sys;

pub fn all<R: Datagrams>() -> Vec<Micro> {
    vec![("udp-recv", recv::<R>)]
}

pub const SIZE: usize = 64;
/// As many as a socket's default buffer holds for sure, at 768 bytes of kernel memory each.
pub const FILL: usize = 256;

/// A receiving socket and one that is connected to it, with the datagrams to send.
pub struct Pair {
    receiver: UdpSocket,
    sender: UdpSocket,
    batch: Batch,
}

impl Pair {
    #[expect(clippy::new_without_default, reason = "opening sockets is no default")]
    pub fn new() -> Pair {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let addr = receiver.local_addr().expect("an address");
        sender.connect(addr).expect("loopback");
        let mut batch = Batch::new(FILL, SIZE);
        (0..FILL).for_each(|i| batch.fill(i, &[7; SIZE]));
        Pair {
            receiver,
            sender,
            batch,
        }
    }

    pub fn receiver(&self) -> UdpSocket {
        self.receiver.try_clone().expect("a descriptor")
    }

    pub fn fill(&mut self) {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.sender);
        assert_eq!(self.batch.send_connected(fd, FILL).expect("send"), FILL);
    }
}

/// CPU of the receiving alone: the clock of the thread stands while the socket is filled.
#[derive(Default)]
pub struct Receiving {
    cpu: u64,
    n: u64,
}

impl Receiving {
    pub fn add(&mut self, since: u64) {
        self.cpu += sys::thread_cpu() - since;
        self.n += FILL as u64;
    }

    pub fn done(&self) -> Report {
        let mut r = Report::default();
        r.set("ops", self.n as f64);
        r.set("cpu_ns", self.cpu as f64 / self.n as f64);
        r
    }
}

/// One operation is one datagram, received.
fn recv<R: Datagrams>(a: &Args) -> Report {
    let (n, warm) = (a.n, a.warm);
    R::block_on(async move {
        let mut pair = Pair::new();
        let mut socket = R::adopt(pair.receiver()).await;
        let mut receiving = Receiving::default();
        let mut left = (warm + n).div_ceil(FILL as u64);
        let warm = warm.div_ceil(FILL as u64);
        let rounds = left;
        while left > 0 {
            pair.fill();
            let begin = sys::thread_cpu();
            socket = R::receive(socket, FILL).await;
            if rounds - left >= warm {
                receiving.add(begin);
            }
            left -= 1;
        }
        receiving.done()
    })
}
