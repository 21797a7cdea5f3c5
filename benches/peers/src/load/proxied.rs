//! Bytes through a proxy, both ways at once: this process is the clients and the server behind the
//! proxy. One operation is one MiB that arrived.

use std::io::{self, BufRead, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

use super::{Plan, connect_tcp, failed, pattern};
use crate::report::Report;
use crate::sys::{self, Epoll};

const MIB: u64 = 1 << 20;
const PIECE: usize = 64 << 10;

/// Prints where the proxy must connect to, reads the proxy's pid and address, and loads it.
pub fn run(plan: &mut Plan) -> io::Result<Report> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{{\"backend\":\"{}\"}}", listener.local_addr()?);
    io::stdout().flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let (pid, addr) = line
        .trim()
        .split_once(' ')
        .ok_or_else(|| failed("no proxy"))?;
    plan.server = pid.parse().map_err(|_| failed("a bad pid"))?;
    plan.addr = addr.into();
    let mut load = Load::new(plan, &listener)?;
    load.phase(plan.warm.max(plan.conns as u64 * 2), true)?;
    plan.measure(plan.requests as f64, || {
        load.phase(plan.requests, false)?;
        Ok(Vec::new())
    })
}

/// One end of a proxied connection.
struct End {
    fd: RawFd,
    unsent: u64,
    unread: u64,
    /// Positions in the pattern.
    sent: usize,
    got: usize,
}

struct Load {
    epoll: Epoll,
    ends: Vec<End>,
    data: Vec<u8>,
    buf: Vec<u8>,
}

impl Load {
    fn new(plan: &Plan, listener: &TcpListener) -> io::Result<Load> {
        let mut load = Load {
            epoll: Epoll::new(256)?,
            ends: Vec::new(),
            data: pattern(PIECE + 251),
            buf: vec![0; PIECE],
        };
        for _ in 0..plan.conns {
            let near = connect_tcp(plan.tcp()?)?;
            let (far, _) = listener.accept()?;
            sys::set_nodelay(far.as_raw_fd())?;
            sys::set_reset_on_close(far.as_raw_fd())?;
            far.set_nonblocking(true)?;
            for fd in [near, far.into_raw_fd()] {
                let mask = sys::IN | sys::OUT | sys::ET;
                load.epoll.add(fd, mask, load.ends.len() as u64)?;
                load.ends.push(End {
                    fd,
                    unsent: 0,
                    unread: 0,
                    sent: 0,
                    got: 0,
                });
            }
        }
        Ok(load)
    }

    /// Sends `mib` in all, the same amount from each end.
    fn phase(&mut self, mib: u64, verify: bool) -> io::Result<()> {
        let each = mib * MIB / self.ends.len() as u64;
        let mut unread = each * self.ends.len() as u64;
        for end in &mut self.ends {
            (end.unsent, end.unread) = (each, each);
            end.send(&self.data)?;
        }
        let mut ready = Vec::with_capacity(256);
        while unread > 0 {
            ready.clear();
            ready.extend(self.epoll.wait(5_000).iter().map(|e| e.u64 as usize));
            if ready.is_empty() {
                return Err(failed("no byte for 5 seconds"));
            }
            for &i in &ready {
                let end = &mut self.ends[i];
                end.send(&self.data)?;
                unread -= end.read(&mut self.buf, verify.then_some(&self.data[..]))?;
            }
        }
        Ok(())
    }
}

impl End {
    fn send(&mut self, data: &[u8]) -> io::Result<()> {
        while self.unsent > 0 {
            let n = self.unsent.min(PIECE as u64) as usize;
            match sys::send(self.fd, &data[self.sent..][..n]) {
                Ok(n) => {
                    self.unsent -= n as u64;
                    self.sent = (self.sent + n) % 251;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn read(&mut self, buf: &mut [u8], data: Option<&[u8]>) -> io::Result<u64> {
        let mut all = 0;
        loop {
            let n = match sys::recv(self.fd, buf) {
                Ok(0) => return Err(failed("the proxy closed a connection")),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(all),
                Err(e) => return Err(e),
            };
            if data.is_some_and(|data| data[self.got..][..n] != buf[..n]) {
                return Err(failed("the proxy changed the data"));
            }
            self.got = (self.got + n) % 251;
            self.unread = self
                .unread
                .checked_sub(n as u64)
                .ok_or_else(|| failed("too much"))?;
            all += n as u64;
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ends.iter().for_each(|end| sys::close(end.fd));
    }
}
