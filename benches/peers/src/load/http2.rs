//! Requests over HTTP/2 by hand: `depth` streams at once on each connection, each a `GET` without a
//! body. All that arrived is answered by one send.

use std::io;
use std::os::fd::RawFd;

use super::{Plan, failed};
use crate::report::Report;
use crate::servers::raw_http::HELLO;
use crate::sys::{self, Epoll};

// Types and flags of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const FRAME: usize = 9;
/// The connection's window is opened again after so many bytes, half of what it has at first.
const WINDOW: u32 = 32 << 10;

struct Connection {
    fd: RawFd,
    next_stream: u32,
    outbox: Vec<u8>,
    /// The beginning of a frame that is not whole yet.
    inbox: Vec<u8>,
    /// Bytes of data since the last WINDOW_UPDATE.
    received: u32,
}

struct Load {
    epoll: Epoll,
    connections: Vec<Connection>,
    /// The block of header fields of every request.
    fields: Vec<u8>,
    buf: Vec<u8>,
    to_start: u64,
    to_finish: u64,
}

pub fn run(plan: &Plan, path: &str) -> io::Result<Report> {
    let mut load = Load::new(plan, path)?;
    load.phase(plan.warm.max(plan.conns as u64 * plan.depth), plan.depth)?;
    plan.measure(plan.requests as f64, || {
        load.phase(plan.requests, plan.depth)?;
        Ok(Vec::new())
    })
}

fn frame(to: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    to.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    to.extend_from_slice(&[kind, flags]);
    to.extend_from_slice(&stream.to_be_bytes());
    to.extend_from_slice(payload);
}

impl Load {
    fn new(plan: &Plan, path: &str) -> io::Result<Load> {
        let epoll = Epoll::new(256)?;
        let mut connections = Vec::new();
        for fd in plan.connect_all(plan.conns)? {
            epoll.add(fd, sys::IN, connections.len() as u64)?;
            let mut outbox = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            frame(&mut outbox, SETTINGS, 0, 0, &[]);
            connections.push(Connection {
                fd,
                next_stream: 1,
                outbox,
                inbox: Vec::new(),
                received: 0,
            });
        }
        // HPACK (RFC 7541): `GET` and `http` by their index, the rest as it is.
        let mut fields = vec![0x82, 0x86];
        for (name, value) in [(4, path), (1, "localhost")] {
            fields.extend_from_slice(&[name, value.len() as u8]);
            fields.extend_from_slice(value.as_bytes());
        }
        Ok(Load {
            epoll,
            connections,
            fields,
            buf: vec![0; 128 << 10],
            to_start: 0,
            to_finish: 0,
        })
    }

    /// Sends and receives `requests` over all connections.
    fn phase(&mut self, requests: u64, depth: u64) -> io::Result<()> {
        (self.to_start, self.to_finish) = (requests, requests);
        for i in 0..self.connections.len() {
            self.start(i, depth);
            self.connections[i].flush()?;
        }
        let mut ready = Vec::with_capacity(256);
        while self.to_finish > 0 {
            ready.clear();
            ready.extend(self.epoll.wait(5_000).iter().map(|e| e.u64 as usize));
            if ready.is_empty() {
                return Err(failed("no response for 5 seconds"));
            }
            for &i in &ready {
                let answered = self.connections[i].receive(&mut self.buf)?;
                let left = self.to_finish.checked_sub(answered);
                self.to_finish = left.ok_or_else(|| failed("too many answers"))?;
                self.start(i, answered);
                self.connections[i].flush()?;
            }
        }
        Ok(())
    }

    fn start(&mut self, i: usize, requests: u64) {
        let requests = requests.min(self.to_start);
        self.to_start -= requests;
        let c = &mut self.connections[i];
        for _ in 0..requests {
            let flags = END_STREAM | END_HEADERS;
            frame(&mut c.outbox, HEADERS, flags, c.next_stream, &self.fields);
            c.next_stream += 2;
        }
    }
}

impl Connection {
    /// What is outstanding is much less than a socket's buffer holds.
    fn flush(&mut self) -> io::Result<()> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let sent = sys::send(self.fd, &self.outbox)?;
        if sent < self.outbox.len() {
            return Err(failed("the socket took only a part of the requests"));
        }
        self.outbox.clear();
        Ok(())
    }

    /// Reads once, and returns how many streams were answered.
    fn receive(&mut self, buf: &mut [u8]) -> io::Result<u64> {
        match sys::recv(self.fd, buf) {
            Ok(0) => return Err(failed("the server closed a connection")),
            Ok(n) => self.inbox.extend_from_slice(&buf[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(e) => return Err(e),
        }
        let inbox = std::mem::take(&mut self.inbox);
        let (mut rest, mut answered) = (&inbox[..], 0);
        while let Some((&[a, b, c, kind, flags, ..], _)) = rest.split_first_chunk::<FRAME>() {
            let end = FRAME + u32::from_be_bytes([0, a, b, c]) as usize;
            let Some(payload) = rest.get(FRAME..end) else {
                break;
            };
            answered += u64::from(self.frame(kind, flags, payload)?);
            rest = &rest[end..];
        }
        self.inbox = rest.to_vec();
        Ok(answered)
    }

    /// Takes one frame, and returns whether it ends a stream.
    fn frame(&mut self, kind: u8, flags: u8, payload: &[u8]) -> io::Result<bool> {
        match kind {
            // The first field is the status 200, by its index.
            HEADERS if payload.first() == Some(&0x88) => {}
            DATA if payload.is_empty() || payload == HELLO.as_bytes() => {
                self.received += payload.len() as u32;
                if self.received >= WINDOW {
                    let more = self.received.to_be_bytes();
                    frame(&mut self.outbox, WINDOW_UPDATE, 0, 0, &more);
                    self.received = 0;
                }
            }
            SETTINGS | PING if flags & ACK == 0 => {
                let echoed = if kind == PING { payload } else { &[] };
                frame(&mut self.outbox, kind, ACK, 0, echoed);
                return Ok(false);
            }
            SETTINGS | PING | WINDOW_UPDATE => return Ok(false),
            _ => return Err(failed(&format!("a frame of type {kind}: {payload:?}"))),
        }
        Ok(flags & END_STREAM != 0)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        sys::close(self.fd);
    }
}
