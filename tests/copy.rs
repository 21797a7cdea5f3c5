//! `io::copy` and `io::copy_bidirectional`: all bytes, in order; the end of each side; errors; no
//! buffer while nothing moves.

#![cfg(feature = "futures-io")]

mod support;

use futures_io::{AsyncRead, AsyncWrite};
use reveille::io::{copy, copy_bidirectional};
use reveille::net::TcpStream;
use reveille::{spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use support::{Random, on_every_backend, pair, read_to_end};

/// A proxy between two connections: the ends outside of it, and what it returns.
async fn proxied() -> (
    TcpStream,
    TcpStream,
    reveille::JoinHandle<io::Result<(u64, u64)>>,
) {
    let ((near, mut a), (far, mut b)) = (pair().await, pair().await);
    let proxy = spawn(async move { copy_bidirectional(&mut a, &mut b).await });
    (near, far, proxy)
}

#[test]
fn both_ways_at_once_arrive_in_order() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far, proxy) = proxied().await;
            let mut random = Random(7);
            let (there, back) = (random.bytes(3_000_000), random.bytes(1_234_567));
            let (near, far) = (Rc::new(near), Rc::new(far));
            let mut writers = Vec::new();
            for (stream, bytes) in [(&near, &there), (&far, &back)] {
                let (stream, bytes) = (stream.clone(), bytes.clone());
                writers.push(spawn(async move {
                    stream.write_all(&bytes).await?;
                    stream.shutdown(Shutdown::Write)
                }));
            }
            let reader = far.clone();
            let arrived = spawn(async move { read_to_end(&reader, 100_000).await });
            assert!(read_to_end(&near, 777).await == back);
            assert!(arrived.await.unwrap() == there);
            for writer in writers {
                writer.await.unwrap().unwrap();
            }
            let sums = proxy.await.unwrap().unwrap();
            assert_eq!(sums, (there.len() as u64, back.len() as u64));
        });
    });
}

#[test]
fn each_end_is_passed_on_and_the_other_way_stays_open() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for swap in [false, true] {
                let (near, far, proxy) = proxied().await;
                let (first, second) = if swap { (far, near) } else { (near, far) };
                first.write_all(b"question").await.unwrap();
                first.shutdown(Shutdown::Write).unwrap();
                assert_eq!(read_to_end(&second, 3).await, b"question");
                for _ in 0..3 {
                    second.write_all(b"answer").await.unwrap();
                    let mut answer = [0; 6];
                    first.read_exact(&mut answer).await.unwrap();
                    assert_eq!(&answer, b"answer");
                }
                assert!(!proxy.is_finished());
                drop(second);
                assert_eq!(read_to_end(&first, 3).await, b"");
                let (there, back) = proxy.await.unwrap().unwrap();
                assert_eq!(there.min(back), 8);
                assert_eq!(there.max(back), 18);
            }
        });
    });
}

#[test]
fn a_reset_ends_the_copy_with_its_error() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far, proxy) = proxied().await;
            far.set_zero_linger().unwrap();
            drop(far);
            let error = proxy.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let mut byte = [0];
            assert!(matches!(near.read(&mut byte).await, Ok(0) | Err(_)));
        });
    });
}

/// A reader of so many bytes, which is pending before each read if `pends`.
struct Source {
    left: usize,
    pends: bool,
    is_due: bool,
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.pends && !std::mem::replace(&mut self.is_due, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.is_due = false;
        let n = self.left.min(buf.len()).min(10_000);
        buf[..n].fill(7);
        self.left -= n;
        Poll::Ready(Ok(n))
    }
}

/// A writer that takes at most `portion` bytes, and is pending after each write. It checks that it
/// is flushed before the copy waits for the reader.
#[derive(Default)]
struct Sink {
    portion: usize,
    is_due: bool,
    got: usize,
    unflushed: usize,
    flushes: usize,
    is_closed: bool,
}

impl AsyncWrite for Sink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !std::mem::replace(&mut self.is_due, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.is_due = false;
        assert!(buf.iter().all(|byte| *byte == 7));
        let n = buf.len().min(self.portion);
        self.got += n;
        self.unflushed += n;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unflushed = 0;
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_closed = true;
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_slow_writer_gets_everything_and_is_flushed_but_not_closed() {
    reveille::block_on(async {
        for pends in [false, true] {
            let mut source = Source {
                left: 123_456,
                pends,
                is_due: false,
            };
            let mut sink = Sink {
                portion: 999,
                ..Sink::default()
            };
            assert_eq!(copy(&mut source, &mut sink).await.unwrap(), 123_456);
            assert_eq!((sink.got, sink.unflushed), (123_456, 0));
            assert!(!sink.is_closed);
            assert_eq!(sink.flushes > 1, pends, "flushed before it waits");
        }
    });
}

#[test]
fn a_writer_that_takes_nothing_is_an_error() {
    reveille::block_on(async {
        let mut source = Source {
            left: 1,
            pends: false,
            is_due: false,
        };
        let mut sink = Sink::default();
        let error = copy(&mut source, &mut sink).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WriteZero);
    });
}

/// Always ready: it never makes the copy wait.
struct Endless;

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }
}

struct Nowhere;

impl AsyncWrite for Nowhere {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn an_endless_copy_lets_other_tasks_run() {
    reveille::block_on(async {
        let copying = spawn(async { copy(&mut Endless, &mut Nowhere).await });
        let turns = Rc::new(Cell::new(0));
        for _ in 0..10 {
            yield_now().await;
            turns.set(turns.get() + 1);
        }
        copying.abort();
        assert_eq!(turns.get(), 10);
    });
}

/// Always ready in both directions, and counts the polls that read. Each takes a unit of the
/// budget, as sockets do.
struct Busy(Rc<Cell<usize>>);

impl AsyncRead for Busy {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut unit = std::pin::pin!(reveille::task::consume_budget());
        std::task::ready!(unit.as_mut().poll(cx));
        self.0.set(self.0.get() + 1);
        Poll::Ready(Ok(buf.len()))
    }
}

impl AsyncWrite for Busy {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut unit = std::pin::pin!(reveille::task::consume_budget());
        std::task::ready!(unit.as_mut().poll(cx));
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn neither_direction_starves_the_other() {
    let runtime = reveille::Builder::new().poll_budget(32).build().unwrap();
    runtime.block_on(async {
        let counts = [Rc::new(Cell::new(0)), Rc::new(Cell::new(0))];
        let (mut a, mut b) = (Busy(counts[0].clone()), Busy(counts[1].clone()));
        let copying = spawn(async move { copy_bidirectional(&mut a, &mut b).await });
        for _ in 0..100 {
            yield_now().await;
        }
        copying.abort();
        let [there, back] = counts.map(|count| count.get());
        assert!(there > 0 && back > 0, "{there} and {back} reads");
        assert!(
            there.abs_diff(back) <= there.max(back) / 4,
            "{there} and {back} reads"
        );
    });
}

/// The address of the buffer that it was given.
struct Spy(Rc<RefCell<Vec<usize>>>);

impl AsyncRead for Spy {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().push(buf.as_ptr().addr());
        Poll::Pending
    }
}

#[test]
fn idle_copies_share_one_buffer() {
    reveille::block_on(async {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let mut spy = Spy(seen.clone());
                spawn(async move { copy(&mut spy, &mut Nowhere).await })
            })
            .collect();
        while seen.borrow().len() < 100 {
            yield_now().await;
        }
        let first = seen.borrow()[0];
        assert!(seen.borrow().iter().all(|addr| *addr == first));
        drop(tasks);
    });
}

/// A reader that copies within its own poll.
struct Nested(bool);

impl AsyncRead for Nested {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(Ok(0));
        }
        buf[..4].copy_from_slice(b"mine");
        let mut inner = Source {
            left: 100_000,
            pends: false,
            is_due: false,
        };
        let mut copying = Box::pin(async { copy(&mut inner, &mut Nowhere).await });
        assert!(copying.as_mut().poll(cx).is_ready());
        assert_eq!(&buf[..4], b"mine", "not the same buffer");
        Poll::Ready(Ok(4))
    }
}

#[test]
fn a_copy_inside_a_read_has_its_own_buffer() {
    reveille::block_on(async {
        assert_eq!(copy(&mut Nested(false), &mut Nowhere).await.unwrap(), 4);
        poll_fn(|_| Poll::Ready(())).await;
    });
}
