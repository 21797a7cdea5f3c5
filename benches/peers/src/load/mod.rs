//! The load generators, one for each kind of server and the same for all contestants. Each is one
//! loop on the other core.

pub mod datagrams;
pub mod exchange;
pub mod http2;
pub mod once;
pub mod proxied;
#[cfg(feature = "quic")]
pub mod quic;
mod wire;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::report::{Report, quantile};
use crate::sys;

pub struct Plan {
    /// `127.0.0.1:PORT`, or `@NAME` of an abstract Unix socket.
    pub addr: String,
    /// The server's process, for its CPU time; 0 if that is not measured.
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

impl Plan {
    /// Runs the load for a server of this kind.
    pub fn run(&mut self, kind: &str, path: &str) -> io::Result<Report> {
        match kind {
            "echo" | "unix" => exchange::run(self, exchange::Exchange::echo(self.size), false),
            "http" | "tls" => {
                let tls = kind == "tls";
                let wire = wire::Wire::new(self.connect()?, tls)?;
                let exchange = exchange::Exchange::http(wire, path, self.size)?;
                exchange::run(self, exchange, tls)
            }
            "http2" => http2::run(self, path),
            #[cfg(feature = "quic")]
            "quic" | "quic-bulk" => quic::run(self, kind == "quic-bulk"),
            "udp" => datagrams::run(self),
            "once" => once::run(self),
            "proxy" => proxied::run(self),
            _ => Err(failed("no load for servers of this kind")),
        }
    }

    fn tcp(&self) -> io::Result<SocketAddr> {
        self.addr.parse().map_err(|_| failed("a bad address"))
    }

    /// Connects a stream that does not block.
    ///
    /// A socket with its own small receive queue would change the server's work: defaults are kept.
    fn connect(&self) -> io::Result<RawFd> {
        if let Some(name) = self.addr.strip_prefix('@') {
            let addr = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            let stream = UnixStream::connect_addr(&addr)?;
            stream.set_nonblocking(true)?;
            return Ok(stream.into_raw_fd());
        }
        connect_tcp(self.tcp()?)
    }

    /// A connect to a full backlog waits a second for its SYN; a pause now and then prevents that.
    fn connect_all(&self, n: usize) -> io::Result<Vec<RawFd>> {
        (0..n)
            .map(|i| {
                if i % 256 == 255 {
                    std::thread::sleep(Duration::from_millis(2));
                }
                self.connect()
            })
            .collect()
    }

    /// The counter is updated when the server sleeps, so the server gets time to sleep.
    fn server_cpu(&self) -> io::Result<u64> {
        if self.server == 0 {
            return Ok(0);
        }
        std::thread::sleep(Duration::from_millis(5));
        sys::schedstat(self.server)
    }

    /// Measures `f`, which makes `n` operations and returns how long some of them took.
    fn measure(&self, n: f64, f: impl FnOnce() -> io::Result<Vec<u64>>) -> io::Result<Report> {
        let before = self.server_cpu()?;
        let (own, begin) = (sys::thread_cpu(), Instant::now());
        let mut times = f()?;
        let (wall, own) = (begin.elapsed(), sys::thread_cpu() - own);
        let server = self.server_cpu()? - before;
        times.sort_unstable();
        let mut r = Report::default();
        r.set("ops", n);
        r.set("ns", wall.as_nanos() as f64 / n);
        r.set("cpu_ns", server as f64 / n);
        r.set("client_cpu_ns", own as f64 / n);
        if !times.is_empty() {
            r.set("p50_us", quantile(&times, 0.5) as f64 / 1e3);
            r.set("p99_us", quantile(&times, 0.99) as f64 / 1e3);
        }
        Ok(r)
    }
}

fn connect_tcp(addr: SocketAddr) -> io::Result<RawFd> {
    let stream = TcpStream::connect(addr)?;
    sys::set_nodelay(stream.as_raw_fd())?;
    sys::set_reset_on_close(stream.as_raw_fd())?;
    stream.set_nonblocking(true)?;
    Ok(stream.into_raw_fd())
}

fn failed(what: &str) -> io::Error {
    io::Error::other(what)
}

/// `n` bytes that repeat after 251, so that a shift is seen.
fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}
