//! Handles, wakers and spawns on other threads, and on this thread outside of the runtime.

use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// What a test and a future that passes the gate share: it is `Send`, and the future ends once the
/// gate is open.
#[derive(Default)]
struct Gate {
    waker: std::sync::Mutex<Option<Waker>>,
    open: std::sync::atomic::AtomicBool,
    polls: AtomicUsize,
}

async fn pass(gate: Arc<Gate>) -> String {
    future::poll_fn(|cx| {
        gate.polls.fetch_add(1, Ordering::SeqCst);
        *gate.waker.lock().unwrap() = Some(cx.waker().clone());
        if gate.open.load(Ordering::SeqCst) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    String::from("passed")
}

impl Gate {
    fn wake(&self) {
        self.waker.lock().unwrap().as_ref().unwrap().wake_by_ref();
    }

    fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
        self.wake();
    }
}

/// Runs tasks until `done` returns true.
fn run_until(bed: &TestBed, mut done: impl FnMut() -> bool) {
    while !done() {
        if bed.settle() == 0 {
            thread::yield_now();
        }
    }
}

/// Waits for a handle on this thread, as another executor would.
fn block_on<T>(mut handle: JoinHandle<T>) -> Result<T, JoinError> {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match poll_with(&mut handle, &waker) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park_timeout(Duration::from_secs(10)),
        }
    }
}

#[test]
fn remote_wakes_queue_once_and_unpark_once() {
    let bed = TestBed::new();
    let gate = Arc::<Gate>::default();
    let handle = bed.spawn(pass(gate.clone()));
    bed.settle();
    let shared = gate.clone();
    thread::spawn(move || (0..5).for_each(|_| shared.wake()))
        .join()
        .unwrap();
    assert_eq!((bed.unparked.get(), bed.tasks.queued()), (1, 0));
    assert!(bed.tasks.remote().has_work());
    assert_eq!(bed.settle(), 1);
    assert!(!bed.tasks.remote().has_work());
    let shared = gate.clone();
    thread::spawn(move || shared.open()).join().unwrap();
    assert_eq!((bed.settle(), bed.unparked.get()), (1, 2));
    assert_eq!(gate.polls.load(Ordering::SeqCst), 3);
    assert_eq!(bed.join(handle).unwrap(), "passed");
}

#[test]
fn remote_and_local_wake_make_one_run() {
    let bed = TestBed::new();
    let (seen, future) = probe();
    let _handle = bed.spawn(future);
    bed.settle();
    seen.wake();
    bed.enter(|_| seen.wake());
    assert_eq!((bed.settle(), seen.polls.get()), (1, 2));
}

#[test]
fn join_on_another_thread_returns_the_output() {
    for open_first in [false, true] {
        let bed = TestBed::new();
        let gate = Arc::<Gate>::default();
        let handle = bed.spawn(pass(gate.clone()));
        bed.settle();
        if open_first {
            bed.enter(|_| gate.open());
            bed.settle();
        }
        let thread = thread::spawn(move || block_on(handle));
        if !open_first {
            // Does not run tasks meanwhile, because that would take the message out of the inbox.
            while !bed.tasks.remote().has_work() {
                thread::yield_now();
            }
            bed.settle();
            gate.open();
        }
        run_until(&bed, || thread.is_finished());
        assert_eq!(thread.join().unwrap().unwrap(), "passed");
        assert_eq!(bed.tasks.live(), 0);
    }
}

#[test]
fn handle_inside_another_runtime_sends_messages() {
    let (home, away) = (TestBed::new(), TestBed::new());
    // Both tasks have the same key.
    let (handle, other) = (home.spawn(async { 1 }), away.spawn(async { 2 }));
    assert_eq!(handle.id(), other.id());
    home.settle();
    assert!(!away.enter(|_| handle.is_finished()));
    away.enter(|_| {
        handle.abort();
        handle.abort_handle().abort();
        drop(handle);
    });
    assert_eq!((away.settle(), away.join(other).unwrap()), (1, 2));
    home.settle();
    assert_eq!(home.tasks.live(), 0);
    let unseen = home.spawn(future::pending::<()>());
    let bystander = away.spawn(future::ready(3));
    away.enter(|_| drop(unseen));
    assert_eq!((away.settle(), away.join(bystander).unwrap()), (1, 3));
}

#[test]
fn handle_sends_one_message_however_often_it_is_polled() {
    let bed = TestBed::new();
    let (seen, future) = probe();
    let mut handle = bed.spawn(future);
    bed.settle();
    // On the runtime's thread, but outside of it: the output is not `Send`.
    for _ in 0..4 {
        assert!(poll_with(&mut handle, Waker::noop()).is_pending());
        assert!(!handle.is_finished());
    }
    assert_eq!(bed.unparked.get(), 1);
    // Inside again, the handle polls the reply.
    assert!(bed.poll(&mut handle).is_pending());
    seen.finish.set(true);
    bed.enter(|_| seen.wake());
    assert_eq!(bed.settle(), 1);
    assert!(handle.is_finished());
    assert!(bed.join(handle).is_ok());
    assert_eq!((seen.counts(), bed.tasks.live()), ((2, 101), 0));
    assert_eq!(bed.unparked.get(), 1);
}

#[test]
fn is_finished_becomes_true_without_a_poll() {
    let bed = TestBed::new();
    let handle = bed.spawn(async {});
    let thread = thread::spawn(move || {
        while !handle.is_finished() {
            thread::yield_now();
        }
    });
    run_until(&bed, || thread.is_finished());
    thread.join().unwrap();
    bed.settle();
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn handle_dropped_on_another_thread_before_the_end() {
    for polled in [false, true] {
        let bed = TestBed::new();
        let gate = Arc::<Gate>::default();
        let mut handle = bed.spawn(pass(gate.clone()));
        bed.settle();
        thread::spawn(move || {
            if polled {
                assert!(poll_with(&mut handle, Waker::noop()).is_pending());
            }
            drop(handle);
        })
        .join()
        .unwrap();
        assert_eq!(bed.settle(), 0);
        assert_eq!(bed.tasks.live(), 1);
        gate.open();
        assert_eq!((bed.settle(), bed.tasks.live()), (1, 0));
    }
}

#[test]
fn handle_dropped_on_another_thread_after_the_end() {
    for polled in [false, true] {
        let bed = TestBed::new();
        let mut handle = bed.spawn(async { String::from("unseen") });
        assert_eq!(bed.settle(), 1);
        thread::spawn(move || {
            if polled {
                assert!(poll_with(&mut handle, Waker::noop()).is_pending());
            }
            drop(handle);
        })
        .join()
        .unwrap();
        assert_eq!((bed.settle(), bed.tasks.live()), (0, 0));
    }
}

#[test]
fn handle_dropped_on_another_thread_leaves_the_panic_to_the_owner() {
    for polled in [false, true] {
        let bed = TestBed::new();
        let mut handle = bed.spawn(async { panic!("unseen") });
        assert_eq!(bed.settle(), 1);
        if polled {
            assert!(poll_with(&mut handle, Waker::noop()).is_pending());
            bed.settle();
        }
        thread::spawn(move || drop(handle)).join().unwrap();
        bed.settle();
        assert_eq!(bed.tasks.take_panic().map(text), Some("unseen"));
    }
}

#[test]
fn panic_of_a_task_without_a_handle_is_kept_for_a_remote_spawn() {
    let bed = TestBed::new();
    let handle = bed
        .tasks
        .remote()
        .spawn(async { panic!("unseen") }, None, None);
    drop(handle);
    assert_eq!(bed.step(), Some(Outcome::DetachedPanic));
    assert_eq!(bed.tasks.take_panic().map(text), Some("unseen"));
}

#[test]
fn abort_on_another_thread_drops_the_task() {
    let bed = TestBed::new();
    let handle = bed.spawn(future::pending::<()>());
    bed.settle();
    let abort = handle.abort_handle();
    thread::spawn(move || (0..9).for_each(|_| abort.abort()))
        .join()
        .unwrap();
    assert_eq!(bed.settle(), 1);
    assert!(bed.join(handle).unwrap_err().is_cancelled());
}

#[test]
fn remote_spawn_is_run_and_joined() {
    let bed = TestBed::new();
    let remote = bed.tasks.remote().clone();
    let thread = thread::spawn(move || {
        let handle = remote.spawn(
            async { CURRENT.with(|t| t.unwrap().current_id()) },
            None,
            None,
        );
        let id = handle.id();
        (block_on(handle), id)
    });
    run_until(&bed, || thread.is_finished());
    let (result, id) = thread.join().unwrap();
    assert_eq!(result.unwrap(), Some(id));
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn remote_spawn_inside_is_direct() {
    let bed = TestBed::new();
    let handle = bed.enter(|tasks| tasks.remote().spawn(async { 2 }, None, None));
    assert_eq!((bed.tasks.queued(), bed.unparked.get()), (1, 0));
    bed.settle();
    assert_eq!(bed.join(handle).unwrap(), 2);
}

#[test]
fn abort_before_a_remote_spawn_arrives() {
    let bed = TestBed::new();
    let gate = Arc::<Gate>::default();
    let handle = bed.tasks.remote().spawn(pass(gate.clone()), None, None);
    let abort = handle.abort_handle();
    abort.abort();
    assert_eq!(bed.settle(), 1);
    assert_eq!(gate.polls.load(Ordering::SeqCst), 0);
    assert_eq!(Arc::strong_count(&gate), 1);
    assert!(block_on(handle).unwrap_err().is_cancelled());
    abort.abort();
    assert!(!bed.tasks.remote().has_work());
}

#[test]
fn abort_after_a_remote_spawn_has_arrived() {
    let bed = TestBed::new();
    let gate = Arc::<Gate>::default();
    let handle = bed.tasks.remote().spawn(pass(gate.clone()), None, None);
    assert_eq!(bed.settle(), 1);
    thread::scope(|scope| {
        scope.spawn(|| handle.abort());
    });
    assert_eq!(bed.settle(), 1);
    assert_eq!(gate.polls.load(Ordering::SeqCst), 1);
    assert!(block_on(handle).unwrap_err().is_cancelled());
}

#[test]
fn messages_after_the_end_are_answered() {
    let bed = TestBed::new();
    let remote = bed.tasks.remote().clone();
    let gate = Arc::<Gate>::default();
    let pending = bed.spawn(pass(gate.clone()));
    let unsent = remote.spawn(pass(gate.clone()), None, None);
    bed.settle();
    let waiting = remote.spawn(pass(gate.clone()), None, None);
    drop(bed);
    assert_eq!(Arc::strong_count(&gate), 1);
    let late = remote.spawn(pass(gate.clone()), None, None);
    assert_eq!(Arc::strong_count(&gate), 1);
    gate.wake();
    for handle in [pending, unsent, waiting, late] {
        let error = thread::spawn(|| block_on(handle))
            .join()
            .unwrap()
            .unwrap_err();
        assert!(error.is_runtime_gone());
    }
}

#[test]
fn shutdown_delivers_an_output_that_was_requested() {
    let bed = TestBed::new();
    let mut handle = bed.spawn(async { 8 });
    bed.settle();
    assert!(poll_with(&mut handle, Waker::noop()).is_pending());
    drop(bed);
    assert_eq!(block_on(handle).unwrap(), 8);
}

#[test]
fn remote_spawns_and_aborts_of_many_threads_are_all_answered() {
    const THREADS: usize = 3;
    const TASKS: usize = 60;
    let bed = TestBed::new();
    let (send, receive) = mpsc::channel();
    let workers: Vec<_> = (0..THREADS)
        .map(|_| {
            let (remote, send) = (bed.tasks.remote().clone(), send.clone());
            thread::spawn(move || {
                for n in 0..TASKS {
                    let gate = Arc::<Gate>::default();
                    let handle = remote.spawn(pass(gate.clone()), None, None);
                    if n % 3 == 0 {
                        handle.abort();
                    }
                    while n % 3 != 0 && gate.waker.lock().unwrap().is_none() {
                        thread::yield_now();
                    }
                    if n % 3 != 0 {
                        gate.open();
                    }
                    match block_on(handle) {
                        Ok(text) => assert_eq!(text, "passed"),
                        Err(error) => assert!(n % 3 == 0 && error.is_cancelled()),
                    }
                    send.send(()).unwrap();
                }
            })
        })
        .collect();
    drop(send);
    let mut answers = 0;
    run_until(&bed, || {
        answers += receive.try_iter().count();
        answers == THREADS * TASKS
    });
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
    assert_eq!(bed.tasks.live(), 0);
}

/// Spawns a task that waits for a handle whose reply is still in the inbox. Returns the record of
/// the joined task, and the handle of the waiting one.
fn waits_with_a_reply_under_way(bed: &TestBed) -> (Rc<Seen>, JoinHandle<bool>) {
    let (seen, future) = probe();
    let handle = bed.spawn(future);
    bed.settle();
    // Called outside of the runtime, this creates the reply and sends it.
    assert!(!handle.is_finished());
    let waits = bed.spawn(async move { handle.await.is_ok() });
    let polled = bed.enter(|tasks| Runner::new(tasks).run(&mut 1));
    assert_eq!(polled, Outcome::Done);
    (seen, waits)
}

#[test]
fn join_by_a_task_before_the_reply_is_attached() {
    let bed = TestBed::new();
    let (seen, waits) = waits_with_a_reply_under_way(&bed);
    assert_eq!(bed.settle(), 1, "it is woken to poll the reply");
    seen.finish.set(true);
    bed.enter(|_| seen.wake());
    assert_eq!(bed.settle(), 2);
    assert!(bed.join(waits).unwrap());
    assert_eq!((bed.tasks.live(), bed.tasks.foreign_waiters.len()), (0, 0));
}

#[test]
fn join_takes_the_output_before_the_reply_is_attached() {
    let bed = TestBed::new();
    let (seen, waits) = waits_with_a_reply_under_way(&bed);
    seen.finish.set(true);
    bed.enter(|tasks| {
        seen.wake();
        assert_eq!(Runner::new(tasks).run(&mut 2), Outcome::Done);
    });
    assert_eq!(seen.counts(), (2, 101));
    assert_eq!(bed.settle(), 0, "the reply finds no task");
    assert!(bed.join(waits).unwrap());
    assert_eq!((bed.tasks.live(), bed.tasks.foreign_waiters.len()), (0, 0));
}
