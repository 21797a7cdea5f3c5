//! How often a `JoinSet` polls the handles of its tasks.

use super::*;

/// Adds a task to a set, inside the runtime.
fn add<F: Future + 'static>(bed: &TestBed, set: &mut JoinSet<F::Output>, future: F) {
    let handle = bed.spawn(future);
    bed.enter(|_| set.insert(handle));
}

/// The handles of a set are polled when their tasks have ended, and at no other time.
#[test]
fn join_set_polls_each_handle_once() {
    // Outside of the runtime a set gets its outputs by replies.
    for inside in [true, false] {
        polls_each_handle_once(inside);
    }
}

fn polls_each_handle_once(inside: bool) {
    const TASKS: usize = 100_000;
    let bed = TestBed::new();
    let mut set = JoinSet::new();
    let order = Rc::new(RefCell::new(Vec::new()));
    let probes: Vec<_> = (0..TASKS)
        .map(|n| {
            let (seen, future) = probe();
            let order = order.clone();
            let future = async move {
                future.await;
                order.borrow_mut().push(n);
                n
            };
            if inside {
                add(&bed, &mut set, future);
            } else {
                set.insert(bed.spawn(future));
            }
            seen
        })
        .collect();
    assert_eq!(bed.settle(), TASKS);
    let woken = Arc::new(Count::default());
    let waker = Waker::from(woken.clone());
    let mut poll = || set.poll_join_next(&mut Context::from_waker(&waker));
    let mut next = || {
        if inside {
            bed.enter(|_| poll())
        } else {
            poll()
        }
    };
    assert!(next().is_pending());
    let mut joined = Vec::new();
    // All indices once, because 7919 is a prime that does not divide the number of tasks.
    for n in (0..TASKS).map(|n| n * 7919 % TASKS) {
        probes[n].finish.set(true);
        probes[n].wake();
        if n % 3 == 0 {
            continue; // Several tasks end between two polls.
        }
        bed.settle();
        while let Poll::Ready(Some(output)) = next() {
            joined.push(output.unwrap());
        }
    }
    bed.settle();
    while let Poll::Ready(Some(output)) = next() {
        joined.push(output.unwrap());
    }
    assert_eq!(joined.len(), TASKS);
    assert_eq!(joined, *order.borrow(), "in the order in which they ended");
    assert_eq!(set.polls, TASKS);
    assert_eq!(bed.tasks.foreign_waiters.len(), 0);
    assert!(woken.get() <= TASKS);
}

#[test]
fn join_set_wakes_its_waiter_once_for_many_tasks() {
    let bed = TestBed::new();
    let mut set = JoinSet::new();
    for n in 0..10 {
        add(&bed, &mut set, async move { n });
    }
    let woken = Arc::new(Count::default());
    let waker = Waker::from(woken.clone());
    let cx = &mut Context::from_waker(&waker);
    assert!(bed.enter(|_| set.poll_join_next(cx)).is_pending());
    bed.settle();
    assert_eq!(woken.get(), 1);
    for n in 0..10 {
        match bed.enter(|_| set.poll_join_next(cx)) {
            Poll::Ready(Some(Ok(output))) => assert_eq!(output, n),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        bed.enter(|_| set.poll_join_next(cx)),
        Poll::Ready(None)
    ));
    assert_eq!((set.polls, woken.get()), (10, 1));
}

/// A waker that stays in the runtime would be leaked, and would wake the waiter of a set that is
/// gone.
#[test]
fn join_set_leaves_no_waker_behind() {
    for detach in [false, true] {
        let bed = TestBed::new();
        let mut set = JoinSet::new();
        let (seen, future) = probe();
        add(&bed, &mut set, future);
        bed.settle();
        let woken = Arc::new(Count::default());
        let waker = Waker::from(woken.clone());
        let cx = &mut Context::from_waker(&waker);
        assert!(bed.enter(|_| set.poll_join_next(cx)).is_pending());
        assert_eq!(bed.tasks.foreign_waiters.len(), 1);
        drop(waker);
        bed.enter(|_| {
            if detach {
                set.detach_all();
            }
            drop(set);
        });
        assert_eq!(bed.tasks.foreign_waiters.len(), 0);
        assert_eq!(Arc::strong_count(&woken), 1);
        bed.settle();
        assert_eq!(seen.drops.get() == 0, detach);
        assert_eq!(woken.get(), 0);
    }
}

/// The child of a fork may find the list of ended tasks gone.
#[test]
fn join_set_polls_all_handles_if_the_list_is_lost() {
    let bed = TestBed::new();
    let mut set = JoinSet::new();
    let probes: Vec<_> = (0..5)
        .map(|_| {
            let (seen, future) = probe();
            add(&bed, &mut set, future);
            seen
        })
        .collect();
    bed.settle();
    probes[3].finish.set(true);
    probes[3].wake();
    bed.settle();
    set.lose_ended();
    let mut next = || {
        bed.enter(|_| {
            set.poll_join_next(&mut Context::from_waker(Waker::noop()))
                .is_ready()
        })
    };
    assert!(next());
    assert!(!next());
    assert!(!next());
    assert_eq!(set.polls, 5);
}
