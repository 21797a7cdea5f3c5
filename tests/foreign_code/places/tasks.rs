//! Polls and drops of futures and outputs.

use super::super::fixture::{
    Action, Drops, Fixture, Planned, end, operations, runtime, spender, within_poll,
};
use super::{Entered, PanicTarget, call, target, turns};
use reveille::JoinHandle;
use reveille::backend::BackendKind;
use reveille::task::JoinError;
use std::future::{Future, pending};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Waits for a task.
pub(super) fn joined<T>(handle: JoinHandle<T>) -> Result<T, PanicTarget> {
    answer(call(|| runtime().block_on(handle))?)
}

fn answer<T>(answer: Result<T, JoinError>) -> Result<T, PanicTarget> {
    answer.map_err(|error| {
        assert!(error.into_panic().is::<Planned>());
        PanicTarget::ToTheHandle
    })
}

/// A future that uses up its budget and ends. Its output and a field are values of the test.
struct Spends<A, B>(Option<A>, #[allow(dead_code, reason = "dropped with it")] B);

impl<A: Unpin, B: Unpin> Future for Spends<A, B> {
    type Output = A;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<A> {
        operations();
        Poll::Ready(self.0.take().expect("it is polled once"))
    }
}

pub(super) fn poll_of_a_task(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let acts = fixture.clone();
    drop(runtime().spawn(spender()));
    let handle = runtime().spawn(async move { acts.run_action() });
    (fixture, target(joined(handle)))
}

pub(super) fn poll_of_a_root(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let ran = call(|| runtime().block_on(async { fixture.run_action() }));
    (fixture, target(ran))
}

pub(super) fn drop_of_a_future(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let handle = runtime().spawn(Spends(Some(()), Drops(fixture.clone())));
    (fixture, target(joined(handle)))
}

pub(super) fn drop_of_an_aborted_future(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let drops = Drops(fixture.clone());
    let handle = runtime().spawn(async move {
        let _drops = drops;
        pending::<()>().await;
    });
    turns().expect("nothing acts yet");
    drop(runtime().spawn(spender()));
    runtime().enter(|| handle.abort());
    let target = match call(|| runtime().block_on(handle)) {
        Ok(Err(error)) if error.is_cancelled() => PanicTarget::Nothing,
        Ok(other) => answer(other).map(drop).expect_err("it does not end"),
        Err(target) => target,
    };
    (fixture, target)
}

pub(super) fn drop_of_a_future_at_the_end(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let drops = Drops(fixture.clone());
    drop(runtime().spawn(async move {
        let _drops = drops;
        pending::<()>().await;
    }));
    turns().expect("nothing acts yet");
    assert!(end(), "no panic comes out of the drop of a runtime");
    (fixture, PanicTarget::Nothing)
}

pub(super) fn drop_of_an_unwanted_output(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    drop(runtime().spawn(Spends(Some(Drops(fixture.clone())), ())));
    (fixture, target(turns()))
}

pub(super) fn ended(fixture: &Arc<Fixture>) -> JoinHandle<Drops> {
    let handle = runtime().spawn(Spends(Some(Drops(fixture.clone())), ()));
    turns().expect("nothing acts yet");
    handle
}

pub(super) fn drop_of_an_output_by_its_handle(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let handle = ended(&fixture);
    let dropped = call(|| within_poll(|| drop(handle)));
    (fixture, target(dropped.and_then(|()| turns())))
}

pub(super) fn drop_of_an_output_by_a_message(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let handle = ended(&fixture);
    drop(runtime().spawn(spender()));
    let dropped = call(|| drop(handle));
    (fixture, target(dropped.and_then(|()| turns())))
}

pub(super) fn drop_of_an_output_in_a_reply(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let handle = ended(&fixture);
    // The handle sends for the output outside of the loop, and the loop answers.
    assert!(!handle.is_finished());
    turns().expect("nothing acts yet");
    assert!(handle.is_finished());
    let dropped = call(|| drop(handle));
    (fixture, target(dropped.and_then(|()| turns())))
}

pub(super) fn drop_of_a_payload(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let drops = Drops(fixture.clone());
    let handle = runtime().spawn(async move {
        if true {
            resume_unwind(Box::new(drops));
        }
    });
    let error = runtime().block_on(handle).expect_err("it has panicked");
    let dropped = call(|| within_poll(|| drop(error)));
    (fixture, target(dropped.and_then(|()| turns())))
}
