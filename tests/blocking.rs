//! `spawn_blocking`, the pool behind it, and the two ways to wait without a loop.
//!
//! A closure that must not end yet waits for a channel, so no test depends on time.

mod support;

use reveille::runtime::{Pool, UnhandledPanic};
use reveille::time::{Duration, sleep};
use reveille::{Builder, Handle, JoinHandle, Runtime, spawn_blocking};
use std::cell::Cell;
use std::future::Future;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Barrier};
use std::task::{Context, Wake, Waker};
use std::thread;
use support::panics::{message_of, text_of};
use support::{guarded, occupy, on_every_backend, rounds};

fn one_thread() -> Runtime {
    Builder::new().max_blocking_threads(1).build().unwrap()
}

/// Sends when it is dropped.
struct OnDrop(Sender<thread::ThreadId>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.send(thread::current().id()).unwrap();
    }
}

fn on_drop() -> (OnDrop, Receiver<thread::ThreadId>) {
    let (send, receive) = channel();
    (OnDrop(send), receive)
}

#[test]
fn spawn_blocking_returns_the_output_and_wakes_a_loop_that_sleeps() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let owner = thread::current().id();
            for n in 0..200 {
                let job = spawn_blocking(move || (n, thread::current().id()));
                let (output, id) = job.await.unwrap();
                assert_eq!(output, n);
                assert_ne!(id, owner);
            }
            // Most likely the loop sleeps before this closure ends.
            let (gate, job) = occupy(&Handle::current());
            let opener = thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                drop(gate);
            });
            job.await.unwrap();
            opener.join().unwrap();
        });
    });
}

#[test]
fn loop_runs_while_a_closure_blocks() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (gate, job) = occupy(&Handle::current());
            for _ in 0..3 {
                sleep(Duration::from_millis(1)).await;
            }
            assert!(!job.is_finished());
            drop(gate);
            job.await.unwrap();
        });
    });
}

#[test]
fn pool_has_no_thread_before_the_first_closure() {
    let runtime = Runtime::new().unwrap();
    let pool = runtime.handle().blocking_pool();
    runtime.block_on(async { sleep(Duration::from_millis(1)).await });
    assert_eq!(pool.threads(), 0);
    runtime.block_on(spawn_in(&runtime, || ())).unwrap();
    assert_eq!(pool.threads(), 1);
}

fn spawn_in<R: Send + 'static>(
    runtime: &Runtime,
    f: impl FnOnce() -> R + Send + 'static,
) -> JoinHandle<R> {
    runtime.handle().spawn_blocking(f)
}

/// A closure that is spawned because of an answer runs on the thread that sent the answer.
#[test]
fn closures_one_after_the_other_need_one_thread() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for _ in 0..500 {
                spawn_blocking(|| ()).await.unwrap();
            }
            assert_eq!(Handle::current().blocking_pool().threads(), 1);
        });
    });
}

#[test]
fn threads_are_bounded_and_the_others_wait_in_order() {
    guarded("default", || {
        let runtime = Builder::new().max_blocking_threads(3).build().unwrap();
        let handle = runtime.handle();
        let pool = handle.blocking_pool();
        let running: Vec<_> = (0..3).map(|_| occupy(&handle)).collect();
        let (send, order) = channel();
        let waiting: Vec<_> = (0..100)
            .map(|n| {
                let send = send.clone();
                handle.spawn_blocking(move || send.send(n).unwrap())
            })
            .collect();
        assert_eq!((pool.threads(), pool.queued()), (3, 100));
        let (mut gates, jobs): (Vec<_>, Vec<_>) = running.into_iter().unzip();
        // One thread runs them all.
        gates.pop();
        for job in waiting {
            job.wait().unwrap();
        }
        assert!(order.try_iter().eq(0..100));
        assert_eq!((pool.threads(), pool.queued()), (3, 0));
        drop(gates);
        jobs.into_iter().for_each(|job| job.wait().unwrap());
    });
}

/// The thread that sends the answer runs the waker and the drop. It counts as one that will come
/// for the next closure, but not while it waits for that closure here.
#[test]
fn waker_and_output_may_wait_for_a_closure_of_the_same_pool() {
    struct Waits(Handle, Sender<i32>);
    impl Waits {
        fn wait(&self) {
            let inner = self.0.spawn_blocking(|| 7).wait().unwrap();
            self.1.send(inner).unwrap();
        }
    }
    impl Wake for Waits {
        fn wake(self: Arc<Self>) {
            self.wait();
        }
    }
    impl Drop for Waits {
        fn drop(&mut self) {
            self.wait();
        }
    }
    guarded("default", || {
        for max_threads in [1, 4] {
            let builder = Builder::new().max_blocking_threads(max_threads);
            let runtime = builder.build().unwrap();
            let handle = runtime.handle();
            let (send, inner) = channel();
            let (gate, job) = occupy(&handle);
            let mut job = std::pin::pin!(job);
            let waker = Waker::from(Arc::new(Waits(handle.clone(), send.clone())));
            let polled = job.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            drop(waker);
            drop(gate);
            assert_eq!(inner.recv(), Ok(7), "the wake");
            assert_eq!(inner.recv(), Ok(7), "the drop of the waker");
            if max_threads == 1 {
                // An output that is dropped before the answer is dropped by its closure's thread,
                // which then waits for itself.
                continue;
            }
            let value = Waits(handle.clone(), send);
            let (gate, wait) = channel::<()>();
            drop(handle.spawn_blocking(move || {
                wait.recv().unwrap_err();
                value
            }));
            drop(gate);
            assert_eq!(inner.recv(), Ok(7), "the drop of an output");
        }
    });
}

#[test]
fn queue_takes_100_000_closures() {
    let count = rounds(100_000);
    guarded("default", || {
        let runtime = Builder::new().max_blocking_threads(4).build().unwrap();
        let handle = runtime.handle();
        let pool = handle.blocking_pool();
        let running: Vec<_> = (0..4).map(|_| occupy(&handle)).collect();
        let jobs: Vec<_> = (0..count)
            .map(|n| handle.spawn_blocking(move || n))
            .collect();
        assert_eq!((pool.threads(), pool.queued()), (4, count as usize));
        let (gates, ends): (Vec<_>, Vec<_>) = running.into_iter().unzip();
        drop(gates);
        let sum = runtime.block_on(async {
            let mut sum = 0;
            for job in jobs {
                sum += job.await.unwrap();
            }
            sum
        });
        assert_eq!(sum, count * (count - 1) / 2);
        ends.into_iter().for_each(|job| job.wait().unwrap());
    });
}

#[test]
fn closure_spawns_another_one_in_the_same_runtime() {
    on_every_backend(|runtime| {
        let name = runtime.block_on(async {
            let outer = spawn_blocking(|| {
                let inner = spawn_blocking(|| Handle::current().spawn(async { 7 }).wait());
                inner.wait().unwrap()
            });
            outer.await.unwrap()
        });
        assert_eq!(name.unwrap(), 7);
    });
}

#[test]
fn closure_runs_under_the_id_of_its_handle() {
    let runtime = Runtime::new().unwrap();
    let job = spawn_in(&runtime, reveille::task::try_id);
    let id = job.id();
    assert_eq!(job.wait().unwrap(), Some(id));
    let task = runtime.spawn(async {});
    assert_ne!(spawn_in(&runtime, || ()).id(), task.id());
}

#[test]
fn spawn_blocking_outside_of_a_runtime_panics() {
    let text = message_of(|| drop(spawn_blocking(|| ())));
    assert!(
        text.contains("no reveille runtime runs on this thread"),
        "{text}"
    );
}

#[test]
fn panic_of_a_closure_goes_to_its_handle() {
    on_every_backend(|runtime| {
        let job = spawn_in(runtime, || resume_unwind(Box::new("no")));
        let payload = runtime.block_on(job).map(drop).unwrap_err().into_panic();
        assert_eq!(payload.downcast_ref(), Some(&"no"));
        // The thread goes on.
        assert_eq!(runtime.block_on(spawn_in(runtime, || 1)).unwrap(), 1);
        assert_eq!(runtime.handle().blocking_pool().threads(), 1);
    });
}

#[test]
fn panic_of_a_detached_closure_goes_to_the_policy() {
    guarded("default", || {
        let (send, receive) = channel();
        let policy = UnhandledPanic::Call(Box::new(move |report| {
            send.send(text_of(report.payload())).unwrap();
        }));
        let runtime = Builder::new().unhandled_panic(policy).build().unwrap();
        let (gate, wait) = channel::<()>();
        drop(spawn_in(&runtime, move || {
            wait.recv().unwrap_err();
            resume_unwind(Box::new("detached"))
        }));
        drop(gate);
        let text = loop {
            match receive.try_recv() {
                Ok(text) => break text,
                Err(_) => runtime.block_on(sleep(Duration::from_millis(1))),
            }
        };
        assert_eq!(text, "detached");
    });
}

#[test]
fn abort_takes_a_closure_that_has_not_begun_out_of_the_queue() {
    guarded("default", || {
        let runtime = one_thread();
        let handle = runtime.handle();
        let pool = handle.blocking_pool();
        let (gate, running) = occupy(&handle);
        let (value, dropped) = on_drop();
        let first = handle.spawn_blocking(move || drop(value));
        let second = handle.spawn_blocking(|| 2);
        let third = handle.spawn_blocking(|| 3);
        assert_eq!(pool.queued(), 3);
        // By both kinds of handle, here and in the loop.
        first.abort();
        assert_eq!(dropped.try_recv(), Ok(thread::current().id()));
        second.abort_handle().abort();
        assert_eq!(pool.queued(), 1);
        assert!(first.is_finished() && second.is_finished() && !third.is_finished());
        runtime.block_on(async {
            for error in [
                first.await.unwrap_err(),
                second.await.map(drop).unwrap_err(),
            ] {
                assert!(error.is_cancelled() && !error.is_runtime_gone());
            }
            drop(gate);
            assert_eq!(third.await.unwrap(), 3);
            running.await.unwrap();
        });
    });
}

#[test]
fn abort_wakes_a_task_that_waits_for_the_closure() {
    on_every_backend(|runtime| {
        let pool = Pool::new(1, Duration::from_secs(1));
        let other = Builder::new().blocking_pool(&pool).build().unwrap();
        let (gate, running) = occupy(&other.handle());
        let job = other.handle().spawn_blocking(|| ());
        let abort = job.abort_handle();
        let task = runtime.spawn(job);
        runtime.block_on(async {
            reveille::yield_now().await;
            thread::spawn(move || abort.abort());
            assert!(task.await.unwrap().unwrap_err().is_cancelled());
        });
        drop(gate);
        running.wait().unwrap();
    });
}

#[test]
fn abort_has_no_effect_on_a_closure_that_runs() {
    guarded("default", || {
        let runtime = Runtime::new().unwrap();
        let (gate, job) = occupy(&runtime.handle());
        job.abort();
        assert!(!job.is_finished());
        drop(gate);
        runtime.block_on(job).unwrap();
    });
}

#[test]
fn handle_that_is_dropped_detaches_the_closure() {
    guarded("default", || {
        let runtime = one_thread();
        let handle = runtime.handle();
        let (gate, running) = occupy(&handle);
        let (value, dropped) = on_drop();
        // The output is dropped by the thread that made it.
        drop(handle.spawn_blocking(move || value));
        assert!(dropped.try_recv().is_err());
        drop(gate);
        assert_ne!(dropped.recv().unwrap(), thread::current().id());
        running.wait().unwrap();
    });
}

#[test]
fn drop_of_the_runtime_drops_what_waits_and_not_what_runs() {
    guarded("default", || {
        let runtime = one_thread();
        let handle = runtime.handle();
        let (gate, wait) = channel::<()>();
        let (begin, begun) = channel();
        let running = handle.spawn_blocking(move || {
            begin.send(()).unwrap();
            wait.recv().unwrap_err();
            7
        });
        begun.recv().unwrap();
        let (value, dropped) = on_drop();
        let waiting = handle.spawn_blocking(move || drop(value));
        drop(runtime);
        assert_eq!(dropped.try_recv(), Ok(thread::current().id()));
        assert!(waiting.wait().unwrap_err().is_runtime_gone());
        let (value, dropped) = on_drop();
        let late = handle.spawn_blocking(move || drop(value));
        assert_eq!(dropped.try_recv(), Ok(thread::current().id()));
        assert!(late.wait().unwrap_err().is_runtime_gone());
        let refused = handle.try_spawn_blocking(|| 8).unwrap_err();
        assert!(refused.is_runtime_gone() && !refused.is_busy());
        assert_eq!(refused.into_inner()(), 8);
        assert!(!running.is_finished());
        drop(gate);
        assert_eq!(running.wait().unwrap(), 7);
    });
}

/// The drops of tasks at the end of the runtime can add no closure.
#[test]
fn spawn_blocking_while_the_runtime_is_dropped_drops_the_closure() {
    struct SpawnsOnDrop(Sender<JoinHandle<()>>);
    impl Drop for SpawnsOnDrop {
        fn drop(&mut self) {
            self.0.send(spawn_blocking(|| ())).unwrap();
        }
    }
    let runtime = Runtime::new().unwrap();
    let (send, receive) = channel();
    let value = SpawnsOnDrop(send);
    runtime.spawn(async move {
        let _value = value;
        std::future::pending::<()>().await;
    });
    let pool = runtime.handle().blocking_pool();
    drop(runtime);
    let job = receive.recv().unwrap();
    assert!(job.wait().unwrap_err().is_runtime_gone());
    assert_eq!(pool.threads(), 0);
}

#[test]
fn pool_of_two_runtimes_bounds_them_together() {
    guarded("default", || {
        let pool = Pool::new(2, Duration::from_secs(1));
        let build = || Builder::new().blocking_pool(&pool).build().unwrap();
        let (one, two) = (build(), build());
        let (first, second) = (occupy(&one.handle()), occupy(&two.handle()));
        let ones = one.handle().spawn_blocking(|| 1);
        let twos = two.handle().spawn_blocking(|| 2);
        assert_eq!((pool.threads(), pool.queued()), (2, 2));
        assert!(
            two.handle()
                .try_spawn_blocking(|| ())
                .unwrap_err()
                .is_busy()
        );
        // The end of one runtime leaves the other's closures in the queue.
        drop(one);
        assert!(ones.wait().unwrap_err().is_runtime_gone());
        assert_eq!(pool.queued(), 1);
        drop(first.0);
        assert_eq!(two.block_on(twos).unwrap(), 2);
        first.1.wait().unwrap();
        drop(second.0);
        second.1.wait().unwrap();
    });
}

#[test]
fn try_spawn_blocking_returns_the_closure_if_all_threads_are_busy() {
    guarded("default", || {
        let runtime = one_thread();
        let handle = runtime.handle();
        let (gate, running) = occupy(&handle);
        let error = handle.try_spawn_blocking(|| 7).unwrap_err();
        assert!(error.is_busy() && !error.is_runtime_gone());
        assert!(
            error
                .to_string()
                .contains("all threads for blocking code are busy"),
            "{error}"
        );
        assert_eq!(error.into_inner()(), 7);
        assert_eq!(handle.blocking_pool().queued(), 0);
        drop(gate);
        running.wait().unwrap();
        // The answer of a closure is sent after its thread is free.
        assert_eq!(handle.try_spawn_blocking(|| 8).unwrap().wait().unwrap(), 8);
    });
}

#[test]
fn idle_threads_end() {
    guarded("default", || {
        let limit = Duration::from_millis(1);
        let runtime = Builder::new().blocking_keep_alive(limit).build().unwrap();
        let handle = runtime.handle();
        let pool = handle.blocking_pool();
        for _ in 0..3 {
            let jobs: Vec<_> = (0..5).map(|_| occupy(&handle)).collect();
            assert_eq!(pool.threads(), 5);
            for (gate, job) in jobs {
                drop(gate);
                job.wait().unwrap();
            }
            while pool.threads() > 0 {
                thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(pool.idle_threads(), 0);
        }
    });
}

/// The end of an idle thread races with a closure that calls it.
#[test]
fn closure_is_not_lost_when_an_idle_thread_ends() {
    guarded("default", || {
        let pool = Pool::new(2, Duration::from_micros(20));
        let runtime = Builder::new().blocking_pool(&pool).build().unwrap();
        let handle = runtime.handle();
        for n in 0..2_000 {
            assert_eq!(handle.spawn_blocking(move || n).wait().unwrap(), n);
            thread::sleep(Duration::from_micros(n % 60));
        }
    });
}

#[test]
fn many_threads_spawn_and_abort_at_once() {
    guarded("default", || {
        let runtime = Builder::new().max_blocking_threads(3).build().unwrap();
        let (ran, start) = (Arc::new(AtomicUsize::new(0)), Barrier::new(4));
        let pool = runtime.handle().blocking_pool();
        let (done, aborted) = thread::scope(|scope| {
            let spawners: Vec<_> = (0..4)
                .map(|n| {
                    let (handle, ran, start) = (runtime.handle(), &ran, &start);
                    scope.spawn(move || {
                        start.wait();
                        let (mut done, mut aborted) = (0, 0);
                        for round in 0..2_000 {
                            let ran = ran.clone();
                            let job = handle.spawn_blocking(move || ran.fetch_add(1, SeqCst));
                            if (round + n) % 2 == 0 {
                                job.abort();
                            }
                            match job.wait() {
                                Ok(_) => done += 1,
                                Err(error) => {
                                    assert!(error.is_cancelled() && !error.is_runtime_gone());
                                    aborted += 1;
                                }
                            }
                        }
                        (done, aborted)
                    })
                })
                .collect();
            let counts = spawners.into_iter().map(|thread| thread.join().unwrap());
            counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
        });
        assert_eq!(done + aborted, 8_000);
        assert_eq!(
            ran.load(SeqCst),
            done,
            "an aborted closure runs never, any other once"
        );
        assert!(pool.threads() <= 3 && pool.queued() == 0);
    });
}

#[test]
fn closure_may_run_a_loop_of_its_own() {
    let runtime = Runtime::new().unwrap();
    let job = spawn_in(&runtime, || {
        reveille::block_on(async {
            let task = reveille::spawn(async { Rc::new(Cell::new(3)) });
            task.await.unwrap().get() + spawn_blocking(|| 4).await.unwrap()
        })
    });
    assert_eq!(job.wait().unwrap(), 7);
}

#[test]
fn wait_returns_the_output_of_a_task_on_another_thread() {
    on_every_backend(|runtime| {
        let handle = runtime.handle();
        let waiter = thread::spawn(move || {
            let task = handle.spawn(async {
                sleep(Duration::from_millis(1)).await;
                7
            });
            let answer = task.wait();
            let gone = handle.spawn(std::future::pending::<()>());
            gone.abort();
            handle.stop();
            (answer, gone.wait())
        });
        runtime.run().unwrap();
        while !waiter.is_finished() {
            runtime.turn(Some(Duration::from_millis(1))).unwrap();
        }
        let (answer, gone) = waiter.join().unwrap();
        assert_eq!(answer.unwrap(), 7);
        assert!(gone.unwrap_err().is_cancelled());
    });
}

#[test]
fn wait_on_the_thread_of_the_task_panics() {
    let runtime = Runtime::new().unwrap();
    let panics = |f: &dyn Fn()| {
        let text = message_of(f);
        assert!(text.contains("it would wait forever"), "{text}");
    };
    panics(&|| drop(runtime.spawn(async {}).wait()));
    panics(&|| drop(runtime.handle().spawn(async {}).wait()));
    runtime.block_on(async { panics(&|| drop(reveille::spawn(async {}).wait())) });
    // A closure runs on another thread.
    assert_eq!(
        runtime
            .block_on(async { spawn_blocking(|| 7).wait() })
            .unwrap(),
        7
    );
}

#[test]
fn handle_block_on_runs_a_future_beside_the_loop() {
    on_every_backend(|runtime| {
        let handle = runtime.handle();
        let waiter = thread::spawn(move || {
            // Not `Send`.
            let here = Rc::new(thread::current().id());
            let sum = handle.block_on(async {
                assert_eq!(*here, thread::current().id());
                let task = Handle::current().spawn(async {
                    sleep(Duration::from_millis(1)).await;
                    1
                });
                let job = spawn_blocking(|| 2);
                let text = message_of(|| drop(reveille::spawn(async {})));
                assert!(
                    text.contains("no reveille runtime runs on this thread"),
                    "{text}"
                );
                task.await.unwrap() + job.await.unwrap()
            });
            assert!(Handle::try_current().is_none());
            handle.stop();
            sum
        });
        runtime.run().unwrap();
        assert_eq!(waiter.join().unwrap(), 3);
    });
}

#[test]
fn handle_block_on_refuses_the_thread_of_the_loop() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    let owner = message_of(|| handle.block_on(async {}));
    assert!(
        owner.contains("on the thread that owns the runtime"),
        "{owner}"
    );
    let inside = runtime.block_on(async { message_of(|| handle.block_on(async {})) });
    assert!(inside.contains("inside a running runtime"), "{inside}");
    let nested = thread::scope(|scope| {
        let nested = || handle.block_on(async { message_of(|| handle.block_on(async {})) });
        scope.spawn(nested).join().unwrap()
    });
    assert!(nested.contains("inside a running runtime"), "{nested}");
}

#[test]
fn handle_block_on_hides_the_runtime_that_the_thread_is_inside_of() {
    let named = |name| Builder::new().name(name).build().unwrap();
    let far = named("far");
    let handle = far.handle();
    let thread = thread::spawn(move || {
        let near = named("near");
        let name = || Handle::current().name().map(str::to_owned);
        near.enter(|| {
            let inside = handle.block_on(async { (name(), spawn_blocking(name).await.unwrap()) });
            let text = message_of(|| handle.block_on(async { drop(reveille::spawn(async {})) }));
            (inside, text, name())
        })
    });
    let ((current, of_closure), text, after) = thread.join().unwrap();
    assert_eq!(
        [current, of_closure, after].map(Option::unwrap),
        ["far", "far", "near"]
    );
    assert!(
        text.contains("no reveille runtime runs on this thread"),
        "{text}"
    );
}

/// The future unparks its thread, which must not count as a wake.
#[test]
fn handle_block_on_polls_again_after_each_wake_and_no_other_unpark() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    let polls = thread::spawn(move || {
        let mut polls = 0;
        handle.block_on(std::future::poll_fn(|cx| {
            polls += 1;
            thread::current().unpark();
            if polls == 5 {
                return std::task::Poll::Ready(());
            }
            let waker = cx.waker().clone();
            thread::spawn(move || waker.wake());
            std::task::Poll::Pending
        }));
        polls
    });
    assert_eq!(polls.join().unwrap(), 5);
}

#[test]
fn answer_arrives_after_the_runtime_was_dropped_meanwhile() {
    let runtime = Runtime::new().unwrap();
    let (gate, job) = occupy(&runtime.handle());
    let (send, receive) = channel();
    let waiter = thread::spawn(move || send.send(job.wait()).unwrap());
    drop(runtime);
    assert!(matches!(
        receive.recv_timeout(Duration::from_millis(5)),
        Err(RecvTimeoutError::Timeout)
    ));
    drop(gate);
    receive.recv().unwrap().unwrap();
    waiter.join().unwrap();
}

/// A program may make a runtime for each call, as `reveille::block_on` does.
#[test]
fn idle_threads_end_with_the_last_runtime_of_their_pool() {
    /// Sends when its thread ends.
    struct OnThreadEnd(Sender<()>);
    impl Drop for OnThreadEnd {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
        }
    }
    thread_local! {
        static ON_END: Cell<Option<OnThreadEnd>> = const { Cell::new(None) };
    }
    guarded("default", || {
        let pool = Pool::new(9, Duration::from_secs(100_000));
        let build = || Builder::new().blocking_pool(&pool).build().unwrap();
        let (one, two) = (build(), build());
        let (ended, end) = channel();
        let on_end = OnThreadEnd(ended);
        spawn_in(&one, move || ON_END.set(Some(on_end)))
            .wait()
            .unwrap();
        drop(one);
        drop(pool);
        // The same thread: it is idle, or about to be.
        assert!(
            spawn_in(&two, || ON_END
                .take()
                .map(|on_end| ON_END.set(Some(on_end))))
            .wait()
            .unwrap()
            .is_some()
        );
        assert!(end.try_recv().is_err());
        drop(two);
        end.recv().unwrap();
    });
}
