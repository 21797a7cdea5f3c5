//! Signals whose handlers do not restart system calls: they end a wait, and have no other effect.

// The libc crate has no setitimer for these targets.
#![cfg(not(any(target_os = "illumos", target_os = "solaris")))]

mod support;

use reveille::backend::BackendKind;
use reveille::net::TcpStream;
use reveille::time::{now, sleep};
use reveille::{Builder, Runtime};
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;
use support::guarded;

/// The thread that the signals are meant for, and how many it has received.
static TARGET: AtomicUsize = AtomicUsize::new(0);
static SIGNALS: AtomicUsize = AtomicUsize::new(0);

/// Counts the target's signals, and forwards those of other threads to it: the kernel delivers the
/// signals of an interval timer to any thread.
extern "C" fn handler(signal: libc::c_int) {
    // SAFETY: both calls are async-signal-safe. Before the target ends, it joins every thread that
    // may get a signal, or stops the timer.
    unsafe {
        let target = TARGET.load(Ordering::SeqCst) as libc::pthread_t;
        if libc::pthread_equal(libc::pthread_self(), target) == 0 {
            if target as usize != 0 {
                libc::pthread_kill(target, signal);
            }
        } else {
            SIGNALS.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Makes this thread the target while it lives. There is one target at a time.
struct Target(#[allow(dead_code, reason = "held")] MutexGuard<'static, ()>);

impl Target {
    fn new(signal: libc::c_int) -> Target {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: all-zero bytes are a valid sigaction: no flags, so no SA_RESTART, and an empty
        // mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the call only names the calling thread.
        TARGET.store(unsafe { libc::pthread_self() } as usize, Ordering::SeqCst);
        SIGNALS.store(0, Ordering::SeqCst);
        // SAFETY: the action is valid during the call, and the handler is async-signal-safe.
        let set = unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
        assert_eq!(set, 0);
        Target(alone)
    }

    fn signals(&self) -> usize {
        SIGNALS.load(Ordering::SeqCst)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // A late signal has no target.
        TARGET.store(0, Ordering::SeqCst);
    }
}

/// Runs `f` while another thread sends signals to this one.
fn among_signals<R>(f: impl FnOnce(&Target) -> R) -> R {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let target = Target::new(libc::SIGUSR1);
    // SAFETY: the call only names the calling thread.
    let this = unsafe { libc::pthread_self() } as usize;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                // SAFETY: the thread outlives this scope.
                unsafe { libc::pthread_kill(this as libc::pthread_t, libc::SIGUSR1) };
                thread::sleep(Duration::from_micros(500));
            }
        });
        let _over = Over(&over);
        f(&target)
    })
}

/// Runs a test for each backend, or the chosen one, with plain and with precise timers.
fn each(test: impl Fn(Builder)) {
    let chosen = std::env::var_os("REVEILLE_BACKEND").is_some();
    for kind in BackendKind::ALL
        .iter()
        .take(if chosen { 1 } else { usize::MAX })
    {
        for precise in [false, true] {
            let mut builder = Builder::new().precise_timers(precise);
            let mut name = String::from("the chosen one");
            if !chosen {
                match Builder::new().backend(*kind).build() {
                    Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                        println!("skipped on {kind}: {error}");
                        continue;
                    }
                    built => drop(built.unwrap()),
                }
                builder = builder.backend(*kind);
                name = kind.to_string();
            }
            guarded(&format!("{name}, precise: {precise}"), || test(builder));
        }
    }
}

#[test]
fn timers_are_exact_among_signals() {
    each(|builder| {
        let runtime = builder.build().unwrap();
        among_signals(|target| {
            runtime.block_on(async {
                let mut sleeps = 0;
                // The signals may all arrive between two waits here. The next test shows that a
                // signal ends a wait.
                while target.signals() < 20 || sleeps < 5 {
                    let start = now();
                    sleep(Duration::from_millis(5)).await;
                    assert!(start.elapsed() >= Duration::from_millis(5));
                    sleeps += 1;
                }
            });
        });
        assert_eq!(
            runtime.block_on(async { reveille::spawn(async { 1 }).await.unwrap() }),
            1
        );
    });
}

#[test]
fn signal_ends_the_turn_of_a_host() {
    each(|builder| {
        let unparks = std::rc::Rc::new(std::cell::Cell::new(0));
        let count = unparks.clone();
        let hook = move || count.set(count.get() + 1);
        let runtime = builder.on_unpark(hook).build().unwrap();
        among_signals(|target| {
            let before = target.signals();
            // Only a signal ends this wait.
            runtime.turn(None).unwrap();
            assert!(unparks.get() > 0, "hooks run");
            assert!(target.signals() > before);
        });
    });
}

#[test]
fn wake_from_another_thread_arrives_among_signals() {
    each(|builder| {
        let runtime = builder.build().unwrap();
        among_signals(|_| {
            for _ in 0..50 {
                let (sender, receiver) = mpsc::channel::<Waker>();
                let done = Arc::new(AtomicBool::new(false));
                let flag = done.clone();
                let waker = thread::spawn(move || {
                    let waker = receiver.recv().unwrap();
                    flag.store(true, Ordering::SeqCst);
                    waker.wake();
                });
                runtime.block_on(poll_fn(|cx| {
                    // At the second wake the task has ended.
                    let _ = sender.send(cx.waker().clone());
                    if done.load(Ordering::SeqCst) {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                }));
                waker.join().unwrap();
            }
        });
    });
}

/// Sends SIGALRM every millisecond, to any thread.
struct Alarms;

impl Alarms {
    fn set(micros: i32) {
        let interval = libc::timeval {
            tv_sec: 0,
            tv_usec: micros as _,
        };
        let timer = libc::itimerval {
            it_interval: interval,
            it_value: interval,
        };
        // SAFETY: the value is valid during the call.
        let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
        assert_eq!(set, 0);
    }
}

impl Drop for Alarms {
    fn drop(&mut self) {
        Alarms::set(0);
    }
}

/// Sends `len` bytes and reads them back at the same time.
async fn echo(runtime_side: &TcpStream, len: usize) {
    let data: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
    let mut write = pin!(runtime_side.write_all(&data));
    let mut written = false;
    let mut read = pin!(async {
        let mut back = vec![0; len];
        runtime_side.read_exact(&mut back).await.unwrap();
        back
    });
    let back = poll_fn(|cx| {
        if !written {
            if let Poll::Ready(result) = write.as_mut().poll(cx) {
                result.unwrap();
                written = true;
            }
        }
        read.as_mut().poll(cx)
    })
    .await;
    assert!(back == data, "the bytes are not those that were sent");
}

#[test]
fn streams_lose_no_byte_among_signals() {
    each(|builder| {
        let target = Target::new(libc::SIGALRM);
        let runtime: Runtime = builder.build().unwrap();
        let (mut peer, stream) = runtime.block_on(support::std_pair());
        let echoer = thread::spawn(move || {
            let mut buf = [0; 4096];
            loop {
                match peer.read(&mut buf) {
                    Ok(0) => return,
                    Ok(n) => peer.write_all(&buf[..n]).unwrap(),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let alarms = Alarms;
        Alarms::set(1000);
        runtime.block_on(async {
            let mut echoes = 0;
            while echoes < 2 || target.signals() < 20 {
                echo(&stream, 1 << 20).await;
                let start = now();
                sleep(Duration::from_millis(1)).await;
                assert!(start.elapsed() >= Duration::from_millis(1));
                echoes += 1;
            }
        });
        drop(alarms);
        drop(stream);
        drop(runtime);
        echoer.join().unwrap();
        drop(target);
    });
}
