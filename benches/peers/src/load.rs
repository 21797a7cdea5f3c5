//! The load generator that every server meets: one epoll loop on the other core.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::time::{Duration, Instant};

use crate::report::{Report, quantile};
use crate::sys::{self, Epoll};

pub struct Plan {
    pub addr: SocketAddr,
    /// The server's process, for its CPU time; 0 when it is not wanted.
    pub server: u32,
    pub conns: usize,
    /// Connections that stay idle beside them.
    pub others: usize,
    pub size: usize,
    /// Requests outstanding on each connection.
    pub depth: u64,
    pub requests: u64,
    pub warm: u64,
    /// Connect, say so, and hold until standard input ends.
    pub hold: bool,
}

struct Connection {
    fd: RawFd,
    /// Bytes received of the next response.
    got: usize,
    /// Bytes of requests not yet taken by the socket.
    unsent: usize,
    sent_at: Instant,
}

struct Load<'a> {
    plan: &'a Plan,
    epoll: Epoll,
    connections: Vec<Connection>,
    /// What is sent: whole requests, one after the other.
    stream: Vec<u8>,
    buf: Vec<u8>,
    to_start: u64,
    to_finish: u64,
    verify: bool,
    latencies: Vec<u64>,
}

/// A socket with its own small receive queue would change the server's work: defaults are kept.
fn connect(addr: SocketAddr) -> io::Result<RawFd> {
    let stream = TcpStream::connect(addr)?;
    sys::set_nodelay(stream.as_raw_fd())?;
    sys::set_reset_on_close(stream.as_raw_fd())?;
    stream.set_nonblocking(true)?;
    Ok(stream.into_raw_fd())
}

/// A connect to a full backlog waits a second for its SYN; a pause now and then prevents that.
fn connect_all(addr: SocketAddr, n: usize) -> io::Result<Vec<RawFd>> {
    (0..n)
        .map(|i| {
            if i % 256 == 255 {
                std::thread::sleep(Duration::from_millis(2));
            }
            connect(addr)
        })
        .collect()
}

fn failed(what: &str) -> io::Error {
    io::Error::other(what)
}

impl Plan {
    pub fn run(&self) -> io::Result<Report> {
        let _others = connect_all(self.addr, self.others)?;
        let mut load = Load::new(self)?;
        if self.hold {
            println!("{{\"held\":{}}}", self.conns + self.others);
            io::copy(&mut io::stdin(), &mut io::sink())?;
            return Ok(Report::default());
        }
        load.verify = true;
        load.phase(self.warm.max(self.conns as u64 * self.depth))?;
        load.verify = false;
        load.latencies.clear();
        let before = self.server_cpu()?;
        let (own, begin) = (sys::thread_cpu(), Instant::now());
        load.phase(self.requests)?;
        let (wall, own) = (begin.elapsed(), sys::thread_cpu() - own);
        let server = self.server_cpu()? - before;
        let n = self.requests as f64;
        let times = &mut load.latencies;
        times.sort_unstable();
        let mut r = Report::default();
        r.set("ops", n);
        r.set("ns", wall.as_nanos() as f64 / n);
        r.set("cpu_ns", server as f64 / n);
        r.set("client_cpu_ns", own as f64 / n);
        if !times.is_empty() {
            r.set("p50_us", quantile(times, 0.5) as f64 / 1e3);
            r.set("p99_us", quantile(times, 0.99) as f64 / 1e3);
        }
        Ok(r)
    }

    /// The counter is brought up to date when the server sleeps: so it is given time to.
    fn server_cpu(&self) -> io::Result<u64> {
        if self.server == 0 {
            return Ok(0);
        }
        std::thread::sleep(Duration::from_millis(5));
        sys::schedstat(self.server)
    }
}

impl<'a> Load<'a> {
    fn new(plan: &'a Plan) -> io::Result<Load<'a>> {
        let epoll = Epoll::new(256)?;
        let mut connections = Vec::with_capacity(plan.conns);
        for fd in connect_all(plan.addr, plan.conns)? {
            epoll.add(fd, sys::IN, connections.len() as u64)?;
            connections.push(Connection {
                fd,
                got: 0,
                unsent: 0,
                sent_at: Instant::now(),
            });
        }
        let request: Vec<u8> = (0..plan.size).map(|i| (i % 251) as u8).collect();
        Ok(Load {
            plan,
            epoll,
            connections,
            stream: request.repeat(plan.depth as usize),
            buf: vec![0; 128 << 10],
            to_start: 0,
            to_finish: 0,
            verify: false,
            latencies: Vec::new(),
        })
    }

    /// Sends and receives `requests` over all connections.
    fn phase(&mut self, requests: u64) -> io::Result<()> {
        (self.to_start, self.to_finish) = (requests, requests);
        self.latencies.reserve(requests as usize);
        for i in 0..self.connections.len() {
            self.start(i, self.plan.depth)?;
        }
        let mut ready = Vec::with_capacity(256);
        while self.to_finish > 0 {
            ready.clear();
            ready.extend(
                self.epoll
                    .wait(5_000)
                    .iter()
                    .map(|e| (e.u64 as usize, e.events)),
            );
            if ready.is_empty() {
                return Err(failed("no response for 5 seconds"));
            }
            for &(i, mask) in &ready {
                self.event(i, mask)?;
            }
        }
        Ok(())
    }

    fn start(&mut self, i: usize, requests: u64) -> io::Result<()> {
        let requests = requests.min(self.to_start);
        if requests == 0 {
            return Ok(());
        }
        self.to_start -= requests;
        self.connections[i].unsent += requests as usize * self.plan.size;
        self.connections[i].sent_at = Instant::now();
        self.flush(i)
    }

    fn flush(&mut self, i: usize) -> io::Result<()> {
        let c = &mut self.connections[i];
        while c.unsent > 0 {
            // The tail of `stream`: always ends on the end of a request, so the phase is right.
            let from = self.stream.len().saturating_sub(c.unsent);
            match sys::send(c.fd, &self.stream[from..]) {
                Ok(n) => c.unsent -= n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return self.epoll.modify(c.fd, sys::IN | sys::OUT, i as u64);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn event(&mut self, i: usize, mask: u32) -> io::Result<()> {
        if mask & sys::OUT != 0 {
            self.epoll
                .modify(self.connections[i].fd, sys::IN, i as u64)?;
            self.flush(i)?;
        }
        if mask & (sys::IN | sys::GONE) == 0 {
            return Ok(());
        }
        let c = &mut self.connections[i];
        let n = match sys::recv(c.fd, &mut self.buf) {
            Ok(0) => return Err(failed("the server closed a connection")),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        };
        if self.verify {
            let size = self.plan.size;
            let expected = |at: usize| ((c.got + at) % size % 251) as u8;
            if self.buf[..n]
                .iter()
                .enumerate()
                .any(|(at, b)| *b != expected(at))
            {
                return Err(failed("the server changed the data"));
            }
        }
        let whole = (c.got + n) / self.plan.size;
        c.got = (c.got + n) % self.plan.size;
        if whole == 0 {
            return Ok(());
        }
        if self.plan.depth == 1 {
            self.latencies.push(c.sent_at.elapsed().as_nanos() as u64);
        }
        self.to_finish -= whole as u64;
        self.start(i, whole as u64)
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.connections.iter().for_each(|c| sys::close(c.fd));
    }
}
