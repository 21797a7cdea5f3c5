//! On the owner's thread: wakes, slots, roots.

use super::*;

#[test]
fn wake_during_run_queues_once() {
    let bed = Bed::new();
    let mut polls = 0;
    let handle = bed.spawn(future::poll_fn(move |cx| {
        polls += 1;
        cx.waker().wake_by_ref();
        let waker = cx.waker().clone();
        waker.wake_by_ref();
        waker.wake();
        if polls == 3 {
            Poll::Ready(polls)
        } else {
            Poll::Pending
        }
    }));
    assert_eq!(bed.settle(), 3);
    // The last poll left an entry behind; it was dropped, and the slot is still the handle's.
    assert_eq!((bed.tasks.queued(), bed.tasks.live()), (0, 1));
    assert_eq!(bed.join(handle).unwrap(), 3);
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn wake_after_done_does_nothing() {
    let bed = Bed::new();
    let (seen, future) = probe();
    seen.finish.set(true);
    let handle = bed.spawn(future);
    assert_eq!(bed.settle(), 1);
    bed.enter(|_| seen.wake());
    assert_eq!((bed.tasks.queued(), bed.settle()), (0, 0));
    drop(bed.join(handle));
    bed.enter(|_| seen.wake());
    assert_eq!((bed.tasks.queued(), seen.counts()), (0, (1, 101)));
}

#[test]
fn index_is_not_reused_while_queued() {
    let bed = Bed::new();
    // Ends while it is queued again, and is joined before that entry is popped.
    let handle = bed.spawn(future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::Ready(())
    }));
    let first = handle.id();
    assert_eq!(bed.step(), Some(Outcome::Done));
    bed.join(handle).unwrap();
    assert_eq!((bed.tasks.queued(), bed.tasks.live()), (1, 0));
    let (seen, future) = probe();
    let second = bed.spawn(future);
    assert_ne!(first.index(), second.id().index());
    // Its entry and the dead one: one run.
    assert_eq!(bed.settle(), 1);
    assert_eq!(seen.polls.get(), 1);
    // Now the index is free.
    assert_eq!(bed.spawn(async {}).id().index(), first.index());
}

#[test]
fn stale_waker_of_a_reused_slot_does_nothing() {
    let bed = Bed::new();
    let (seen, future) = probe();
    seen.finish.set(true);
    let first = bed.spawn(future);
    bed.settle();
    let index = first.id().index();
    drop(bed.join(first));
    let (other, future) = probe();
    let second = bed.spawn(future);
    assert_eq!(second.id().index(), index);
    bed.settle();
    bed.enter(|_| seen.wake());
    assert_eq!(bed.settle(), usize::from(size_of::<usize>() < 8));
    bed.enter(|_| other.wake());
    assert_eq!(bed.settle(), 1);
}

#[test]
fn colliding_generation_is_a_spurious_wake() {
    let bed = Bed::new();
    let (seen, future) = probe();
    let handle = bed.spawn(future);
    bed.settle();
    let key = seen.waker.borrow().as_ref().unwrap().data().addr();
    assert!(key >= MIN_KEY);
    let key = waker::Key {
        index: waker::index_of(key),
        generation: 1 << 20,
    };
    bed.enter(|tasks| wake_key(tasks.pack(key)));
    assert_eq!((bed.settle(), seen.counts()), (1, (2, 0)));
    assert!(!bed.enter(|_| handle.is_finished()));
    // A handle does not take the stranger for its own.
    bed.enter(|tasks| assert!(matches!(tasks.join(key, 0), slab::Joined::Missing)));
}

#[test]
fn used_up_generations_retire_the_slot() {
    let bed = Bed::new();
    let first = bed.spawn(async {});
    bed.settle();
    let index = first.id().index();
    bed.join(first).unwrap();
    bed.tasks
        .with_slab(|slab| slab.set_generation(index as u32, u32::MAX));
    let last = bed.spawn(async {});
    assert_eq!(last.id().index(), index);
    bed.settle();
    bed.join(last).unwrap();
    assert_ne!(bed.spawn(async {}).id().index(), index);
}

#[test]
fn unknown_keys_are_ignored() {
    let bed = Bed::new();
    bed.enter(|tasks| {
        let (index, generation) = (1000, 0);
        let key = waker::Key { index, generation };
        wake_key(tasks.pack(key));
        wake_key(waker::pack(waker::pack_place(u16::MAX), key));
        wake_key(7);
    });
    assert_eq!(bed.tasks.queued(), 0);
}

#[test]
fn handle_dropped_before_the_end() {
    let bed = Bed::new();
    let (seen, future) = probe();
    let mut handle = bed.spawn(future);
    bed.settle();
    let listener = Arc::new(Count::default());
    let waker = Waker::from(listener.clone());
    assert!(bed.enter(|_| poll_with(&mut handle, &waker)).is_pending());
    assert_eq!(Arc::strong_count(&listener), 3);
    bed.enter(|_| drop(handle));
    // The join waker went with the handle.
    assert_eq!(Arc::strong_count(&listener), 2);
    assert_eq!(seen.counts(), (1, 0));
    seen.finish.set(true);
    bed.enter(|_| seen.wake());
    assert_eq!(bed.step(), Some(Outcome::Done));
    assert_eq!(seen.counts(), (2, 101));
    assert_eq!((listener.get(), bed.tasks.live()), (0, 0));
}

#[test]
fn handle_dropped_after_the_end() {
    let bed = Bed::new();
    let (seen, future) = probe();
    seen.finish.set(true);
    let handle = bed.spawn(future);
    bed.settle();
    assert_eq!(seen.counts(), (1, 1));
    bed.enter(|_| drop(handle));
    assert_eq!((seen.counts(), bed.tasks.live()), ((1, 101), 0));
}

#[test]
fn join_waker_is_cloned_once_and_woken_once() {
    let bed = Bed::new();
    let (seen, future) = probe();
    let mut handle = bed.spawn(future);
    let (one, two) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let (first, second) = (Waker::from(one.clone()), Waker::from(two.clone()));
    for _ in 0..3 {
        assert!(bed.enter(|_| poll_with(&mut handle, &first)).is_pending());
        assert_eq!(Arc::strong_count(&one), 3);
    }
    assert!(bed.enter(|_| poll_with(&mut handle, &second)).is_pending());
    assert_eq!((Arc::strong_count(&one), Arc::strong_count(&two)), (2, 3));
    seen.finish.set(true);
    bed.settle();
    assert_eq!((one.get(), two.get()), (0, 1));
    assert_eq!(Arc::strong_count(&two), 2);
    assert!(bed.join(handle).is_ok());
}

#[test]
fn join_from_a_task_wakes_it() {
    let bed = Bed::new();
    let (seen, future) = probe();
    let inner = bed.spawn(future);
    let outer = bed.spawn(async move { inner.await.is_ok() });
    assert_eq!(bed.settle(), 2);
    seen.finish.set(true);
    bed.enter(|_| seen.wake());
    assert_eq!(bed.settle(), 2);
    assert!(bed.join(outer).unwrap());
    assert_eq!((bed.tasks.live(), bed.unparked.get()), (0, 0));
}

#[test]
fn a_used_up_budget_delays_the_join() {
    let bed = Bed::new();
    let mut handle = bed.spawn(async { 7 });
    bed.settle();
    let before = crate::budget::refill(0);
    let listener = Arc::new(Count::default());
    let waker = Waker::from(listener.clone());
    assert!(bed.enter(|_| poll_with(&mut handle, &waker)).is_pending());
    assert_eq!(listener.get(), 1);
    crate::budget::refill(before);
    assert_eq!(bed.join(handle).unwrap(), 7);
}

#[test]
#[should_panic(expected = "polled after it returned its output")]
fn a_handle_gives_its_output_once() {
    let bed = Bed::new();
    let mut handle = bed.spawn(async {});
    bed.settle();
    assert!(bed.poll(&mut handle).is_ready());
    assert!(handle.is_finished());
    handle.abort();
    let _ = bed.poll(&mut handle);
}

#[test]
fn root_has_a_place_in_the_queue() {
    let bed = Bed::new();
    bed.enter(|tasks| {
        let runner = tasks.runner();
        let root = tasks.add_root();
        let mut main = std::pin::pin!(async {
            yield_now().await;
            let inner = CURRENT.with(|tasks| tasks.unwrap().spawn(async { 5 }, None));
            inner.await.unwrap()
        });
        let (mut polls, mut runs) = (0, 0);
        let output = loop {
            runs += 1;
            match runner.run(&mut 1) {
                Outcome::Root => {
                    polls += 1;
                    if let Poll::Ready(output) = runner.poll_root(&root, main.as_mut()) {
                        break output;
                    }
                }
                outcome => assert_eq!(outcome, Outcome::Done),
            }
        };
        // First poll, yield, spawn and wait, (the task,) join.
        assert_eq!((output, polls, runs), (5, 3, 4));
        tasks.root_waker(&root).wake();
        tasks.remove_root(root);
        assert_eq!((tasks.queued(), tasks.live()), (1, 0));
        assert_eq!(runner.run(&mut 1), Outcome::Idle);
    });
}

#[test]
fn a_root_that_panics_leaves_no_trace() {
    let bed = Bed::new();
    bed.enter(|tasks| {
        let root = tasks.add_root();
        let main = std::pin::pin!(async { panic!("main") });
        let result = catch_unwind(AssertUnwindSafe(|| tasks.runner().poll_root(&root, main)));
        assert!(result.is_err());
        assert_eq!(tasks.current_id(), None);
        assert!(!tasks.is_running());
        tasks.remove_root(root);
        assert_eq!(tasks.runner().run(&mut 1), Outcome::Idle);
    });
}

#[test]
fn run_within_run_is_refused() {
    // That one task at most is polled is what makes its memory the poll's.
    let bed = Bed::new();
    let handle = bed.spawn(future::poll_fn(|_| {
        CURRENT.with(|tasks| assert_eq!(tasks.unwrap().runner().run(&mut 1), Outcome::Idle));
        Poll::Ready(())
    }));
    assert_eq!(bed.settle(), 1);
    let error = bed.join(handle).unwrap_err();
    assert!(error.is_panic());
    assert_eq!(bed.settle(), 0, "the runner was given back");
}

#[test]
fn foreign_waiters_leave_no_trace() {
    let bed = Bed::new();
    let listener = Arc::new(Count::default());
    let waker = Waker::from(listener.clone());
    let [mut ends, mut detached, mut aborted, mut replaced] = [0; 4].map(|_| {
        let (seen, future) = probe();
        (seen, bed.spawn(future))
    });
    for (_, handle) in [&mut ends, &mut detached, &mut aborted, &mut replaced] {
        for _ in 0..3 {
            assert!(bed.enter(|_| poll_with(handle, &waker)).is_pending());
        }
    }
    assert_eq!(
        (bed.tasks.others.len(), Arc::strong_count(&listener)),
        (4, 6)
    );
    // One that is replaced by another foreign one, then by a task's.
    let noop = Waker::noop();
    assert!(bed.enter(|_| poll_with(&mut replaced.1, noop)).is_pending());
    assert_eq!(
        (bed.tasks.others.len(), Arc::strong_count(&listener)),
        (4, 5)
    );
    let (joined, mut handle) = (Rc::new(Cell::new(false)), replaced.1);
    let (set, seen) = (joined.clone(), replaced.0);
    let joiner = bed.spawn(async move { set.set((&mut handle).await.is_ok()) });
    bed.settle();
    assert_eq!(bed.tasks.others.len(), 3);
    bed.enter(|_| drop(detached.1));
    assert_eq!((bed.tasks.others.len(), listener.get()), (2, 0));
    bed.enter(|_| aborted.1.abort());
    ends.0.finish.set(true);
    seen.finish.set(true);
    bed.enter(|_| [&ends.0, &seen].map(|seen| seen.wake()));
    bed.settle();
    assert_eq!((bed.tasks.others.len(), listener.get()), (0, 2));
    assert!(joined.get());
    bed.join(joiner).unwrap();
}

#[test]
fn two_runtimes_on_one_thread() {
    let (host, guest) = (Bed::new(), Bed::new());
    let (seen, future) = probe();
    let handle = host.spawn(future);
    host.settle();
    // A wake from inside the guest goes by the host's inbox.
    guest.enter(|_| seen.wake());
    assert_eq!((host.tasks.queued(), host.unparked.get()), (0, 1));
    assert_eq!((host.settle(), seen.polls.get()), (1, 2));
    drop(handle);
}

#[test]
fn the_current_task_has_a_name() {
    let bed = Bed::new();
    let handle = bed.spawn(async { CURRENT.with(|tasks| tasks.unwrap().current_id()) });
    let id = handle.id();
    bed.settle();
    assert_eq!(bed.join(handle).unwrap(), Some(id));
    assert_eq!(bed.tasks.current_id(), None);
}

#[test]
#[track_caller]
fn inspection_shows_where_tasks_come_from() {
    let bed = Bed::new();
    let here = std::panic::Location::caller();
    let first = bed.enter(|tasks| tasks.spawn(future::pending::<()>(), Some(here)));
    let second = bed.spawn(async {});
    bed.settle();
    let _third = bed.spawn(async {});
    let seen = bed.tasks.inspect();
    let flags: Vec<_> = seen.iter().map(|info| (info.queued, info.done)).collect();
    assert_eq!(flags, [(false, false), (false, true), (true, false)]);
    assert_eq!((seen[0].id, seen[1].id), (first.id(), second.id()));
    assert_eq!((seen[0].origin, seen[1].origin), (Some(here), None));
}
