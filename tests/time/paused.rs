//! A paused clock (feature `test-util`): what it moves, when it jumps, and what stops a jump.

use super::*;
use reveille::Builder;
use reveille::backend::Interest;
use reveille::io::AsyncFd;
#[cfg(target_os = "linux")]
use reveille::net::TcpSocket;
use reveille::net::{TcpListener, TcpStream};
use reveille::time::{advance, pause, resume};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Returns a runtime whose clock is paused.
fn paused() -> Runtime {
    Builder::new().start_paused(true).build().unwrap()
}

/// Returns a runtime whose clock is paused and never jumps.
fn stopped() -> Runtime {
    let builder = Builder::new().start_paused(true).auto_advance(false);
    builder.build().unwrap()
}

/// Runs a future on a new runtime whose clock is paused.
fn run_paused<F: Future>(future: F) -> F::Output {
    let _watched = Watchdog::of_this_test();
    paused().block_on(future)
}

/// What happened, and how long after the start.
#[derive(Clone)]
struct Log {
    start: Instant,
    events: Rc<RefCell<Vec<(&'static str, Duration)>>>,
}

impl Log {
    /// Starts now, in the current runtime.
    fn new() -> Log {
        Log {
            start: now(),
            events: Rc::default(),
        }
    }

    fn add(&self, what: &'static str) {
        let at = now() - self.start;
        self.events.borrow_mut().push((what, at));
    }

    fn take(&self) -> Vec<(&'static str, Duration)> {
        self.events.take()
    }
}

#[test]
fn day_of_timers_takes_no_time() {
    run_paused(async {
        let start = now();
        let mut tasks = Vec::new();
        for period in [SECOND * 60, SECOND * 7, 999 * MS] {
            tasks.push(spawn(async move {
                let mut ticks = interval_at(start + period, period);
                let mut last = start;
                while last + period <= start + DAY {
                    last = ticks.tick().await;
                    assert_eq!(now(), last, "on time to the nanosecond");
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        sleep_until(start + DAY).await;
        assert_eq!(now(), start + DAY);
    });
}

#[test]
fn paused_clock_stands_still() {
    let _watched = Watchdog::of_this_test();
    stopped().block_on(async {
        let start = now();
        let real = Instant::now();
        let mut asleep = sleep(Duration::from_nanos(1));
        while real.elapsed() < 2 * MS {
            assert!(poll_here(&mut asleep).await.is_pending() && !asleep.is_elapsed());
            yield_now().await;
        }
        assert_eq!(now(), start);
        advance(Duration::from_nanos(1)).await;
        assert!(asleep.is_elapsed());
        asleep.await;
        assert_eq!(now(), start + Duration::from_nanos(1));
    });
}

#[test]
fn sleep_ends_exactly_at_its_deadline() {
    run_paused(async {
        for nanos in [1, 2, 63, 64, 16_383, 16_384, 1_000_001] {
            for duration in [Duration::from_nanos(nanos), Duration::from_secs(nanos)] {
                let start = now();
                sleep(duration).await;
                assert_eq!(now() - start, duration);
                sleep_until(now() + duration).await;
                assert_eq!(now() - start, 2 * duration);
            }
        }
    });
}

#[test]
fn timeout_ends_exactly_when_its_time_is_up() {
    run_paused(async {
        let start = now();
        assert!(timeout(HOUR, pending::<()>()).await.is_err());
        assert_eq!(now() - start, HOUR);
        assert_eq!(timeout(HOUR, sleep(HOUR - MS)).await, Ok(()));
        assert_eq!(now() - start, 2 * HOUR - MS);
        assert!(timeout_at(start, pending::<()>()).await.is_err());
        assert!(timeout_at(start + 3 * HOUR, sleep(DAY)).await.is_err());
        assert_eq!(now() - start, 3 * HOUR);
        // A yield is no reason to jump.
        let yields = async {
            for _ in 0..1000 {
                yield_now().await;
            }
        };
        assert_eq!(timeout(Duration::from_nanos(1), yields).await, Ok(()));
        assert_eq!(now() - start, 3 * HOUR);
    });
}

#[test]
fn interval_obeys_the_clock_after_missed_ticks() {
    for (behavior, expected) in [
        (MissedTickBehavior::Burst, [10, 20, 30, 40, 50]),
        (MissedTickBehavior::Delay, [10, 20, 55, 65, 75]),
        (MissedTickBehavior::Skip, [10, 20, 50, 60, 70]),
    ] {
        run_paused(async {
            let start = now();
            let mut ticks = interval_at(start + 10 * MS, 10 * MS);
            ticks.set_missed_tick_behavior(behavior);
            let mut due = vec![ticks.tick().await];
            advance(35 * MS).await;
            for _ in 0..4 {
                due.push(ticks.tick().await);
            }
            let due = due.iter().map(|due| (*due - start).as_millis());
            assert_eq!(due.collect::<Vec<_>>(), expected, "{behavior:?}");
            ticks.reset();
            let reset = now();
            assert_eq!(ticks.tick().await, reset + 10 * MS);
            ticks.reset_after(HOUR);
            assert_eq!(ticks.tick().await, reset + 10 * MS + HOUR);
        });
    }
}

#[test]
fn advance_wakes_in_the_order_of_the_deadlines() {
    let _watched = Watchdog::of_this_test();
    let runtime = stopped();
    runtime.block_on(async {
        let log = Log::new();
        for (name, millis) in [("c", 30), ("a", 10), ("e", 50), ("b", 20), ("d", 40)] {
            let log = log.clone();
            spawn(async move {
                sleep(millis * MS).await;
                log.add(name);
            });
        }
        yield_now().await;
        advance(10 * MS - Duration::from_nanos(1)).await;
        assert_eq!(log.take(), []);
        advance(Duration::from_nanos(1)).await;
        assert_eq!(log.take(), [("a", 10 * MS)]);
        // Who is woken reads the new time.
        advance(30 * MS).await;
        let all = ["b", "c", "d"].map(|name| (name, 40 * MS));
        assert_eq!(log.take(), all);
        advance(Duration::ZERO).await;
        assert_eq!(log.take(), []);
        advance(DAY).await;
        assert_eq!(log.take(), [("e", DAY + 40 * MS)]);
    });
    assert_eq!(runtime.next_deadline(), None);
}

/// More timers than one turn of the loop fires.
#[test]
fn advance_wakes_everything_that_is_due() {
    let _watched = Watchdog::of_this_test();
    stopped().block_on(async {
        let ended = Rc::new(Cell::new(0));
        for nth in 0..5000 {
            let ended = ended.clone();
            spawn(async move {
                sleep(nth * MS).await;
                ended.set(ended.get() + 1);
            });
        }
        yield_now().await;
        advance(DAY).await;
        assert_eq!(ended.get(), 5000);
    });
}

#[test]
fn advance_ends_a_sleep_of_its_own_task() {
    let _watched = Watchdog::of_this_test();
    stopped().block_on(async {
        let mut asleep = sleep(SECOND);
        assert!(poll_here(&mut asleep).await.is_pending());
        advance(SECOND).await;
        assert!(poll_here(&mut asleep).await.is_ready());
        // One that was never polled.
        let mut asleep = sleep_until(now() + SECOND);
        advance(SECOND).await;
        assert!(poll_here(&mut asleep).await.is_ready());
        // And one that is moved.
        let mut asleep = sleep(DAY);
        assert!(poll_here(&mut asleep).await.is_pending());
        asleep.reset(now() + SECOND);
        advance(SECOND - Duration::from_nanos(1)).await;
        assert!(poll_here(&mut asleep).await.is_pending());
        advance(Duration::from_nanos(1)).await;
        assert!(poll_here(&mut asleep).await.is_ready());
    });
}

#[test]
fn pause_and_resume_do_not_move_the_clock() {
    run(async {
        let mut last = now();
        let mut later = || {
            let at = now();
            assert!(at >= last, "it went back by {:?}", last - at);
            last = at;
            at
        };
        let start = later();
        for _ in 0..3 {
            pause();
            let at = later();
            assert!(at - start < DAY, "it stepped forward");
            assert_eq!(later(), at);
            resume();
            // It continues from there, not from where the real time is.
            let real = Instant::now();
            let resumed = later();
            thread::sleep(MS);
            let passed = later() - resumed;
            assert!(passed >= MS && passed <= real.elapsed());
            sleep(MS).await;
        }
    });
}

#[test]
fn resume_after_advance_keeps_deadlines() {
    for precise in [false, true] {
        let _watched = Watchdog::of_this_test();
        let runtime = Builder::new().precise_timers(precise).build().unwrap();
        runtime.block_on(async {
            let mut hour = sleep(HOUR);
            assert!(poll_here(&mut hour).await.is_pending());
            // The loop waits meanwhile, so that a timer fd is set for the hour.
            let job = reveille::spawn_blocking(|| thread::sleep(MS));
            job.await.unwrap();
            pause();
            advance(hour.deadline() - now() - 20 * MS).await;
            assert_eq!(hour.deadline() - now(), 20 * MS);
            assert!(poll_here(&mut hour).await.is_pending());
            let real = Instant::now();
            resume();
            (&mut hour).await;
            assert!(now() >= hour.deadline() && real.elapsed() >= 20 * MS);
            // New timers are in real time as well.
            let real = Instant::now();
            sleep(2 * MS).await;
            assert!(real.elapsed() >= 2 * MS);
        });
    }
}

#[test]
fn pause_keeps_the_timers_that_are_set() {
    let _watched = Watchdog::of_this_test();
    let tick = Duration::from_nanos(1 << 14);
    block_on(async {
        let log = Log::new();
        for (name, after) in [("hour", HOUR), ("year", 365 * DAY), ("second", SECOND)] {
            let log = log.clone();
            spawn(async move {
                sleep(after).await;
                log.add(name);
            });
        }
        let never = spawn(sleep(Duration::MAX));
        let mut cancelled = sleep(SECOND);
        let mut moved = sleep(3 * HOUR);
        assert!(poll_here(&mut cancelled).await.is_pending());
        assert!(poll_here(&mut moved).await.is_pending());
        yield_now().await;
        pause();
        drop(cancelled);
        moved.reset(log.start + 2 * HOUR);
        moved.await;
        log.add("moved");
        sleep_until(log.start + 400 * DAY).await;
        let events = log.take();
        let expected = [
            ("second", SECOND),
            ("hour", HOUR),
            ("moved", 2 * HOUR),
            ("year", 365 * DAY),
        ];
        assert_eq!(events.len(), expected.len());
        for ((what, at), (name, after)) in events.into_iter().zip(expected) {
            // The sleeps were made after the start of the log, by less than a minute.
            assert_eq!(what, name);
            assert!(
                at >= after && at < after + 60 * SECOND + tick,
                "{what} {at:?}"
            );
        }
        assert!(!never.is_finished());
    });
}

#[test]
fn clock_stands_while_a_blocking_job_is_unfinished() {
    run_paused(async {
        let start = now();
        let job = reveille::spawn_blocking(|| {
            // Gives the loop every chance to jump.
            thread::sleep(5 * MS);
            // The job reads the clock of the runtime.
            now()
        });
        let other = spawn(sleep(HOUR));
        assert_eq!(job.await.unwrap(), start);
        assert_eq!(now(), start);
        assert!(!other.is_finished());
        other.await.unwrap();
        assert_eq!(now() - start, HOUR);
    });
}

/// No handle waits for the job, so only its end can make the loop look again.
#[test]
fn clock_jumps_at_the_end_of_a_detached_job() {
    run_paused(async {
        let start = now();
        for _ in 0..20 {
            let waits = sleep(HOUR);
            drop(reveille::spawn_blocking(|| thread::sleep(MS)));
            waits.await;
        }
        assert_eq!(now() - start, 20 * HOUR);
        // A job that never begins counts no more than one that has ended.
        let one = Builder::new().start_paused(true).max_blocking_threads(1);
        let runtime = one.build().unwrap();
        let (go, wait) = mpsc::channel::<()>();
        let handle = runtime.handle();
        let first = handle.spawn_blocking(move || wait.recv().unwrap());
        let second = handle.spawn_blocking(|| {});
        second.abort();
        go.send(()).unwrap();
        first.await.unwrap();
        assert!(second.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn clock_stands_while_a_look_up_is_unfinished() {
    run_paused(async {
        let start = now();
        let other = spawn(sleep(Duration::from_nanos(1)));
        yield_now().await;
        let look_up = async {
            // Fails or not: it is answered by another thread.
            let _ = reveille::net::lookup_host("localhost:1").await;
        };
        let raced = timeout(Duration::from_nanos(1), look_up).await;
        assert_eq!((raced, now()), (Ok(()), start));
        other.await.unwrap();
    });
}

/// Each answer of the peer comes before a timer that is due in a nanosecond.
#[test]
fn clock_stands_while_data_is_in_flight() {
    run_paused(async {
        let start = now();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = spawn(async move {
            let (stream, _) = listener.accept().await?;
            let mut byte = [0];
            while stream.read(&mut byte).await? > 0 {
                stream.write_all(&byte).await?;
            }
            io::Result::Ok(())
        });
        let limit = Duration::from_nanos(1);
        let stream = timeout(limit, TcpStream::connect(addr)).await;
        let stream = stream.expect("connected in no time").unwrap();
        for _ in 0..200 {
            let echo = async {
                stream.write_all(b"x").await?;
                stream.read_exact(&mut [0]).await
            };
            timeout(limit, echo).await.expect("no jump").unwrap();
        }
        drop(stream);
        let ended = timeout(limit, server).await.expect("no jump");
        ended.unwrap().unwrap();
        assert_eq!(now(), start);
        sleep(HOUR).await;
        assert_eq!(now() - start, HOUR);
    });
}

/// A FIFO whose last writer has closed. Some mechanisms do not report what happens to it next, so
/// the loop rechecks it, up to 32 ms later.
#[test]
fn clock_stands_while_a_hung_up_fd_has_data() {
    run_paused(async {
        let dir = std::env::temp_dir();
        let path = dir.join(format!("reveille-paused-{}.fifo", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the path is a C string.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let mut options = std::fs::OpenOptions::new();
        let reader = options.read(true).custom_flags(libc::O_NONBLOCK);
        let reader = AsyncFd::new(reader.open(&path).unwrap()).unwrap();
        let read = || {
            let call = |mut file: &std::fs::File| match file.read(&mut [0; 8]) {
                Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
                read => read,
            };
            reader.async_io(Interest::READABLE, move |file| call(file))
        };
        let start = now();
        for _ in 0..10 {
            let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            writer.write_all(b"x").unwrap();
            drop(writer);
            assert_eq!(timeout(HOUR, read()).await.unwrap().unwrap(), 1);
            // It has hung up, and is put on the list.
            assert!(timeout(MS, read()).await.is_err());
            let write = spawn({
                let path = path.clone();
                async move {
                    let mut writer = std::fs::OpenOptions::new().write(true).open(path).unwrap();
                    writer.write_all(b"xy").unwrap();
                }
            });
            assert_eq!(timeout(MS, read()).await.unwrap().unwrap(), 2);
            write.await.unwrap();
        }
        assert_eq!(now() - start, 10 * MS);
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn clock_stands_while_a_message_of_another_thread_waits() {
    let _watched = Watchdog::of_this_test();
    // The hook runs when nothing is left to do, and sends something that wakes the root.
    let (received, root) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
    let handle: Rc<RefCell<Option<reveille::Handle>>> = Rc::default();
    let send = {
        let (handle, received, root) = (handle.clone(), received.clone(), Arc::clone(&root));
        move || {
            let Some(handle) = handle.take() else { return };
            let (received, root) = (received.clone(), root.clone());
            let send = move || {
                handle.spawn(async move {
                    received.store(true, Ordering::SeqCst);
                    let root: Option<Waker> = root.lock().unwrap().take();
                    root.unwrap().wake();
                });
            };
            thread::spawn(send).join().unwrap();
        }
    };
    let builder = Builder::new().start_paused(true).on_park(send);
    let runtime = builder.build().unwrap();
    *handle.borrow_mut() = Some(runtime.handle());
    runtime.block_on(async {
        let start = now();
        let flag = poll_fn(|cx| {
            *root.lock().unwrap() = Some(cx.waker().clone());
            match received.load(Ordering::SeqCst) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        assert!(timeout(Duration::from_nanos(1), flag).await.is_ok());
        assert_eq!(now(), start);
    });
}

#[test]
fn stopped_clock_never_jumps() {
    let _watched = Watchdog::of_this_test();
    let runtime = stopped();
    let start = runtime.enter(now);
    let task = runtime.spawn(async { sleep(MS).await });
    for limit in [Duration::ZERO, MS] {
        for _ in 0..3 {
            runtime.turn(Some(limit)).unwrap();
        }
    }
    assert!(!runtime.enter(|| task.is_finished()));
    assert_eq!((runtime.enter(now), runtime.next_deadline()), (start, None));
    // It waits for other threads, whatever timers are set, and until they send something.
    let (handle, sent) = (runtime.handle(), Arc::new(AtomicBool::new(false)));
    let is_sent = sent.clone();
    let other = thread::spawn(move || {
        thread::sleep(10 * MS);
        sent.store(true, Ordering::SeqCst);
        handle.spawn(async {}).wait().unwrap();
    });
    runtime.turn(None).unwrap();
    assert!(is_sent.load(Ordering::SeqCst), "no timer ends the wait");
    runtime.block_on(async {
        while !other.is_finished() {
            yield_now().await;
        }
    });
    other.join().unwrap();
    let handle = runtime.handle();
    let other = thread::spawn(move || handle.spawn(async {}).wait().unwrap());
    runtime.block_on(async {
        while !other.is_finished() {
            yield_now().await;
        }
        advance(MS).await;
        task.await.unwrap();
    });
    other.join().unwrap();
}

#[test]
fn sleep_on_another_thread_obeys_its_runtime() {
    let _watched = Watchdog::of_this_test();
    stopped().block_on(async {
        let mut asleep = sleep(DAY);
        assert!(poll_here(&mut asleep).await.is_pending());
        let (sender, waits) = mpsc::channel();
        let other = thread::spawn(move || {
            for (after, nth) in [(DAY, 0), (HOUR, 1)] {
                assert!(!asleep.is_elapsed());
                assert!(poll_once(&mut asleep).is_pending());
                sender.send(after).unwrap();
                elsewhere(&mut asleep);
                assert!(asleep.is_elapsed());
                if nth == 0 {
                    asleep.reset(asleep.deadline() + HOUR);
                }
            }
            // The thread itself is in no runtime.
            let (real, read) = (Instant::now(), now());
            assert!(real <= read && read <= Instant::now());
        });
        let start = now();
        for waited in [DAY, HOUR] {
            let after = loop {
                match waits.try_recv() {
                    Err(mpsc::TryRecvError::Empty) => yield_now().await,
                    received => break received.expect("the thread has not panicked"),
                }
            };
            assert_eq!(after, waited);
            advance(after).await;
        }
        // The loop has to run until the thread has its wake.
        while !other.is_finished() {
            yield_now().await;
        }
        other.join().unwrap();
        assert_eq!(now() - start, DAY + HOUR);
    });
}

#[test]
fn clock_jumps_for_a_sleep_on_another_thread() {
    let _watched = Watchdog::of_this_test();
    let runtime = paused();
    let mut asleep = runtime.enter(|| {
        let mut asleep = sleep(DAY);
        assert!(poll_once(&mut asleep).is_pending());
        asleep
    });
    let handle = runtime.handle();
    let other = thread::spawn(move || {
        elsewhere(&mut asleep);
        handle.stop();
        asleep.deadline()
    });
    runtime.run().unwrap();
    assert_eq!(other.join().unwrap(), runtime.enter(now));
}

#[test]
fn interval_on_another_thread_obeys_its_runtime() {
    let _watched = Watchdog::of_this_test();
    stopped().block_on(async {
        let start = now();
        let mut ticks = interval(HOUR);
        ticks.tick().await;
        let moved = poll_fn(|cx| Poll::Ready(ticks.poll_tick(cx))).await;
        assert!(moved.is_pending());
        advance(DAY).await;
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let next = thread::scope(|scope| {
            let tick = || {
                let mut cx = Context::from_waker(Waker::noop());
                let due = ticks.poll_tick(&mut cx);
                assert_eq!(due, Poll::Ready(start + HOUR));
                let next = ticks.poll_tick(&mut cx);
                assert!(next.is_pending());
                ticks.reset();
                ticks
            };
            scope.spawn(tick).join().unwrap()
        });
        let mut ticks = next;
        let tick = spawn(async move { ticks.tick().await });
        yield_now().await;
        advance(HOUR).await;
        assert_eq!(tick.await.unwrap(), start + DAY + HOUR);
    });
}

#[test]
fn each_runtime_has_its_own_clock() {
    let _watched = Watchdog::of_this_test();
    let (outer, inner) = (paused(), Runtime::new().unwrap());
    outer.block_on(async {
        let start = now();
        sleep(DAY).await;
        assert_eq!(now() - start, DAY);
        // The inner one is in real time.
        let (real, within) = (Instant::now(), inner.enter(now));
        assert!(real <= within && within <= Instant::now());
        let task = inner.spawn(async {
            let (start, real) = (now(), Instant::now());
            sleep(MS).await;
            assert!(now() - start >= MS && real.elapsed() >= MS);
            pause();
            let start = now();
            sleep(HOUR).await;
            now() - start
        });
        while !task.is_finished() {
            inner.turn(None).unwrap();
        }
        assert_eq!(now() - start, DAY, "the inner clock is not the outer one");
        let ended = inner.enter(|| poll_once(&mut pin!(task)));
        let Poll::Ready(Ok(took)) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!(took, HOUR);
    });
}

#[test]
fn host_is_told_to_turn_at_once_if_the_clock_would_jump() {
    let _watched = Watchdog::of_this_test();
    let runtime = paused();
    assert_eq!(runtime.next_deadline(), None);
    let start = runtime.enter(now);
    let log = runtime.enter(Log::new);
    for (name, after) in [("hour", HOUR), ("day", DAY), ("minute", 60 * SECOND)] {
        let log = log.clone();
        runtime.spawn(async move {
            sleep(after).await;
            log.add(name);
        });
    }
    let mut turns = 0;
    while let Some(deadline) = runtime.next_deadline() {
        assert!(deadline <= Instant::now(), "the host need not wait");
        runtime.turn(Some(Duration::ZERO)).unwrap();
        turns += 1;
    }
    assert!(turns < 20, "{turns}");
    let expected = [("minute", 60 * SECOND), ("hour", HOUR), ("day", DAY)];
    assert_eq!(log.take(), expected);
    // While a job runs, there is nothing that the host could do.
    let (go, wait) = mpsc::channel::<()>();
    let job = runtime.handle().spawn_blocking(move || wait.recv());
    let task = runtime.spawn(async { sleep(HOUR).await });
    runtime.turn(Some(Duration::ZERO)).unwrap();
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(runtime.next_deadline(), None);
    go.send(()).unwrap();
    while !task.is_finished() {
        runtime.turn(None).unwrap();
    }
    job.wait().unwrap().unwrap();
    assert_eq!(runtime.enter(now) - start, DAY + HOUR);
}

#[test]
fn next_deadline_of_a_resumed_clock_is_in_real_time() {
    let _watched = Watchdog::of_this_test();
    let runtime = stopped();
    runtime.block_on(async {
        advance(DAY).await;
        resume();
    });
    let before = Instant::now();
    let task = runtime.spawn(async { sleep(HOUR).await });
    runtime.turn(Some(Duration::ZERO)).unwrap();
    let deadline = runtime.next_deadline().unwrap();
    assert!(deadline >= before + HOUR && deadline < before + DAY);
    drop(task);
}

#[test]
fn run_jumps_until_it_is_stopped() {
    let _watched = Watchdog::of_this_test();
    let runtime = paused();
    let start = runtime.enter(now);
    let handle = runtime.handle();
    let hours = runtime.spawn(async move {
        for _ in 0..100 {
            sleep(HOUR).await;
        }
        handle.stop();
    });
    runtime.run().unwrap();
    assert!(runtime.enter(|| hours.is_finished()));
    assert_eq!(runtime.enter(now) - start, 100 * HOUR);
}

/// Both hooks run once for each wait, and a wake by the first one prevents a jump.
#[test]
fn on_park_runs_before_a_jump() {
    let _watched = Watchdog::of_this_test();
    let parks = Rc::new(Cell::new((0, 0)));
    let (before, after) = (parks.clone(), parks.clone());
    let builder = Builder::new().start_paused(true);
    let runtime = builder
        .on_park(move || before.set((before.get().0 + 1, before.get().1)))
        .on_unpark(move || after.set((after.get().0, after.get().1 + 1)))
        .build()
        .unwrap();
    runtime.block_on(async {
        sleep(HOUR).await;
        sleep(HOUR).await;
    });
    let (before, after) = parks.get();
    assert!(before >= 2 && before == after, "{before} {after}");
}

#[test]
fn sleep_made_outside_of_a_runtime_counts_from_the_real_time() {
    let _watched = Watchdog::of_this_test();
    let runtime = paused();
    let before = Instant::now();
    let asleep = sleep(HOUR);
    assert!(asleep.deadline() >= before + HOUR && asleep.deadline() <= Instant::now() + HOUR);
    let deadline = asleep.deadline();
    runtime.block_on(asleep);
    assert_eq!(runtime.enter(now), deadline);
}

#[test]
fn clock_reads_real_time_after_its_runtime_is_gone() {
    let _watched = Watchdog::of_this_test();
    let mut asleep = paused().enter(|| {
        let mut asleep = sleep(MS);
        assert!(poll_once(&mut asleep).is_pending());
        asleep
    });
    while now() < asleep.deadline() {
        thread::yield_now();
    }
    assert!(asleep.is_elapsed() && poll_once(&mut asleep).is_ready());
}

#[test]
fn misuse_panics_with_a_reason() {
    let _watched = Watchdog::of_this_test();
    let none = "no reveille runtime runs on this thread";
    assert!(panic_text(pause).contains(none));
    assert!(panic_text(resume).contains(none));
    let text = panic_text(|| {
        let _ = poll_once(&mut pin!(advance(MS)));
    });
    assert!(text.contains(none), "{text}");
    let runtime = Runtime::new().unwrap();
    runtime.enter(|| {
        assert!(panic_text(resume).contains("`time::resume` was called although"));
        let text = panic_text(|| {
            let _ = poll_once(&mut pin!(advance(MS)));
        });
        assert!(
            text.contains("`time::advance` was called although"),
            "{text}"
        );
        pause();
        let text = panic_text(pause);
        assert!(text.contains("`time::pause` was called although"), "{text}");
        let text = panic_text(|| {
            let _ = poll_once(&mut pin!(advance(Duration::MAX)));
        });
        assert!(text.contains("the clock cannot be moved by"), "{text}");
    });
    // The threads of jobs, and others that wait for the runtime, do not own its clock.
    let job = runtime.handle().spawn_blocking(|| panic_text(resume));
    assert!(job.wait().unwrap().contains(none));
    // A runtime that has panicked is usable.
    runtime.block_on(sleep(DAY));
}

/// The pauses of an accept that finds no free descriptor are in the runtime's time.
#[test]
fn accept_waits_for_a_descriptor_by_the_paused_clock() {
    // Lowers the limit of the whole process, so in a process of its own.
    const MARK: &str = "REVEILLE_TEST_OUT_OF_DESCRIPTORS";
    if std::env::var_os(MARK).is_none() {
        let name = "paused::accept_waits_for_a_descriptor_by_the_paused_clock";
        let own = std::env::current_exe().unwrap();
        let mut command = std::process::Command::new(own);
        command
            .args([name, "--exact", "--nocapture"])
            .env(MARK, "1");
        let ended = command.output().unwrap();
        let text = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{text}");
        return;
    }
    run_paused(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut taken = Vec::new();
        limit_descriptors(256);
        while let Ok(file) = std::fs::File::open("/dev/null") {
            taken.push(file);
        }
        let start = now();
        let server = spawn(async move { listener.accept().await.map(drop) });
        // 1, 2, 4 ... ms, then a second each.
        sleep(60 * SECOND).await;
        assert!(!server.is_finished());
        drop(taken);
        server.await.unwrap().unwrap();
        let waited = now() - start;
        assert!(waited <= 61 * SECOND, "{waited:?}");
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    });
}

/// The delay of RFC 8305, after which a second address is tried as well.
#[cfg(target_os = "linux")]
#[test]
fn connect_passes_over_a_silent_address_by_the_paused_clock() {
    run_paused(async {
        // Linux drops the connections of a listener whose queue is full, and the clients repeat
        // them.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(0).unwrap();
        let silent = full.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = timeout(MS, TcpStream::connect(silent)).await {
            queue.push(stream.unwrap());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let start = now();
        let stream = TcpStream::connect(&[silent, good][..]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert_eq!(now() - start, 250 * MS);
    });
}

/// Lowers the number of descriptors that this process may have.
fn limit_descriptors(count: libc::rlim_t) {
    let limit = libc::rlimit {
        rlim_cur: count,
        rlim_max: count,
    };
    // SAFETY: the limit outlives the call.
    let failed = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(failed, 0);
}
