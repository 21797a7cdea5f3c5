//! The waker of the last poll is woken, as `Future::poll` requires. On other threads wakers travel
//! in messages, and any number of messages may be queued before the owner handles them. Here other
//! threads poll with random sequences of wakers.

mod support;

use reveille::io::AsyncFd;
use reveille::time::{Duration, Sleep, now, sleep};
use reveille::{JoinHandle, Runtime, spawn};
use std::future::{Future, poll_fn};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use support::{Random, on_every_backend, seeds};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A few wakers that count.
struct Tasks([Arc<Count>; 3]);

impl Tasks {
    fn new() -> Tasks {
        Tasks(Default::default())
    }

    /// Calls `poll` with a random one of the wakers, and returns its index.
    fn poll(&self, random: &mut Random, mut poll: impl FnMut(&mut Context<'_>)) -> usize {
        let which = random.next() as usize % self.0.len();
        let waker = Waker::from(self.0[which].clone());
        poll(&mut Context::from_waker(&waker));
        which
    }

    fn wakes(&self, which: usize) -> usize {
        self.0[which].0.load(Ordering::SeqCst)
    }

    /// Runs `runtime` until waker `which` is woken once more than `before`.
    fn await_wake(&self, runtime: &Runtime, which: usize, before: usize) {
        while self.wakes(which) == before {
            runtime.turn(Some(MS)).unwrap();
        }
    }
}

/// Runs `f` on another thread and returns its result.
fn elsewhere<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(f).join().unwrap())
}

/// A sleep that was polled on its runtime's thread, and may have fired there without being polled
/// again.
fn armed(runtime: &Runtime, fires: bool) -> Sleep {
    let mut asleep = sleep(HOUR);
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    runtime.enter(|| {
        let polled = Pin::new(&mut asleep).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        if fires {
            asleep.reset(now());
        }
    });
    while fires && count.0.load(Ordering::SeqCst) == 0 {
        runtime.turn(Some(MS)).unwrap();
    }
    asleep
}

#[test]
fn sleep_wakes_the_last_waker_of_other_threads() {
    on_every_backend(|runtime| {
        for seed in seeds(1..120) {
            let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
            let mut asleep = armed(runtime, seed % 2 == 0);
            let tasks = Tasks::new();
            asleep.reset(now() + HOUR);
            let mut last = None;
            for _ in 0..random.next() % 12 {
                match random.next() % 8 {
                    0 => runtime.turn(Some(Duration::ZERO)).unwrap(),
                    1 => elsewhere(|| asleep.reset(now() + HOUR + MS)),
                    2 => runtime.enter(|| asleep.reset(now() + HOUR - MS)),
                    // The owner's thread polls in between.
                    3 => {
                        let by = runtime
                            .enter(|| tasks.poll(&mut random, |cx| pending(&mut asleep, cx)));
                        last = Some(by);
                    }
                    _ => {
                        let by =
                            elsewhere(|| tasks.poll(&mut random, |cx| pending(&mut asleep, cx)));
                        last = Some(by);
                    }
                }
            }
            let last = last.unwrap_or_else(|| {
                elsewhere(|| tasks.poll(&mut random, |cx| pending(&mut asleep, cx)))
            });
            let before = tasks.wakes(last);
            match random.next() % 2 {
                0 => elsewhere(|| asleep.reset(now())),
                _ => runtime.enter(|| asleep.reset(now())),
            }
            tasks.await_wake(runtime, last, before);
        }
    });
}

fn pending(asleep: &mut Sleep, cx: &mut Context<'_>) {
    assert!(Pin::new(asleep).poll(cx).is_pending());
}

#[test]
fn async_fd_wakes_the_last_waker_of_other_threads() {
    on_every_backend(|runtime| {
        for seed in seeds(1..60) {
            let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
            let (ours, mut peer) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            let ours = runtime.enter(|| AsyncFd::new(ours).unwrap());
            let tasks = Tasks::new();
            let poll = |cx: &mut Context<'_>| assert!(ours.poll_read_ready(cx).is_pending());
            let mut last = elsewhere(|| tasks.poll(&mut random, poll));
            for _ in 0..random.next() % 8 {
                match random.next() % 5 {
                    0 => runtime.turn(Some(Duration::ZERO)).unwrap(),
                    1 => last = runtime.enter(|| tasks.poll(&mut random, poll)),
                    _ => last = elsewhere(|| tasks.poll(&mut random, poll)),
                }
            }
            let before = tasks.wakes(last);
            peer.write_all(b"x").unwrap();
            tasks.await_wake(runtime, last, before);
        }
    });
}

#[test]
fn join_handle_wakes_the_last_waker_of_other_threads() {
    on_every_backend(|runtime| {
        for seed in seeds(1..60) {
            let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
            let gate = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let opened = gate.clone();
            let mut handle: JoinHandle<()> = runtime.enter(|| {
                spawn(poll_fn(move |cx| {
                    if opened.load(Ordering::SeqCst) {
                        return Poll::Ready(());
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }))
            });
            let tasks = Tasks::new();
            let mut poll =
                |cx: &mut Context<'_>| assert!(Pin::new(&mut handle).poll(cx).is_pending());
            let mut last = elsewhere(|| tasks.poll(&mut random, &mut poll));
            for _ in 0..random.next() % 8 {
                match random.next() % 5 {
                    0 => runtime.turn(Some(Duration::ZERO)).unwrap(),
                    1 => last = runtime.enter(|| tasks.poll(&mut random, &mut poll)),
                    _ => last = elsewhere(|| tasks.poll(&mut random, &mut poll)),
                }
            }
            let before = tasks.wakes(last);
            gate.store(true, Ordering::SeqCst);
            tasks.await_wake(runtime, last, before);
        }
    });
}
