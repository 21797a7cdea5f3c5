//! How many polls and operations may pass before other tasks, timers and sockets run. Counted in
//! polls, without a clock.

mod support;

use reveille::io::{AsyncFd, Interest};
use reveille::time::{Duration, sleep};
use reveille::{Builder, yield_now};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use support::guarded;

/// A future that is always runnable and never ready.
struct Hog(Rc<Cell<usize>>);

impl Future for Hog {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.set(self.0.get() + 1);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[test]
fn socket_is_served_within_an_event_interval() {
    for interval in [1, 16, 128] {
        guarded("the default", || {
            let runtime = Builder::new().event_interval(interval).build().unwrap();
            let polls = Rc::new(Cell::new(0));
            drop(runtime.spawn(Hog(polls.clone())));
            runtime.block_on(async {
                // Not TCP, so that written bytes can be read as soon as the call returns.
                let (mut peer, stream) = UnixStream::pair().unwrap();
                stream.set_nonblocking(true).unwrap();
                let stream = AsyncFd::new(stream).unwrap();
                let served = Rc::new(Cell::new(0));
                let (count, at) = (polls.clone(), served.clone());
                let echo = reveille::spawn(async move {
                    let mut buf = [0; 1];
                    while stream
                        .async_io(Interest::READABLE, |mut s| s.read(&mut buf))
                        .await
                        .unwrap()
                        == 1
                    {
                        at.set(count.get());
                        stream.get_ref().write_all(&buf).unwrap();
                    }
                });
                for byte in 0..20 {
                    // Long enough for the echo to wait again.
                    for _ in 0..3 {
                        yield_now().await;
                    }
                    let before = polls.get();
                    peer.write_all(&[byte]).unwrap();
                    while served.get() < before || served.get() == 0 {
                        yield_now().await;
                    }
                    let mut back = [0; 1];
                    peer.read_exact(&mut back).unwrap();
                    assert_eq!(back, [byte]);
                    // The rest of the batch, and one round of the three.
                    let went_by = served.get() - before;
                    assert!(went_by <= interval as usize + 3, "{went_by} polls");
                }
                drop(peer);
                echo.await.unwrap();
            });
        });
    }
}

#[test]
fn timer_fires_beside_a_task_that_is_always_runnable() {
    guarded("the default", || {
        let runtime = Builder::new().build().unwrap();
        drop(runtime.spawn(Hog(Rc::default())));
        runtime.block_on(sleep(Duration::from_millis(2)));
    });
}

/// Returns the most operations of `work` that succeed in a row before another task is polled.
fn most_in_one_go(budget: u32, work: impl AsyncFn(&dyn Fn())) -> usize {
    let most = Rc::new(Cell::new(0));
    guarded("the default", || {
        let runtime = Builder::new().poll_budget(budget).build().unwrap();
        let run = Rc::new(Cell::new(0));
        let zero = run.clone();
        // Another task that is always runnable.
        drop(runtime.spawn(async move {
            loop {
                zero.set(0);
                yield_now().await;
            }
        }));
        let done = || {
            run.set(run.get() + 1);
            most.set(most.get().max(run.get()));
        };
        runtime.block_on(work(&done));
    });
    most.get()
}

const BUDGET: u32 = 8;
const TIMES: usize = 100;

#[test]
fn read_that_always_succeeds_lets_others_run() {
    let most = most_in_one_go(BUDGET, async |done| {
        let (mut peer, stream) = support::std_pair().await;
        peer.write_all(&[0; TIMES]).unwrap();
        for _ in 0..TIMES {
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 1);
            done();
        }
    });
    assert!((1..=BUDGET as usize).contains(&most), "{most} in one go");
}

#[test]
fn write_that_always_succeeds_lets_others_run() {
    let most = most_in_one_go(BUDGET, async |done| {
        let (_peer, stream) = support::std_pair().await;
        for _ in 0..TIMES {
            stream.write_all(&[0]).await.unwrap();
            done();
        }
    });
    assert_eq!(most, BUDGET as usize);
}

#[test]
fn async_fd_that_is_always_ready_lets_others_run() {
    let most = most_in_one_go(BUDGET, async |done| {
        let (here, there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        (&there).write_all(b"x").unwrap();
        let fd = AsyncFd::new(here).unwrap();
        for _ in 0..TIMES {
            fd.readable().await.unwrap().retain_ready();
            done();
        }
    });
    assert_eq!(most, BUDGET as usize);
}

#[test]
fn elapsed_sleeps_let_others_run() {
    let most = most_in_one_go(BUDGET, async |done| {
        for _ in 0..TIMES {
            sleep(Duration::ZERO).await;
            done();
        }
    });
    assert_eq!(most, BUDGET as usize);
}

#[test]
fn finished_join_handles_let_others_run() {
    let most = most_in_one_go(BUDGET, async |done| {
        let tasks = RefCell::new(Vec::new());
        for _ in 0..TIMES {
            tasks.borrow_mut().push(reveille::spawn(async {}));
        }
        while !tasks.borrow().iter().all(|task| task.is_finished()) {
            yield_now().await;
        }
        for task in tasks.take() {
            task.await.unwrap();
            done();
        }
    });
    assert_eq!(most, BUDGET as usize);
}
