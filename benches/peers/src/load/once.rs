//! Connections for one request: connect, send 64 bytes, take the answer and the end. The server
//! closes first; the reset by which the client answers leaves no port in TIME_WAIT.

use std::io;
use std::os::fd::RawFd;
use std::time::Instant;

use super::{Plan, connect_tcp, failed, pattern};
use crate::report::Report;
use crate::sys::{self, Epoll};

struct Connection {
    fd: RawFd,
    got: usize,
    began: Instant,
}

struct Load<'a> {
    plan: &'a Plan,
    addr: std::net::SocketAddr,
    epoll: Epoll,
    /// One for each request that is outstanding at once.
    connections: Vec<Connection>,
    request: Vec<u8>,
    to_start: u64,
    to_finish: u64,
    times: Vec<u64>,
}

pub fn run(plan: &Plan) -> io::Result<Report> {
    let mut load = Load {
        plan,
        addr: plan.tcp()?,
        epoll: Epoll::new(256)?,
        connections: Vec::new(),
        request: pattern(plan.size),
        to_start: 0,
        to_finish: 0,
        times: Vec::new(),
    };
    load.phase(plan.warm)?;
    plan.measure(plan.requests as f64, || load.phase(plan.requests))
}

impl Load<'_> {
    /// Makes `n` connections, `conns` of them at once.
    fn phase(&mut self, n: u64) -> io::Result<Vec<u64>> {
        (self.to_start, self.to_finish) = (n, n);
        self.times = Vec::with_capacity(n as usize);
        self.connections.clear();
        for i in 0..self.plan.conns {
            let began = Instant::now();
            self.connections.push(Connection {
                fd: -1,
                got: 0,
                began,
            });
            self.start(i)?;
        }
        let mut buf = vec![0; self.request.len() + 1];
        let mut ready = Vec::with_capacity(256);
        while self.to_finish > 0 {
            ready.clear();
            ready.extend(self.epoll.wait(5_000).iter().map(|e| e.u64 as usize));
            if ready.is_empty() {
                return Err(failed("no answer for 5 seconds"));
            }
            for &i in &ready {
                self.event(i, &mut buf)?;
            }
        }
        Ok(std::mem::take(&mut self.times))
    }

    fn start(&mut self, i: usize) -> io::Result<()> {
        if self.to_start == 0 {
            return Ok(());
        }
        self.to_start -= 1;
        let began = Instant::now();
        let fd = connect_tcp(self.addr)?;
        self.connections[i] = Connection { fd, got: 0, began };
        self.epoll.add(fd, sys::IN, i as u64)?;
        match sys::send(fd, &self.request)? {
            n if n == self.request.len() => Ok(()),
            _ => Err(failed("a fresh socket took less than one request")),
        }
    }

    fn event(&mut self, i: usize, buf: &mut [u8]) -> io::Result<()> {
        let c = &mut self.connections[i];
        loop {
            match sys::recv(c.fd, buf) {
                Ok(0) => break,
                Ok(n) if self.request[c.got..].starts_with(&buf[..n]) => c.got += n,
                Ok(_) => return Err(failed("the server changed the data")),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        if c.got != self.request.len() {
            return Err(failed("the server closed before its answer"));
        }
        sys::close(c.fd);
        self.times.push(c.began.elapsed().as_nanos() as u64);
        self.to_finish -= 1;
        self.start(i)
    }
}
