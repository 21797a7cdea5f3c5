//! The functions of foreign wakers that handles, timers and fds call.

use super::super::fixture::{Action, Fixture, Function, runtime, spender, waker, within_poll};
use super::values::socket;
use super::{Entered, call, target, turns};
use reveille::JoinHandle;
use reveille::backend::BackendKind;
use reveille::io::{AsyncFd, Interest};
use reveille::time::{Duration, Sleep, now, sleep};
use std::future::{Future, pending};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

pub(super) fn poll_handle<T>(handle: &mut JoinHandle<T>, waker: &Waker) {
    let polled = Pin::new(handle).poll(&mut Context::from_waker(waker));
    assert!(polled.is_pending());
}

/// Returns a handle that a foreign waker waits for, and that waker.
pub(super) fn awaited(fixture: &Arc<Fixture>, function: Function) -> (JoinHandle<()>, Waker) {
    let mut handle = runtime().spawn(pending());
    let waker = waker(fixture, function);
    within_poll(|| poll_handle(&mut handle, &waker));
    (handle, waker)
}

pub(super) fn clone_of_a_waker_by_a_handle(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let ran = call(|| drop(awaited(&fixture, Function::Clone)));
    (fixture, target(ran))
}

pub(super) fn wake_by_the_end_of_a_task(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let (handle, _waker) = awaited(&fixture, Function::Wake);
    turns().expect("nothing acts yet");
    drop(runtime().spawn(spender()));
    runtime().enter(|| handle.abort());
    (fixture, target(turns()))
}

pub(super) fn drop_of_a_waker_by_a_handle(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let (handle, _waker) = awaited(&fixture, Function::Drop);
    let dropped = call(|| within_poll(|| drop(handle)));
    (fixture, target(dropped.and_then(|()| turns())))
}

pub(super) fn wake_by_a_reply(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let mut handle = runtime().spawn(pending::<()>());
    let waker = waker(&fixture, Function::Wake);
    poll_handle(&mut handle, &waker);
    turns().expect("nothing acts yet");
    drop(runtime().spawn(spender()));
    runtime().enter(|| handle.abort());
    (fixture, target(turns()))
}

pub(super) fn drop_of_a_waker_in_a_reply(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let mut handle = runtime().spawn(pending::<()>());
    let waker = waker(&fixture, Function::Drop);
    poll_handle(&mut handle, &waker);
    turns().expect("nothing acts yet");
    let dropped = call(|| drop(handle));
    (fixture, target(dropped.and_then(|()| turns())))
}

pub(super) fn poll_sleep(sleep: &mut Sleep, waker: &Waker) {
    let polled = Pin::new(sleep).poll(&mut Context::from_waker(waker));
    assert!(polled.is_pending());
}

pub(super) fn armed(fixture: &Arc<Fixture>, function: Function) -> (Sleep, Waker) {
    let (mut sleep, waker) = (sleep(HOUR), waker(fixture, function));
    within_poll(|| poll_sleep(&mut sleep, &waker));
    (sleep, waker)
}

const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn clone_of_a_waker_by_a_timer(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let ran = call(|| drop(armed(&fixture, Function::Clone)));
    (fixture, target(ran))
}

pub(super) fn wake_by_a_timer(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let (mut sleep, _waker) = armed(&fixture, Function::Wake);
    runtime().enter(|| sleep.reset(now()));
    // Also until the tick of the deadline has passed.
    while now() < sleep.deadline() + Duration::from_millis(1) {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(runtime().spawn(spender()));
    (fixture, target(turns()))
}

pub(super) fn drop_of_a_waker_by_a_timer(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let (sleep, _waker) = armed(&fixture, Function::Drop);
    let dropped = call(|| within_poll(|| drop(sleep)));
    (fixture, target(dropped.and_then(|()| turns())))
}

pub(super) fn drop_of_a_waker_by_a_message(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let (sleep, _waker) = armed(&fixture, Function::Drop);
    drop(runtime().spawn(spender()));
    let dropped = call(|| drop(sleep));
    (fixture, target(dropped.and_then(|()| turns())))
}

pub(super) fn watched(
    fixture: &Arc<Fixture>,
    function: Function,
) -> (AsyncFd<UnixStream>, UnixStream, Waker) {
    let ((here, there), waker) = (socket(), waker(fixture, function));
    let fd = within_poll(|| {
        let fd = AsyncFd::with_interest(here, Interest::READABLE).unwrap();
        let polled = fd.poll_read_ready(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        drop(polled);
        fd
    });
    (fd, there, waker)
}

pub(super) fn clone_of_a_waker_by_an_fd(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let ran = call(|| drop(watched(&fixture, Function::Clone)));
    (fixture, target(ran))
}

pub(super) fn wake_by_an_fd(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let (_fd, mut there, _waker) = watched(&fixture, Function::Wake);
    there.write_all(b"x").unwrap();
    drop(runtime().spawn(spender()));
    (fixture, target(turns()))
}

pub(super) fn wake_by_the_drop_of_an_fd(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let (fd, _there, _waker) = watched(&fixture, Function::Wake);
    let dropped = call(|| within_poll(|| drop(fd)));
    (fixture, target(dropped.and_then(|()| turns())))
}

pub(super) fn drop_of_a_waker_by_an_fd(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let ((here, _there), waker) = (socket(), waker(&fixture, Function::Drop));
    let dropped = within_poll(|| {
        let fd = AsyncFd::with_interest(here, Interest::READABLE).unwrap();
        let mut readable = Box::pin(fd.readable());
        let polled = readable.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        drop(polled);
        call(|| drop(readable))
    });
    (fixture, target(dropped.and_then(|()| turns())))
}
