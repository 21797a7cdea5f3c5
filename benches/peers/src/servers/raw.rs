//! Hand-written servers on one edge-triggered epoll: no futures, one shared buffer.

use std::net::UdpSocket;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

use super::{Server, Site, raw_http, raw_proxy};
use crate::batch::Batch;
use crate::contestants::rawepoll;
use crate::sys::{self, Epoll};

pub fn all() -> Vec<Server> {
    vec![
        ("unix", unix),
        ("once", once),
        ("udp", udp),
        ("http", raw_http::serve),
        ("proxy", raw_proxy::serve),
    ]
}

/// The same with one call for up to [`BATCH`] datagrams.
pub fn batched() -> Vec<Server> {
    vec![("udp", udp_batched)]
}

pub const BATCH: usize = 32;

/// Watched for writing only when a send did not take all: a Unix socket reports each read of its
/// peer as room to write.
fn unix(mut site: Site) {
    let listener = site.nonblocking().unix().into_raw_fd();
    rawepoll::echo(listener, site.buffer, sys::IN | sys::RDHUP | sys::ET);
}

/// Reads at once, and watches only what has not sent its request yet.
fn once(mut site: Site) {
    let listener = site.nonblocking().tcp().into_raw_fd();
    let mut epoll = Epoll::new(1024).expect("epoll");
    let add = |epoll: &Epoll, fd| epoll.add(fd, sys::IN | sys::ET, fd as u64).expect("add");
    add(&epoll, listener);
    let mut buf = vec![0; site.buffer];
    let mut fresh: Vec<RawFd> = Vec::new();
    loop {
        for event in epoll.wait(-1) {
            let fd = event.u64 as RawFd;
            if fd != listener {
                answer(fd, &mut buf);
                continue;
            }
            while let Ok(Some(fd)) = sys::accept(listener) {
                let _ = sys::set_nodelay(fd);
                fresh.push(fd);
            }
        }
        for fd in fresh.drain(..) {
            if !answer(fd, &mut buf) {
                add(&epoll, fd);
            }
        }
    }
}

/// Answers and closes; false when there is no request yet.
fn answer(fd: RawFd, buf: &mut [u8]) -> bool {
    match sys::recv(fd, buf) {
        Ok(n) => drop(sys::send(fd, &buf[..n])),
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return false,
        Err(_) => {}
    }
    sys::close(fd);
    true
}

fn watched(site: &mut Site) -> (UdpSocket, Epoll) {
    let socket = site.nonblocking().udp();
    let epoll = Epoll::new(16).expect("epoll");
    epoll
        .add(socket.as_raw_fd(), sys::IN | sys::ET, 0)
        .expect("add");
    (socket, epoll)
}

fn udp(mut site: Site) {
    let (socket, mut epoll) = watched(&mut site);
    let fd = socket.as_raw_fd();
    let mut buf = vec![0; site.buffer];
    loop {
        epoll.wait(-1);
        while let Some((n, from)) = sys::recv_from(fd, &mut buf).expect("receive") {
            sys::send_to(fd, &buf[..n], &from).expect("send");
        }
    }
}

fn udp_batched(mut site: Site) {
    let (socket, mut epoll) = watched(&mut site);
    let fd = socket.as_raw_fd();
    let mut batch = Batch::new(BATCH, site.buffer);
    loop {
        epoll.wait(-1);
        loop {
            let n = batch.recv(fd).expect("receive");
            if n == 0 {
                break;
            }
            assert_eq!(batch.send_back(fd, n).expect("send"), n);
            if n < BATCH {
                break;
            }
        }
    }
}
