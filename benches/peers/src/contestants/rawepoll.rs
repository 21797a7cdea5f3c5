//! The edge-triggered loop a person would write without a library: no futures, one shared buffer.
//!
//! One registration per socket for life (IN|OUT|RDHUP|ET); a short read ends the reading unless a
//! hang-up was seen; what the socket does not take is kept until OUT.

use std::os::fd::{AsRawFd, RawFd};

use super::{rawpipe, rawpool, rawudp};
use crate::contestant::{Contestant, Serve};
use crate::servers;
use crate::sys::{self, Epoll};

pub fn contestant() -> Contestant {
    Contestant {
        name: "rawepoll",
        serve: Some(serve),
        servers: servers::raw::all(),
        micro: [rawpool::all(), rawpipe::all(), rawudp::all()].concat(),
        missing: vec![("tasks", "has none"), ("timers", "has none")],
    }
}

#[derive(Default)]
struct Connection {
    unsent: Vec<u8>,
    open: bool,
}

fn serve(cfg: Serve) {
    let listener = cfg.listener.as_raw_fd();
    cfg.listener.set_nonblocking(true).expect("listener");
    let mask = sys::IN | sys::OUT | sys::RDHUP | sys::ET;
    echo(listener, cfg.buffer, mask);
}

/// Echoes on every connection, which is watched for what `mask` says; for writing too as soon as a
/// socket does not take all.
pub fn echo(listener: RawFd, buffer: usize, mask: u32) {
    let mut epoll = Epoll::new(1024).expect("epoll");
    epoll
        .add(listener, sys::IN | sys::ET, listener as u64)
        .expect("add");
    let mut buf = vec![0; buffer];
    let mut connections: Vec<Connection> = Vec::new();
    let (mut fresh, mut full) = (Vec::<RawFd>::new(), Vec::<RawFd>::new());
    loop {
        for event in epoll.wait(-1) {
            let (fd, events) = (event.u64 as RawFd, event.events);
            if fd == listener {
                while let Ok(Some(fd)) = sys::accept(listener) {
                    fresh.push(fd);
                }
                continue;
            }
            let c = &mut connections[fd as usize];
            if c.open && !c.ready(fd, events, &mut buf) {
                *c = Connection::default();
                sys::close(fd);
            } else if mask & sys::OUT == 0 && !c.unsent.is_empty() {
                full.push(fd);
            }
        }
        for fd in full.drain(..) {
            epoll
                .modify(fd, mask | sys::OUT, fd as u64)
                .expect("modify");
        }
        for fd in fresh.drain(..) {
            let _ = sys::set_nodelay(fd);
            if connections.len() <= fd as usize {
                connections.resize_with(fd as usize + 1, Connection::default);
            }
            connections[fd as usize].open = true;
            epoll.add(fd, mask, fd as u64).expect("add");
        }
    }
}

impl Connection {
    /// Handles one event; false when the connection is over.
    fn ready(&mut self, fd: RawFd, mask: u32, buf: &mut [u8]) -> bool {
        if !self.unsent.is_empty() {
            if mask & sys::OUT == 0 {
                return mask & sys::GONE == 0;
            }
            let rest = std::mem::take(&mut self.unsent);
            if !self.send(fd, &rest) {
                return false;
            }
            if !self.unsent.is_empty() {
                return true;
            }
        } else if mask & (sys::IN | sys::GONE) == 0 {
            return true;
        }
        loop {
            let n = match sys::recv(fd, buf) {
                Ok(0) => return false,
                Ok(n) => n,
                Err(e) => return e.kind() == std::io::ErrorKind::WouldBlock,
            };
            if !self.send(fd, &buf[..n]) {
                return false;
            }
            if !self.unsent.is_empty() || (n < buf.len() && mask & sys::GONE == 0) {
                return true;
            }
        }
    }

    /// Sends or keeps `data`; false on an error.
    fn send(&mut self, fd: RawFd, mut data: &[u8]) -> bool {
        while !data.is_empty() {
            match sys::send(fd, data) {
                Ok(n) => data = &data[n..],
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    self.unsent.extend_from_slice(data);
                    return true;
                }
                Err(_) => return false,
            }
        }
        true
    }
}
