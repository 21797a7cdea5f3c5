//! HTTP by hand, just enough for the three requests of the load: a head up to the empty line, a
//! body of a given length, an answer that is made beforehand.

use std::collections::HashMap;
use std::os::fd::{IntoRawFd, RawFd};

use super::Site;
use crate::sys::{self, Epoll};

pub const BIG: usize = 1 << 20;
pub const HELLO: &str = "Hello, world!";

struct Answers {
    hello: Vec<u8>,
    big: Vec<u8>,
    counted: Vec<u8>,
}

fn answer(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\ndate: Mon, 30 Nov 2026 00:00:00 GMT\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[derive(Clone, Copy)]
enum Which {
    Hello,
    Big,
    Counted,
}

impl Answers {
    fn bytes(&self, which: Which) -> &[u8] {
        match which {
            Which::Hello => &self.hello,
            Which::Big => &self.big,
            Which::Counted => &self.counted,
        }
    }
}

#[derive(Default)]
struct Connection {
    /// A head that is not whole yet.
    head: Vec<u8>,
    /// Bytes of the body that have not come yet.
    body: usize,
    /// What is being sent, and from where on.
    unsent: Option<(Which, usize)>,
}

pub fn serve(mut site: Site) {
    let listener = site.nonblocking().tcp().into_raw_fd();
    let answers = Answers {
        hello: answer(HELLO.as_bytes()),
        big: answer(&vec![b'x'; BIG]),
        counted: answer(BIG.to_string().as_bytes()),
    };
    let mut epoll = Epoll::new(1024).expect("epoll");
    epoll
        .add(listener, sys::IN | sys::ET, listener as u64)
        .expect("add");
    let mut buf = vec![0; 64 << 10];
    let mut connections: HashMap<RawFd, Connection> = HashMap::new();
    let mut fresh: Vec<RawFd> = Vec::new();
    loop {
        for event in epoll.wait(-1) {
            let (fd, mask) = (event.u64 as RawFd, event.events);
            if fd == listener {
                while let Ok(Some(fd)) = sys::accept(listener) {
                    let _ = sys::set_nodelay(fd);
                    fresh.push(fd);
                }
            } else if let Some(c) = connections.get_mut(&fd)
                && !c.ready(fd, mask, &mut buf, &answers)
            {
                connections.remove(&fd);
                sys::close(fd);
            }
        }
        for fd in fresh.drain(..) {
            connections.insert(fd, Connection::default());
            let mask = sys::IN | sys::OUT | sys::RDHUP | sys::ET;
            epoll.add(fd, mask, fd as u64).expect("add");
        }
    }
}

impl Connection {
    /// Handles one event; false when the connection is over.
    fn ready(&mut self, fd: RawFd, mask: u32, buf: &mut [u8], answers: &Answers) -> bool {
        if self.unsent.is_some() && mask & sys::OUT != 0 && !self.send(fd, answers) {
            return false;
        }
        if mask & (sys::IN | sys::GONE) == 0 {
            return true;
        }
        loop {
            let n = match sys::recv(fd, buf) {
                Ok(0) => return false,
                Ok(n) => n,
                Err(e) => return e.kind() == std::io::ErrorKind::WouldBlock,
            };
            if !self.received(&buf[..n]) || !self.send(fd, answers) {
                return false;
            }
            if n < buf.len() && mask & sys::GONE == 0 {
                return true;
            }
        }
    }

    /// Takes bytes of one request (the load sends no second one before the answer).
    fn received(&mut self, bytes: &[u8]) -> bool {
        if self.body > 0 {
            self.body = self.body.saturating_sub(bytes.len());
            if self.body == 0 {
                self.unsent = Some((Which::Counted, 0));
            }
            return true;
        }
        if self.head.is_empty()
            && let Some(end) = end_of_head(bytes)
        {
            return self.begin(&bytes[..end], bytes.len() - end);
        }
        self.head.extend_from_slice(bytes);
        let head = std::mem::take(&mut self.head);
        match end_of_head(&head) {
            Some(end) => self.begin(&head[..end], head.len() - end),
            None => {
                self.head = head;
                self.head.len() < 16 << 10
            }
        }
    }

    fn begin(&mut self, head: &[u8], body: usize) -> bool {
        let which = match head {
            [b'G', b'E', b'T', b' ', b'/', b'h', ..] => Which::Hello,
            [b'G', b'E', b'T', b' ', b'/', b'b', ..] => Which::Big,
            [b'P', b'O', b'S', b'T', ..] => {
                let head = String::from_utf8_lossy(head);
                let value = head
                    .lines()
                    .find_map(|l| l.strip_prefix("content-length: "));
                let Some(length) = value.and_then(|v| v.parse::<usize>().ok()) else {
                    return false;
                };
                self.body = length.saturating_sub(body);
                if self.body > 0 {
                    return true;
                }
                Which::Counted
            }
            _ => return false,
        };
        self.unsent = Some((which, 0));
        true
    }

    fn send(&mut self, fd: RawFd, answers: &Answers) -> bool {
        while let Some((which, from)) = self.unsent {
            let rest = &answers.bytes(which)[from..];
            match sys::send(fd, rest) {
                Ok(n) if n == rest.len() => self.unsent = None,
                Ok(n) => self.unsent = Some((which, from + n)),
                Err(e) => return e.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
        true
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    Some(at + 4)
}
