//! Which child is polled when.

use super::support::{guarded, wait};
use super::{Wakes, poll};
use reveille::task::{Scope, consume_budget, scope, unconstrained};
use reveille::{Builder, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

/// The number of polls that one poll of a scope may make.
const MOST: usize = 32;

/// The polls of some children, in order, and the last waker of each.
struct Record {
    polled: RefCell<Vec<usize>>,
    wakers: RefCell<Vec<Option<Waker>>>,
}

impl Record {
    fn new(children: usize) -> Record {
        Record {
            polled: RefCell::default(),
            wakers: RefCell::new(vec![None; children]),
        }
    }

    /// Records a poll of a child.
    fn add(&self, child: usize, cx: &Context<'_>) {
        self.polled.borrow_mut().push(child);
        self.wakers.borrow_mut()[child] = Some(cx.waker().clone());
    }

    /// Returns the children polled since the last call.
    fn take(&self) -> Vec<usize> {
        self.polled.take()
    }

    fn wake(&self, child: usize) {
        let waker = self.wakers.borrow()[child].clone();
        waker.expect("it was polled").wake();
    }
}

/// Spawns a child that is never ready, and records its polls.
fn spawn_pending<'env>(s: &Scope<'env>, record: &'env Record, child: usize) {
    s.spawn(poll_fn(move |cx| {
        record.add(child, cx);
        Poll::<()>::Pending
    }));
}

/// Polls a scope until it is no longer woken. Returns the number of polls.
fn settle<F: Future>(mut all: Pin<&mut F>, wakes: &Wakes, waker: &Waker) -> usize {
    let mut polls = 0;
    loop {
        assert!(poll(all.as_mut(), waker).is_pending());
        polls += 1;
        if wakes.take() == 0 {
            return polls;
        }
    }
}

#[test]
fn poll_of_a_scope_polls_32_children_and_the_others_first_next_time() {
    let record = Record::new(100);
    let mut all = pin!(scope(async |s| {
        (0..100).for_each(|child| spawn_pending(&s, &record, child));
    }));
    let (wakes, waker) = Wakes::new();
    let mut next = 0;
    for polls in [31, 32, 32, 5] {
        // The body takes one of the polls of the first time.
        assert!(poll(all.as_mut(), &waker).is_pending());
        assert_eq!(record.take(), (next..next + polls).collect::<Vec<_>>());
        next += polls;
        assert_eq!(wakes.take(), usize::from(next < 100), "after {next}");
    }
    // The first 50 are woken, then those that were woken but not polled come first.
    (0..50).for_each(|child| record.wake(child));
    assert_eq!(wakes.take(), 1);
    assert!(poll(all.as_mut(), &waker).is_pending());
    assert_eq!(record.take(), (0..MOST).collect::<Vec<_>>());
    assert_eq!(wakes.take(), 1);
    for child in [0, 1, 99] {
        record.wake(child);
    }
    assert_eq!(wakes.take(), 0, "the task was woken already");
    assert!(poll(all.as_mut(), &waker).is_pending());
    let expected: Vec<_> = (MOST..50).chain([0, 1, 99]).collect();
    assert_eq!(record.take(), expected);
    assert_eq!(wakes.take(), 0);
}

#[test]
fn one_child_always_ready_and_999_others_all_progress() {
    const OTHERS: usize = 999;
    const ROUNDS: usize = 5;
    let always = Cell::new(0_usize);
    let record = Record::new(OTHERS);
    let mut all = pin!(scope(async |s| {
        s.spawn(poll_fn(|cx| {
            always.set(always.get() + 1);
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        (0..OTHERS).for_each(|child| spawn_pending(&s, &record, child));
    }));
    let (wakes, waker) = Wakes::new();
    for round in 1..=ROUNDS {
        let mut polled = Vec::new();
        let mut polls = 0;
        while polled.len() < OTHERS {
            let before = always.get();
            assert!(poll(all.as_mut(), &waker).is_pending());
            assert_eq!(wakes.take(), 1, "one child is always ready");
            assert!(always.get() - before <= 1, "polled twice in a poll");
            let now = record.take();
            assert!(now.len() + always.get() - before <= MOST);
            polled.extend(now);
            polls += 1;
        }
        // 1000 children and the body: the always ready one is in the list once, so it cannot take
        // more than one poll in 1000.
        assert!(polls <= 1000 / MOST + 2, "{polls} polls in round {round}");
        polled.sort_unstable();
        assert_eq!(polled, (0..OTHERS).collect::<Vec<_>>(), "round {round}");
        (0..OTHERS).for_each(|child| record.wake(child));
        assert!(always.get() <= 2 * round + 1, "{} polls", always.get());
    }
}

#[test]
fn child_that_is_woken_often_is_polled_once() {
    let record = Record::new(2);
    let mut all = pin!(scope(async |s| {
        s.spawn(poll_fn(|cx| {
            record.add(0, cx);
            (0..10).for_each(|_| cx.waker().wake_by_ref());
            Poll::<()>::Pending
        }));
        spawn_pending(&s, &record, 1);
    }));
    let (wakes, waker) = Wakes::new();
    assert!(poll(all.as_mut(), &waker).is_pending());
    assert_eq!(record.take(), [0, 1]);
    assert!(poll(all.as_mut(), &waker).is_pending());
    assert_eq!(record.take(), [0]);
    (0..10).for_each(|_| record.wake(1));
    assert!(poll(all.as_mut(), &waker).is_pending());
    assert_eq!(record.take(), [0, 1]);
    assert_eq!(wakes.take(), 3, "one for each poll, by the first child");
}

#[test]
fn children_that_wake_each_other_are_polled_once_per_poll() {
    let record = Record::new(2);
    let mut all = pin!(scope(async |s| {
        for child in 0..2 {
            let record = &record;
            s.spawn(poll_fn(move |cx| {
                record.add(child, cx);
                if record.wakers.borrow()[1 - child].is_some() {
                    record.wake(1 - child);
                }
                Poll::<()>::Pending
            }));
        }
    }));
    let (_, waker) = Wakes::new();
    assert!(poll(all.as_mut(), &waker).is_pending());
    assert_eq!(record.take(), [0, 1]);
    for _ in 0..3 {
        assert!(poll(all.as_mut(), &waker).is_pending());
        assert_eq!(record.take(), [0, 1]);
    }
}

/// A poll of one child makes neither the body nor another child be polled.
#[test]
fn wake_of_one_of_10_000_children_polls_one() {
    const CHILDREN: usize = 10_000;
    let (record, body) = (Record::new(CHILDREN), Cell::new(0));
    let mut all = pin!(scope(async |s| {
        (0..CHILDREN).for_each(|child| spawn_pending(&s, &record, child));
        poll_fn(|_| {
            body.set(body.get() + 1);
            Poll::<()>::Pending
        })
        .await;
    }));
    let (wakes, waker) = Wakes::new();
    let polls = settle(all.as_mut(), &wakes, &waker);
    assert_eq!(polls, (CHILDREN + 1).div_ceil(MOST));
    assert_eq!(record.take().len(), CHILDREN);
    for child in (0..CHILDREN).step_by(7) {
        record.wake(child);
        assert_eq!(wakes.take(), 1);
        assert!(poll(all.as_mut(), &waker).is_pending());
        assert_eq!(record.take(), [child]);
        assert_eq!(wakes.take(), 0);
    }
    // All at once: each is polled once, and the task is woken once before each poll.
    (0..CHILDREN).for_each(|child| record.wake(child));
    assert_eq!(wakes.take(), 1);
    let polls = settle(all.as_mut(), &wakes, &waker);
    assert_eq!(polls, CHILDREN.div_ceil(MOST));
    assert_eq!(record.take(), (0..CHILDREN).collect::<Vec<_>>());
    assert_eq!(body.get(), 1);
}

#[test]
fn poll_without_a_wake_polls_no_child() {
    let record = Record::new(1);
    let mut all = pin!(scope(async |s| spawn_pending(&s, &record, 0)));
    let (wakes, waker) = Wakes::new();
    assert!(poll(all.as_mut(), &waker).is_pending());
    assert_eq!(record.take(), [0]);
    assert!(poll(all.as_mut(), &waker).is_pending());
    assert_eq!(record.take(), []);
    // The waker of the last poll is the one that counts.
    let (others, other) = Wakes::new();
    assert!(poll(all.as_mut(), &other).is_pending());
    record.wake(0);
    assert_eq!((wakes.take(), others.take()), (0, 1));
}

#[test]
fn wakes_from_other_threads_wake_the_task_once() {
    const CHILDREN: usize = 100;
    let record = Record::new(CHILDREN);
    let mut all = pin!(scope(async |s| {
        (0..CHILDREN).for_each(|child| spawn_pending(&s, &record, child));
    }));
    let (wakes, waker) = Wakes::new();
    settle(all.as_mut(), &wakes, &waker);
    record.take();
    for _ in 0..50 {
        let wakers: Vec<Waker> = record.wakers.borrow().iter().flatten().cloned().collect();
        thread::scope(|threads| {
            // Each child is woken by two threads.
            for wakers in wakers
                .chunks(CHILDREN / 2)
                .chain(wakers.chunks(CHILDREN / 4))
            {
                threads.spawn(move || wakers.iter().for_each(Waker::wake_by_ref));
            }
        });
        assert_eq!(wakes.take(), 1);
        settle(all.as_mut(), &wakes, &waker);
        let mut polled = record.take();
        polled.sort_unstable();
        assert_eq!(polled, (0..CHILDREN).collect::<Vec<_>>());
    }
}

/// Threads wake children while the scope is polled. A lost wake makes the test hang.
#[test]
fn wakes_during_a_poll_are_not_lost() {
    const ROUNDS: usize = 300;
    /// What a child and its thread share.
    #[derive(Default)]
    struct Shared {
        waker: Mutex<Option<Waker>>,
        done: AtomicBool,
    }
    guarded("threads", || {
        let all: [Shared; 4] = Default::default();
        thread::scope(|threads| {
            for shared in &all {
                threads.spawn(|| {
                    while !shared.done.load(SeqCst) {
                        let waker = shared.waker.lock().unwrap().take();
                        waker.map_or_else(thread::yield_now, Waker::wake);
                    }
                });
            }
            wait(scope(async |s| {
                for shared in &all {
                    let mut polls = 0;
                    s.spawn(poll_fn(move |cx| {
                        polls += 1;
                        let done = polls > ROUNDS;
                        shared.done.store(done, SeqCst);
                        let waker = (!done).then(|| cx.waker().clone());
                        *shared.waker.lock().unwrap() = waker;
                        if done { Poll::Ready(()) } else { Poll::Pending }
                    }));
                }
            }));
        });
    });
}

/// Scopes inside of children do not multiply the polls.
#[test]
fn scopes_in_scopes_share_the_polls() {
    let record = Record::new(40 * 40);
    let mut all = pin!(scope(async |s| {
        for outer in 0..40 {
            let record = &record;
            s.spawn(scope(async move |s| {
                (0..40).for_each(|inner| spawn_pending(&s, record, outer * 40 + inner));
            }));
        }
    }));
    let (wakes, waker) = Wakes::new();
    let mut polled = Vec::new();
    loop {
        assert!(poll(all.as_mut(), &waker).is_pending());
        let now = record.take();
        assert!(now.len() <= MOST, "{} children of children", now.len());
        polled.extend(now);
        if wakes.take() == 0 {
            break;
        }
    }
    polled.sort_unstable();
    assert_eq!(polled, (0..40 * 40).collect::<Vec<_>>());
    // One wake deep inside polls one child.
    record.wake(777);
    assert_eq!(wakes.take(), 1);
    assert!(poll(all.as_mut(), &waker).is_pending());
    assert_eq!((record.take(), wakes.take()), (vec![777], 0));
}

/// The innermost scope is more scopes deep than a poll may make polls.
#[test]
fn scopes_deep_in_scopes_make_progress() {
    fn nest(depth: usize) -> Pin<Box<dyn Future<Output = usize>>> {
        Box::pin(scope(async move |s| match depth {
            0 => 0,
            _ => 1 + s.spawn(nest(depth - 1)).await.unwrap(),
        }))
    }
    let mut all = nest(2 * MOST);
    let (wakes, waker) = Wakes::new();
    for _ in 0..20 * MOST {
        if let Poll::Ready(depth) = poll(all.as_mut(), &waker) {
            return assert_eq!(depth, 2 * MOST);
        }
        assert_ne!(wakes.take(), 0);
    }
    panic!("it makes no progress");
}

/// A child is woken by a task that has used up its budget, and the scope has a foreign waker.
#[test]
fn wake_of_a_child_takes_nothing_from_the_budget_of_another_task() {
    struct Operates(AtomicUsize);
    impl Wake for Operates {
        fn wake(self: Arc<Self>) {
            let cx = &mut Context::from_waker(Waker::noop());
            let done = (0..100).filter(|_| pin!(consume_budget()).poll(cx).is_ready());
            self.0.fetch_add(done.count(), SeqCst);
        }
    }
    let record = Record::new(1);
    let mut all = pin!(scope(async |s| spawn_pending(&s, &record, 0)));
    let operates = Arc::new(Operates(AtomicUsize::new(0)));
    assert!(poll(all.as_mut(), &Waker::from(operates.clone())).is_pending());
    let runtime = Builder::new().poll_budget(4).build().unwrap();
    runtime.block_on(async {
        for _ in 0..4 {
            consume_budget().await;
        }
        record.wake(0);
    });
    assert_eq!(operates.0.load(SeqCst), 100);
}

/// A combinator that polls a scope again whenever it is woken lets other tasks run all the same.
#[test]
fn scope_with_children_left_wakes_after_the_poll_of_the_task() {
    let record = Record::new(MOST);
    reveille::block_on(async {
        let mut all = pin!(scope(async |s| {
            (0..MOST).for_each(|child| spawn_pending(&s, &record, child));
        }));
        let (wakes, waker) = Wakes::new();
        assert!(poll(all.as_mut(), &waker).is_pending());
        assert_eq!((record.take().len(), wakes.take()), (MOST - 1, 0));
        yield_now().await;
        assert_eq!(wakes.take(), 1);
    });
}

#[test]
fn handles_that_are_ready_take_from_the_budget() {
    let runtime = Builder::new().poll_budget(4).build().unwrap();
    let handles = wait(scope(async |s| {
        let spawn = |_| s.spawn(async {});
        (0..10).map(spawn).collect::<Vec<_>>()
    }));
    let polls = RefCell::new(vec![]);
    runtime.block_on(async {
        let mut all = pin!(async {
            for handle in handles {
                handle.await.unwrap();
                *polls.borrow_mut().last_mut().expect("it is being polled") += 1;
            }
        });
        poll_fn(|cx| {
            polls.borrow_mut().push(0);
            all.as_mut().poll(cx)
        })
        .await;
    });
    assert_eq!(polls.into_inner(), [4, 4, 2]);
}

#[test]
fn body_that_wakes_itself_is_polled_once_per_poll() {
    let polls = Cell::new(0);
    let mut all = pin!(scope(async |_| {
        poll_fn(|cx| {
            polls.set(polls.get() + 1);
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })
        .await
    }));
    let (wakes, waker) = Wakes::new();
    for poll_number in 1..4 {
        assert!(poll(all.as_mut(), &waker).is_pending());
        assert_eq!((polls.get(), wakes.take()), (poll_number, 1));
    }
}

/// Counts the operations that a child completes in each of its polls.
async fn operations(polls: &RefCell<Vec<usize>>, operations: usize) {
    let mut left = Box::pin(async {
        for _ in 0..operations {
            consume_budget().await;
            let mut polls = polls.borrow_mut();
            *polls.last_mut().expect("it is being polled") += 1;
        }
    });
    poll_fn(|cx| {
        polls.borrow_mut().push(0);
        left.as_mut().poll(cx)
    })
    .await;
}

#[test]
fn each_child_has_a_budget_of_its_own() {
    let runtime = Builder::new().poll_budget(4).build().unwrap();
    let polls = [const { RefCell::new(Vec::new()) }; 3];
    runtime.block_on(async {
        let all = scope(async |s| {
            for polls in &polls {
                s.spawn(operations(polls, 10));
            }
        });
        let mut all = pin!(all);
        poll_fn(|cx| {
            let may = |cx: &mut Context<'_>| pin!(consume_budget()).poll(cx).is_ready();
            assert!((0..3).all(|_| may(cx)));
            let polled = all.as_mut().poll(cx);
            // The scope has not taken the fourth.
            assert!(may(cx) && !may(cx));
            polled
        })
        .await;
    });
    for polls in &polls {
        assert_eq!(*polls.borrow(), [4, 4, 2]);
    }
}

#[test]
fn children_have_no_budget_where_the_scope_has_none() {
    let polls = RefCell::new(Vec::new());
    let run = || scope(async |s| drop(s.spawn(operations(&polls, 1000))));
    let runtime = Builder::new().poll_budget(4).build().unwrap();
    runtime.block_on(unconstrained(run()));
    assert_eq!(polls.take(), [1000]);
    wait(run());
    assert_eq!(polls.take(), [1000]);
}

#[test]
fn children_that_yield_let_other_tasks_and_each_other_run() {
    guarded("the default one", || {
        let trace = RefCell::new(String::new());
        let others = std::rc::Rc::new(Cell::new(0));
        reveille::block_on(async {
            let count = others.clone();
            let other = spawn(async move {
                loop {
                    count.set(count.get() + 1);
                    yield_now().await;
                }
            });
            scope(async |s| {
                for name in ['a', 'b', 'c'] {
                    let (trace, others) = (&trace, &others);
                    s.spawn(async move {
                        for _ in 0..10 {
                            trace.borrow_mut().push(name);
                            let before = others.get();
                            yield_now().await;
                            assert!(others.get() > before, "the other task has run");
                        }
                    });
                }
            })
            .await;
            other.abort();
        });
        assert_eq!(trace.into_inner(), "abc".repeat(10));
    });
}

#[test]
fn spawn_during_a_poll_is_polled_in_the_same_poll() {
    let record = Record::new(3);
    let mut all = pin!(scope(async |s| {
        let s2 = s.clone();
        let record = &record;
        s.spawn(async move {
            spawn_pending(&s2, record, 0);
            let s3 = s2.clone();
            s2.spawn(async move { spawn_pending(&s3, record, 1) });
            pending::<()>().await;
        });
    }));
    let (wakes, waker) = Wakes::new();
    assert!(poll(all.as_mut(), &waker).is_pending());
    assert_eq!((record.take(), wakes.take()), (vec![0, 1], 0));
}

/// A handle of the scope may be used outside of a poll.
#[test]
fn spawn_between_polls_wakes_the_task() {
    let record = Record::new(1);
    let kept = RefCell::new(None);
    let mut all = pin!(scope(async |s: Scope<'_>| {
        kept.replace(Some(s.clone()));
        pending::<()>().await;
    }));
    let (wakes, waker) = Wakes::new();
    assert!(poll(all.as_mut(), &waker).is_pending());
    assert_eq!(wakes.take(), 0);
    let s = kept.take().unwrap();
    spawn_pending(&s, &record, 0);
    assert_eq!(wakes.take(), 1);
    assert!(poll(all.as_mut(), &waker).is_pending());
    assert_eq!(record.take(), [0]);
}
