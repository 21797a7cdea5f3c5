//! A proxy by hand: one buffer of 64 KiB for all, what a socket does not take kept by its
//! direction, readiness remembered from edges, a half-close passed on.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{IntoRawFd, RawFd};

use super::Site;
use crate::sys::{self, Epoll};

/// One direction of a pair.
struct Way {
    from: RawFd,
    to: RawFd,
    /// Bytes that have been read and not written, from `sent` on.
    rest: Vec<u8>,
    sent: usize,
    readable: bool,
    writable: bool,
    over: bool,
}

pub fn serve(mut site: Site) {
    let listener = site.nonblocking().tcp().into_raw_fd();
    let mut epoll = Epoll::new(1024).expect("epoll");
    epoll
        .add(listener, sys::IN | sys::ET, u64::MAX)
        .expect("add");
    let mut buf = vec![0; 64 << 10];
    let mut pairs: Vec<[Way; 2]> = Vec::new();
    loop {
        let mut accepts = false;
        for event in epoll.wait(-1) {
            if event.u64 == u64::MAX {
                accepts = true;
                continue;
            }
            let (pair, side) = (event.u64 as usize / 2, event.u64 as usize % 2);
            let pair = &mut pairs[pair];
            if event.events & (sys::IN | sys::GONE) != 0 {
                pair[side].readable = true;
                pair[side].pump(&mut buf);
            }
            if event.events & (sys::OUT | sys::GONE) != 0 {
                pair[1 - side].writable = true;
                pair[1 - side].pump(&mut buf);
            }
            if pair.iter().all(|way| way.over && way.from >= 0) {
                pair.iter_mut().for_each(|way| {
                    sys::close(way.from);
                    way.from = -1;
                });
            }
        }
        while accepts && let Ok(Some(near)) = sys::accept(listener) {
            let far = TcpStream::connect(site.backend).expect("the backend");
            let _ = (sys::set_nodelay(near), far.set_nodelay(true));
            far.set_nonblocking(true).expect("a socket");
            let far = far.into_raw_fd();
            for (side, fd) in [near, far].into_iter().enumerate() {
                let mask = sys::IN | sys::OUT | sys::RDHUP | sys::ET;
                epoll
                    .add(fd, mask, (pairs.len() * 2 + side) as u64)
                    .expect("add");
            }
            pairs.push([(near, far), (far, near)].map(|(from, to)| Way {
                from,
                to,
                rest: Vec::new(),
                sent: 0,
                readable: false,
                writable: true,
                over: false,
            }));
        }
    }
}

impl Way {
    fn pump(&mut self, buf: &mut [u8]) {
        while !self.over {
            if !self.rest.is_empty() {
                if !self.writable {
                    return;
                }
                let rest = std::mem::take(&mut self.rest);
                let sent = self.send(&rest[self.sent..]);
                self.sent += sent;
                if self.sent < rest.len() {
                    self.rest = rest;
                }
                continue;
            }
            if !self.readable {
                return;
            }
            match sys::recv(self.from, buf) {
                Ok(0) => {
                    sys::shutdown(self.to, Shutdown::Write);
                    self.over = true;
                }
                Ok(n) => {
                    // A short read has emptied the socket, unless an end is behind the bytes: that
                    // is reported by another event.
                    self.readable = n == buf.len();
                    let sent = self.send(&buf[..n]);
                    if sent < n {
                        self.rest = buf[sent..n].to_vec();
                        self.sent = 0;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(_) => self.over = true,
            }
        }
    }

    /// Sends what the socket takes, and returns how many bytes.
    fn send(&mut self, data: &[u8]) -> usize {
        let mut sent = 0;
        while sent < data.len() && self.writable && !self.over {
            match sys::send(self.to, &data[sent..]) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(_) => self.over = true,
            }
        }
        sent
    }
}
