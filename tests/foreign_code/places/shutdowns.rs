//! Code that runs during `Runtime::shutdown`. The fixture has tasks that never end, so the time is
//! always used up. What has to happen before the deadline is tried again with more time, if the
//! thread was held up.

use super::super::fixture::{Action, Drops, Fixture, Function, Planned, shut_down};
use super::closures::{cancelled, occupy};
use super::values::with_late;
use super::wakers::armed;
use super::{Entered, PanicTarget, call, runtime, target};
use reveille::backend::BackendKind;
use reveille::time::{Duration, now};
use std::future::pending;
use std::sync::Arc;
use std::sync::mpsc::channel;

/// The time where nothing has to happen before the deadline.
const SOON: Duration = Duration::from_millis(5);

/// Makes a fixture and shuts its runtime down, with more and more time, until the foreign code was
/// called and the target of its panic is known.
fn until_called(enter: impl Fn(Duration) -> (Arc<Fixture>, Option<PanicTarget>)) -> Entered {
    let mut limit = SOON;
    loop {
        match enter(limit) {
            (fixture, Some(target)) if fixture.was_called() => return (fixture, target),
            _ => limit *= 4,
        }
    }
}

fn new_fixture(kind: BackendKind, action: Action) -> Arc<Fixture> {
    Fixture::new(kind, action, |builder| builder)
}

pub(super) fn poll_in_a_shutdown(_: Arc<Fixture>, kind: BackendKind, action: Action) -> Entered {
    until_called(|limit| {
        let fixture = new_fixture(kind, action);
        let (acts, (send, answer)) = (fixture.clone(), channel());
        let handle = runtime().spawn(async move { acts.run_action() });
        drop(runtime().spawn(async move { send.send(handle.await).unwrap() }));
        shut_down(limit);
        let target = match answer.recv() {
            Ok(Err(error)) => {
                assert!(error.into_panic().is::<Planned>());
                Some(PanicTarget::ToTheHandle)
            }
            Ok(Ok(())) => Some(PanicTarget::Nothing),
            // The task that waits was dropped before.
            Err(_) => None,
        };
        (fixture, target)
    })
}

pub(super) fn drop_of_a_future_at_the_deadline(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let drops = Drops(fixture.clone());
    drop(runtime().spawn(async move {
        let _drops = drops;
        pending::<()>().await;
    }));
    (fixture, target(call(|| shut_down(SOON))))
}

pub(super) fn drop_of_a_closure_at_the_deadline(
    fixture: Arc<Fixture>,
    _: BackendKind,
    _: Action,
) -> Entered {
    let (gate, running) = occupy();
    let value = Drops(fixture.clone());
    let job = runtime().handle().spawn_blocking(move || drop(value));
    let ended = call(|| shut_down(SOON));
    drop(gate);
    running.wait().expect("it runs to its end");
    (fixture, ended.err().unwrap_or_else(|| cancelled(job)))
}

pub(super) fn wake_in_a_shutdown(_: Arc<Fixture>, kind: BackendKind, action: Action) -> Entered {
    until_called(|limit| {
        let fixture = new_fixture(kind, action);
        let (mut sleep, _waker) = armed(&fixture, Function::Wake);
        runtime().enter(|| sleep.reset(now()));
        let ended = call(|| shut_down(limit));
        (fixture, Some(target(ended)))
    })
}

pub(super) fn hook_in_a_shutdown(_: Arc<Fixture>, kind: BackendKind, action: Action) -> Entered {
    until_called(|limit| {
        let fixture = with_late(kind, action, |builder, late| {
            builder.on_park(move || late.run_action())
        });
        (fixture, Some(target(call(|| shut_down(limit)))))
    })
}
