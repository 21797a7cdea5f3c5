//! No drop in this crate panics: if the drop of a user's value panics, the panic goes to the policy
//! for unhandled panics.
//!
//! Each value here panics in its drop. If such a panic left a drop while the thread unwinds, the
//! process would abort.

#[path = "support/foreign.rs"]
mod foreign;

use foreign::wait;
use reveille::net::{TcpListener, TcpStream};
use reveille::runtime::{PanicReport, UnhandledPanic};
use reveille::time::sleep;
use reveille::{Builder, JoinHandle, Runtime, yield_now};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

/// Panics with its name when it is dropped, even while the thread unwinds.
struct Bad(&'static str);

impl Drop for Bad {
    fn drop(&mut self) {
        panic_any(self.0);
    }
}

/// A waker that does nothing.
impl Wake for Bad {
    fn wake(self: Arc<Self>) {
        drop(self);
    }
}

/// A future that never ends.
impl Future for Bad {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Returns the text of a payload.
fn text(payload: Box<dyn Any + Send>) -> &'static str {
    payload.downcast_ref().copied().unwrap_or("no text")
}

/// Returns a runtime, and what its policy has received.
fn runtime() -> (Runtime, Rc<RefCell<Vec<&'static str>>>) {
    let reported = Rc::new(RefCell::new(Vec::new()));
    let into = reported.clone();
    let call = move |report: PanicReport| into.borrow_mut().push(text(report.into_payload()));
    let policy = UnhandledPanic::Call(Box::new(call));
    let runtime = Builder::new().unhandled_panic(policy).build();
    (runtime.expect("a backend opens"), reported)
}

/// Returns the handle of a task that has ended with that output.
fn ended<T: 'static>(runtime: &Runtime, output: T) -> JoinHandle<T> {
    let task = runtime.spawn(async move { output });
    while !runtime.enter(|| task.is_finished()) {
        runtime.block_on(yield_now());
    }
    task
}

#[test]
fn join_handle_dropped_in_its_runtime() {
    let (runtime, reported) = runtime();
    let (one, other) = (ended(&runtime, Bad("root")), ended(&runtime, Bad("task")));
    runtime.block_on(async {
        drop(one);
        reveille::spawn(async move { drop(other) }).await.unwrap();
        yield_now().await;
    });
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(*reported.borrow(), ["root", "task"]);
}

#[test]
fn join_handle_dropped_between_two_loops() {
    let (runtime, reported) = runtime();
    drop(ended(&runtime, Bad("between")));
    runtime.turn(Some(Duration::ZERO)).unwrap();
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(*reported.borrow(), ["between"]);
    // `is_finished` outside of the loop gives the handle a reply.
    let task = ended(&runtime, Bad("reply"));
    while !task.is_finished() {
        runtime.turn(Some(Duration::ZERO)).unwrap();
    }
    drop(task);
    runtime.turn(Some(Duration::ZERO)).unwrap();
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(*reported.borrow(), ["between", "reply"]);
}

#[test]
fn join_handle_dropped_on_another_thread() {
    let (runtime, reported) = runtime();
    let with_reply = ended(&runtime, Bad("with a reply"));
    let without = ended(&runtime, Bad("without"));
    let other = thread::spawn(move || {
        drop(without);
        while !with_reply.is_finished() {
            thread::yield_now();
        }
        drop(with_reply);
    });
    while !other.is_finished() || reported.borrow().len() < 2 {
        runtime.turn(Some(Duration::ZERO)).unwrap();
    }
    other.join().expect("no drop has panicked");
    reported.borrow_mut().sort_unstable();
    assert_eq!(*reported.borrow(), ["with a reply", "without"]);
}

#[test]
fn join_handle_dropped_after_its_runtime() {
    let (runtime, reported) = runtime();
    let here = ended(&runtime, Bad("dropped with the runtime"));
    let elsewhere = ended(&runtime, Bad("dropped with the handle"));
    while !elsewhere.is_finished() {
        runtime.turn(Some(Duration::ZERO)).unwrap();
    }
    drop(runtime);
    assert_eq!(*reported.borrow(), ["dropped with the runtime"]);
    drop((here, elsewhere));
    assert_eq!(
        reported.borrow().len(),
        1,
        "no handle and no loop is left to report to"
    );
}

#[test]
fn handles_dropped_while_the_thread_unwinds() {
    let (runtime, reported) = runtime();
    let tasks: Vec<_> = (0..3).map(|_| ended(&runtime, Bad("output"))).collect();
    let aborting = ended(&runtime, Bad("aborting")).abort_on_drop();
    let failed: JoinHandle<()> = runtime.spawn(async { panic_any(Bad("payload")) });
    let out = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async move {
            let _error = failed.await.unwrap_err();
            let _dropped_by_the_unwinding = (tasks, aborting);
            panic_any("the root");
        })
    }));
    assert_eq!(out.map_err(text), Err("the root"));
    runtime.turn(Some(Duration::ZERO)).unwrap();
    reported.borrow_mut().sort_unstable();
    assert_eq!(
        *reported.borrow(),
        ["aborting", "output", "output", "output", "payload"]
    );
}

#[test]
fn join_error_dropped_unread() {
    let (runtime, reported) = runtime();
    let fails = || async { panic_any(Bad("payload")) };
    runtime.block_on(async {
        let error = reveille::spawn(fails()).await.unwrap_err();
        drop(error);
        let error = reveille::spawn(fails()).await.unwrap_err();
        assert_eq!(std::io::Error::from(error).to_string(), "task panicked");
        yield_now().await;
    });
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(*reported.borrow(), ["payload"; 2]);
    let error = runtime.block_on(runtime.spawn(fails())).unwrap_err();
    // Dropped outside of every runtime.
    drop(error);
}

#[test]
fn isolate_drops_a_payload_whose_drop_panics() {
    let runtime = Runtime::new().expect("a backend opens");
    drop(runtime.spawn(async { panic_any(Bad("one")) }));
    runtime.block_on(yield_now());
    runtime.block_on(yield_now());
    drop(runtime.spawn(async { panic_any(Bad("two")) }));
    let out = catch_unwind(AssertUnwindSafe(move || {
        drop(runtime.spawn(async { panic_any(Bad("three")) }));
        // The unwinding drops the runtime.
        runtime.block_on(async move {
            yield_now().await;
            drop(reveille::spawn(async { panic_any(Bad("four")) }));
            panic_any("the root");
        });
    }));
    assert_eq!(out.map_err(text), Err("the root"));
}

#[test]
fn propagate_resumes_one_panic_in_the_loop_and_none_in_a_drop() {
    let policy = || Builder::new().unhandled_panic(UnhandledPanic::Propagate);
    let runtime = policy().build().expect("a backend opens");
    for name in ["one", "two"] {
        drop(runtime.spawn(async move { panic_any(Bad(name)) }));
    }
    let out = catch_unwind(AssertUnwindSafe(move || {
        // The closure owns the runtime, so the remaining panics are reported while it unwinds.
        runtime.block_on(std::future::pending::<()>());
    }));
    let payload = out.unwrap_err();
    assert_eq!(payload.downcast_ref::<Bad>().map(|bad| bad.0), Some("one"));
    catch_unwind(AssertUnwindSafe(|| drop(payload))).unwrap_err();

    let runtime = policy().build().expect("a backend opens");
    drop(runtime.spawn(Bad("future")));
    runtime.block_on(yield_now());
    drop(runtime);
}

#[test]
fn call_handler_may_panic_in_the_loop_but_not_in_a_drop() {
    let calls = Rc::new(Cell::new(0));
    let counted = calls.clone();
    let call = move |_: PanicReport| {
        counted.set(counted.get() + 1);
        // The payload is dropped by the unwinding, or before.
        panic_any("the handler");
    };
    let policy = UnhandledPanic::Call(Box::new(call));
    let runtime = Builder::new()
        .unhandled_panic(policy)
        .build()
        .expect("a backend opens");
    let tasks: Vec<_> = (0..3).map(|_| ended(&runtime, Bad("output"))).collect();
    let out = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async move {
            // All panics become known at once.
            drop(tasks);
            std::future::pending::<()>().await;
        });
    }));
    assert_eq!(out.map_err(text), Err("the handler"));
    assert_eq!(
        calls.get(),
        3,
        "the others are reported during the unwinding"
    );
    runtime.block_on(async {
        drop(reveille::spawn(Bad("future")));
    });
    drop(runtime);
    assert_eq!(calls.get(), 4);
}

#[test]
fn spawn_on_a_dropped_runtime_reports_a_drop_panic_to_the_handle() {
    let (runtime, reported) = runtime();
    let handle = runtime.handle();
    drop(runtime);
    let error = wait(handle.spawn(Bad("future"))).unwrap_err();
    assert_eq!(text(error.into_panic()), "future");
    // The handle is dropped while the thread unwinds.
    let out = catch_unwind(AssertUnwindSafe(|| {
        let _late = handle.spawn(Bad("future"));
        panic_any("first");
    }));
    assert_eq!(out.map_err(text), Err("first"));
    assert!(reported.borrow().is_empty());
}

#[test]
fn spawn_in_a_drop_while_the_runtime_is_dropped() {
    struct Spawns;
    impl Drop for Spawns {
        fn drop(&mut self) {
            drop(reveille::spawn(Bad("spawned too late")));
        }
    }
    let (runtime, reported) = runtime();
    let spawns = (Spawns, Spawns);
    drop(runtime.spawn(async move {
        let _spawns = spawns;
        std::future::pending::<()>().await;
    }));
    runtime.block_on(yield_now());
    drop(runtime);
    assert_eq!(*reported.borrow(), ["spawned too late"; 2]);
}

/// Polls with a waker of which the crate keeps the only clone that is left.
fn poll_once(future: Pin<&mut impl Future>, name: &'static str) {
    let waker = Waker::from(Arc::new(Bad(name)));
    let polled = future.poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
}

#[test]
fn waiting_futures_dropped_with_a_waker_whose_drop_panics() {
    let (runtime, reported) = runtime();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idle = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let out = catch_unwind(AssertUnwindSafe(|| {
            let mut sleep = Box::pin(sleep(Duration::from_secs(3600)));
            let mut task = reveille::spawn(std::future::pending::<()>());
            let mut readable = Box::pin(stream.readable());
            let mut accept = Box::pin(idle.accept());
            poll_once(sleep.as_mut(), "sleep");
            poll_once(Pin::new(&mut task), "task");
            poll_once(readable.as_mut(), "readable");
            poll_once(accept.as_mut(), "accept");
            panic_any("first");
        }));
        assert_eq!(out.map_err(text), Err("first"));
        // Waking the waker that `accept` has stored drops it.
        drop((stream, listener, idle));
        yield_now().await;
    });
    runtime.turn(Some(Duration::ZERO)).unwrap();
    reported.borrow_mut().sort_unstable();
    assert_eq!(*reported.borrow(), ["accept", "readable", "sleep", "task"]);
}

#[test]
fn sockets_dropped_with_a_waiter_whose_wake_panics() {
    /// Panics only when it is woken.
    struct BadWake;
    impl Wake for BadWake {
        fn wake(self: Arc<Self>) {
            panic_any("wake");
        }
    }
    let (runtime, reported) = runtime();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let waker = Waker::from(Arc::new(BadWake));
        let polled = pin!(listener.accept()).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        let out = catch_unwind(AssertUnwindSafe(move || {
            let _dropped_by_the_unwinding = listener;
            panic_any("first");
        }));
        assert_eq!(out.map_err(text), Err("first"));
        yield_now().await;
    });
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(*reported.borrow(), ["wake"]);
}
