//! The end of a runtime: each future and output is dropped once, and each waiter is woken.

use super::*;

fn assert_gone<T>(result: Poll<Result<T, JoinError>>) {
    match result {
        Poll::Ready(Err(error)) => assert!(error.is_runtime_gone(), "{error}"),
        Poll::Ready(Ok(_)) => panic!("an output"),
        Poll::Pending => panic!("pending"),
    }
}

#[test]
fn shutdown_drops_futures_and_outputs_once() {
    let bed = TestBed::new();
    let ((idle, a), (done, b), (fresh, c)) = (probe(), probe(), probe());
    done.finish.set(true);
    let mut handles = vec![bed.spawn(a), bed.spawn(b)];
    bed.settle();
    handles.push(bed.spawn(c));
    bed.enter(Tasks::shutdown);
    assert_eq!(idle.counts(), (1, 1));
    assert_eq!(done.counts(), (1, 101));
    assert_eq!(fresh.counts(), (0, 1));
    assert_eq!((bed.tasks.live(), bed.step().is_none()), (0, true));
    for handle in &mut handles {
        assert!(bed.enter(|_| handle.is_finished()));
        assert_gone(bed.poll(handle));
    }
    bed.enter(Tasks::shutdown);
    // Wakers of ended tasks do nothing, inside or outside of the runtime.
    bed.enter(|_| idle.wake());
    idle.wake();
    drop(bed);
    idle.wake();
    assert_eq!(idle.counts(), (1, 1));
}

#[test]
fn handles_outlive_the_runtime() {
    let bed = TestBed::new();
    let mut handle = bed.spawn(future::pending::<()>());
    let mut replying = bed.spawn(future::pending::<()>());
    assert!(poll_with(&mut replying, Waker::noop()).is_pending());
    drop(bed);
    handle.abort();
    assert!(handle.is_finished() && replying.is_finished());
    assert_gone(poll_with(&mut handle, Waker::noop()));
    assert_gone(poll_with(&mut replying, Waker::noop()));
}

#[test]
fn shutdown_wakes_joiners_outside_of_the_runtime() {
    let (bed, other) = (TestBed::new(), TestBed::new());
    let mut handle = bed.spawn(future::pending::<()>());
    let listener = Arc::new(Count::default());
    let waker = Waker::from(listener.clone());
    assert!(bed.enter(|_| poll_with(&mut handle, &waker)).is_pending());
    let remote = bed.spawn(future::pending::<()>());
    let outer = other.spawn(async move { remote.await.unwrap_err().is_runtime_gone() });
    assert_eq!(other.settle(), 1);
    drop(bed);
    assert_eq!(listener.get(), 1);
    assert_gone(poll_with(&mut handle, &waker));
    assert_eq!(other.settle(), 1);
    assert!(other.join(outer).unwrap());
}

#[test]
fn shutdown_drops_a_future_that_spawns_wakes_and_aborts() {
    let bed = TestBed::new();
    let (seen, future) = probe();
    let victim = bed.spawn(future);
    bed.settle();
    let (spawned, log) = (Rc::<Seen>::default(), Rc::new(RefCell::new(Vec::new())));
    let (inner, events, witness) = (spawned.clone(), log.clone(), seen.clone());
    let guard = OnDrop(move || {
        CURRENT.with(|tasks| {
            let mut handle = tasks.unwrap().spawn(Probe(inner.clone()), None);
            events
                .borrow_mut()
                .push(poll_with(&mut handle, Waker::noop()).is_ready());
        });
        witness.wake();
        victim.abort();
    });
    bed.spawn(async move {
        let _guard = guard;
        future::pending::<()>().await;
    });
    bed.settle();
    bed.enter(Tasks::shutdown);
    assert_eq!(*log.borrow(), [true]);
    assert_eq!((spawned.counts(), seen.counts()), ((0, 1), (1, 1)));
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn shutdown_drops_outputs_that_hold_handles() {
    let bed = TestBed::new();
    let (seen, future) = probe();
    seen.finish.set(true);
    let inner = bed.spawn(future);
    let outer = bed.spawn(async move { (inner, ()) });
    bed.settle();
    bed.enter(Tasks::shutdown);
    assert_eq!((seen.counts(), bed.tasks.live()), ((1, 101), 0));
    drop(outer);
}

#[test]
fn shutdown_keeps_panics_and_continues() {
    let bed = TestBed::new();
    let (seen, future) = probe();
    bed.spawn(async {
        let _guard = OnDrop(|| panic!("one"));
        future::pending::<()>().await;
    });
    let _unjoined = bed.spawn(async { OnDrop(|| panic!("two")) });
    let _last = bed.spawn(future);
    bed.settle();
    bed.enter(Tasks::shutdown);
    assert_eq!(seen.counts(), (1, 1));
    let texts: Vec<_> = std::iter::from_fn(|| bed.tasks.take_panic())
        .map(text)
        .collect();
    assert_eq!(texts, ["one", "two"]);
}

#[test]
fn drop_of_the_tasks_shuts_down() {
    let (seen, future) = probe();
    let bed = TestBed::new();
    let _handle = bed.spawn(future);
    drop(bed);
    assert_eq!(seen.counts(), (0, 1));
}

#[test]
fn shutdown_inside_a_task_panics() {
    let bed = TestBed::new();
    let handle = bed.spawn(async { CURRENT.with(|tasks| tasks.unwrap().shutdown()) });
    bed.settle();
    let error = bed.join(handle).unwrap_err();
    assert!(error.to_string().contains("inside one of its own tasks"));
}

#[test]
fn shutdown_drops_tasks_whose_handle_was_forgotten() {
    let bed = TestBed::new();
    let (seen, future) = probe();
    seen.finish.set(true);
    std::mem::forget(bed.spawn(future));
    let root = bed.tasks.add_root();
    bed.settle();
    bed.enter(Tasks::shutdown);
    assert_eq!((seen.counts(), bed.tasks.live()), ((1, 101), 0));
    bed.tasks.remove_root(root);
}

#[test]
fn spawn_after_the_end_fails() {
    let bed = TestBed::new();
    bed.enter(Tasks::shutdown);
    let (seen, future) = probe();
    let mut handle = bed.spawn(future);
    assert_eq!(seen.counts(), (0, 1));
    assert_gone(bed.poll(&mut handle));
    let mut handle = bed.tasks.remote().spawn(async {}, None, None);
    assert_gone(bed.poll(&mut handle));
}

#[test]
fn runtime_ids_are_never_given_out_twice() {
    let first = TestBed::new();
    let id = first.tasks.id();
    drop(first);
    let second = TestBed::new();
    assert_ne!(second.tasks.id(), id);
}
