//! Aborting tasks in every state.

use super::*;

fn assert_cancelled<T>(result: Result<T, JoinError>) {
    let error = result.err().expect("no output");
    assert!(error.is_cancelled() && !error.is_panic() && !error.is_runtime_gone());
    assert_eq!(error.to_string(), "task was aborted");
}

#[test]
fn idle() {
    let bed = Bed::new();
    let (seen, future) = probe();
    let handle = bed.spawn(future);
    bed.settle();
    bed.enter(|_| {
        handle.abort();
        handle.abort();
    });
    // Not inside abort: the loop drops it.
    assert_eq!((seen.counts(), bed.tasks.queued()), ((1, 0), 1));
    assert!(!bed.enter(|_| handle.is_finished()));
    assert_eq!((bed.settle(), seen.counts()), (1, (1, 1)));
    assert_cancelled(bed.join(handle));
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn queued() {
    let bed = Bed::new();
    let (seen, future) = probe();
    let handle = bed.spawn(future);
    bed.enter(|_| handle.abort());
    assert_eq!(bed.tasks.queued(), 1);
    assert_eq!((bed.settle(), seen.counts()), (1, (0, 1)));
    assert_cancelled(bed.join(handle));
}

#[test]
fn done() {
    let bed = Bed::new();
    let handle = bed.spawn(async { 3 });
    bed.settle();
    bed.enter(|_| handle.abort());
    assert_eq!(bed.tasks.queued(), 0);
    assert_eq!(bed.join(handle).unwrap(), 3);
}

#[test]
fn itself() {
    let bed = Bed::new();
    let (slot, drops) = (
        Rc::new(RefCell::new(None::<AbortHandle>)),
        Rc::new(Cell::new(0)),
    );
    let (abort, count) = (slot.clone(), drops.clone());
    let handle = bed.spawn(async move {
        let _guard = OnDrop(move || count.set(count.get() + 1));
        abort.borrow().as_ref().unwrap().abort();
        // Runs on to its next Pending.
        future::pending::<()>().await;
    });
    *slot.borrow_mut() = Some(handle.abort_handle());
    assert_eq!(bed.step(), Some(Outcome::Done));
    assert_eq!((drops.get(), bed.tasks.queued()), (0, 1));
    assert_eq!((bed.settle(), drops.get()), (1, 1));
    assert_cancelled(bed.join(handle));
}

#[test]
fn itself_and_end_at_once() {
    let bed = Bed::new();
    let slot = Rc::new(RefCell::new(None::<AbortHandle>));
    let abort = slot.clone();
    let handle = bed.spawn(async move { abort.borrow().as_ref().unwrap().abort() });
    *slot.borrow_mut() = Some(handle.abort_handle());
    assert_eq!(bed.settle(), 1);
    assert!(bed.join(handle).is_ok());
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn detached() {
    let bed = Bed::new();
    let (seen, future) = probe();
    let handle = bed.spawn(future);
    bed.settle();
    let abort = handle.abort_handle();
    bed.enter(|_| {
        drop(handle);
        abort.abort();
    });
    assert_eq!(bed.step(), Some(Outcome::Done));
    assert_eq!((seen.counts(), bed.tasks.live()), ((1, 1), 0));
}

#[test]
fn stale_handle_spares_the_successor() {
    let bed = Bed::new();
    let first = bed.spawn(async {});
    let abort = first.abort_handle();
    bed.settle();
    bed.join(first).unwrap();
    let (seen, future) = probe();
    let second = bed.spawn(future);
    assert_eq!(second.id().index(), abort.id().index());
    bed.settle();
    bed.enter(|_| abort.abort());
    assert_eq!((bed.settle(), seen.counts()), (0, (1, 0)));
    drop(second);
}

#[test]
fn on_drop() {
    let bed = Bed::new();
    let (seen, future) = probe();
    let handle = bed.spawn(future).abort_on_drop();
    bed.settle();
    bed.enter(|_| drop(handle));
    assert_eq!((bed.settle(), seen.counts()), (1, (1, 1)));
    let (seen, future) = probe();
    let handle = bed.spawn(future).abort_on_drop().detach();
    bed.enter(|_| drop(handle));
    assert_eq!((bed.settle(), seen.counts()), (1, (1, 0)));
    assert_eq!(bed.tasks.live(), 1);
}

#[test]
fn abort_wakes_who_joins() {
    let bed = Bed::new();
    let inner = bed.spawn(future::pending::<()>());
    let abort = inner.abort_handle();
    let outer = bed.spawn(async move { inner.await.unwrap_err().is_cancelled() });
    bed.settle();
    bed.enter(|_| abort.abort());
    assert_eq!(bed.settle(), 2);
    assert!(bed.join(outer).unwrap());
}
