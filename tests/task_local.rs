//! `task_local!` and `task::LocalKey`: which value is seen where, and what is left after panics and
//! drops.

mod support;

use reveille::task::{AccessError, LocalKey, TaskLocalFuture, yield_now};
use reveille::time::{Duration, sleep};
use reveille::{Runtime, spawn};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use support::panics::message_of;
use support::{on_every_backend, wait};

reveille::task_local! {
    /// Documented, private.
    static NUMBER: u32;
    #[allow(dead_code, reason = "its attribute is what is tested")]
    pub(crate) static NAME: String;
    static SHARED: Rc<Cell<u32>>;
    static LAST_WITHOUT_SEMICOLON: (u8, u8)
}

reveille::task_local! {}

/// A key is a static of a nameable type.
static KEY: &LocalKey<u32> = &NUMBER;

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn value_is_seen_in_its_scope_only() {
    on_every_backend(|runtime| {
        assert_eq!(NUMBER.try_get(), Err(AccessError));
        runtime.block_on(async {
            let task = spawn(NUMBER.scope(1, async {
                assert_eq!(NUMBER.get(), 1);
                yield_now().await;
                sleep(Duration::from_millis(1)).await;
                assert_eq!(KEY.with(|n| n + 1), 2);
                // Another key, and another task.
                assert_eq!(NAME.try_with(String::len), Err(AccessError));
                let inner = spawn(async { NUMBER.try_get() });
                assert_eq!(inner.await.unwrap(), Err(AccessError));
                NUMBER.get()
            }));
            yield_now().await;
            assert_eq!(NUMBER.try_get(), Err(AccessError), "between its polls");
            assert_eq!(task.await.unwrap(), 1);
        });
        assert_eq!(NUMBER.try_get(), Err(AccessError));
    });
}

#[test]
fn tasks_have_values_of_their_own() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let tasks = Vec::from_iter((0..20).map(|n| {
                spawn(SHARED.scope(Rc::default(), async move {
                    for _ in 0..n {
                        SHARED.with(|count| count.set(count.get() + 1));
                        yield_now().await;
                    }
                    SHARED.get().get()
                }))
            }));
            for (n, task) in (0..).zip(tasks) {
                assert_eq!(task.await.unwrap(), n);
            }
        });
    });
}

#[test]
fn scopes_nest() {
    reveille::block_on(NUMBER.scope(1, async {
        LAST_WITHOUT_SEMICOLON
            .scope((1, 2), async {
                NUMBER
                    .scope(2, async {
                        yield_now().await;
                        assert_eq!(NUMBER.get(), 2);
                        assert_eq!(NUMBER.sync_scope(3, || NUMBER.get()), 3);
                        assert_eq!(NUMBER.get(), 2);
                        assert_eq!(LAST_WITHOUT_SEMICOLON.get(), (1, 2));
                    })
                    .await;
                assert_eq!(NUMBER.get(), 1);
            })
            .await;
        assert!(LAST_WITHOUT_SEMICOLON.try_get().is_err());
    }));
}

/// The polls of two scopes of one key alternate within one task.
#[test]
fn scopes_side_by_side() {
    async fn sum(n: u32) -> u32 {
        let mut sum = 0;
        for _ in 0..4 {
            yield_now().await;
            assert_eq!(NUMBER.get(), n);
            sum += NUMBER.get();
        }
        sum
    }
    reveille::block_on(async {
        let mut left = pin!(NUMBER.scope(1, sum(1)));
        let mut right = pin!(NUMBER.scope(10, sum(10)));
        let (mut left_sum, mut right_sum) = (None, None);
        poll_fn(|cx| {
            for (scope, sum) in [
                (left.as_mut(), &mut left_sum),
                (right.as_mut(), &mut right_sum),
            ] {
                if sum.is_none() {
                    if let Poll::Ready(ready) = scope.poll(cx) {
                        *sum = Some(ready);
                    }
                }
            }
            match (left_sum, right_sum) {
                (Some(_), Some(_)) => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        assert_eq!((left_sum, right_sum), (Some(4), Some(40)));
    });
}

#[test]
fn value_is_taken_back_if_a_poll_panics() {
    on_every_backend(|runtime| {
        runtime.block_on(NUMBER.scope(1, async {
            let mut inner = pin!(NUMBER.scope(2, async {
                assert_eq!(NUMBER.get(), 2);
                std::panic::resume_unwind(Box::new("planned"));
            }));
            let poll = catch_unwind(AssertUnwindSafe(|| poll_once(inner.as_mut())));
            assert!(poll.is_err());
            assert_eq!(NUMBER.get(), 1);
            assert_eq!(inner.take_value(), Some(2));
            let panicked = catch_unwind(|| {
                NUMBER.sync_scope(3, || std::panic::resume_unwind(Box::new("planned")))
            });
            assert!(panicked.is_err());
            assert_eq!(NUMBER.get(), 1);
        }));
        runtime.block_on(async {
            let task = spawn(NUMBER.scope(4, async {
                yield_now().await;
                std::panic::resume_unwind(Box::new("planned"))
            }));
            assert!(task.await.unwrap_err().is_panic());
            assert!(NUMBER.try_get().is_err());
        });
    });
}

/// Records the value of `NUMBER` when it is dropped.
#[derive(Debug)]
struct SeesNumber(Rc<RefCell<Vec<Option<u32>>>>);

impl Drop for SeesNumber {
    fn drop(&mut self) {
        self.0.borrow_mut().push(NUMBER.try_get().ok());
    }
}

#[test]
fn future_is_dropped_inside_of_its_scope() {
    on_every_backend(|runtime| {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let holds = |n, end: bool| {
            let sees = SeesNumber(seen.clone());
            NUMBER.scope(n, async move {
                if !end {
                    pending::<()>().await;
                }
                sees
            })
        };
        // Before the first poll.
        drop(holds(1, false));
        runtime.block_on(async {
            let task = spawn(holds(2, false));
            yield_now().await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            // The output leaves the scope.
            drop(spawn(holds(3, true)).await);
        });
        assert_eq!(*seen.borrow(), [Some(1), Some(2), None]);
        seen.borrow_mut().clear();
        // What a future still holds when it ends is dropped in the last poll.
        let sees = SeesNumber(seen.clone());
        let mut scope = pin!(NUMBER.scope(4, PollsOnce(sees)));
        assert!(poll_once(scope.as_mut()).is_ready());
        assert_eq!(*seen.borrow(), [Some(4)]);
        assert_eq!(scope.take_value(), Some(4));
    });
    let seen = Rc::new(RefCell::new(Vec::new()));
    let runtime = Runtime::new().unwrap();
    let sees = SeesNumber(seen.clone());
    drop(runtime.spawn(NUMBER.scope(5, async move {
        let _sees = sees;
        pending::<()>().await;
    })));
    drop(runtime);
    assert_eq!(*seen.borrow(), [Some(5)], "with its runtime");
}

/// Ends at once, and does not drop its content itself.
struct PollsOnce(#[allow(dead_code, reason = "for its drop")] SeesNumber);

impl Future for PollsOnce {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

#[test]
fn value_is_dropped_after_its_future() {
    struct Note(&'static str, Rc<RefCell<Vec<&'static str>>>);
    impl Drop for Note {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }
    reveille::task_local! {
        static NOTE: Note;
    }
    let notes = Rc::default();
    let held = Note("future", Rc::clone(&notes));
    let scope = NOTE.scope(Note("value", Rc::clone(&notes)), async move {
        let _held = held;
    });
    drop(scope);
    assert_eq!(*notes.borrow(), ["future", "value"]);
    notes.borrow_mut().clear();
    let held = Note("future", Rc::clone(&notes));
    let mut scope = Box::pin(NOTE.scope(Note("value", Rc::clone(&notes)), async move {
        let _held = held;
    }));
    assert!(poll_once(scope.as_mut()).is_ready());
    assert_eq!(*notes.borrow(), ["future"]);
    drop(scope);
    assert_eq!(*notes.borrow(), ["future", "value"]);
}

#[test]
fn value_that_was_taken_is_gone() {
    let mut scope = pin!(NUMBER.scope(1, async { NUMBER.try_get() }));
    assert_eq!(scope.as_mut().take_value(), Some(1));
    assert_eq!(scope.as_mut().take_value(), None);
    assert_eq!(poll_once(scope), Poll::Ready(Err(AccessError)));
}

/// A task is polled on one thread, but a future with a value may be moved to another one between
/// its polls.
#[test]
fn future_moves_to_another_thread() {
    let mut scope: Pin<Box<TaskLocalFuture<u32, _>>> = Box::pin(NUMBER.scope(7, async {
        let before = NUMBER.get();
        // Ready at the second poll.
        let mut polls = 0;
        poll_fn(|_| {
            polls += 1;
            match polls {
                1 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await;
        before + NUMBER.get()
    }));
    assert!(poll_once(scope.as_mut()).is_pending());
    let sum = thread::spawn(move || wait(scope)).join().unwrap();
    assert_eq!(sum, 14);
}

#[test]
fn faults_panic_with_a_text() {
    let outside = "outside of its scope";
    assert!(message_of(|| assert_eq!(NUMBER.get(), 0)).contains(outside));
    assert!(message_of(|| NUMBER.with(|_| ())).contains(outside));
    assert_eq!(
        AccessError.to_string(),
        message_of(|| NUMBER.with(|_| ())),
        "the same text"
    );
    let inside = "inside of `with`";
    NUMBER.sync_scope(1, || {
        NUMBER.with(|_| {
            assert!(message_of(|| NUMBER.sync_scope(2, || ())).contains(inside));
            let mut scope = pin!(NUMBER.scope(2, async {}));
            let polled = message_of(|| assert!(poll_once(scope.as_mut()).is_ready()));
            assert!(polled.contains(inside));
            // Reading is allowed.
            assert_eq!(NUMBER.get(), 1);
        });
        assert_eq!(NUMBER.get(), 1);
    });
    let mut scope = pin!(NUMBER.scope(1, async {}));
    assert!(poll_once(scope.as_mut()).is_ready());
    let again = message_of(|| assert!(poll_once(scope.as_mut()).is_ready()));
    assert!(again.contains("polled after"), "{again}");
}

#[test]
fn types_have_auto_traits() {
    fn send<T: Send + Sync>() {}
    send::<LocalKey<Rc<u8>>>();
    send::<TaskLocalFuture<u8, std::future::Ready<()>>>();
    assert_eq!(format!("{NUMBER:?}"), "LocalKey { .. }");
    let scope = NUMBER.scope(1, async {});
    assert_eq!(
        format!("{scope:?}"),
        "TaskLocalFuture { value: Some(1), .. }"
    );
}
