//! Join handles and wakers of tasks.

use super::fixture::{Event, Fixture, RemoteThread, wake_a_task};
use reveille::{JoinHandle, yield_now};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::thread;

/// A task that ends when the event happens, with an output that must be dropped.
pub(crate) fn task(fixture: &Fixture) -> (JoinHandle<Arc<()>>, Event) {
    let (ends, probe) = (Event::new(), fixture.probe.clone());
    let end = ends.clone();
    let task = fixture.runtime().spawn(async move {
        end.wait().await;
        probe
    });
    fixture.make(yield_now());
    (task, ends)
}

pub(crate) fn join_poll(fixture: &mut Fixture) {
    let (task, ends) = task(fixture);
    let joins = |task: JoinHandle<Arc<()>>, remote: &RemoteThread| {
        let joined = remote.wait(task);
        if remote.state.is_gone() {
            let error = joined.unwrap_err();
            assert!(error.is_runtime_gone(), "{error}");
        } else {
            joined.unwrap();
        }
    };
    fixture.run(task, joins, || ends.set()).unwrap();
}

pub(crate) fn join_wake(fixture: &mut Fixture) {
    let (task, ends) = task(fixture);
    let joins = async move { drop(task.await.unwrap()) };
    wake_a_task(fixture, joins, move || ends.set());
}

pub(crate) fn join_drop(fixture: &mut Fixture) {
    for polled in [false, true] {
        if fixture.runtime.is_none() {
            return;
        }
        let (released, probe) = (Event::new(), fixture.probe.clone());
        let (release, ended) = (released.clone(), Event::new());
        let ends = ended.clone();
        let mut task = fixture.runtime().spawn(async move {
            released.wait().await;
            ends.set();
            probe
        });
        if polled {
            fixture.make(poll_fn(|cx| {
                assert!(Pin::new(&mut task).poll(cx).is_pending());
                Poll::Ready(())
            }));
        }
        let drops = move |task, remote: &RemoteThread| {
            drop(task);
            remote.waits();
            release.set();
            if !remote.state.is_gone() {
                // Detached, it continues.
                ended.block();
            }
        };
        fixture.run(task, drops, || {}).unwrap();
    }
}

pub(crate) fn waker_poll(fixture: &mut Fixture) {
    // A future on the other thread waits for a task of the runtime, which ends or is dropped.
    struct SetOnDrop(Event);
    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            self.0.set();
        }
    }
    let (event, starts) = (Event::new(), Event::new());
    let (sets, start) = (SetOnDrop(event.clone()), starts.clone());
    drop(fixture.runtime().spawn(async move {
        let _sets = sets;
        start.wait().await;
    }));
    fixture.make(yield_now());
    let waits = |event: Event, remote: &RemoteThread| remote.wait(event.wait());
    fixture.run(event, waits, || starts.set()).unwrap();
}

pub(crate) fn waker_wake(fixture: &mut Fixture) {
    // The waker of a root: it wakes `block_on`, which may have returned already.
    let (roots, probe) = (Event::new(), fixture.probe.clone());
    let old = fixture.make(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
    let root = roots.clone();
    let waits = async move {
        let _probe = probe;
        root.wait().await;
    };
    old.wake_by_ref();
    let wakes = Arc::new(AtomicUsize::new(0));
    let woken = wakes.clone();
    let old_too = old.clone();
    thread::scope(|scope| {
        scope.spawn(|| old_too.wake_by_ref());
    });
    wake_a_task(fixture, waits, move || {
        old.wake();
        woken.fetch_add(1, Ordering::Relaxed);
        roots.set();
    });
    let delivered = usize::from(!fixture.state.is_gone());
    assert_eq!(wakes.load(Ordering::Relaxed), delivered);
}

pub(crate) fn waker_drop(fixture: &mut Fixture) {
    let probe = fixture.probe.clone();
    let task = fixture.runtime().spawn(async move {
        let _probe = probe;
        poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
    });
    let waker = fixture.make(task).unwrap();
    let drops = |waker: Waker, remote: &RemoteThread| {
        let clones = [waker.clone(), waker.clone()];
        drop(waker);
        remote.waits();
        drop(clones);
    };
    fixture.run(waker, drops, || {}).unwrap();
}
