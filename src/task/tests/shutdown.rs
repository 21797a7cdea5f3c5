//! The end of a runtime: everything is dropped once, everybody is told.

use super::*;

fn assert_gone<T>(result: Poll<Result<T, JoinError>>) {
    match result {
        Poll::Ready(Err(error)) => assert!(error.is_runtime_gone(), "{error}"),
        Poll::Ready(Ok(_)) => panic!("an output"),
        Poll::Pending => panic!("pending"),
    }
}

#[test]
fn drops_futures_and_outputs_once() {
    let bed = Bed::new();
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
    // Wakers of the dead do nothing, inside or outside.
    bed.enter(|_| idle.wake());
    idle.wake();
    drop(bed);
    idle.wake();
    assert_eq!(idle.counts(), (1, 1));
}

#[test]
fn handles_survive_the_runtime() {
    let bed = Bed::new();
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
fn who_joins_from_elsewhere_is_woken() {
    let (bed, other) = (Bed::new(), Bed::new());
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
fn drops_that_spawn_wake_and_abort() {
    let bed = Bed::new();
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
    // Another one after it, whose drop drops the handle of the first.
    bed.settle();
    bed.enter(Tasks::shutdown);
    assert_eq!(*log.borrow(), [true]);
    assert_eq!((spawned.counts(), seen.counts()), ((0, 1), (1, 1)));
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn outputs_that_hold_handles() {
    let bed = Bed::new();
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
fn panics_are_kept_and_stop_nothing() {
    let bed = Bed::new();
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
fn drop_without_shutdown_is_a_shutdown() {
    let (seen, future) = probe();
    let bed = Bed::new();
    let _handle = bed.spawn(future);
    drop(bed);
    assert_eq!(seen.counts(), (0, 1));
}

#[test]
fn from_inside_a_task_is_refused() {
    let bed = Bed::new();
    let handle = bed.spawn(async { CURRENT.with(|tasks| tasks.unwrap().shutdown()) });
    bed.settle();
    let error = bed.join(handle).unwrap_err();
    assert!(error.to_string().contains("inside one of its own tasks"));
}

#[test]
fn forgotten_handles_and_roots() {
    let bed = Bed::new();
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
fn spawn_after_the_end_says_gone() {
    let bed = Bed::new();
    bed.enter(Tasks::shutdown);
    let (seen, future) = probe();
    let mut handle = bed.spawn(future);
    assert_eq!(seen.counts(), (0, 1));
    assert_gone(bed.poll(&mut handle));
    let mut handle = bed.tasks.remote().spawn(async {}, None);
    assert_gone(bed.poll(&mut handle));
}

#[test]
fn ids_are_never_given_out_twice() {
    let first = Bed::new();
    let id = first.tasks.id();
    drop(first);
    let second = Bed::new();
    assert_ne!(second.tasks.id(), id);
}
