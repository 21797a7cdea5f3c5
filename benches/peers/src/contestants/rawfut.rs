//! `rawepoll` with a future per connection, on the executor of `rawexec`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::task::{Context, Poll, Waker};

use crate::contestant::{Contestant, Serve};
use crate::contestants::rawexec;
use crate::sys::{self, Epoll};

pub fn contestant() -> Contestant {
    Contestant {
        name: "rawfut",
        serve: Some(serve),
        servers: vec![],
        micro: vec![],
        missing: vec![("tasks", "are rawexec's"), ("timers", "has none")],
    }
}

/// Cached readiness of one fd; its address is the kernel's token.
#[derive(Default)]
struct Slot {
    readable: Cell<bool>,
    writable: Cell<bool>,
    gone: Cell<bool>,
    closed: Cell<bool>,
    reader: Cell<Option<Waker>>,
    writer: Cell<Option<Waker>>,
}

thread_local! {
    static REACTOR: RefCell<Option<Epoll>> = const { RefCell::new(None) };
    /// Slots of closed sockets, freed after the batch of events that may still name them.
    #[expect(clippy::vec_box, reason = "their addresses are the tokens, so they must not move")]
    static CLOSED: RefCell<Vec<Box<Slot>>> = const { RefCell::new(Vec::new()) };
}

struct Stream {
    fd: RawFd,
    slot: Option<Box<Slot>>,
}

impl Stream {
    fn new(fd: RawFd, mask: u32) -> io::Result<Stream> {
        let slot = Box::new(Slot::default());
        slot.writable.set(true);
        REACTOR.with_borrow(|r| {
            let epoll = r.as_ref().expect("the reactor is made first");
            epoll.add(fd, mask | sys::ET, &raw const *slot as u64)
        })?;
        Ok(Stream {
            fd,
            slot: Some(slot),
        })
    }

    fn slot(&self) -> &Slot {
        self.slot.as_ref().expect("taken only by drop")
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let slot = self.slot();
        if slot.readable.get() {
            return Poll::Ready(());
        }
        slot.reader.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    async fn accept(&self) -> io::Result<RawFd> {
        loop {
            poll_fn(|cx| self.poll_readable(cx)).await;
            match sys::accept(self.fd)? {
                Some(fd) => return Ok(fd),
                None => self.slot().readable.set(false),
            }
        }
    }

    async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let slot = self.slot();
        loop {
            poll_fn(|cx| self.poll_readable(cx)).await;
            match sys::recv(self.fd, buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => slot.readable.set(false),
                Ok(n) if n < buf.len() && !slot.gone.get() => {
                    slot.readable.set(false);
                    return Ok(n);
                }
                done => return done,
            }
        }
    }

    async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        let slot = self.slot();
        while !data.is_empty() {
            match sys::send(self.fd, data) {
                Ok(n) => data = &data[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    slot.writable.set(false);
                    poll_fn(|cx| {
                        if slot.writable.get() {
                            return Poll::Ready(());
                        }
                        slot.writer.set(Some(cx.waker().clone()));
                        Poll::Pending
                    })
                    .await;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let slot = self.slot.take().expect("taken only here");
        slot.closed.set(true);
        CLOSED.with_borrow_mut(|c| c.push(slot));
        sys::close(self.fd);
    }
}

fn turn() {
    CLOSED.with_borrow_mut(Vec::clear);
    REACTOR.with_borrow_mut(|r| {
        for event in r.as_mut().expect("made first").wait(-1) {
            // SAFETY: the token is the address of a boxed slot, which is freed only between waits.
            let slot = unsafe { &*(event.u64 as *const Slot) };
            if slot.closed.get() {
                continue;
            }
            let mask = event.events;
            if mask & sys::GONE != 0 {
                slot.gone.set(true);
            }
            if mask & (sys::IN | sys::GONE) != 0 {
                slot.readable.set(true);
                slot.reader.take().into_iter().for_each(Waker::wake);
            }
            if mask & (sys::OUT | sys::GONE) != 0 {
                slot.writable.set(true);
                slot.writer.take().into_iter().for_each(Waker::wake);
            }
        }
    });
}

async fn idle(stream: Stream) {
    poll_fn(|cx| stream.poll_readable(cx)).await;
}

async fn connection(stream: Stream, buffer: usize) -> io::Result<()> {
    let mut buf = vec![0; buffer];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..n]).await?;
    }
}

fn serve(cfg: Serve) {
    REACTOR.set(Some(Epoll::new(1024).expect("epoll")));
    cfg.listener.set_nonblocking(true).expect("listener");
    let accept = async {
        let listener = Stream::new(cfg.listener.as_raw_fd(), sys::IN).expect("listener");
        loop {
            let Ok(fd) = listener.accept().await else {
                continue;
            };
            let _ = sys::set_nodelay(fd);
            let stream = Stream::new(fd, sys::IN | sys::OUT | sys::RDHUP).expect("register");
            let buffer = cfg.buffer;
            drop(match cfg.idle {
                true => rawexec::spawn(idle(stream)),
                false => rawexec::spawn(async move {
                    let _ = connection(stream, buffer).await;
                }),
            });
        }
    };
    rawexec::block_on(accept, turn)
}
