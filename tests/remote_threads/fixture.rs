//! A runtime in one of its states, and another thread that has a handle of it.

use super::support::panics::text_of;
use reveille::{Runtime, yield_now};
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

/// The state of the runtime while the other thread has the handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// In `block_on`.
    Running,
    /// Between two calls of `block_on`. It runs again once the thread waits.
    Ended,
    /// Dropped while the thread waits.
    Dropping,
    /// Dropped before.
    Dropped,
}

pub(crate) const STATES: [State; 4] = [
    State::Running,
    State::Ended,
    State::Dropping,
    State::Dropped,
];

impl State {
    pub(crate) fn is_gone(self) -> bool {
        matches!(self, State::Dropping | State::Dropped)
    }
}

/// A runtime in one of the states, and a value that must have been dropped at the end.
pub(crate) struct Fixture {
    pub(crate) state: State,
    pub(crate) runtime: Option<Runtime>,
    pub(crate) probe: Arc<()>,
}

/// The data of the other thread.
pub(crate) struct RemoteThread {
    pub(crate) state: State,
    pub(crate) probe: Arc<()>,
    waits: Event,
}

impl Fixture {
    pub(crate) fn new(state: State, probe: Arc<()>) -> Fixture {
        Fixture {
            state,
            runtime: Some(Runtime::new().expect("the chosen backend is available")),
            probe,
        }
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is dropped by `run`")
    }

    /// Creates a value on the runtime's thread.
    pub(crate) fn make<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime().block_on(future)
    }

    /// Runs `remote` with `thing` on another thread, while the runtime is in its state. Once that
    /// thread waits, the owner drops the runtime or runs `deliver`. Returns the result of the
    /// thread, or the text of its panic.
    pub(crate) fn run<T: Send, R: Send>(
        &mut self,
        thing: T,
        remote: impl FnOnce(T, &RemoteThread) -> R + Send,
        deliver: impl FnOnce(),
    ) -> Result<R, String> {
        let (state, waits, done) = (self.state, Event::new(), Event::new());
        let context = RemoteThread {
            state,
            probe: self.probe.clone(),
            waits: waits.clone(),
        };
        let over = done.clone();
        let body = move || {
            let result = catch_unwind(AssertUnwindSafe(|| remote(thing, &context)));
            // Ends the wait of the owner, although the thread has panicked.
            context.waits.set();
            drop(context);
            over.set();
            result.map_err(message)
        };
        thread::scope(|scope| {
            let thread = match state {
                State::Running => self.runtime().block_on(async {
                    let thread = scope.spawn(body);
                    waits.wait().await;
                    deliver();
                    done.wait().await;
                    thread
                }),
                State::Ended => {
                    let thread = scope.spawn(body);
                    waits.block();
                    self.runtime().block_on(async {
                        deliver();
                        done.wait().await;
                    });
                    thread
                }
                State::Dropping => {
                    let thread = scope.spawn(body);
                    waits.block();
                    self.runtime = None;
                    thread
                }
                State::Dropped => {
                    self.runtime = None;
                    scope.spawn(body)
                }
            };
            thread.join().expect("its panics are caught")
        })
    }

    /// Checks that the runtime has dropped everything that the thread had.
    pub(crate) fn clear(&mut self, cell: &str) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        // Handles the last messages of the thread.
        runtime.turn(Some(Duration::ZERO)).unwrap();
        let left = format!("{runtime:?}");
        assert!(left.contains("fds: 0, timers: 0"), "{cell}: {left}");
        let handle = runtime.handle();
        runtime.block_on(async {
            let alive = reveille::spawn(async { 7 });
            assert_eq!(alive.await.unwrap(), 7, "{cell}: it works");
        });
        drop((runtime, handle));
    }
}

impl RemoteThread {
    /// Lets the owner continue.
    pub(crate) fn waits(&self) {
        self.waits.set();
    }

    /// Polls a future to its end on this thread. Lets the owner continue when it waits.
    pub(crate) fn wait<F: Future>(&self, future: F) -> F::Output {
        struct Unpark {
            thread: thread::Thread,
            _probe: Arc<()>,
        }
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.thread.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark {
            thread: thread::current(),
            _probe: self.probe.clone(),
        }));
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            self.waits();
            thread::park();
        }
    }
}

/// An event that happens once. Threads and tasks can wait for it.
#[derive(Clone)]
pub(crate) struct Event(Arc<(Mutex<Happened>, Condvar)>);

/// Whether the event has happened, and the wakers of tasks that wait.
type Happened = (bool, Vec<Waker>);

impl Event {
    pub(crate) fn new() -> Event {
        Event(Arc::default())
    }

    pub(crate) fn set(&self) {
        let wakers = {
            let mut state = self.0.0.lock().unwrap();
            state.0 = true;
            std::mem::take(&mut state.1)
        };
        self.0.1.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.0.lock().unwrap().0
    }

    pub(crate) fn block(&self) {
        let state = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(state, |state| !state.0).unwrap());
    }

    pub(crate) async fn wait(&self) {
        poll_fn(|cx| {
            let mut state = self.0.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Returns the text of a caught panic.
pub(crate) fn message(payload: Box<dyn std::any::Any + Send>) -> String {
    text_of(&*payload)
}

#[track_caller]
pub(crate) fn is_gone<T>(result: io::Result<T>) {
    match result {
        Ok(_) => panic!("it did not fail"),
        Err(error) => assert!(error.to_string().contains("gone"), "{error}"),
    }
}

/// A future that is `Send` and was polled once on the runtime's thread.
pub(crate) fn half_polled<T>(
    fixture: &Fixture,
    future: impl Future<Output = T> + Send + 'static,
) -> Pin<Box<dyn Future<Output = T> + Send>> {
    let mut future: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(future);
    fixture.make(async {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await;
        assert!(polled, "there was nothing to wait for");
    });
    future
}

/// Runs `future` in a task and passes the task's waker to the other thread. That thread wakes the
/// task, which is polled again and still waits. Then the thread calls `deliver`, which ends the
/// future.
pub(crate) fn wake_a_task(
    fixture: &mut Fixture,
    future: impl Future<Output = ()> + 'static,
    deliver: impl FnOnce() + Send,
) {
    let mut future = Box::pin(future);
    let (again, finished) = (Event::new(), Event::new());
    let (polls, slot) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
    let task = fixture.runtime().spawn({
        let (again, finished) = (again.clone(), finished.clone());
        let (polls, slot) = (polls.clone(), slot.clone());
        poll_fn(move |cx| {
            if polls.fetch_add(1, Ordering::Relaxed) == 0 {
                *slot.lock().unwrap() = Some(cx.waker().clone());
            } else {
                again.set();
            }
            let polled = future.as_mut().poll(cx);
            if polled.is_ready() {
                finished.set();
            }
            polled
        })
    });
    fixture.make(async {
        while polls.load(Ordering::Relaxed) == 0 {
            yield_now().await;
        }
    });
    let waker = slot.lock().unwrap().take().unwrap();
    let wakes = move |waker: Waker, remote: &RemoteThread| {
        remote.waits();
        for _ in 0..3 {
            waker.wake_by_ref();
        }
        let other = waker.clone();
        waker.wake();
        if !remote.state.is_gone() {
            again.block();
            assert!(!finished.is_set(), "the wake alone must not end it");
            deliver();
            finished.block();
        }
        other.wake();
    };
    fixture.run(waker, wakes, || {}).unwrap();
    match &fixture.runtime {
        Some(runtime) => runtime.block_on(task).unwrap(),
        None => drop(task),
    }
}
