//! Datagrams to one socket and back: from `conns` sockets, `depth` outstanding on each. What is
//! outstanding is sent by one call, and sent again when all of it has come back.

use std::io;
use std::os::fd::AsRawFd;

use super::{Plan, failed, pattern};
use crate::batch::Batch;
use crate::report::Report;
use crate::sys::{self, Epoll};

pub fn run(plan: &Plan) -> io::Result<Report> {
    let mut load = Load {
        epoll: Epoll::new(256)?,
        peers: Vec::new(),
        batch: Batch::new(plan.depth as usize, plan.size),
        payload: pattern(plan.size),
        depth: plan.depth as usize,
    };
    for i in 0..plan.conns {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(plan.tcp()?)?;
        socket.set_nonblocking(true)?;
        load.epoll.add(socket.as_raw_fd(), sys::IN, i as u64)?;
        load.peers.push(Peer { socket, missing: 0 });
    }
    load.phase(plan.warm)?;
    plan.measure(plan.requests as f64, || {
        load.phase(plan.requests)?;
        Ok(Vec::new())
    })
}

struct Peer {
    socket: std::net::UdpSocket,
    /// How many datagrams have not come back yet.
    missing: usize,
}

struct Load {
    epoll: Epoll,
    peers: Vec<Peer>,
    batch: Batch,
    payload: Vec<u8>,
    depth: usize,
}

impl Load {
    fn phase(&mut self, requests: u64) -> io::Result<()> {
        let (mut to_start, mut to_finish) = (requests, requests);
        for i in 0..self.peers.len() {
            to_start -= self.start(i, to_start)?;
        }
        let mut ready = Vec::with_capacity(256);
        while to_finish > 0 {
            ready.clear();
            ready.extend(self.epoll.wait(5_000).iter().map(|e| e.u64 as usize));
            if ready.is_empty() {
                return Err(failed("no datagram for 5 seconds: one was lost"));
            }
            for &i in &ready {
                let peer = &mut self.peers[i];
                let n = self.batch.recv(peer.socket.as_raw_fd())?;
                if (0..n).any(|at| self.batch.bytes(at) != self.payload) {
                    return Err(failed("the server changed the data"));
                }
                peer.missing -= n;
                to_finish -= n as u64;
                if peer.missing == 0 {
                    to_start -= self.start(i, to_start)?;
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, i: usize, most: u64) -> io::Result<u64> {
        let n = self.depth.min(most as usize);
        if n == 0 {
            return Ok(0);
        }
        for at in 0..n {
            self.batch.fill(at, &self.payload);
        }
        if self
            .batch
            .send_connected(self.peers[i].socket.as_raw_fd(), n)?
            != n
        {
            return Err(failed("the socket did not take all datagrams"));
        }
        self.peers[i].missing = n;
        Ok(n as u64)
    }
}
