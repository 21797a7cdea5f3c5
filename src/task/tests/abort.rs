//! Aborts of tasks in every state, and `AbortHandle::is_finished`.

use super::*;

fn assert_cancelled<T>(result: Result<T, JoinError>) {
    let error = result.err().expect("no output");
    assert!(error.is_cancelled() && !error.is_panic() && !error.is_runtime_gone());
    assert_eq!(error.to_string(), "task was aborted");
}

#[test]
fn abort_drops_an_idle_task_in_its_next_run() {
    let bed = TestBed::new();
    let (seen, future) = probe();
    let handle = bed.spawn(future);
    bed.settle();
    bed.enter(|_| {
        handle.abort();
        handle.abort();
    });
    // The loop drops the future, not `abort`.
    assert_eq!((seen.counts(), bed.tasks.queued()), ((1, 0), 1));
    assert!(!bed.enter(|_| handle.is_finished()));
    assert_eq!((bed.settle(), seen.counts()), (1, (1, 1)));
    assert_cancelled(bed.join(handle));
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn abort_drops_a_queued_task_unpolled() {
    let bed = TestBed::new();
    let (seen, future) = probe();
    let handle = bed.spawn(future);
    bed.enter(|_| handle.abort());
    assert_eq!(bed.tasks.queued(), 1);
    assert_eq!((bed.settle(), seen.counts()), (1, (0, 1)));
    assert_cancelled(bed.join(handle));
}

#[test]
fn abort_of_an_ended_task_does_nothing() {
    let bed = TestBed::new();
    let handle = bed.spawn(async { 3 });
    bed.settle();
    bed.enter(|_| handle.abort());
    assert_eq!(bed.tasks.queued(), 0);
    assert_eq!(bed.join(handle).unwrap(), 3);
}

#[test]
fn abort_of_the_polled_task_lets_the_poll_end() {
    let bed = TestBed::new();
    let (slot, drops) = (
        Rc::new(RefCell::new(None::<AbortHandle>)),
        Rc::new(Cell::new(0)),
    );
    let (abort, count) = (slot.clone(), drops.clone());
    let handle = bed.spawn(async move {
        let _guard = OnDrop(move || count.set(count.get() + 1));
        abort.borrow().as_ref().unwrap().abort();
        // The poll continues up to here.
        future::pending::<()>().await;
    });
    *slot.borrow_mut() = Some(handle.abort_handle());
    assert_eq!(bed.step(), Some(Outcome::Done));
    assert_eq!((drops.get(), bed.tasks.queued()), (0, 1));
    assert_eq!((bed.settle(), drops.get()), (1, 1));
    assert_cancelled(bed.join(handle));
}

#[test]
fn abort_of_the_polled_task_keeps_an_output_of_that_poll() {
    let bed = TestBed::new();
    let slot = Rc::new(RefCell::new(None::<AbortHandle>));
    let abort = slot.clone();
    let handle = bed.spawn(async move { abort.borrow().as_ref().unwrap().abort() });
    *slot.borrow_mut() = Some(handle.abort_handle());
    assert_eq!(bed.settle(), 1);
    assert!(bed.join(handle).is_ok());
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn abort_drops_a_detached_task() {
    let bed = TestBed::new();
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
fn abort_by_a_stale_handle_spares_the_successor() {
    let bed = TestBed::new();
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
fn abort_on_drop_aborts_unless_detached() {
    let bed = TestBed::new();
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
fn abort_wakes_the_joining_task() {
    let bed = TestBed::new();
    let inner = bed.spawn(future::pending::<()>());
    let abort = inner.abort_handle();
    let outer = bed.spawn(async move { inner.await.unwrap_err().is_cancelled() });
    bed.settle();
    bed.enter(|_| abort.abort());
    assert_eq!(bed.settle(), 2);
    assert!(bed.join(outer).unwrap());
}

#[test]
fn is_finished_inside_the_runtime_is_up_to_date() {
    let bed = TestBed::new();
    let (seen, future) = probe();
    let handle = bed.spawn(future);
    let abort = handle.abort_handle();
    let finished = || bed.enter(|_| abort.is_finished());
    bed.settle();
    assert!(!finished());
    bed.enter(|_| abort.abort());
    assert!(!finished(), "the loop has not dropped the future yet");
    bed.settle();
    assert!(finished());
    assert_eq!(seen.counts(), (1, 1));
    assert_cancelled(bed.join(handle));
    assert!(finished());
    // The next task in the slot is a different one.
    let next = bed.spawn(future::pending::<()>());
    assert!(finished() && !bed.enter(|_| next.abort_handle().is_finished()));
}

#[test]
fn is_finished_outside_asks_once_at_a_time() {
    let bed = TestBed::new();
    let (seen, future) = probe();
    let handle = bed.spawn(future);
    let abort = handle.abort_handle();
    let clone = abort.clone();
    bed.settle();
    let before = bed.unparked.get();
    for _ in 0..3 {
        assert!(!abort.is_finished());
    }
    assert_eq!(bed.unparked.get(), before + 1);
    bed.settle();
    assert!(!abort.is_finished());
    assert_eq!(
        bed.unparked.get(),
        before + 2,
        "the question is sent again after `false`"
    );
    bed.settle();
    seen.finish.set(true);
    bed.enter(|_| seen.wake());
    bed.settle();
    assert!(
        !abort.is_finished() && !clone.is_finished(),
        "the answer has not arrived"
    );
    bed.settle();
    assert!(abort.is_finished() && clone.is_finished());
    let sent = bed.unparked.get();
    assert!(abort.is_finished());
    assert_eq!(bed.unparked.get(), sent, "`true` is final");
    bed.enter(|_| drop(handle));
}

#[test]
fn is_finished_after_the_end_of_the_tasks() {
    let bed = TestBed::new();
    let handle = bed.spawn(future::pending::<()>());
    let (early, late) = (handle.abort_handle(), handle.abort_handle());
    assert!(!early.is_finished());
    bed.enter(|tasks| tasks.shutdown());
    assert!(early.is_finished(), "the question was answered at the end");
    assert!(late.is_finished());
    drop(bed);
    assert!(handle.abort_handle().is_finished());
}

#[test]
fn is_finished_of_a_task_from_another_thread() {
    let bed = TestBed::new();
    let handle = bed
        .tasks
        .remote()
        .spawn_message(async { 5 }, Description::default());
    let abort = handle.abort_handle();
    assert!(!abort.is_finished());
    bed.settle();
    assert!(abort.is_finished());
    assert_eq!(bed.join(handle).unwrap(), 5);
    assert!(abort.is_finished());
}
