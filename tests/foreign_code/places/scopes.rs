//! Children of scopes, and the waker of the task that awaits a scope.

use super::super::fixture::{
    Action, Drops, Fixture, Function, operations, runtime, spender, waker, within_poll,
};
use super::{Entered, call, target, turns};
use reveille::backend::BackendKind;
use reveille::task::{AbortHandle, scope};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

pub(super) fn poll_of_a_child(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let ran = call(|| {
        runtime().block_on(scope(async |s| {
            // Uses up the budget of its own.
            s.spawn(spender());
            s.spawn(async { fixture.run_action() });
        }));
    });
    (fixture, target(ran))
}

/// A child that has used up its budget is dropped on that of the poll of the scope.
pub(super) fn drop_of_a_child(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let ran = call(|| {
        runtime().block_on(scope(async |s| {
            let drops = Drops(fixture.clone());
            let handle = s.spawn(poll_fn(move |_| {
                let _ = &drops;
                operations();
                Poll::<()>::Pending
            }));
            s.spawn(async move { handle.abort() });
        }));
    });
    (fixture, target(ran))
}

pub(super) fn drop_of_a_childs_output(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let ran = call(|| {
        runtime().block_on(scope(async |s| {
            drop(s.spawn(async {
                operations();
                Drops(fixture.clone())
            }));
        }));
    });
    (fixture, target(ran.and_then(|()| turns())))
}

type Waiting = Pin<Box<dyn Future<Output = ()>>>;

/// Polls a scope with a foreign waker. Returns it, a handle that ends the task for which its child
/// waits, and the waker.
fn awaited(fixture: &Arc<Fixture>, function: Function) -> (Waiting, AbortHandle, Waker) {
    let task = runtime().spawn(pending::<()>());
    let abort = task.abort_handle();
    let mut waiting: Waiting = Box::pin(scope(|s| async move {
        s.spawn(task);
        pending().await
    }));
    let waker = waker(fixture, function);
    within_poll(|| {
        let polled = waiting.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    });
    (waiting, abort, waker)
}

pub(super) fn clone_of_a_waker_by_a_scope(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let ran = call(|| drop(awaited(&fixture, Function::Clone)));
    (fixture, target(ran))
}

pub(super) fn wake_by_a_child(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let (_waiting, abort, _waker) = awaited(&fixture, Function::Wake);
    turns().expect("nothing acts yet");
    drop(runtime().spawn(spender()));
    runtime().enter(|| abort.abort());
    (fixture, target(turns()))
}

pub(super) fn drop_of_a_waker_by_a_scope(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let (waiting, _abort, _waker) = awaited(&fixture, Function::Drop);
    let dropped = call(|| within_poll(|| drop(waiting)));
    (fixture, target(dropped.and_then(|()| turns())))
}
