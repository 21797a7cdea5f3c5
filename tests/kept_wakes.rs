//! A wake by a used-up budget or by `yield_now` happens after the runtime's poll has returned or
//! unwound. Outside of a poll it happens at once.

mod support;

use reveille::time::{Duration, sleep};
use reveille::{Runtime, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use support::{on_every_backend, pair};

/// A waker that counts its wakes and passes them on.
struct Count(AtomicUsize, Option<Waker>);

impl Count {
    fn new(to: Option<Waker>) -> Arc<Count> {
        Arc::new(Count(AtomicUsize::new(0), to))
    }

    fn wakes(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
        if let Some(waker) = &self.1 {
            waker.wake_by_ref();
        }
    }
}

/// Polls its child again whenever it was woken during the poll, which the contract of `Future`
/// allows.
struct Eager<F> {
    child: Pin<Box<F>>,
    polls: Rc<Cell<usize>>,
}

fn eager<F: Future>(child: F) -> (Eager<F>, Rc<Cell<usize>>) {
    let polls = Rc::new(Cell::new(0));
    let child = Box::pin(child);
    let of_eager = polls.clone();
    let eager = Eager {
        child,
        polls: of_eager,
    };
    (eager, polls)
}

impl<F: Future> Future for Eager<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.set(self.polls.get() + 1);
        let count = Count::new(Some(cx.waker().clone()));
        let waker = Waker::from(count.clone());
        let mut seen = usize::MAX;
        let mut rounds = 0;
        while seen != count.wakes() {
            seen = count.wakes();
            rounds += 1;
            assert!(rounds < 10_000, "the poll does not end");
            let polled = self.child.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_ready() {
                return polled;
            }
        }
        Poll::Pending
    }
}

const TIMES: usize = 300;

type Case = fn() -> Pin<Box<dyn Future<Output = ()>>>;

async fn sleeps() {
    for _ in 0..TIMES {
        sleep(Duration::ZERO).await;
    }
}

async fn yields() {
    for _ in 0..TIMES {
        yield_now().await;
    }
}

async fn writes() {
    let (stream, _peer) = pair().await;
    for _ in 0..TIMES {
        stream.write_all(b"x").await.unwrap();
    }
}

async fn joins() {
    let mut tasks = Vec::new();
    for _ in 0..TIMES {
        tasks.push(spawn(async {}));
    }
    yield_now().await;
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn combinator_that_polls_while_woken_returns() {
    on_every_backend(|runtime| {
        let cases: [(&str, Case); 4] = [
            ("sleeps", || Box::pin(sleeps())),
            ("yields", || Box::pin(yields())),
            ("writes", || Box::pin(writes())),
            ("joins", || Box::pin(joins())),
        ];
        for (name, case) in cases {
            // Another task runs whenever the budget is used up.
            let turns = Rc::new(Cell::new(0));
            let count = turns.clone();
            let other = runtime.spawn(poll_fn::<(), _>(move |cx| {
                count.set(count.get() + 1);
                cx.waker().wake_by_ref();
                Poll::Pending
            }));
            let (root, polls) = eager(case());
            runtime.block_on(root);
            assert!(polls.get() >= TIMES / 128, "{name}: {} polls", polls.get());
            assert!(turns.get() >= TIMES / 128, "{name}: {} turns", turns.get());

            let (task, polls) = eager(case());
            let task = runtime.spawn(task);
            runtime.block_on(task).unwrap();
            assert!(polls.get() >= TIMES / 128, "{name}: {} polls", polls.get());
            other.abort();
        }
    });
}

/// Polls a future once with this waker.
fn poll_with<F: Future>(future: F, waker: &Waker) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(waker))
}

#[test]
fn yield_now_queues_behind_tasks_that_its_poll_has_woken() {
    on_every_backend(|runtime| {
        let log = Rc::new(RefCell::new(Vec::new()));
        runtime.block_on(async {
            let (first, second) = (log.clone(), log.clone());
            let task = spawn(async move {
                let mut yields = Box::pin(yield_now());
                poll_fn(|cx| {
                    let polled = yields.as_mut().poll(cx);
                    if polled.is_pending() {
                        let log = first.clone();
                        drop(spawn(async move { log.borrow_mut().push("spawned") }));
                    }
                    polled
                })
                .await;
                second.borrow_mut().push("yielded");
            });
            task.await.unwrap();
        });
        assert_eq!(*log.borrow(), ["spawned", "yielded"]);
    });
}

#[test]
fn foreign_wakers_are_woken_once_after_the_poll() {
    on_every_backend(|runtime| {
        let counts = [Count::new(None), Count::new(None)];
        let wakers = counts.clone().map(Waker::from);
        let mut polled = false;
        runtime.block_on(poll_fn(|cx| {
            if !std::mem::replace(&mut polled, true) {
                for _ in 0..2 {
                    assert!(poll_with(yield_now(), &wakers[0]).is_pending());
                }
                assert!(poll_with(yield_now(), &wakers[1]).is_pending());
                assert_eq!(counts.each_ref().map(|count| count.wakes()), [0, 0]);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            assert_eq!(counts.each_ref().map(|count| count.wakes()), [1, 1]);
            Poll::Ready(())
        }));
        // The same if the future ends in that poll.
        runtime.block_on(async { assert!(poll_with(yield_now(), &wakers[0]).is_pending()) });
        assert_eq!(counts[0].wakes(), 2);
        let task = runtime.spawn({
            let waker = wakers[1].clone();
            async move { assert!(poll_with(yield_now(), &waker).is_pending()) }
        });
        runtime.block_on(task).unwrap();
        assert_eq!(counts[1].wakes(), 2);
    });
}

/// Many wakes by alternating wakers in one poll: few wakers are kept, and each is woken.
#[test]
fn foreign_wakers_are_kept_a_bounded_number_of_times() {
    on_every_backend(|runtime| {
        for different in [2, 3, 300] {
            let counts: Vec<_> = (0..different).map(|_| Count::new(None)).collect();
            let wakers: Vec<_> = counts.iter().cloned().map(Waker::from).collect();
            let mut kept = 0;
            runtime.block_on(async {
                for _ in 0..10_000 / different {
                    for waker in &wakers {
                        assert!(poll_with(yield_now(), waker).is_pending());
                    }
                    // One is in `counts`, one in `wakers`.
                    let clones = counts.iter().map(|count| Arc::strong_count(count) - 2);
                    kept = kept.max(clones.sum());
                }
            });
            assert!(kept <= 4 * different.max(64), "{kept} of {different} kept");
            for count in &counts {
                assert!((1..=128).contains(&count.wakes()), "{}", count.wakes());
                assert_eq!(Arc::strong_count(count), 2);
            }
        }
    });
}

#[test]
fn kept_wake_follows_a_poll_that_unwinds() {
    on_every_backend(|runtime| {
        let count = Count::new(None);
        let waker = Waker::from(count.clone());
        let panics = async |waker: &Waker| {
            assert!(poll_with(yield_now(), waker).is_pending());
            resume_unwind(Box::new("quiet"));
        };
        let out = catch_unwind(AssertUnwindSafe(|| runtime.block_on(panics(&waker))));
        out.unwrap_err();
        assert_eq!(count.wakes(), 1, "of the root");
        let task = runtime.spawn({
            let waker = waker.clone();
            async move { panics(&waker).await }
        });
        runtime.block_on(task).unwrap_err();
        assert_eq!(count.wakes(), 2, "of a task");
    });
}

#[test]
fn kept_wake_that_panics_stops_no_other_wake() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            resume_unwind(Box::new("quiet"));
        }
    }
    on_every_backend(|runtime| {
        let count = Count::new(None);
        let wakers = [Waker::from(Arc::new(Panics)), Waker::from(count.clone())];
        runtime.block_on(async {
            for waker in &wakers {
                assert!(poll_with(yield_now(), waker).is_pending());
            }
            yield_now().await;
            assert_eq!(count.wakes(), 1);
        });
    });
}

#[test]
fn yield_now_outside_of_a_poll_wakes_at_once() {
    fn woken_at_once() -> bool {
        let count = Count::new(None);
        assert!(poll_with(yield_now(), &count.clone().into()).is_pending());
        count.wakes() == 1
    }
    struct InDrop(Rc<Cell<bool>>);
    impl Drop for InDrop {
        fn drop(&mut self) {
            self.0.set(woken_at_once());
        }
    }
    assert!(woken_at_once(), "on a thread without a runtime");
    on_every_backend(|runtime| {
        assert!(runtime.enter(woken_at_once), "in `enter`");
        let in_drop = Rc::new(Cell::new(false));
        let guard = InDrop(in_drop.clone());
        runtime.block_on(async {
            let task = spawn(async move {
                let _guard = guard;
                std::future::pending::<()>().await;
            });
            yield_now().await;
            task.abort();
            yield_now().await;
        });
        assert!(in_drop.get(), "in the drop of an aborted task");
    });
}

/// Wrappers enter another runtime like this for a future that needs it.
#[test]
fn enter_within_a_poll_keeps_its_wakes() {
    on_every_backend(|outer| {
        let inner = Runtime::new().unwrap();
        let entering = |case: Case| {
            let mut child = case();
            let inner = &inner;
            poll_fn(move |cx| inner.enter(|| child.as_mut().poll(cx)))
        };
        for case in [(|| Box::pin(sleeps())) as Case, || Box::pin(yields())] {
            let (root, polls) = eager(entering(case));
            outer.block_on(root);
            assert!(polls.get() >= TIMES / 128);
        }
    });
}

#[test]
fn yield_now_in_a_hosted_runtime_is_kept_for_its_own_poll() {
    on_every_backend(|outer| {
        let inner = Runtime::new().unwrap();
        outer.block_on(async {
            let task = inner.spawn(yields());
            let mut turns = 0;
            while !task.is_finished() {
                inner.turn(Some(Duration::ZERO)).unwrap();
                turns += 1;
                assert!(turns <= TIMES + 2);
            }
        });
    });
}
