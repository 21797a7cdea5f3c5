//! The first turn of `block_on`: before it polls anything a second time, it handles the messages of
//! other threads and checks timers and fds once. A future that is ready at once costs no wait.
//! Counted in polls and waits.

mod support;

use reveille::backend::BackendKind;
use reveille::io::{AsyncFd, Interest};
use reveille::time::{Duration, now, sleep_until};
use reveille::{Runtime, yield_now};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::Poll;
use std::thread;
use support::on_every_backend;
use support::recording::recorded;

/// Calls `block_on(yield_now())` until `done`, and returns the number of calls.
fn yields_until(runtime: &Runtime, done: impl Fn() -> bool) -> usize {
    let mut calls = 0;
    while !done() {
        runtime.block_on(yield_now());
        calls += 1;
        assert!(calls < 100, "what became ready is not noticed");
    }
    calls
}

#[test]
fn block_on_handles_earlier_messages_before_a_yield_ends() {
    on_every_backend(|runtime| {
        let handle = runtime.handle();
        let task = thread::spawn(move || handle.spawn(async {}))
            .join()
            .unwrap();
        let calls = yields_until(runtime, || task.is_finished());
        // Outside of its loop the runtime answers `is_finished` in the next call.
        assert!(calls <= 2, "{calls} calls");
    });
}

#[test]
fn block_on_polls_a_task_once_for_each_remote_wake() {
    on_every_backend(|runtime| {
        let polls = Rc::new(Cell::new(0));
        let (count, (sender, receiver)) = (polls.clone(), std::sync::mpsc::channel());
        drop(runtime.spawn(poll_fn::<(), _>(move |cx| {
            count.set(count.get() + 1);
            sender.send(cx.waker().clone()).unwrap();
            Poll::Pending
        })));
        for wakes in 1..5 {
            runtime.block_on(yield_now());
            assert_eq!(polls.get(), wakes);
            // Outside of the loop a spawn is a message.
            receiver.recv().unwrap().wake();
        }
    });
}

#[test]
fn block_on_fires_due_timers_before_a_yield_ends() {
    on_every_backend(|runtime| {
        let fired = Rc::new(Cell::new(false));
        let (flag, deadline) = (fired.clone(), now() + Duration::from_millis(5));
        drop(runtime.spawn(async move {
            sleep_until(deadline).await;
            flag.set(true);
        }));
        runtime.block_on(async {});
        // A tick later, which is how late a timer may be.
        while now() < deadline + Duration::from_millis(1) {}
        let calls = yields_until(runtime, || fired.get());
        assert!(calls <= 2, "{calls} calls");
    });
}

#[test]
fn block_on_checks_fds_before_a_yield_ends() {
    on_every_backend(|runtime| {
        let (mut peer, stream) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        let read = Rc::new(Cell::new(false));
        let flag = read.clone();
        drop(runtime.spawn(async move {
            let fd = AsyncFd::new(stream).unwrap();
            let byte = |mut stream: &UnixStream| stream.read(&mut [0]);
            fd.async_io(Interest::READABLE, byte).await.unwrap();
            flag.set(true);
        }));
        runtime.block_on(async {});
        peer.write_all(b"x").unwrap();
        let calls = yields_until(runtime, || read.get());
        assert!(calls <= 2, "{calls} calls");
    });
}

#[test]
fn block_on_of_a_ready_future_does_not_wait_in_the_kernel() {
    for kind in BackendKind::ALL {
        let Some((runtime, record)) = recorded(kind) else {
            continue;
        };
        let (stream, _peer) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        let _watched = runtime.enter(|| AsyncFd::new(stream).unwrap());
        for round in 0..10 {
            assert_eq!(runtime.block_on(async { round }), round);
            // With a task that ends at once, and with one that waits.
            let task = runtime.spawn(async {});
            runtime.block_on(task).unwrap();
            drop(runtime.spawn(std::future::pending::<()>()));
        }
        assert_eq!(record.waits(), 0, "on {kind}");
        // A future that yields once makes one wait.
        runtime.block_on(yield_now());
        assert_eq!(record.waits(), 1, "on {kind}");
    }
}
