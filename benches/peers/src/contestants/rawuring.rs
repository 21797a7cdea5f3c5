//! io_uring by hand: one multishot accept, a multishot receive per connection into provided
//! buffers, sends batched into the same submission.
//!
//! Received buffers are sent back from where they lie and given back to the kernel when the send
//! completes. One send is in flight per connection, so that order holds; a receive that ran out of
//! buffers is started again as soon as one comes back.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::contestant::{Contestant, Serve};
use crate::sys;

pub fn contestant() -> Contestant {
    Contestant {
        name: "rawuring",
        serve: Some(serve),
        servers: vec![],
        micro: vec![],
        missing: vec![("tasks", "has none"), ("timers", "has none")],
    }
}

const BUFFERS: u16 = 2048;
const GROUP: u16 = 1;

const ACCEPT: u64 = 0;
const RECV: u64 = 1;
const SEND: u64 = 2;

fn token(kind: u64, fd: RawFd, buffer: u16) -> u64 {
    kind << 56 | u64::from(buffer) << 32 | fd as u64
}

/// The ring of buffers that is shared with the kernel, and the buffers.
struct Buffers {
    ring: *mut BufRingEntry,
    tail: u16,
    memory: Vec<u8>,
    size: usize,
}

impl Buffers {
    fn new(ring: &IoUring, size: usize) -> Buffers {
        let len = BUFFERS as usize * size_of::<BufRingEntry>();
        let (prot, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a fresh anonymous mapping, which is page-aligned as the kernel asks.
        let map = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
        assert!(map != libc::MAP_FAILED, "mmap");
        // SAFETY: the mapping is never unmapped.
        let done = unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(map as u64, BUFFERS, GROUP, 0)
        };
        done.expect("provided buffers");
        let memory = vec![0; BUFFERS as usize * size];
        let mut buffers = Buffers {
            ring: map.cast(),
            tail: 0,
            memory,
            size,
        };
        (0..BUFFERS).for_each(|id| buffers.give_back(id));
        buffers
    }

    fn address(&self, id: u16) -> *const u8 {
        self.memory[id as usize * self.size..].as_ptr()
    }

    fn give_back(&mut self, id: u16) {
        let at = (self.tail % BUFFERS) as usize;
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `at` is inside the ring; the kernel reads an entry only below the tail, which is
        // published afterwards.
        unsafe {
            let entry = &mut *self.ring.add(at);
            entry.set_addr(self.address(id) as u64);
            entry.set_len(self.size as u32);
            entry.set_bid(id);
            let tail = BufRingEntry::tail(self.ring).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}

/// Bytes of one buffer that still have to be sent.
struct Piece {
    buffer: u16,
    from: usize,
    to: usize,
}

#[derive(Default)]
struct Connection {
    /// The first one is in flight.
    pieces: VecDeque<Piece>,
    receiving: bool,
    over: bool,
}

struct Server {
    ring: IoUring,
    buffers: Buffers,
    connections: Vec<Connection>,
    starved: Vec<RawFd>,
    listener: RawFd,
}

fn serve(cfg: Serve) {
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_cqsize(16_384)
        .build(4_096)
        .expect("io_uring");
    let buffers = Buffers::new(&ring, cfg.buffer);
    let listener = cfg.listener.as_raw_fd();
    let mut server = Server {
        ring,
        buffers,
        connections: Vec::new(),
        starved: Vec::new(),
        listener,
    };
    server.accept();
    let mut batch = Vec::with_capacity(16_384);
    loop {
        match server.ring.submit_and_wait(1) {
            Err(e) if e.raw_os_error() == Some(libc::EINTR) => continue,
            done => done.expect("io_uring_enter"),
        };
        batch.extend(
            server
                .ring
                .completion()
                .map(|c| (c.user_data(), c.result(), c.flags())),
        );
        for (data, result, flags) in batch.drain(..) {
            let (fd, buffer) = (data as u32 as RawFd, (data >> 32) as u16);
            match data >> 56 {
                ACCEPT => server.accepted(result, flags),
                RECV => server.received(fd, result, flags),
                _ => server.sent(fd, buffer, result),
            }
        }
    }
}

impl Server {
    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: what entries point to are buffers and descriptors that live until completion.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit().expect("io_uring_enter");
        }
    }

    fn accept(&mut self) {
        let accept = opcode::AcceptMulti::new(Fd(self.listener)).build();
        self.push(accept.user_data(token(ACCEPT, 0, 0)));
    }

    fn receive(&mut self, fd: RawFd) {
        self.connections[fd as usize].receiving = true;
        let recv = opcode::RecvMulti::new(Fd(fd), GROUP).build();
        self.push(recv.user_data(token(RECV, fd, 0)));
    }

    fn accepted(&mut self, fd: i32, flags: u32) {
        if fd >= 0 {
            let _ = sys::set_nodelay(fd);
            if self.connections.len() <= fd as usize {
                self.connections
                    .resize_with(fd as usize + 1, Connection::default);
            }
            self.connections[fd as usize].over = false;
            self.receive(fd);
        }
        if !cqueue::more(flags) {
            self.accept();
        }
    }

    fn received(&mut self, fd: RawFd, result: i32, flags: u32) {
        let more = cqueue::more(flags);
        let c = &mut self.connections[fd as usize];
        c.receiving = more;
        if result > 0 {
            let buffer = cqueue::buffer_select(flags).expect("data comes in a buffer");
            c.pieces.push_back(Piece {
                buffer,
                from: 0,
                to: result as usize,
            });
            if c.pieces.len() == 1 {
                self.send(fd);
            }
            if !more {
                self.receive(fd);
            }
        } else if result == -libc::ENOBUFS {
            self.starved.push(fd);
        } else {
            c.over = true;
            self.finish(fd);
        }
    }

    fn send(&mut self, fd: RawFd) {
        let Some(Piece { buffer, from, to }) = self.connections[fd as usize].pieces.front() else {
            return;
        };
        // SAFETY: `from` lies inside the buffer.
        let at = unsafe { self.buffers.address(*buffer).add(*from) };
        let send = opcode::Send::new(Fd(fd), at, (to - from) as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .user_data(token(SEND, fd, *buffer));
        self.push(send);
    }

    fn sent(&mut self, fd: RawFd, buffer: u16, result: i32) {
        let c = &mut self.connections[fd as usize];
        let piece = c.pieces.front_mut().expect("one is in flight");
        if result >= 0 && piece.from + (result as usize) < piece.to {
            piece.from += result as usize;
            return self.send(fd);
        }
        c.over |= result < 0;
        c.pieces.pop_front();
        self.buffers.give_back(buffer);
        if let Some(fd) = self.starved.pop() {
            self.receive(fd);
        }
        self.send(fd);
        self.finish(fd);
    }

    /// Closes the connection when it is over and nothing is in flight.
    fn finish(&mut self, fd: RawFd) {
        let c = &mut self.connections[fd as usize];
        if c.over && c.pieces.is_empty() {
            if c.receiving {
                // A send failed first: the receive ends with the socket's shutdown.
                // SAFETY: `fd` is this connection's.
                unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
            } else {
                *c = Connection::default();
                self.starved.retain(|s| *s != fd);
                sys::close(fd);
            }
        }
    }
}
