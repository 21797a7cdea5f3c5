//! `task::id` and `task::try_id`: in polls, and in the drops of futures and outputs.

use reveille::task::{self, Id, try_id};
use reveille::{Builder, JoinHandle, Runtime, yield_now};
use std::cell::RefCell;
use std::future::Future;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

fn runtime() -> Runtime {
    Runtime::new().expect("a backend is available")
}

/// Sends the id of the task that drops it.
struct SendsId(mpsc::Sender<Option<Id>>);

impl Drop for SendsId {
    fn drop(&mut self) {
        self.0.send(try_id()).expect("the receiver is alive");
    }
}

fn sends_id() -> (SendsId, mpsc::Receiver<Option<Id>>) {
    let (sender, ids) = mpsc::channel();
    (SendsId(sender), ids)
}

fn only(ids: &mpsc::Receiver<Option<Id>>) -> Option<Id> {
    let names: Vec<_> = ids.try_iter().collect();
    assert_eq!(names.len(), 1, "dropped once");
    names[0]
}

/// A future that keeps its `SendsId` until it is dropped, even after it has ended or panicked.
struct Holds {
    _sends: SendsId,
    polled: fn() -> Poll<()>,
}

impl Future for Holds {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        (self.polled)()
    }
}

/// Returns the handle of a task that has ended with that output.
fn ended<T: 'static>(runtime: &Runtime, output: T) -> JoinHandle<T> {
    let task = runtime.spawn(async move { output });
    runtime.block_on(async {
        while !task.is_finished() {
            yield_now().await;
        }
    });
    task
}

#[test]
fn id_is_that_of_the_task_that_is_polled() {
    let outer = reveille::block_on(async {
        assert_eq!(try_id(), None);
        let task = reveille::spawn(async {
            let inner = reveille::spawn(async { task::id() });
            let mine = task::id();
            assert_eq!(inner.id(), inner.await.unwrap());
            yield_now().await;
            assert_eq!(task::id(), mine);
            mine
        });
        let name = task.id();
        assert_eq!(task.await.unwrap(), name);
        name
    });
    assert_eq!(try_id(), None);
    assert!(outer.to_string().parse::<u64>().is_ok());
}

#[test]
fn id_panics_where_no_task_runs() {
    let message = |caught: thread::Result<Id>| *caught.unwrap_err().downcast::<&str>().unwrap();
    let outside = message(catch_unwind(task::id));
    assert!(outside.contains("try_id"), "{outside}");
    let root = message(catch_unwind(|| reveille::block_on(async { task::id() })));
    assert_eq!(root, outside);
}

#[test]
fn id_of_a_future_that_is_dropped() {
    let runtime = runtime();
    let pending: fn() -> Poll<()> = || Poll::Pending;
    for polled in [|| Poll::Ready(()), || panic!("in the poll"), pending] {
        let (sends, ids) = sends_id();
        let task = runtime.spawn(Holds {
            _sends: sends,
            polled,
        });
        let name = task.id();
        runtime.block_on(async {
            yield_now().await;
            task.abort();
            let _ended = task.await;
        });
        assert_eq!(only(&ids), Some(name));
    }
    let (sends, ids) = sends_id();
    let task = runtime.spawn(Holds {
        _sends: sends,
        polled: pending,
    });
    drop(runtime);
    assert_eq!(only(&ids), Some(task.id()), "at the runtime's end");
}

#[test]
fn id_in_the_drop_of_an_output_that_no_handle_takes() {
    let runtime = runtime();
    // The handle is dropped first.
    let (output, ids) = sends_id();
    let task = runtime.spawn(async { output });
    let name = task.id();
    drop(task);
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(only(&ids), Some(name));
    // The handle is dropped later: in the root, in another task, between two loops.
    let (output, ids) = sends_id();
    let task = ended(&runtime, output);
    let name = task.id();
    runtime.block_on(async { drop(task) });
    assert_eq!(only(&ids), Some(name));
    let (output, ids) = sends_id();
    let task = ended(&runtime, output);
    let name = task.id();
    runtime.block_on(async {
        let dropper = reveille::spawn(async move {
            drop(task);
            task::id()
        });
        assert_eq!(dropper.id(), dropper.await.unwrap(), "its own id again");
    });
    assert_eq!(only(&ids), Some(name));
    let (output, ids) = sends_id();
    let task = ended(&runtime, output);
    let name = task.id();
    drop(task);
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(only(&ids), Some(name));
    // Never.
    let (output, ids) = sends_id();
    let task = ended(&runtime, output);
    drop(runtime);
    assert_eq!(only(&ids), Some(task.id()));
}

#[test]
fn id_in_the_drop_of_an_output_on_another_thread() {
    let runtime = runtime();
    let (output, ids) = sends_id();
    let task = ended(&runtime, output);
    let name = task.id();
    let handle = runtime.handle();
    let (other_output, other_ids) = sends_id();
    let (ready, is_ready) = mpsc::channel();
    let other = thread::spawn(move || {
        // Spawned on this thread, so its id is a local one.
        let born_here = handle.spawn(async { other_output });
        let other_name = born_here.id();
        while !(task.is_finished() && born_here.is_finished()) {
            thread::yield_now();
        }
        reveille::block_on(async {
            let dropper = reveille::spawn(async move {
                drop((task, born_here));
                task::id()
            });
            assert_eq!(dropper.id(), dropper.await.unwrap());
        });
        ready.send(other_name).unwrap();
    });
    let other_name = loop {
        runtime.turn(Some(Duration::ZERO)).unwrap();
        let is_over = other.is_finished();
        if let Ok(name) = is_ready.try_recv() {
            break name;
        }
        assert!(!is_over, "it has failed");
    };
    other.join().unwrap();
    assert_eq!(only(&ids), Some(name));
    assert_eq!(only(&other_ids), Some(other_name));
    // Dropped by the loop, after the handle.
    let (output, ids) = sends_id();
    let handle = runtime.handle();
    let name = thread::spawn(move || handle.spawn(async { output }).id())
        .join()
        .unwrap();
    runtime.turn(Some(Duration::ZERO)).unwrap();
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(only(&ids), Some(name));
}

#[test]
fn id_of_another_runtime_that_is_run_by_the_drop_of_an_output() {
    struct Runs(Rc<RefCell<Vec<Option<Id>>>>);
    impl Drop for Runs {
        fn drop(&mut self) {
            let inner = Builder::new().build().unwrap();
            let task = inner.spawn(async { task::id() });
            // So that the two ids differ.
            drop(inner.spawn(async {}));
            let last = inner.spawn(async { task::id() });
            self.0.borrow_mut().push(try_id());
            inner.turn(Some(Duration::ZERO)).unwrap();
            inner.enter(|| {
                assert!(task.is_finished());
                let name = last.id();
                let mut last = Box::pin(last);
                let mut cx = Context::from_waker(std::task::Waker::noop());
                let Poll::Ready(seen) = last.as_mut().poll(&mut cx) else {
                    panic!("it has not ended");
                };
                assert_eq!(seen.unwrap(), name);
            });
            self.0.borrow_mut().push(try_id());
        }
    }
    let seen = Rc::new(RefCell::new(Vec::new()));
    let runtime = runtime();
    let output = Runs(seen.clone());
    let task = runtime.spawn(async { output });
    let name = task.id();
    drop(task);
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(*seen.borrow(), [Some(name); 2]);
}
