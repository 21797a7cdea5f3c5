//! `task::JoinSet`: order, errors, wakers, threads and ends.

mod support;

use reveille::backend::BackendKind;
use reveille::runtime::UnhandledPanic;
use reveille::task::{JoinError, JoinSet, yield_now};
use reveille::time::{Duration, sleep, timeout};
use reveille::{Builder, Runtime, spawn};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use support::{guarded, on_every_backend, poll_once, wait};

/// Panics without a message on standard error.
fn quiet_panic() {
    resume_unwind(Box::new("planned"));
}

fn is_planned(payload: &(dyn Any + Send)) -> bool {
    payload.downcast_ref() == Some(&"planned")
}

/// Counts how often it is dropped.
#[derive(Clone, Default)]
struct Drops(Rc<Cell<usize>>);

struct OnDrop(Drops);

impl Drops {
    fn get(&self) -> usize {
        self.0.get()
    }

    fn guard(&self) -> OnDrop {
        OnDrop(self.clone())
    }
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        let drops = &self.0.0;
        drops.set(drops.get() + 1);
    }
}

/// A future that ends when it is opened.
#[derive(Clone, Default)]
struct Gate(Rc<RefCell<(bool, Option<Waker>)>>);

impl Gate {
    fn open(&self) {
        let waker = {
            let mut state = self.0.borrow_mut();
            state.0 = true;
            state.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    async fn passed(&self) {
        poll_fn(|cx| {
            let mut state = self.0.borrow_mut();
            state.1 = Some(cx.waker().clone());
            match state.0 {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

/// A waker that counts.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn join_next_returns_outputs_in_the_order_in_which_tasks_end() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let gates: Vec<Gate> = (0..50).map(|_| Gate::default()).collect();
            let mut set = JoinSet::new();
            let ids: Vec<_> = (0..50)
                .map(|n| {
                    let gate = gates[n].clone();
                    let task = set.spawn(async move {
                        gate.passed().await;
                        n
                    });
                    task.id()
                })
                .collect();
            assert_eq!((set.len(), set.is_empty()), (50, false));
            yield_now().await;
            assert!(set.try_join_next().is_none());
            let order: Vec<usize> = (0..50).map(|n| n * 7 % 50).collect();
            for (place, &n) in order.iter().enumerate() {
                gates[n].open();
                if place % 2 == 0 {
                    yield_now().await;
                }
            }
            for &n in &order {
                let (id, output) = set.join_next_with_id().await.unwrap();
                assert_eq!((output.unwrap(), id), (n, ids[n]));
            }
            assert!(set.is_empty());
            assert!(set.join_next().await.is_none());
            assert!(set.try_join_next_with_id().is_none());
        });
    });
}

#[test]
fn join_next_wakes_the_task_that_waits() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut set = JoinSet::new();
            for n in [3, 1, 2] {
                set.spawn(async move {
                    sleep(Duration::from_millis(n)).await;
                    n
                });
            }
            let mut sum = 0;
            while let Some(output) = set.join_next().await {
                sum += output.unwrap();
            }
            assert_eq!(sum, 6);
        });
    });
}

#[test]
fn join_next_loses_nothing_if_it_is_dropped() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let gate = Gate::default();
            let mut set = JoinSet::new();
            let passes = gate.clone();
            set.spawn(async move { passes.passed().await });
            for _ in 0..3 {
                let mut join = Box::pin(set.join_next());
                assert!(poll_once(&mut join).await.is_pending());
            }
            assert!(
                timeout(Duration::from_millis(1), set.join_next())
                    .await
                    .is_err()
            );
            gate.open();
            // Ends while nothing waits for it.
            yield_now().await;
            assert_eq!(set.len(), 1);
            assert!(set.join_next().await.unwrap().is_ok());
        });
    });
}

#[test]
fn set_returns_each_panic_once() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut set = JoinSet::new();
            for n in 0..20 {
                set.spawn(async move {
                    if n % 3 == 0 {
                        yield_now().await;
                    }
                    if n % 2 == 0 {
                        quiet_panic();
                    }
                    n
                });
            }
            let (mut outputs, mut panics) = (Vec::new(), 0);
            while let Some(result) = set.join_next().await {
                match result.map_err(JoinError::into_panic) {
                    Ok(output) => outputs.push(output),
                    Err(payload) => {
                        assert!(is_planned(&*payload));
                        panics += 1;
                    }
                }
            }
            outputs.sort_unstable();
            assert_eq!(outputs, [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
            assert_eq!(panics, 10);
        });
    });
}

/// A runtime that records the panics that no handle has reported.
fn recording() -> (Runtime, Rc<Cell<usize>>) {
    let seen = Rc::new(Cell::new(0));
    let count = seen.clone();
    let policy = UnhandledPanic::Call(Box::new(move |report| {
        assert!(is_planned(report.payload()));
        count.set(count.get() + 1);
    }));
    let runtime = Builder::new().unhandled_panic(policy).build().unwrap();
    (runtime, seen)
}

#[test]
fn panics_that_were_not_returned_are_unhandled() {
    guarded("the default one", || {
        let (runtime, seen) = recording();
        runtime.block_on(async {
            let mut set = JoinSet::new();
            set.spawn(async { quiet_panic() });
            yield_now().await;
            drop(set);
        });
        runtime.block_on(yield_now());
        assert_eq!(seen.get(), 1, "dropped");
        runtime.block_on(async {
            let mut set = JoinSet::new();
            set.spawn(async { quiet_panic() });
            set.spawn(pending());
            yield_now().await;
            set.shutdown().await;
            assert!(set.is_empty());
        });
        runtime.block_on(yield_now());
        assert_eq!(seen.get(), 2, "shut down");
        runtime.block_on(async {
            let mut set = JoinSet::new();
            set.spawn(async { quiet_panic() });
            set.detach_all();
            yield_now().await;
        });
        runtime.block_on(yield_now());
        assert_eq!(seen.get(), 3, "detached");
    });
}

#[test]
fn drop_aborts_all_tasks() {
    on_every_backend(|runtime| {
        let drops = Drops::default();
        runtime.block_on(async {
            let mut set = JoinSet::new();
            for n in 0..10 {
                let guard = drops.guard();
                set.spawn(async move {
                    if n % 2 == 0 {
                        pending::<()>().await;
                    }
                    guard
                });
            }
            yield_now().await;
            assert_eq!(drops.get(), 0);
            drop(set);
            assert_eq!(drops.get(), 5, "the outputs");
            yield_now().await;
            assert_eq!(drops.get(), 10);
        });
    });
}

#[test]
fn drop_of_a_set_inside_one_of_its_tasks() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let drops = Drops::default();
            let set = Rc::new(RefCell::new(JoinSet::new()));
            for _ in 0..3 {
                let guard = drops.guard();
                set.borrow_mut().spawn(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
            }
            let (shared, guard) = (set.clone(), drops.guard());
            let went_on = Rc::new(Cell::new(false));
            let flag = went_on.clone();
            let own = set.borrow_mut().spawn(async move {
                let _guard = guard;
                drop(shared.take());
                flag.set(true);
                yield_now().await;
                unreachable!("it was aborted");
            });
            while !own.is_finished() {
                yield_now().await;
            }
            assert!(went_on.get(), "its poll goes on to its end");
            assert_eq!(drops.get(), 4);
        });
    });
}

/// The set is part of the future of its own task, and is dropped with it.
#[test]
fn drop_of_a_set_with_the_future_of_its_own_task() {
    for kind in BackendKind::ALL {
        let Ok(runtime) = Builder::new().backend(kind).build() else {
            println!("skipped on {kind}");
            continue;
        };
        guarded(kind.name(), || {
            for by_abort in [true, false] {
                let drops = Drops::default();
                let place = Rc::new(RefCell::new(None::<JoinSet<()>>));
                runtime.block_on(async {
                    let mut set = JoinSet::new();
                    let (takes, guard) = (place.clone(), drops.guard());
                    let own = set.spawn(async move {
                        let _guard = guard;
                        let _own = takes.take();
                        pending::<()>().await;
                    });
                    let guard = drops.guard();
                    set.spawn(async move {
                        let _guard = guard;
                        pending::<()>().await;
                    });
                    *place.borrow_mut() = Some(set);
                    yield_now().await;
                    if by_abort {
                        own.abort();
                        while drops.get() < 2 {
                            yield_now().await;
                        }
                    }
                });
                assert!(place.borrow().is_none(), "the task has the set");
            }
            drop(runtime);
        });
    }
}

#[test]
fn shutdown_drops_all_futures() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let drops = Drops::default();
            let mut set = JoinSet::new();
            for _ in 0..200 {
                let guard = drops.guard();
                set.spawn(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
            }
            yield_now().await;
            set.shutdown().await;
            assert_eq!((drops.get(), set.len()), (200, 0));
            // The set can be used again.
            set.spawn(async {});
            assert!(set.join_next().await.unwrap().is_ok());
        });
    });
}

#[test]
fn abort_all_leaves_the_tasks_in_the_set() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut set: JoinSet<()> = (0..5).map(|_| pending::<()>()).collect();
            set.spawn(async {});
            yield_now().await;
            set.abort_all();
            assert_eq!(set.len(), 6);
            let mut aborted = 0;
            while let Some(result) = set.join_next().await {
                aborted += usize::from(result.is_err_and(|error| error.is_cancelled()));
            }
            assert_eq!(aborted, 5);
        });
    });
}

#[test]
fn abort_handle_of_a_spawn_aborts_one_task() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut set = JoinSet::new();
            let first = set.spawn(pending::<()>());
            let second = set.spawn(pending());
            second.abort();
            let (id, result) = set.join_next_with_id().await.unwrap();
            assert_eq!(id, second.id());
            assert!(result.unwrap_err().is_cancelled());
            assert!(!first.is_finished());
        });
    });
}

#[test]
fn detach_all_lets_the_tasks_continue() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let done = Rc::new(Cell::new(0));
            let mut set = JoinSet::new();
            for _ in 0..5 {
                let done = done.clone();
                set.spawn(async move {
                    yield_now().await;
                    done.set(done.get() + 1);
                });
            }
            set.detach_all();
            assert!(set.join_next().await.is_none());
            // Uses the places of the detached tasks.
            set.spawn(async {});
            assert!(set.join_next().await.unwrap().is_ok());
            drop(set);
            while done.get() < 5 {
                yield_now().await;
            }
        });
    });
}

#[test]
fn join_all_returns_outputs_or_panics() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut set = JoinSet::new();
            set.spawn(async {
                yield_now().await;
                1
            });
            set.spawn(async { 2 });
            assert_eq!(set.join_all().await, [2, 1]);
            assert!(JoinSet::<()>::default().join_all().await.is_empty());
        });
        let drops = Drops::default();
        let guard = drops.guard();
        let payload = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let mut set = JoinSet::new();
                set.spawn(async { quiet_panic() });
                set.spawn(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
                set.join_all().await;
            });
        }))
        .unwrap_err();
        assert!(is_planned(&*payload));
        runtime.block_on(yield_now());
        assert_eq!(drops.get(), 1, "the other task was aborted");
    });
}

/// A set whose tasks are always ready must not keep the others from running.
#[test]
fn join_next_uses_the_budget() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut set = JoinSet::new();
            for _ in 0..1000 {
                set.spawn(async {});
            }
            yield_now().await;
            let polls = Rc::new(Cell::new(0));
            let count = polls.clone();
            let joiner = spawn(poll_fn(move |cx| {
                count.set(count.get() + 1);
                loop {
                    match set.poll_join_next(cx) {
                        Poll::Ready(Some(output)) => output.unwrap(),
                        Poll::Ready(None) => return Poll::Ready(()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }));
            joiner.await.unwrap();
            assert_eq!(polls.get(), 1000_usize.div_ceil(128));
        });
    });
}

#[test]
fn try_join_next_needs_no_budget() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut set = JoinSet::new();
            for _ in 0..1000 {
                set.spawn(async {});
            }
            yield_now().await;
            let mut joined = 0;
            while let Some(output) = set.try_join_next() {
                output.unwrap();
                joined += 1;
            }
            assert_eq!(joined, 1000);
        });
    });
}

#[test]
fn set_may_be_polled_with_changing_wakers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let gate = Gate::default();
            let mut set = JoinSet::new();
            let passes = gate.clone();
            set.spawn(async move { passes.passed().await });
            let counts = [(); 2].map(|()| Arc::new(Count::default()));
            for count in [&counts[0], &counts[1], &counts[0], &counts[1]] {
                let waker = Waker::from(count.clone());
                let mut cx = Context::from_waker(&waker);
                assert!(set.poll_join_next(&mut cx).is_pending());
                assert!(set.poll_join_next(&mut cx).is_pending());
            }
            gate.open();
            yield_now().await;
            assert_eq!(counts.each_ref().map(|count| count.0.load(SeqCst)), [0, 1]);
            assert_eq!(Arc::strong_count(&counts[0]), 1);
            assert!(set.join_next().await.unwrap().is_ok());
        });
    });
}

#[test]
fn set_of_another_thread() {
    on_every_backend(|runtime| {
        let handle = runtime.handle();
        let other = thread::spawn(move || {
            let mut set = JoinSet::new();
            for n in 0..100 {
                set.spawn_on(
                    async move {
                        if n % 2 == 0 {
                            yield_now().await;
                        }
                        if n % 10 == 0 {
                            quiet_panic();
                        }
                        (n, thread::current().id())
                    },
                    &handle,
                );
            }
            let (mut outputs, mut panics) = (0, 0);
            let mut owner = None;
            while let Some(result) = wait(set.join_next()) {
                match result {
                    Ok((_, thread)) => {
                        outputs += 1;
                        owner = Some(thread);
                    }
                    Err(error) => panics += usize::from(error.is_panic()),
                }
            }
            handle.stop();
            (outputs, panics, owner)
        });
        runtime.run().unwrap();
        let owner = thread::current().id();
        assert_eq!(other.join().unwrap(), (90, 10, Some(owner)));
    });
}

#[test]
fn set_moves_to_another_thread_and_back() {
    on_every_backend(|runtime| {
        let (gate, gates) = mpsc::channel::<mpsc::Sender<()>>();
        let handle = runtime.handle();
        let mut set = runtime.block_on(async {
            let mut set = JoinSet::new();
            for n in 0..30 {
                let gate = gate.clone();
                set.spawn(async move {
                    if n % 3 == 1 {
                        yield_now().await;
                    }
                    if n % 3 == 2 {
                        // Ends after the other thread has begun to wait.
                        let (send, receive) = mpsc::channel();
                        gate.send(send).unwrap();
                        while receive.try_recv() == Err(mpsc::TryRecvError::Empty) {
                            yield_now().await;
                        }
                    }
                    n
                });
            }
            // Stores a waker of this runtime, which the move makes useless.
            let mut join = Box::pin(set.join_next());
            assert!(poll_once(&mut join).await.is_pending());
            drop(join);
            set
        });
        let other = thread::spawn(move || {
            let mut outputs = Vec::new();
            while outputs.len() < 20 {
                outputs.push(wait(set.join_next()).unwrap().unwrap());
            }
            for gate in gates.try_iter() {
                gate.send(()).unwrap();
            }
            while outputs.len() < 25 {
                outputs.push(wait(set.join_next()).unwrap().unwrap());
            }
            handle.stop();
            (set, outputs)
        });
        runtime.run().unwrap();
        let (mut set, mut outputs) = other.join().unwrap();
        runtime.block_on(async {
            while let Some(output) = set.join_next().await {
                outputs.push(output.unwrap());
            }
        });
        outputs.sort_unstable();
        assert_eq!(outputs, Vec::from_iter(0..30));
    });
}

#[test]
fn set_is_dropped_on_another_thread() {
    on_every_backend(|runtime| {
        let drops = Arc::new(Count::default());
        struct Counts(Arc<Count>);
        impl Drop for Counts {
            fn drop(&mut self) {
                self.0.clone().wake();
            }
        }
        let mut set = JoinSet::new();
        runtime.block_on(async {
            for n in 0..10 {
                let counts = Counts(drops.clone());
                set.spawn(async move {
                    if n < 5 {
                        pending::<()>().await;
                    }
                    counts
                });
            }
            yield_now().await;
        });
        thread::spawn(move || drop(set)).join().unwrap();
        runtime.block_on(async {
            while drops.0.load(SeqCst) < 10 {
                yield_now().await;
            }
        });
    });
}

#[test]
fn set_with_tasks_of_a_runtime_that_is_gone() {
    on_every_backend(|runtime| {
        for poll_before in [false, true] {
            let gone = Runtime::new().unwrap();
            let handle = gone.handle();
            let mut set = JoinSet::new();
            gone.block_on(async {
                set.spawn(pending());
                set.spawn(async { 1 });
                yield_now().await;
            });
            set.spawn_on(async { 2 }, &handle);
            if poll_before {
                // Outside of the runtime this requests the output of the task that has ended.
                let mut cx = Context::from_waker(Waker::noop());
                assert!(set.poll_join_next(&mut cx).is_pending());
            }
            drop(gone);
            set.spawn_on(async { 3 }, &handle);
            let (mut outputs, mut errors) = (Vec::new(), 0);
            runtime.block_on(async {
                while let Some(result) = set.join_next().await {
                    match result {
                        Ok(output) => outputs.push(output),
                        Err(error) => errors += usize::from(error.is_runtime_gone()),
                    }
                }
                // The set can be used again.
                set.spawn(async { 4 });
                assert_eq!(set.join_next().await.unwrap().unwrap(), 4);
            });
            match poll_before {
                true => assert_eq!((&outputs[..], errors), (&[1][..], 3)),
                false => assert_eq!((&outputs[..], errors), (&[][..], 4)),
            }
        }
    });
}

/// The future of the last task spawns into a set while its runtime drops it.
#[test]
fn set_is_filled_while_its_runtime_is_dropped() {
    struct Spawns(Rc<RefCell<JoinSet<()>>>);
    impl Drop for Spawns {
        fn drop(&mut self) {
            let mut set = self.0.borrow_mut();
            set.spawn(pending());
            let error = set.try_join_next().unwrap().unwrap_err();
            assert!(error.is_runtime_gone());
        }
    }
    on_every_backend(|_| {
        let runtime = Runtime::new().unwrap();
        let set = Rc::new(RefCell::new(JoinSet::new()));
        let spawns = Spawns(set.clone());
        drop(runtime.spawn(async move {
            let _spawns = spawns;
            pending::<()>().await;
        }));
        drop(runtime);
        assert!(set.borrow().is_empty());
    });
}

#[test]
fn set_of_tasks_of_two_runtimes() {
    on_every_backend(|runtime| {
        let (ready, is_ready) = mpsc::channel();
        let other = thread::spawn(move || {
            let runtime = Runtime::new().unwrap();
            ready.send(runtime.handle()).unwrap();
            runtime.run().unwrap();
        });
        let handle = is_ready.recv().unwrap();
        runtime.block_on(async {
            let mut set = JoinSet::new();
            for n in 0..100 {
                match n % 2 {
                    0 => set.spawn(async move { n }),
                    _ => set.spawn_on(async move { n }, &handle),
                };
            }
            let mut outputs = set.join_all().await;
            outputs.sort_unstable();
            assert_eq!(outputs, Vec::from_iter(0..100));
        });
        handle.stop();
        other.join().unwrap();
    });
}

#[test]
fn closures_that_block_are_part_of_a_set() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut set = JoinSet::new();
            let owner = thread::current().id();
            set.spawn_blocking(|| thread::current().id());
            set.spawn_blocking_on(|| thread::current().id(), &reveille::Handle::current());
            set.spawn(async { thread::current().id() });
            let ids = set.join_all().await;
            assert_eq!(ids.iter().filter(|&&id| id == owner).count(), 1);

            let mut set = JoinSet::new();
            set.spawn_blocking(quiet_panic);
            assert!(set.join_next().await.unwrap().unwrap_err().is_panic());
        });
    });
}

/// Tasks that were in the set stay there, and are joined with those that `extend` has spawned.
#[test]
fn extend_adds_tasks_to_those_of_the_set() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut set: JoinSet<usize> = (0..3).map(|n| async move { n }).collect();
            let gate = Gate::default();
            let late = set.spawn({
                let gate = gate.clone();
                async move {
                    gate.passed().await;
                    9
                }
            });
            set.extend((3..5).map(|n| async move { n }));
            // No future at all.
            set.extend((0..0).map(|n| async move { n }));
            assert_eq!(set.len(), 6);
            for n in 0..5 {
                assert_eq!(set.join_next().await.unwrap().unwrap(), n);
            }
            assert_eq!(set.len(), 1);
            gate.open();
            let (id, output) = set.join_next_with_id().await.unwrap();
            assert_eq!((id, output.unwrap()), (late.id(), 9));
            assert!(set.join_next().await.is_none());
        });
    });
}

#[test]
fn extend_keeps_the_tasks_of_an_iterator_that_panics() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut set = JoinSet::new();
            let futures = (0..5).map(|n| {
                if n == 2 {
                    quiet_panic();
                }
                async move { n }
            });
            let out = catch_unwind(AssertUnwindSafe(|| set.extend(futures)));
            assert!(is_planned(&*out.unwrap_err()));
            assert_eq!(set.join_all().await, [0, 1]);
        });
    });
}

/// Not in the source of the crate.
#[test]
fn extend_spawns_at_the_place_that_calls_it() {
    let runtime = Builder::new().track_spawn_locations(true).build().unwrap();
    runtime.enter(|| {
        let mut set = JoinSet::from_iter([pending::<()>()]);
        set.extend([pending()]);
        let tasks = runtime.tasks();
        assert_eq!(tasks.len(), 2);
        for task in tasks {
            assert_eq!(task.spawned_at().unwrap().file(), file!());
        }
    });
}

/// Without a future it needs no runtime.
#[test]
fn extend_outside_of_a_runtime_panics_at_the_first_future() {
    let mut set = JoinSet::new();
    set.extend(Vec::<std::future::Ready<u8>>::new());
    let out = catch_unwind(AssertUnwindSafe(|| set.extend([std::future::ready(7)])));
    assert!(out.is_err() && set.is_empty());
}

/// A combinator gives the set a waker that is not that of the task.
#[test]
fn set_inside_of_a_combinator() {
    struct Forward(Waker, AtomicUsize);
    impl Wake for Forward {
        fn wake(self: Arc<Self>) {
            self.1.fetch_add(1, SeqCst);
            self.0.wake_by_ref();
        }
    }
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut set = JoinSet::new();
            for n in 1..=300 {
                set.spawn(async move {
                    yield_now().await;
                    n
                });
            }
            let mut sum = 0;
            let mut forward = None;
            poll_fn(|cx| {
                let forward =
                    forward.get_or_insert_with(|| Arc::new(Forward(cx.waker().clone(), 0.into())));
                let waker = Waker::from(forward.clone());
                let mut cx = Context::from_waker(&waker);
                loop {
                    match set.poll_join_next(&mut cx) {
                        Poll::Ready(Some(n)) => sum += n.unwrap(),
                        Poll::Ready(None) => return Poll::Ready(()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            })
            .await;
            assert_eq!(sum, 300 * 301 / 2);
            assert!(forward.unwrap().1.load(SeqCst) > 0);
        });
    });
}

#[test]
fn set_grows_while_it_is_joined() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut set = JoinSet::new();
            set.spawn(async { 10_u32 });
            let mut ended = 0;
            while let Some(n) = set.join_next().await {
                ended += 1;
                let n = n.unwrap();
                for _ in 0..n.min(2) {
                    set.spawn(async move {
                        yield_now().await;
                        n - 1
                    });
                }
            }
            // A binary tree of ten levels, whose last level has one child each instead of two.
            assert_eq!(ended, (1 << 10) - 1 + (1 << 9));
        });
    });
}

#[test]
fn set_has_auto_traits() {
    fn send<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}
    send::<JoinSet<u8>>();
    let set = JoinSet::<u8>::new();
    assert_eq!(format!("{set:?}"), "JoinSet { len: 0, .. }");
}

#[test]
fn inserted_tasks_are_joined_as_spawned_ones() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut set = JoinSet::new();
            // One that has ended, one that has a name, and one whose handle was polled elsewhere.
            let ended = spawn(async { 1 });
            while !ended.is_finished() {
                yield_now().await;
            }
            set.insert(ended);
            set.insert(
                reveille::task::Builder::new()
                    .name("two")
                    .spawn(async { 2 }),
            );
            let gate = Gate::default();
            let mut polled = spawn({
                let gate = gate.clone();
                async move {
                    gate.passed().await;
                    3
                }
            });
            assert!(poll_once(&mut polled).await.is_pending());
            let abort = set.insert(polled);
            assert!(!abort.is_finished());
            assert_eq!(set.join_next().await.unwrap().unwrap(), 1);
            assert_eq!(set.join_next().await.unwrap().unwrap(), 2);
            gate.open();
            assert_eq!(set.join_next().await.unwrap().unwrap(), 3);
            assert!(set.join_next().await.is_none());
        });
    });
}

#[test]
fn inserted_task_must_not_have_returned_its_output() {
    reveille::block_on(async {
        let mut taken = spawn(async { 1 });
        assert_eq!((&mut taken).await.unwrap(), 1);
        let mut set = JoinSet::new();
        let panic = catch_unwind(AssertUnwindSafe(|| drop(set.insert(taken)))).unwrap_err();
        let text = panic.downcast_ref::<&str>().copied().unwrap_or_default();
        assert!(text.contains("has returned the output"), "{text}");
        assert!(set.join_next().await.is_none());
    });
}
