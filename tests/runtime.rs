//! `Runtime`, `Handle` and `Builder`: the order of polls, nested loops, panics, stops, hooks, and
//! calls from other threads.

mod support;

use reveille::runtime::{PanicReport, UnhandledPanic};
use reveille::{Builder, Handle, Runtime, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use support::panics::text_of;
use support::wait;

fn runtime() -> Runtime {
    Runtime::new().expect("a backend is available")
}

/// Returns the text of a caught panic.
fn message(payload: Box<dyn std::any::Any + Send>) -> String {
    text_of(&*payload)
}

#[test]
fn block_on_returns_what_the_future_returns() {
    assert_eq!(reveille::block_on(async { 7 }), 7);
    let local = Rc::new(3);
    assert_eq!(runtime().block_on(async { *local + 1 }), 4);
}

#[test]
fn block_on_leaves_tasks_for_the_next_call() {
    let runtime = runtime();
    let log = Rc::new(RefCell::new(Vec::new()));
    let steps = log.clone();
    let task = runtime.spawn(async move {
        for step in 0..3 {
            steps.borrow_mut().push(step);
            yield_now().await;
        }
        "done"
    });
    assert!(
        log.borrow().is_empty(),
        "a spawned task runs when the loop runs, not when it is spawned"
    );
    runtime.block_on(yield_now());
    let so_far = log.borrow().len();
    assert!((1..3).contains(&so_far), "{so_far} steps during one yield");
    assert_eq!(runtime.block_on(task).unwrap(), "done");
    assert_eq!(*log.borrow(), [0, 1, 2]);
}

#[test]
fn tasks_run_in_the_order_they_were_woken() {
    let order = Rc::new(RefCell::new(Vec::new()));
    runtime().block_on(async {
        let spawn = |name| {
            let order = order.clone();
            reveille::spawn(async move {
                for _ in 0..2 {
                    order.borrow_mut().push(name);
                    yield_now().await;
                }
            })
        };
        for task in (0..5).map(spawn).collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
    assert_eq!(*order.borrow(), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
}

thread_local! {
    /// The place of the last panic on this thread.
    static PANICKED_AT: Cell<(String, u32)> = const { Cell::new((String::new(), 0)) };
}

/// Installs a hook that stores the place of each panic in `PANICKED_AT`.
fn note_where_this_thread_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if let Some(place) = info.location() {
                PANICKED_AT.set((place.file().to_owned(), place.line()));
            }
            before(info);
        }));
    });
}

#[test]
fn panics_name_the_line_of_the_caller() {
    note_where_this_thread_panics();
    let runtime = runtime();
    let cases: [(&str, u32, &dyn Fn()); 7] = [
        ("spawn", line!(), &|| drop(reveille::spawn(async {}))),
        ("current", line!(), &|| drop(Handle::current())),
        ("interval", line!(), &|| {
            drop(reveille::time::interval(Duration::ZERO))
        }),
        ("interval_at", line!(), &|| {
            drop(reveille::time::interval_at(Instant::now(), Duration::ZERO))
        }),
        ("block_on", line!(), &|| {
            runtime.block_on(async { reveille::block_on(async {}) })
        }),
        ("run", line!(), &|| {
            runtime.block_on(async { runtime.run().unwrap() })
        }),
        ("turn", line!(), &|| {
            runtime.block_on(async { runtime.turn(None).unwrap() })
        }),
    ];
    for (name, line, case) in cases {
        catch_unwind(AssertUnwindSafe(case)).unwrap_err();
        let (file, at) = PANICKED_AT.take();
        assert_eq!(file, file!(), "{name}");
        assert!((line..=line + 1).contains(&at), "{name}: line {at}");
    }
}

#[test]
fn builder_panics_at_invalid_values_in_the_line_of_the_caller() {
    note_where_this_thread_panics();
    let cases: [(&str, u32, &dyn Fn()); 3] = [
        ("event_interval", line!(), &|| {
            drop(Builder::new().event_interval(0))
        }),
        ("poll_budget", line!(), &|| {
            drop(Builder::new().poll_budget(0))
        }),
        ("NUL", line!(), &|| drop(Builder::new().name(" \0"))),
    ];
    for (name, line, case) in cases {
        let text = message(catch_unwind(AssertUnwindSafe(case)).unwrap_err());
        assert!(text.contains(name), "{name}: {text}");
        let (file, at) = PANICKED_AT.take();
        assert_eq!(file, file!(), "{name}");
        assert!((line..=line + 1).contains(&at), "{name}: line {at}");
    }
    let builder = Builder::new().event_interval(1).poll_budget(1).name("");
    assert_eq!(builder.build().unwrap().block_on(async { 3 }), 3);
}

#[test]
fn runtime_debug_shows_the_name() {
    let runtime = Builder::new().name("worker").build().unwrap();
    for text in [format!("{runtime:?}"), format!("{:?}", runtime.handle())] {
        assert!(text.contains("worker"), "{text}");
    }
}

#[test]
fn block_on_inside_block_on_panics() {
    let outer = runtime();
    let texts = outer.block_on(async {
        let inner = runtime();
        let nested = [
            catch_unwind(AssertUnwindSafe(|| reveille::block_on(async {}))).unwrap_err(),
            catch_unwind(AssertUnwindSafe(|| inner.block_on(async {}))).unwrap_err(),
            catch_unwind(AssertUnwindSafe(|| inner.run().unwrap())).unwrap_err(),
            catch_unwind(AssertUnwindSafe(|| outer.block_on(async {}))).unwrap_err(),
        ];
        nested.map(message)
    });
    for text in texts {
        assert!(text.contains("inside a running runtime"), "{text}");
    }
    assert_eq!(outer.block_on(async { 1 }), 1, "the runtime works");
}

#[test]
fn turn_inside_its_own_loop_panics() {
    let runtime = runtime();
    let text = runtime.block_on(async {
        message(catch_unwind(AssertUnwindSafe(|| runtime.turn(None))).unwrap_err())
    });
    assert!(text.contains("inside this runtime's own loop"), "{text}");
}

#[test]
fn turn_runs_inside_another_runtime() {
    let (outer, inner) = (runtime(), runtime());
    let answer = Rc::new(Cell::new(0));
    let slot = answer.clone();
    let task = inner.spawn(async move {
        yield_now().await;
        slot.set(42);
    });
    outer.block_on(async {
        while !task.is_finished() {
            inner.turn(Some(Duration::ZERO)).unwrap();
            assert!(Handle::try_current().is_some());
            yield_now().await;
        }
    });
    assert_eq!(answer.get(), 42);
}

#[test]
fn calls_outside_of_a_runtime_fail_with_a_reason() {
    let text = message(catch_unwind(|| reveille::spawn(async {})).unwrap_err());
    assert!(
        text.contains("no reveille runtime runs on this thread"),
        "{text}"
    );
    assert!(Handle::try_current().is_none());
    let text = message(catch_unwind(Handle::current).unwrap_err());
    assert!(text.contains("no reveille runtime"), "{text}");
}

#[test]
fn enter_makes_the_runtime_current_and_restores_the_former_one() {
    let one = Builder::new().name("one").build().unwrap();
    let two = Builder::new().name("two").build().unwrap();
    let name = || Handle::current().name().map(str::to_owned);
    one.enter(|| {
        assert_eq!(name().as_deref(), Some("one"));
        two.enter(|| assert_eq!(name().as_deref(), Some("two")));
        assert_eq!(name().as_deref(), Some("one"));
    });
    assert!(Handle::try_current().is_none());
}

#[test]
fn stop_from_another_thread_ends_run() {
    let runtime = runtime();
    let handle = runtime.handle();
    let (polled, was_polled) = mpsc::channel();
    let stopper = thread::spawn(move || {
        let task = handle.spawn(async move { polled.send(thread::current().id()).unwrap() });
        let on = was_polled.recv().unwrap();
        handle.stop();
        (on, task)
    });
    runtime.run().unwrap();
    let (on, task) = stopper.join().unwrap();
    assert_eq!(on, thread::current().id());
    wait(task).unwrap();
}

#[test]
fn stop_before_run_ends_one_run() {
    let runtime = runtime();
    runtime.handle().stop();
    runtime.run().unwrap();
    let handle = runtime.handle();
    let later = thread::spawn(move || handle.stop());
    runtime.run().unwrap();
    later.join().unwrap();
}

#[test]
fn stop_in_the_panic_handler_ends_run() {
    let (ended, has_ended) = mpsc::channel();
    thread::spawn(move || {
        let stop = UnhandledPanic::Call(Box::new(|_| Handle::current().stop()));
        let runtime = Builder::new().unhandled_panic(stop).build().unwrap();
        // Inside the runtime, so that the spawn sends no message, which would end the sleep.
        runtime.enter(|| {
            let panics = reveille::spawn(async { panic!("without a handle") });
            drop(reveille::spawn(async move {
                while !panics.is_finished() {
                    yield_now().await;
                }
                // The panic is found after the batch of polls, when the loop has checked the stop
                // flag.
                drop(panics);
            }));
        });
        runtime.run().unwrap();
        ended.send(()).unwrap();
    });
    has_ended
        .recv_timeout(Duration::from_secs(60))
        .expect("`run` sleeps over the stop");
}

/// A task or a foreign waker waits for a handle on which `is_finished` is called outside of the
/// loop.
#[test]
fn is_finished_outside_the_loop_keeps_the_waiter() {
    struct Count(AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    for by_a_task in [true, false] {
        let runtime = runtime();
        let handle = runtime.spawn(std::future::pending::<()>());
        let abort = handle.abort_handle();
        let handle = Rc::new(RefCell::new(handle));
        let poll = |handle: &Rc<RefCell<reveille::JoinHandle<()>>>, cx: &mut Context<'_>| {
            Pin::new(&mut *handle.borrow_mut()).poll(cx).map(drop)
        };
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let waits = handle.clone();
        let task = runtime.spawn(poll_fn(move |cx| {
            if by_a_task {
                return poll(&waits, cx);
            }
            poll(&waits, &mut Context::from_waker(&waker))
        }));
        runtime.block_on(yield_now());
        assert!(!handle.borrow().is_finished());
        abort.abort();
        runtime.block_on(async {
            // Far more tasks than are polled before messages are handled.
            for _ in 0..1000 {
                yield_now().await;
            }
        });
        assert!(by_a_task || count.0.load(Ordering::SeqCst) > 0);
        runtime.block_on(async { assert_eq!(task.is_finished(), by_a_task) });
    }
}

#[test]
fn handle_spawn_from_many_threads_runs_everything() {
    const EACH: usize = 500;
    let runtime = runtime();
    let ran = Arc::new(AtomicUsize::new(0));
    let spawner = |handle: Handle, ran: Arc<AtomicUsize>| {
        thread::spawn(move || {
            let spawn = |number| {
                let ran = ran.clone();
                handle.spawn(async move {
                    yield_now().await;
                    ran.fetch_add(1, Ordering::Relaxed);
                    number
                })
            };
            let spawned: Vec<_> = (0..EACH).map(spawn).collect();
            for (number, task) in spawned.into_iter().enumerate() {
                assert_eq!(wait(task).unwrap(), number);
            }
        })
    };
    let threads: Vec<_> = (0..4)
        .map(|_| spawner(runtime.handle(), ran.clone()))
        .collect();
    let handle = runtime.handle();
    let waiter = thread::spawn(move || {
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        handle.stop();
    });
    runtime.run().unwrap();
    waiter.join().unwrap();
    assert_eq!(ran.load(Ordering::Relaxed), 4 * EACH);
}

/// A task that is always runnable.
struct Hog(Rc<Cell<usize>>);

impl Future for Hog {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.set(self.0.get() + 1);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[test]
fn messages_are_handled_within_an_event_interval() {
    let runtime = Builder::new().event_interval(16).build().unwrap();
    let polls = Rc::new(Cell::new(0));
    drop(runtime.spawn(Hog(polls.clone())));
    let handle = runtime.handle();
    runtime.block_on(async {
        // The message is sent before the loop continues, which handles it after at most one batch.
        let task = thread::spawn(move || handle.spawn(async {}))
            .join()
            .unwrap();
        let before = polls.get();
        task.await.unwrap();
        // One batch until the message is handled, and one more until the wake by the reply is.
        assert!(
            polls.get() - before <= 2 * 16 + 2,
            "{} polls",
            polls.get() - before
        );
    });
}

#[test]
fn detached_task_that_panics_leaves_other_tasks_alone() {
    let seen = runtime().block_on(async {
        drop(reveille::spawn(async {
            panic!("meant to be seen on stderr")
        }));
        let held = reveille::spawn(async { panic!("for the handle") });
        let other = reveille::spawn(async { 5 });
        let error = held.await.unwrap_err();
        assert!(error.is_panic());
        assert_eq!(message(error.into_panic()), "for the handle");
        other.await.unwrap()
    });
    assert_eq!(seen, 5);
}

#[test]
fn unhandled_panics_follow_the_policy() {
    let texts = Rc::new(RefCell::new(Vec::new()));
    let into = texts.clone();
    let call = move |report: PanicReport| into.borrow_mut().push(message(report.into_payload()));
    let call = UnhandledPanic::Call(Box::new(call));
    let runtime = Builder::new().unhandled_panic(call).build().unwrap();
    runtime.block_on(async {
        drop(reveille::spawn(async { panic!("called") }));
        yield_now().await;
    });
    assert_eq!(*texts.borrow(), ["called"]);

    let runtime = Builder::new()
        .unhandled_panic(UnhandledPanic::Propagate)
        .build()
        .unwrap();
    let out = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            drop(reveille::spawn(async { panic!("propagated") }));
            yield_now().await;
        });
    }));
    assert_eq!(message(out.unwrap_err()), "propagated");
    assert_eq!(runtime.block_on(async { 2 }), 2, "the runtime stays usable");
}

struct OnDrop(Rc<Cell<bool>>);
impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn block_on_resumes_the_panic_of_its_future() {
    let runtime = runtime();
    let dropped = Rc::new(Cell::new(false));
    let noted = OnDrop(dropped.clone());
    let out = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async move {
            let _noted = noted;
            yield_now().await;
            panic!("root");
        });
    }));
    assert_eq!(message(out.unwrap_err()), "root");
    assert!(dropped.get());
    assert_eq!(runtime.block_on(async { 1 }), 1);
}

#[test]
fn drop_of_a_runtime_drops_its_tasks_inside_it() {
    struct Spawner(mpsc::Sender<&'static str>);
    impl Drop for Spawner {
        fn drop(&mut self) {
            self.0.send("dropped").unwrap();
            assert!(
                Handle::try_current().is_some(),
                "current while its tasks are dropped"
            );
            let sender = self.0.clone();
            drop(reveille::spawn(async move { sender.send("ran").unwrap() }));
        }
    }
    let (sender, log) = mpsc::channel();
    let runtime = runtime();
    let spawner = Spawner(sender);
    let task = runtime.spawn(async move {
        let _spawner = spawner;
        std::future::pending::<()>().await;
    });
    runtime.block_on(yield_now());
    drop(runtime);
    assert_eq!(log.iter().collect::<Vec<_>>(), ["dropped"]);
    let error = wait(task).unwrap_err();
    assert!(error.is_runtime_gone(), "{error}");
}

#[test]
fn drop_of_a_runtime_catches_the_panic_of_a_foreign_waker() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a foreign wake");
        }
    }
    let texts = Rc::new(RefCell::new(Vec::new()));
    let into = texts.clone();
    let call = move |report: PanicReport| into.borrow_mut().push(message(report.into_payload()));
    let policy = UnhandledPanic::Call(Box::new(call));
    let runtime = Builder::new().unhandled_panic(policy).build().unwrap();
    let armed = |waker: &Waker| {
        let mut sleep = reveille::time::sleep(Duration::from_secs(3600));
        runtime.enter(|| {
            let polled = Pin::new(&mut sleep).poll(&mut Context::from_waker(waker));
            assert!(polled.is_pending());
        });
        sleep
    };
    let (_one, other) = (armed(&Arc::new(Panics).into()), armed(Waker::noop()));
    let waiting = thread::spawn(move || catch_unwind(AssertUnwindSafe(|| wait(other))));
    drop(runtime);
    assert_eq!(*texts.borrow(), ["a foreign wake"]);
    let text = message(waiting.join().unwrap().unwrap_err());
    assert!(text.contains("gone"), "{text}");
}

#[test]
fn handles_of_a_dropped_runtime_fail_at_once() {
    let runtime = runtime();
    let (handle, dropped) = (runtime.handle(), Arc::new(()));
    drop(runtime);
    let captured = dropped.clone();
    let task = handle.spawn(async move { drop(captured) });
    let error = wait(task).unwrap_err();
    assert!(error.is_runtime_gone(), "{error}");
    assert_eq!(Arc::strong_count(&dropped), 1, "the future was leaked");
    handle.stop();
}

#[test]
fn waker_of_a_dropped_runtime_does_nothing() {
    let runtime = runtime();
    let waker = runtime.block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
    waker.wake_by_ref();
    drop(runtime);
    waker.wake_by_ref();
    let other = Runtime::new().unwrap();
    thread::spawn(move || waker.wake()).join().unwrap();
    assert_eq!(other.block_on(async { 3 }), 3);
}

#[test]
fn remote_wake_ends_a_wait_without_limit() {
    let runtime = runtime();
    for _ in 0..200 {
        let (sender, receiver) = mpsc::channel::<Waker>();
        let done = Arc::new(AtomicUsize::new(0));
        let flag = done.clone();
        let waker_thread = thread::spawn(move || {
            let waker = receiver.recv().unwrap();
            flag.store(1, Ordering::Release);
            waker.wake();
        });
        let mut sent = false;
        runtime.block_on(poll_fn(|cx| {
            if !std::mem::replace(&mut sent, true) {
                sender.send(cx.waker().clone()).unwrap();
            }
            if done.load(Ordering::Acquire) == 1 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
        waker_thread.join().unwrap();
    }
}

#[test]
fn host_fd_is_readable_after_a_remote_wake() {
    let runtime = runtime();
    let Ok(fd) = runtime.host_fd() else {
        println!("skipped: {} has no kernel object", runtime.backend_name());
        return;
    };
    use std::os::fd::AsRawFd;
    let readable = |limit: i32| {
        let mut entry = libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry, alive during the call.
        unsafe { libc::poll(&mut entry, 1, limit) == 1 }
    };
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert!(!readable(0));
    assert_eq!(runtime.next_deadline(), None);
    let handle = runtime.handle();
    let task = thread::spawn(move || handle.spawn(async { 9 }))
        .join()
        .unwrap();
    assert!(readable(10_000), "the host would not notice the spawn");
    runtime.turn(Some(Duration::ZERO)).unwrap();
    while runtime.next_deadline().is_some() {
        runtime.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(!readable(0), "a turn consumes the notification");
    assert_eq!(wait(task).unwrap(), 9);
}

#[test]
fn next_deadline_is_now_while_a_task_is_runnable() {
    let runtime = runtime();
    assert_eq!(runtime.next_deadline(), None);
    drop(runtime.spawn(async {}));
    assert!(
        runtime
            .next_deadline()
            .is_some_and(|when| when <= Instant::now())
    );
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(runtime.next_deadline(), None);
}

#[test]
fn on_park_hook_that_wakes_a_task_prevents_the_sleep() {
    let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
    let (slot, parks) = (waker.clone(), Rc::new(Cell::new(0)));
    let count = parks.clone();
    let hook = move || {
        count.set(count.get() + 1);
        if let Some(waker) = slot.borrow_mut().take() {
            waker.wake();
        }
    };
    let runtime = Builder::new().on_park(hook).build().unwrap();
    let mut polls = 0;
    runtime.block_on(poll_fn(|cx| {
        polls += 1;
        *waker.borrow_mut() = Some(cx.waker().clone());
        if polls == 3 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    assert_eq!(parks.get(), 2);
}

#[test]
fn event_capacity_may_be_of_any_size() {
    for events in [0, usize::MAX] {
        let runtime = Builder::new().event_capacity(events).build().unwrap();
        runtime.block_on(reveille::time::sleep(Duration::from_millis(1)));
    }
}

#[test]
fn runtime_and_handle_implement_the_spawn_traits() {
    use futures_task::{FutureObj, LocalFutureObj, LocalSpawn, Spawn};
    let runtime = runtime();
    let handle = runtime.handle();
    let (sender, ran) = mpsc::channel();
    let local = sender.clone();
    let here = Rc::new(1);
    let future = async move { local.send(*here).unwrap() };
    runtime
        .spawn_local_obj(LocalFutureObj::new(Box::new(future)))
        .unwrap();
    let there = handle.clone();
    let spawner = thread::spawn(move || {
        let future = async move { sender.send(2).unwrap() };
        there.spawn_obj(FutureObj::new(Box::new(future))).unwrap();
        there.stop();
    });
    runtime.run().unwrap();
    spawner.join().unwrap();
    runtime.block_on(yield_now());
    assert_eq!(ran.iter().collect::<Vec<_>>(), [1, 2]);
    drop(runtime);
    assert!(handle.status().unwrap_err().is_shutdown());
    let late = handle.spawn_obj(FutureObj::new(Box::new(async {})));
    assert!(late.unwrap_err().is_shutdown());
}

#[test]
fn runtimes_can_be_created_and_dropped_many_times() {
    for round in 0..300 {
        let spawned =
            runtime().block_on(async move { reveille::spawn(async move { round }).await });
        assert_eq!(spawned.unwrap(), round);
    }
}

#[test]
fn public_types_are_send_and_sync_as_promised() {
    fn both<T: Send + Sync>() {}
    both::<Handle>();
    both::<reveille::JoinHandle<u8>>();
    both::<reveille::task::AbortHandle>();
    both::<reveille::task::Id>();
    both::<reveille::task::TaskInfo>();
    both::<reveille::task::AbortOnDropHandle<u8>>();
    both::<reveille::runtime::Pool>();
    both::<reveille::runtime::TrySpawnBlockingError<fn()>>();
    fn send<T: Send>() {}
    send::<reveille::task::JoinError>();
}

/// The futures of their methods are in `tests/tcp_socket.rs`.
#[test]
fn sockets_pipes_and_timers_are_send_and_sync() {
    use reveille::{backend, event_loop, io, net, time};
    fn both<T: Send + Sync + Unpin>() {}
    both::<net::TcpStream>();
    both::<net::TcpListener>();
    both::<net::TcpSocket>();
    both::<net::Keepalive>();
    both::<net::OwnedReadHalf>();
    both::<net::OwnedWriteHalf>();
    both::<net::ReuniteError>();
    both::<net::LimitedListener>();
    both::<net::Permit>();
    both::<net::Incoming<'_>>();
    both::<net::IntoIncoming>();
    both::<net::UnixStream>();
    both::<net::UnixListener>();
    both::<net::UnixSocket>();
    both::<net::UnixDatagram>();
    both::<net::UCred>();
    both::<net::UdpSocket>();
    both::<net::RecvBatch>();
    both::<net::Datagram<'_>>();
    both::<net::Datagrams<'_>>();
    both::<net::pipe::Receiver>();
    both::<net::pipe::Sender>();
    both::<net::pipe::OpenOptions>();
    both::<io::AsyncFd<std::fs::File>>();
    both::<io::AsyncFd<io::ReadinessOnly<std::fs::File>>>();
    both::<io::AsyncFdTryNewError<std::fs::File>>();
    both::<io::TryIoError>();
    both::<io::Unblock<std::fs::File>>();
    both::<io::Interest>();
    both::<io::Ready>();
    both::<time::Sleep>();
    both::<time::Interval>();
    both::<time::Timeout<std::future::Ready<()>>>();
    both::<time::Elapsed>();
    both::<time::MissedTickBehavior>();
    both::<event_loop::Handle>();
    both::<event_loop::Sender<u8>>();
    both::<event_loop::Key<u8>>();
    both::<event_loop::TimerKey>();
    both::<backend::Notifier>();
    both::<backend::Releaser>();
    both::<backend::BackendKind>();
    both::<backend::Availability>();
    both::<backend::Token>();
    both::<backend::Events>();
}

#[test]
fn abort_handle_is_finished_on_another_thread() {
    let runtime = runtime();
    let ends = runtime.spawn(async {});
    let aborted = runtime.spawn(std::future::pending::<()>());
    let spawned_remotely = runtime.handle().spawn(std::future::pending::<()>());
    let kept = runtime.spawn(std::future::pending::<()>());
    let handles = [&ends, &aborted, &spawned_remotely].map(|task| task.abort_handle());
    let last = kept.abort_handle();
    let other = thread::spawn(move || {
        handles[1].abort();
        handles[2].abort();
        while !handles.iter().all(|handle| handle.is_finished()) {
            thread::yield_now();
        }
        assert!(!last.is_finished());
        last
    });
    let last = runtime.block_on(async {
        while !other.is_finished() {
            yield_now().await;
        }
        other.join().unwrap()
    });
    drop(runtime);
    assert!(last.is_finished(), "the runtime is gone");
}
