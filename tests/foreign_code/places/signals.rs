//! Wakers that wait for signals, and a handler of signals.

use super::super::fixture::{Action, Fixture, Function, runtime, spender, waker, within_poll};
use super::values::{callbacks, run};
use super::{Entered, call, target, turns};
use reveille::backend::BackendKind;
use reveille::signal::{Signal, SignalKind, signal};
use std::sync::Arc;
use std::task::{Context, Waker};

const KIND: SignalKind = SignalKind::user_defined1();

/// Sends the signal to this thread, and returns when its handler has run.
fn raise() {
    // SAFETY: the call takes no pointer.
    assert_eq!(unsafe { libc::raise(KIND.as_raw_value()) }, 0);
}

/// Returns a listener that a foreign waker waits for, and that waker.
fn listening(fixture: &Arc<Fixture>, function: Function) -> (Signal, Waker) {
    let waker = waker(fixture, function);
    let listener = within_poll(|| {
        let mut listener = signal(KIND).unwrap();
        let polled = listener.poll_recv(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        listener
    });
    (listener, waker)
}

pub(super) fn clone_of_a_waker_by_a_signal(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let ran = call(|| drop(listening(&fixture, Function::Clone)));
    (fixture, target(ran))
}

pub(super) fn wake_by_a_signal(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let (_listener, _waker) = listening(&fixture, Function::Wake);
    raise();
    drop(runtime().spawn(spender()));
    (fixture, target(turns()))
}

pub(super) fn drop_of_a_waker_by_a_signal(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let (listener, _waker) = listening(&fixture, Function::Drop);
    let dropped = call(|| within_poll(|| drop(listener)));
    (fixture, target(dropped.and_then(|()| turns())))
}

pub(super) fn handler_of_a_signal(fixture: Arc<Fixture>, kind: BackendKind, _: Action) -> Entered {
    let mut event_loop = callbacks(kind, &fixture);
    let handler = event_loop.on_signal(KIND, |l, _, _| l.data().run_action());
    handler.unwrap();
    raise();
    let target = run(&mut event_loop);
    (fixture, target)
}
