//! Tests of `Tasks` without a reactor: they count polls, wakes and drops after each step.

use std::cell::{Cell, RefCell};
use std::future::{self, Future};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use super::*;

mod abort;
mod join_set;
mod local;
mod model;
mod panics;
mod remote;
mod shutdown;

/// A waker that counts its wakes: the `unpark` of a runtime, or the waker of another executor.
#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The tasks of one runtime, and how often their owner was unparked.
struct TestBed {
    tasks: Tasks,
    unparked: Arc<Count>,
}

impl TestBed {
    fn new() -> TestBed {
        let unparked = Arc::new(Count::default());
        let tasks = Tasks::new(unparked.clone().into(), 128, true).expect("a place");
        TestBed { tasks, unparked }
    }

    /// Runs `f` inside the runtime.
    fn enter<R>(&self, f: impl FnOnce(&Tasks) -> R) -> R {
        CURRENT.enter(&self.tasks, || f(&self.tasks))
    }

    /// Runs one task; `None` when the queue is empty.
    fn step(&self) -> Option<Outcome> {
        self.enter(|tasks| {
            tasks.handle_messages();
            let outcome = Runner::new(tasks).run(&mut 1);
            (outcome != Outcome::Idle).then_some(outcome)
        })
    }

    /// Runs until the queue is empty; returns the number of runs.
    fn settle(&self) -> usize {
        std::iter::from_fn(|| self.step()).count()
    }

    fn spawn<F: Future + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.enter(|tasks| tasks.spawn(future, None))
    }

    /// Polls a handle inside the runtime, with a waker that does nothing.
    fn poll<T>(&self, handle: &mut JoinHandle<T>) -> Poll<Result<T, JoinError>> {
        self.enter(|_| poll_with(handle, Waker::noop()))
    }

    /// Returns the output of a task that has ended.
    fn join<T>(&self, mut handle: JoinHandle<T>) -> Result<T, JoinError> {
        match self.poll(&mut handle) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("not ended"),
        }
    }
}

fn poll_with<T>(handle: &mut JoinHandle<T>, waker: &Waker) -> Poll<Result<T, JoinError>> {
    Pin::new(handle).poll(&mut Context::from_waker(waker))
}

/// The record of one `Probe`.
#[derive(Default)]
struct Seen {
    polls: Cell<usize>,
    drops: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    finish: Cell<bool>,
}

/// A future that counts its polls and drops, stores its waker, and ends once `finish` is set. Its
/// output counts its drop as 100.
struct Probe(Rc<Seen>);

struct Output(Rc<Seen>);

impl Drop for Output {
    fn drop(&mut self) {
        self.0.drops.set(self.0.drops.get() + 100);
    }
}

impl Future for Probe {
    type Output = Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        let seen = &self.0;
        seen.polls.set(seen.polls.get() + 1);
        *seen.waker.borrow_mut() = Some(cx.waker().clone());
        if seen.finish.get() {
            Poll::Ready(Output(seen.clone()))
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.drops.set(self.0.drops.get() + 1);
    }
}

impl Seen {
    fn wake(&self) {
        self.waker.borrow().as_ref().expect("polled").wake_by_ref();
    }

    fn counts(&self) -> (usize, usize) {
        (self.polls.get(), self.drops.get())
    }
}

fn probe() -> (Rc<Seen>, Probe) {
    let seen = Rc::<Seen>::default();
    (seen.clone(), Probe(seen))
}

/// Runs `f` when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn text(payload: impl Into<Unobserved>) -> &'static str {
    let payload = payload.into().payload;
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("?")
}

#[test]
fn sizes_are_small() {
    assert_eq!(size_of::<JoinError>(), size_of::<usize>());
    assert_eq!(size_of::<Result<(), JoinError>>(), size_of::<usize>());
    if size_of::<usize>() == 8 {
        assert_eq!(slab::SLOT_SIZE, 32);
        assert_eq!(raw::size_of_task(&async {}), 16);
        assert_eq!(raw::size_of_task(&future::ready([0_u8; 63])), 8 + 64);
        assert_eq!(size_of::<JoinHandle<String>>(), 32);
    }
}

#[test]
fn auto_traits_are_as_promised() {
    fn send_sync<T: Send + Sync + Unpin>() {}
    fn unpin<T: Unpin>() {}
    send_sync::<JoinHandle<Cell<u8>>>();
    send_sync::<AbortHandle>();
    send_sync::<JoinError>();
    send_sync::<Remote>();
    unpin::<JoinHandle<std::marker::PhantomPinned>>();
    trait NotSend<A> {
        fn answer() -> bool {
            true
        }
    }
    impl<T: ?Sized> NotSend<()> for T {}
    struct IsSend;
    impl<T: ?Sized + Send> NotSend<IsSend> for T {}
    // If these types were `Send`, both impls would apply, and the calls would not compile.
    assert!(<JoinHandle<Rc<u8>> as NotSend<_>>::answer());
    assert!(<Tasks as NotSend<_>>::answer());
}

#[test]
fn spawn_runs_and_joins() {
    let bed = TestBed::new();
    let (seen, future) = probe();
    let mut handle = bed.spawn(future);
    assert_eq!(seen.counts(), (0, 0));
    assert!(bed.poll(&mut handle).is_pending());
    assert_eq!(bed.settle(), 1);
    assert_eq!(seen.counts(), (1, 0));
    seen.finish.set(true);
    assert_eq!(bed.settle(), 0);
    bed.enter(|_| seen.wake());
    bed.enter(|_| seen.wake());
    assert_eq!(bed.tasks.queued(), 1);
    assert_eq!(bed.settle(), 1);
    assert_eq!(seen.counts(), (2, 1));
    assert!(bed.enter(|_| handle.is_finished()));
    assert_eq!(bed.tasks.live(), 1);
    let output = bed.join(handle);
    assert!(output.is_ok());
    assert_eq!(seen.counts(), (2, 1));
    drop(output);
    assert_eq!(seen.counts(), (2, 101));
    assert_eq!((bed.tasks.live(), bed.unparked.get()), (0, 0));
}
