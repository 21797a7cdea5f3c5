//! Requests and answers of fixed lengths over streams: the echo (TCP and Unix), and HTTP, also
//! below TLS.

use std::io;
use std::time::Instant;

use super::wire::Wire;
use super::{Plan, failed, pattern};
use crate::report::Report;
use crate::sys::{self, Epoll};

/// What goes to and fro for each operation.
pub struct Exchange {
    request: Vec<u8>,
    answer: Vec<u8>,
    /// So many first bytes of an answer must be these; of the rest only the length is known.
    checked: usize,
}

impl Exchange {
    pub fn echo(size: usize) -> Exchange {
        Exchange {
            request: pattern(size),
            answer: pattern(size),
            checked: size,
        }
    }

    /// A request of `path` with a body of `size` bytes (a GET if that is 0), and the answer that a
    /// first connection got.
    pub fn http(mut wire: Wire, path: &str, size: usize) -> io::Result<Exchange> {
        let request = match size {
            0 => format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes(),
            _ => {
                let head = format!(
                    "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n"
                );
                [head.into_bytes(), pattern(size)].concat()
            }
        };
        let mut epoll = Epoll::new(1)?;
        epoll.add(wire.fd(), sys::IN | sys::OUT, 0)?;
        let (mut unsent, mut answer, mut buf) = (&request[..], Vec::new(), vec![0; 64 << 10]);
        while answer.is_empty() || answer.len() < answer_len(&answer)? {
            let mut tried = if unsent.is_empty() {
                Ok(0)
            } else {
                wire.send(unsent)
            };
            if let Ok(n) = tried {
                unsent = &unsent[n..];
                if unsent.is_empty() {
                    epoll.modify(wire.fd(), sys::IN, 0)?;
                }
                tried = wire.recv(&mut buf);
            }
            match tried {
                Ok(0) => return Err(failed("the server closed the first connection")),
                Ok(n) => answer.extend_from_slice(&buf[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if epoll.wait(5_000).is_empty() {
                        return Err(failed("no first answer for 5 seconds"));
                    }
                }
                Err(e) => return Err(e),
            }
        }
        let ok = b"HTTP/1.1 200";
        if !answer.starts_with(ok) {
            return Err(failed("the first answer is not 200"));
        }
        Ok(Exchange {
            request,
            answer,
            checked: ok.len(),
        })
    }
}

/// The length of an answer with its head, once the head is whole; until then more than is there.
fn answer_len(answer: &[u8]) -> io::Result<usize> {
    let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else {
        return Ok(answer.len() + 1);
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let value = head.lines().find_map(|l| l.strip_prefix("content-length:"));
    let length = value.and_then(|v| v.trim().parse::<usize>().ok());
    Ok(end + 4 + length.ok_or_else(|| failed("an answer without a length"))?)
}

struct Connection {
    wire: Wire,
    /// Bytes received of the next answer.
    got: usize,
    /// Bytes of requests not yet taken by the socket.
    unsent: usize,
    sent_at: Instant,
}

struct Load<'a> {
    plan: &'a Plan,
    epoll: Epoll,
    connections: Vec<Connection>,
    exchange: Exchange,
    /// What is sent: whole requests, one after the other.
    stream: Vec<u8>,
    buf: Vec<u8>,
    to_start: u64,
    to_finish: u64,
    verify: bool,
    latencies: Vec<u64>,
}

pub fn run(plan: &Plan, exchange: Exchange, tls: bool) -> io::Result<Report> {
    let _others = plan.connect_all(plan.others)?;
    let mut load = Load::new(plan, exchange, tls)?;
    if plan.hold {
        println!("{{\"held\":{}}}", plan.conns + plan.others);
        io::copy(&mut io::stdin(), &mut io::sink())?;
        return Ok(Report::default());
    }
    load.verify = true;
    load.phase(plan.warm.max(plan.conns as u64 * plan.depth))?;
    load.verify = false;
    load.latencies.clear();
    plan.measure(plan.requests as f64, || {
        load.phase(plan.requests)?;
        Ok(std::mem::take(&mut load.latencies))
    })
}

impl<'a> Load<'a> {
    fn new(plan: &'a Plan, exchange: Exchange, tls: bool) -> io::Result<Load<'a>> {
        let epoll = Epoll::new(256)?;
        let mut connections = Vec::with_capacity(plan.conns);
        for fd in plan.connect_all(plan.conns)? {
            let wire = Wire::new(fd, tls)?;
            epoll.add(fd, sys::IN, connections.len() as u64)?;
            connections.push(Connection {
                wire,
                got: 0,
                unsent: 0,
                sent_at: Instant::now(),
            });
        }
        Ok(Load {
            plan,
            epoll,
            connections,
            stream: exchange.request.repeat(plan.depth as usize),
            exchange,
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
        self.connections[i].unsent += requests as usize * self.exchange.request.len();
        self.connections[i].sent_at = Instant::now();
        self.flush(i)
    }

    fn flush(&mut self, i: usize) -> io::Result<()> {
        let c = &mut self.connections[i];
        while c.unsent > 0 {
            // The tail of `stream`: always ends on the end of a request, so the phase is right.
            let from = self.stream.len().saturating_sub(c.unsent);
            match c.wire.send(&self.stream[from..]) {
                Ok(n) => c.unsent -= n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return self.epoll.modify(c.wire.fd(), sys::IN | sys::OUT, i as u64);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn event(&mut self, i: usize, mask: u32) -> io::Result<()> {
        if mask & sys::OUT != 0 {
            self.epoll
                .modify(self.connections[i].wire.fd(), sys::IN, i as u64)?;
            self.flush(i)?;
        }
        if mask & (sys::IN | sys::GONE) == 0 {
            return Ok(());
        }
        let c = &mut self.connections[i];
        let n = match c.wire.recv(&mut self.buf) {
            Ok(0) => return Err(failed("the server closed a connection")),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        };
        let Exchange {
            answer, checked, ..
        } = &self.exchange;
        if self.verify {
            let right = |(at, b): (usize, &u8)| {
                let at = (c.got + at) % answer.len();
                at >= *checked || *b == answer[at]
            };
            if !self.buf[..n].iter().enumerate().all(right) {
                return Err(failed("the server changed the data"));
            }
        }
        let whole = (c.got + n) / answer.len();
        c.got = (c.got + n) % answer.len();
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
