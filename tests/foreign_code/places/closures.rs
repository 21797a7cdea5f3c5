//! Closures of `spawn_blocking`, on the threads of the pool.

use super::super::fixture::{Action, Drops, Fixture, Function, end, runtime, waker};
use super::tasks::joined;
use super::wakers::poll_handle;
use super::{Entered, PanicTarget, call, target};
use reveille::JoinHandle;
use reveille::backend::BackendKind;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// Occupies the only thread of the pool until the sender is dropped.
pub(super) fn occupy() -> (Sender<()>, JoinHandle<()>) {
    let (gate, wait) = channel::<()>();
    let (begin, begun) = channel();
    let running = runtime().handle().spawn_blocking(move || {
        begin.send(()).unwrap();
        wait.recv().unwrap_err();
    });
    begun.recv().unwrap();
    (gate, running)
}

/// Waits until the thread of the pool has no more to do.
fn rest() {
    let pool = runtime().handle().blocking_pool();
    while pool.idle_threads() == 0 {
        thread::yield_now();
    }
}

pub(super) fn call_of_a_closure(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let acts = fixture.clone();
    let job = runtime().handle().spawn_blocking(move || acts.run_action());
    (fixture, target(joined(job)))
}

pub(super) fn drop_of_an_aborted_closure(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let (gate, running) = occupy();
    let value = Drops(fixture.clone());
    let job = runtime().handle().spawn_blocking(move || drop(value));
    let aborted = call(|| job.abort());
    drop(gate);
    joined(running).expect("it does not act");
    (fixture, aborted.err().unwrap_or_else(|| cancelled(job)))
}

/// Where the panic of a job that did not run went.
pub(super) fn cancelled(job: JoinHandle<()>) -> PanicTarget {
    match job.wait() {
        Err(error) if error.is_panic() => PanicTarget::ToTheHandle,
        Err(_) => PanicTarget::Nothing,
        Ok(()) => panic!("it has run"),
    }
}

pub(super) fn drop_of_a_closure_at_the_end(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let (gate, running) = occupy();
    let value = Drops(fixture.clone());
    let job = runtime().handle().spawn_blocking(move || drop(value));
    assert!(end(), "the drop of a runtime does not panic");
    drop(gate);
    running.wait().expect("it runs to its end");
    (fixture, cancelled(job))
}

pub(super) fn drop_of_a_closures_output(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let (gate, running) = occupy();
    let output = Drops(fixture.clone());
    drop(runtime().handle().spawn_blocking(move || output));
    drop(gate);
    joined(running).expect("it does not act");
    rest();
    (fixture, PanicTarget::Nothing)
}

pub(super) fn wake_by_the_answer_of_a_closure(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let (gate, mut running) = occupy();
    let waker = waker(&fixture, Function::Wake);
    poll_handle(&mut running, &waker);
    drop(gate);
    rest();
    (fixture, PanicTarget::Nothing)
}
