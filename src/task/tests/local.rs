//! Wakes, slots and roots on the owner's thread.

use super::*;

#[test]
fn wake_during_a_poll_queues_once() {
    let bed = TestBed::new();
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
    // The last poll left an entry in the run queue. It was removed, and the slot still belongs to
    // the handle.
    assert_eq!((bed.tasks.queued(), bed.tasks.live()), (0, 1));
    assert_eq!(bed.join(handle).unwrap(), 3);
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn wake_after_the_end_does_nothing() {
    let bed = TestBed::new();
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
    let bed = TestBed::new();
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
    // The entry of the ended task is skipped.
    assert_eq!(bed.settle(), 1);
    assert_eq!(seen.polls.get(), 1);
    // Now the index is free.
    assert_eq!(bed.spawn(async {}).id().index(), first.index());
}

#[test]
fn stale_waker_of_a_reused_slot_does_nothing() {
    let bed = TestBed::new();
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
fn wake_with_a_colliding_generation_is_spurious() {
    let bed = TestBed::new();
    let (seen, future) = probe();
    let handle = bed.spawn(future);
    bed.settle();
    let key = seen.waker.borrow().as_ref().unwrap().data().addr();
    assert!(key >= MIN_KEY);
    let key = key::Key {
        index: key::index_of(key),
        generation: 1 << 20,
    };
    bed.enter(|tasks| wake_key(tasks.pack(key)));
    assert_eq!((bed.settle(), seen.counts()), (1, (2, 0)));
    assert!(!bed.enter(|_| handle.is_finished()));
    // A handle compares the whole generation, so it does not find that task.
    bed.enter(|tasks| assert!(matches!(tasks.join(key, 0), slab::Joined::Missing)));
}

#[test]
fn slot_with_no_generation_left_is_retired() {
    let bed = TestBed::new();
    let first = bed.spawn(async {});
    bed.settle();
    let index = first.id().index();
    bed.join(first).unwrap();
    bed.tasks.slab.set_generation(index as u32, u32::MAX);
    let last = bed.spawn(async {});
    assert_eq!(last.id().index(), index);
    bed.settle();
    bed.join(last).unwrap();
    assert_ne!(bed.spawn(async {}).id().index(), index);
}

#[test]
fn shrink_removes_the_free_slots_after_the_last_task() {
    let bed = TestBed::new();
    let (seen, future) = probe();
    let mut tasks: Vec<_> = (0..100).map(|_| bed.spawn(async {})).collect();
    let lasting = bed.spawn(future);
    tasks.extend((0..100).map(|_| bed.spawn(async {})));
    bed.settle();
    let old: Vec<_> = tasks.iter().map(|task| task.id()).collect();
    let aborts: Vec<_> = tasks.iter().map(|task| task.abort_handle()).collect();
    // Still in the run queue, so their slots are not free.
    let last = bed.spawn(async {});
    let later = last.id().index() as u32;
    drop((last, tasks));
    bed.tasks.shrink();
    assert_eq!(bed.tasks.slab.len(), later + 1);
    bed.settle();
    bed.tasks.shrink();
    assert_eq!(bed.tasks.slab.len(), 101);

    // Slots are made again, and no old name or handle finds a new task.
    let new: Vec<_> = (0..200).map(|_| bed.spawn(async {})).collect();
    assert_eq!(bed.tasks.slab.len(), 201);
    assert!(new.iter().all(|task| !old.contains(&task.id())));
    bed.enter(|_| {
        aborts.iter().for_each(|abort| abort.abort());
        seen.finish.set(true);
    });
    bed.settle();
    for task in new {
        bed.join(task).unwrap();
    }
    assert!(!bed.enter(|_| lasting.is_finished()));
    bed.enter(|_| seen.wake());
    bed.settle();
    drop(bed.join(lasting).unwrap());
    bed.tasks.shrink();
    assert_eq!(bed.tasks.slab.len(), 0);
}

#[test]
fn shrink_keeps_a_slot_with_no_generation_left() {
    let bed = TestBed::new();
    let first = bed.spawn(async {});
    bed.settle();
    let index = first.id().index();
    bed.join(first).unwrap();
    bed.tasks.slab.set_generation(index as u32, u32::MAX);
    let last = bed.spawn(async {});
    bed.settle();
    bed.join(last).unwrap();
    bed.tasks.shrink();
    assert_eq!(bed.spawn(async {}).id().index(), index + 1);
}

/// New slots must not begin where a removed one has almost ended.
#[test]
fn shrink_leaves_new_slots_many_generations() {
    let bed = TestBed::new();
    let run_one = || {
        let task = bed.spawn(async {});
        bed.settle();
        bed.join(task).unwrap();
    };
    run_one();
    bed.tasks.slab.set_generation(0, u32::MAX - 2);
    for _ in 0..100 {
        bed.tasks.shrink();
        run_one();
    }
    assert_eq!(bed.tasks.slab.len(), 2);
}

#[test]
fn wake_of_an_unknown_key_does_nothing() {
    let bed = TestBed::new();
    bed.enter(|tasks| {
        let (index, generation) = (1000, 0);
        let key = key::Key { index, generation };
        wake_key(tasks.pack(key));
        wake_key(key::pack(key::pack_place(u16::MAX), key));
        wake_key(7);
    });
    assert_eq!(bed.tasks.queued(), 0);
}

#[test]
fn handle_dropped_before_the_end() {
    let bed = TestBed::new();
    let (seen, future) = probe();
    let mut handle = bed.spawn(future);
    bed.settle();
    let listener = Arc::new(Count::default());
    let waker = Waker::from(listener.clone());
    assert!(bed.enter(|_| poll_with(&mut handle, &waker)).is_pending());
    assert_eq!(Arc::strong_count(&listener), 3);
    bed.enter(|_| drop(handle));
    // The handle's drop has dropped the join waker.
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
    let bed = TestBed::new();
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
    let bed = TestBed::new();
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
    let bed = TestBed::new();
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
fn join_with_a_used_up_budget_is_pending() {
    let bed = TestBed::new();
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
fn handle_polled_after_its_output_panics() {
    let bed = TestBed::new();
    let mut handle = bed.spawn(async {});
    bed.settle();
    assert!(bed.poll(&mut handle).is_ready());
    assert!(handle.is_finished());
    handle.abort();
    let _ = bed.poll(&mut handle);
}

#[test]
fn root_has_a_place_in_the_queue() {
    let bed = TestBed::new();
    bed.enter(|tasks| {
        let runner = Runner::new(tasks);
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
        // The polls: until the yield, until the wait for the task, until the end. The fourth run is
        // the task's.
        assert_eq!((output, polls, runs), (5, 3, 4));
        tasks.root_waker(&root).wake();
        tasks.remove_root(root);
        assert_eq!((tasks.queued(), tasks.live()), (1, 0));
        assert_eq!(runner.run(&mut 1), Outcome::Idle);
    });
}

#[test]
fn root_that_panics_is_removed() {
    let bed = TestBed::new();
    bed.enter(|tasks| {
        let root = tasks.add_root();
        let main = std::pin::pin!(async { panic!("main") });
        let result = catch_unwind(AssertUnwindSafe(|| {
            Runner::new(tasks).poll_root(&root, main)
        }));
        assert!(result.is_err());
        assert_eq!(tasks.current_id(), None);
        assert!(!tasks.is_running());
        tasks.remove_root(root);
        assert_eq!(Runner::new(tasks).run(&mut 1), Outcome::Idle);
    });
}

#[test]
fn runner_inside_of_a_poll_panics() {
    // The memory of a task belongs to its poll because at most one task is polled at a time.
    let bed = TestBed::new();
    let handle = bed.spawn(future::poll_fn(|_| {
        CURRENT.with(|tasks| assert_eq!(Runner::new(tasks.unwrap()).run(&mut 1), Outcome::Idle));
        Poll::Ready(())
    }));
    assert_eq!(bed.settle(), 1);
    let error = bed.join(handle).unwrap_err();
    assert!(error.is_panic());
    assert_eq!(bed.settle(), 0, "the runner was given back");
}

#[test]
fn foreign_waiters_are_removed_at_each_end() {
    let bed = TestBed::new();
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
        (
            bed.tasks.foreign_waiters.len(),
            Arc::strong_count(&listener)
        ),
        (4, 6)
    );
    // A foreign waker is replaced by another one, then by that of a task.
    let noop = Waker::noop();
    assert!(bed.enter(|_| poll_with(&mut replaced.1, noop)).is_pending());
    assert_eq!(
        (
            bed.tasks.foreign_waiters.len(),
            Arc::strong_count(&listener)
        ),
        (4, 5)
    );
    let (joined, mut handle) = (Rc::new(Cell::new(false)), replaced.1);
    let (set, seen) = (joined.clone(), replaced.0);
    let joiner = bed.spawn(async move { set.set((&mut handle).await.is_ok()) });
    bed.settle();
    assert_eq!(bed.tasks.foreign_waiters.len(), 3);
    bed.enter(|_| drop(detached.1));
    assert_eq!((bed.tasks.foreign_waiters.len(), listener.get()), (2, 0));
    bed.enter(|_| aborted.1.abort());
    ends.0.finish.set(true);
    seen.finish.set(true);
    bed.enter(|_| [&ends.0, &seen].map(|seen| seen.wake()));
    bed.settle();
    assert_eq!((bed.tasks.foreign_waiters.len(), listener.get()), (0, 2));
    assert!(joined.get());
    bed.join(joiner).unwrap();
}

#[test]
fn wake_inside_another_runtime_goes_through_the_inbox() {
    let (host, guest) = (TestBed::new(), TestBed::new());
    let (seen, future) = probe();
    let handle = host.spawn(future);
    host.settle();
    // A wake inside the guest goes through the host's inbox.
    guest.enter(|_| seen.wake());
    assert_eq!((host.tasks.queued(), host.unparked.get()), (0, 1));
    assert_eq!((host.settle(), seen.polls.get()), (1, 2));
    drop(handle);
}

#[test]
fn current_id_is_that_of_the_polled_task() {
    let bed = TestBed::new();
    let handle = bed.spawn(async { CURRENT.with(|tasks| tasks.unwrap().current_id()) });
    let id = handle.id();
    bed.settle();
    assert_eq!(bed.join(handle).unwrap(), Some(id));
    assert_eq!(bed.tasks.current_id(), None);
}

#[test]
#[track_caller]
fn inspect_shows_where_tasks_come_from() {
    let bed = TestBed::new();
    let here = std::panic::Location::caller();
    let first = bed.enter(|tasks| tasks.spawn(future::pending::<()>(), Some(here)));
    let second = bed.spawn(async {});
    bed.settle();
    let _third = bed.spawn(async {});
    let seen = bed.tasks.inspect();
    let flags: Vec<_> = seen.iter().map(|info| (info.queued, info.done)).collect();
    assert_eq!(flags, [(false, false), (false, true), (true, false)]);
    assert_eq!((seen[0].id, seen[1].id), (first.id(), second.id()));
    assert_eq!(
        (seen[0].spawned_at(), seen[1].spawned_at()),
        (Some(here), None)
    );
}
