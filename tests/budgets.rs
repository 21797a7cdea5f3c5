//! The budget of operations applies only to polls. Drops, hooks, handlers and wakers of other
//! executors do not take from the budget of a task, neither between polls nor inside of one.

mod support;

use reveille::event_loop::EventLoop;
use reveille::runtime::UnhandledPanic;
use reveille::task::{consume_budget, unconstrained};
use reveille::time::{Duration, sleep};
use reveille::{Builder, Runtime, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use support::{guarded, on_every_backend};

/// More operations than a poll may complete.
const MANY: usize = 300;

/// Polls elapsed sleeps one after the other, and returns how many are ready.
fn ready_sleeps() -> usize {
    (0..MANY)
        .take_while(|_| {
            let polled = pin!(sleep(Duration::ZERO)).poll(&mut Context::from_waker(Waker::noop()));
            polled.is_ready()
        })
        .count()
}

/// Uses up the budget of the current poll.
fn use_up() {
    assert!(ready_sleeps() < MANY, "it is in a poll");
    assert_eq!(ready_sleeps(), 0);
}

/// Counts, in its drop, the operations that complete.
struct InDrop(Rc<Cell<usize>>);

impl Drop for InDrop {
    fn drop(&mut self) {
        self.0.set(ready_sleeps());
    }
}

fn in_drop() -> (InDrop, Rc<Cell<usize>>) {
    let count = Rc::new(Cell::new(0));
    (InDrop(count.clone()), count)
}

/// A future that uses up its budget and is ready, and still holds a value.
struct Spent<T>(Option<T>);

impl<T: Unpin> Future for Spent<T> {
    type Output = Option<T>;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
        use_up();
        Poll::Ready(None)
    }
}

#[test]
fn drop_of_an_aborted_task_has_no_budget() {
    on_every_backend(|runtime| {
        let (guard, count) = in_drop();
        runtime.block_on(async {
            let aborted = spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            });
            yield_now().await;
            // Runs just before the drop.
            drop(spawn(async { use_up() }));
            aborted.abort();
            yield_now().await;
        });
        assert_eq!(count.get(), MANY);
    });
}

#[test]
fn drop_of_an_ended_future_and_its_output_has_no_budget() {
    on_every_backend(|runtime| {
        let (future, of_future) = in_drop();
        let (output, of_output) = in_drop();
        let (later, of_later) = in_drop();
        runtime.block_on(async {
            let task = spawn(Spent(Some(future)));
            assert!(task.await.unwrap().is_none());
            drop(spawn(async {
                use_up();
                output
            }));
            yield_now().await;
            // By the drop of the handle, in the poll of another task.
            let ended = spawn(async { later });
            yield_now().await;
            spawn(async {
                use_up();
                drop(ended);
                assert_eq!(ready_sleeps(), 0, "the budget of this poll is restored");
            })
            .await
            .unwrap();
        });
        let counts = [of_future.get(), of_output.get(), of_later.get()];
        assert_eq!(counts, [MANY; 3]);
    });
}

#[test]
fn hooks_and_panic_handlers_have_no_budget() {
    guarded("the default", || {
        let counts: Rc<RefCell<Vec<(&str, usize)>>> = Rc::default();
        let note = |name| {
            let counts = counts.clone();
            move || counts.borrow_mut().push((name, ready_sleeps()))
        };
        let handler = note("handler");
        let runtime = Builder::new()
            .on_park(note("park"))
            .on_unpark(note("unpark"))
            .unhandled_panic(UnhandledPanic::Call(Box::new(move |_| handler())))
            .build()
            .unwrap();
        runtime.block_on(async {
            drop(spawn(async {
                use_up();
                resume_unwind(Box::new("quiet"));
            }));
            yield_now().await;
            let sleep = sleep(Duration::from_millis(1));
            use_up();
            sleep.await;
        });
        let counts = counts.borrow();
        for name in ["park", "unpark", "handler"] {
            assert!(counts.iter().any(|seen| seen.0 == name), "{name}");
        }
        assert!(counts.iter().all(|seen| seen.1 == MANY), "{counts:?}");
    });
}

/// A waker of another executor. Each of its functions completes operations.
#[derive(Default)]
struct Foreign {
    least: AtomicUsize,
    calls: AtomicUsize,
}

impl Foreign {
    fn new() -> Arc<Foreign> {
        let least = AtomicUsize::new(MANY);
        Arc::new(Foreign {
            least,
            ..Foreign::default()
        })
    }

    fn note(&self) {
        self.least.fetch_min(ready_sleeps(), SeqCst);
        self.calls.fetch_add(1, SeqCst);
    }

    fn waker(self: &Arc<Self>) -> Waker {
        const VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);
        unsafe fn of<'a>(data: *const ()) -> &'a Foreign {
            // SAFETY: the data is that of an `Arc` which the waker holds.
            unsafe { &*data.cast::<Foreign>() }
        }
        unsafe fn clone(data: *const ()) -> RawWaker {
            // SAFETY: as in `of`.
            unsafe {
                of(data).note();
                Arc::increment_strong_count(data.cast::<Foreign>());
            }
            RawWaker::new(data, &VTABLE)
        }
        unsafe fn wake(data: *const ()) {
            // SAFETY: as in `of`; a wake by value is a wake and a drop.
            unsafe {
                wake_by_ref(data);
                drop_waker(data);
            }
        }
        unsafe fn wake_by_ref(data: *const ()) {
            // SAFETY: as in `of`.
            unsafe { of(data).note() }
        }
        unsafe fn drop_waker(data: *const ()) {
            // SAFETY: as in `of`; the count that the waker holds is given back.
            unsafe {
                of(data).note();
                Arc::decrement_strong_count(data.cast::<Foreign>());
            }
        }
        let data = Arc::into_raw(self.clone()).cast();
        // SAFETY: the functions above keep the contract of a waker, with an `Arc` as its data.
        unsafe { Waker::from_raw(RawWaker::new(data, &VTABLE)) }
    }

    /// Polls once with this waker.
    fn poll<F: Future + Unpin>(self: &Arc<Self>, future: &mut F) -> Poll<F::Output> {
        let waker = self.waker();
        let polled = Pin::new(future).poll(&mut Context::from_waker(&waker));
        std::mem::forget(waker);
        // SAFETY: it is the count of the waker above, which is given back without a call of its
        // drop.
        unsafe { Arc::decrement_strong_count(Arc::as_ptr(self)) };
        polled
    }

    /// Asserts that each call has made all of its operations.
    fn assert_unbound(&self, what: &str) {
        assert!(self.calls.load(SeqCst) > 0, "{what} calls nothing");
        assert_eq!(self.least.load(SeqCst), MANY, "{what}");
    }
}

#[test]
fn foreign_wakers_of_a_timer_have_no_budget() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            // Stored, replaced and dropped by a timer, in polls with a budget of 128 operations, or
            // with none left.
            let (one, two) = (Foreign::new(), Foreign::new());
            let (first, second) = (one.clone(), two.clone());
            spawn(async move {
                let mut timer = sleep(Duration::from_secs(3600));
                assert!(first.poll(&mut timer).is_pending());
                assert!(second.poll(&mut timer).is_pending());
                use_up();
                drop(timer);
            })
            .await
            .unwrap();
            one.assert_unbound("a timer's waker");
            two.assert_unbound("a timer's second waker");
        });
    });
}

#[test]
fn foreign_wakers_of_a_join_handle_have_no_budget() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (one, two) = (Foreign::new(), Foreign::new());
            let (first, second) = (one.clone(), two.clone());
            let mut task = spawn(async {
                yield_now().await;
                yield_now().await;
                use_up();
            });
            spawn(async move {
                assert!(first.poll(&mut task).is_pending());
                assert!(second.poll(&mut task).is_pending());
                // The end of the task wakes the second waker.
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    if task.is_finished() {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                })
                .await;
            })
            .await
            .unwrap();
            one.assert_unbound("a handle's waker");
            two.assert_unbound("a handle's second waker");
        });
    });
}

#[test]
fn foreign_waker_of_a_socket_has_no_budget() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (stream, _peer) = support::pair().await;
            let waiting = Foreign::new();
            let (stream, waits) = (Rc::new(stream), waiting.clone());
            let reads = stream.clone();
            spawn(async move {
                let mut buf = [0; 1];
                let mut read = Box::pin(reads.read(&mut buf));
                assert!(waits.poll(&mut read).is_pending());
                // The waiter stays when a `read` is dropped.
            })
            .await
            .unwrap();
            // The poll of another task closes the socket.
            spawn(async move {
                use_up();
                drop(stream);
                assert_eq!(ready_sleeps(), 0, "the budget of this poll is restored");
            })
            .await
            .unwrap();
            waiting.assert_unbound("a socket's waker");
        });
    });
}

#[test]
fn drop_of_a_runtime_inside_a_task_has_no_budget() {
    on_every_backend(|runtime| {
        let (guard, count) = in_drop();
        let inner = Runtime::new().unwrap();
        drop(inner.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        }));
        inner.turn(Some(Duration::ZERO)).unwrap();
        runtime.block_on(async move {
            use_up();
            drop(inner);
            assert_eq!(ready_sleeps(), 0, "the budget of this poll is restored");
        });
        assert_eq!(count.get(), MANY);
    });
}

#[test]
fn event_loop_handlers_inside_a_task_have_no_budget() {
    on_every_backend(|runtime| {
        let mut event_loop = EventLoop::new(0).unwrap();
        event_loop.defer(|event_loop| *event_loop.data_mut() = ready_sleeps());
        runtime.block_on(async {
            use_up();
            event_loop.turn(Some(Duration::ZERO)).unwrap();
            assert_eq!(ready_sleeps(), 0, "the budget of this poll is restored");
        });
        assert_eq!(*event_loop.data(), MANY);
    });
}

struct Nothing;
impl Wake for Nothing {
    fn wake(self: Arc<Self>) {
        drop(self);
    }
}

#[test]
fn poll_has_its_budget_with_any_waker() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let waker = Waker::from(Arc::new(Nothing));
            let mut ready = 0;
            while pin!(sleep(Duration::ZERO))
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
            {
                ready += 1;
            }
            assert_eq!(ready, 128);
        });
    });
}

#[test]
fn consume_budget_yields_when_none_is_left() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let others = Rc::new(Cell::new(0));
            let count = others.clone();
            let other = spawn(poll_fn::<(), _>(move |cx| {
                count.set(count.get() + 1);
                cx.waker().wake_by_ref();
                Poll::Pending
            }));
            yield_now().await;
            let before = others.get();
            // This poll began after the yield.
            for _ in 0..128 {
                consume_budget().await;
            }
            assert_eq!(others.get(), before);
            consume_budget().await;
            assert_eq!(others.get(), before + 1);
            other.abort();
        });
    });
    let polled = pin!(consume_budget()).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_ready(), "outside of a runtime");
}

#[test]
fn unconstrained_lifts_the_budget_and_restores_it() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            consume_budget().await;
            unconstrained(async {
                for _ in 0..MANY {
                    consume_budget().await;
                }
                // `yield_now` still yields.
                yield_now().await;
                assert_eq!(ready_sleeps(), MANY);
                // Nested calls restore it, too.
                assert_eq!(unconstrained(async { ready_sleeps() }).await, MANY);
            })
            .await;
            use_up();
            assert_eq!(unconstrained(async { ready_sleeps() }).await, MANY);
            assert_eq!(ready_sleeps(), 0, "the budget of this poll is restored");
        });
    });
}
