//! `read_closed`: the end of the peer's side, also while bytes are unread.

use super::support::wait;
use super::{Duplex, Pair, ends, on_every_backend, pair, unix_pair};
use reveille::net::kind::{Readable, Writable};
use reveille::net::{ByteStream, TcpStream};
use reveille::time::sleep;
use reveille::{Runtime, spawn, yield_now};
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// Whether the runtime's mechanism can tell. If not, checks that `read_closed` says so.
async fn can_tell<K: Readable>(runtime: &Runtime, stream: &ByteStream<K>) -> bool {
    if runtime.backend_name() != "select" {
        return true;
    }
    let error = stream.read_closed().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("mechanism"), "{error}");
    false
}

/// Polls once.
async fn is_ready(future: impl Future<Output = std::io::Result<()>>) -> bool {
    let mut future = pin!(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

#[test]
fn ends_are_found_while_bytes_are_unread() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for how in [How::HalfClose, How::Close, How::Reset] {
                let (near, far) = pair().await;
                if how == How::Reset {
                    near.set_linger(Some(Duration::ZERO)).unwrap();
                }
                found(runtime, (near, far), how).await;

                let (near, far) = unix_pair();
                if how == How::Reset {
                    // Not read before the close.
                    far.write_all(b"x").await.unwrap();
                }
                found(runtime, (near, far), how).await;
            }
            dropped(runtime, ends()).await;
        });
    });
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    HalfClose,
    Close,
    Reset,
}

async fn found<K: Duplex>(runtime: &Runtime, (near, far): Pair<K>, how: How) {
    if !can_tell(runtime, &far).await {
        return;
    }
    near.write_all(b"unread").await.unwrap();
    far.readable().await.unwrap();
    assert!(!is_ready(far.read_closed()).await, "{how:?}: not yet");

    let far = Rc::new(far);
    let stream = far.clone();
    let waiter = spawn(async move { stream.read_closed().await });
    yield_now().await;
    assert!(!waiter.is_finished(), "{how:?}: not yet");
    if how == How::HalfClose {
        near.shutdown(Shutdown::Write).unwrap();
        waiter.await.unwrap().unwrap();
        far.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        near.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    } else {
        drop(near);
        waiter.await.unwrap().unwrap();
    }
    far.read_closed().await.unwrap();
    if how == How::Reset {
        return; // The bytes are lost, at least through TCP.
    }
    let mut rest = Vec::new();
    while far.read_buf(&mut rest).await.unwrap() != 0 {}
    assert_eq!(rest, b"unread");
    far.read_closed().await.unwrap();
}

/// A stream that can only be dropped.
async fn dropped<W: Writable, R: Readable>(
    runtime: &Runtime,
    (near, far): (ByteStream<W>, ByteStream<R>),
) {
    if !can_tell(runtime, &far).await {
        return;
    }
    near.write_all(b"unread").await.unwrap();
    far.readable().await.unwrap();
    assert!(!is_ready(far.read_closed()).await, "not yet");
    drop(near);
    far.read_closed().await.unwrap();
    let mut rest = Vec::new();
    while far.read_buf(&mut rest).await.unwrap() != 0 {}
    assert_eq!(rest, b"unread");
    far.read_closed().await.unwrap();
}

#[test]
fn a_reader_and_two_waiters_do_not_disturb_each_other() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            undisturbed(runtime, pair().await).await;
            undisturbed(runtime, ends()).await;
            undisturbed(runtime, unix_pair()).await;
        });
    });
}

async fn undisturbed<W: Writable, R: Readable>(
    runtime: &Runtime,
    (near, far): (ByteStream<W>, ByteStream<R>),
) {
    if !can_tell(runtime, &far).await {
        return;
    }
    let far = Rc::new(far);
    let waiters = [(); 2].map(|()| {
        let far = far.clone();
        spawn(async move { far.read_closed().await })
    });
    let reader = spawn(async move {
        let (mut sum, mut buf) = (0, [0; 7]);
        loop {
            match far.read(&mut buf).await.unwrap() {
                0 => return sum,
                n => sum += n,
            }
        }
    });
    for _ in 0..50 {
        near.write_all(b"some bytes").await.unwrap();
        yield_now().await;
    }
    assert!(!waiters.iter().any(|waiter| waiter.is_finished()));
    drop(near);
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
    assert_eq!(reader.await.unwrap(), 500);
}

#[test]
fn another_thread_finds_the_end_too() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            found_elsewhere(runtime, pair().await).await;
            found_elsewhere(runtime, ends()).await;
            found_elsewhere(runtime, unix_pair()).await;
        });
    });
}

async fn found_elsewhere<W: Writable, R: Readable>(
    runtime: &Runtime,
    (near, far): (ByteStream<W>, ByteStream<R>),
) {
    if !can_tell(runtime, &far).await {
        return;
    }
    near.write_all(b"unread").await.unwrap();
    far.readable().await.unwrap();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        wait(async {
            let mut closed = pin!(far.read_closed());
            let first = poll_fn(|cx| Poll::Ready(closed.as_mut().poll(cx))).await;
            assert!(first.is_pending());
            begun.send(()).unwrap();
            closed.await.unwrap();
        });
        far
    });
    while has_begun.try_recv().is_err() {
        yield_now().await;
    }
    drop(near);
    while !thread.is_finished() {
        reveille::time::sleep(Duration::from_millis(1)).await;
    }
    drop(thread.join().unwrap());
}

/// Counts wakes.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Makes a pair whose second end has an unread urgent byte. `None` if the mechanism cannot wait for
/// the end of a stream.
fn pair_with_urgent_data(runtime: &Runtime) -> Option<(TcpStream, TcpStream)> {
    runtime.block_on(async {
        let (near, far) = pair().await;
        if !can_tell(runtime, &far).await {
            return None;
        }
        // SAFETY: the pointer and the length are those of one byte that outlives the call.
        let sent = unsafe { libc::send(near.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
        assert_eq!(sent, 1);
        let mut urgent = libc::pollfd {
            fd: far.as_raw_fd(),
            events: libc::POLLPRI,
            revents: 0,
        };
        // SAFETY: the pointer and the count are those of one value that outlives the call.
        assert_eq!(unsafe { libc::poll(&raw mut urgent, 1, -1) }, 1);
        Some((near, far))
    })
}

/// Once the future woke itself again and again until the urgent byte was read.
#[test]
fn read_closed_off_the_loop_does_not_spin_at_unread_urgent_data() {
    on_every_backend(|runtime| {
        let Some((near, far)) = pair_with_urgent_data(runtime) else {
            return;
        };
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut closed = pin!(far.read_closed());
        let mut poll = || closed.as_mut().poll(&mut Context::from_waker(&waker));
        // The loop does not run, so it has not asked for another poll.
        assert!(poll().is_pending());
        assert_eq!(wakes.0.load(SeqCst), 0);
        drop(near);
        // The loop ends the pause. The first poll may come before the end has arrived.
        let mut seen = 0;
        loop {
            let woken = wakes.0.load(SeqCst);
            runtime.block_on(async {
                if woken == seen {
                    sleep(Duration::from_millis(1)).await;
                }
            });
            if woken != seen {
                seen = woken;
                if let Poll::Ready(found) = poll() {
                    return found.unwrap();
                }
            }
        }
    });
}

/// Each poll began a pause, and each pause caused a poll: the pauses became more with every other
/// wake of the task.
#[test]
fn read_closed_that_is_polled_during_a_pause_begins_no_other() {
    const POLLS: usize = 1000;
    on_every_backend(|runtime| {
        let Some((_near, far)) = pair_with_urgent_data(runtime) else {
            return;
        };
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut closed = pin!(far.read_closed());
        let begun = Instant::now();
        for _ in 0..POLLS {
            // Between two turns, so that the loop handles the message of each poll.
            let polled = closed.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            runtime.turn(Some(Duration::ZERO)).unwrap();
        }
        // No pause is shorter than 1 ms, and none begins before the end of the last one.
        let most = 1 + begun.elapsed().as_millis() as usize;
        runtime.block_on(sleep(Duration::from_millis(40)));
        let pauses = wakes.0.load(SeqCst);
        assert!(pauses <= most, "{pauses} pauses, at most {most}");
    });
}
