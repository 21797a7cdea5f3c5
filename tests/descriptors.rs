//! Descriptors of the process: sockets and runtimes leak none, and a server survives running out of
//! them.
//!
//! A program of its own with one test at a time, because limit and descriptors belong to the whole
//! process.

#![cfg(target_os = "linux")]

mod support;

use reveille::backend::{BackendKind, Interest, Trigger};
use reveille::io::AsyncFd;
use reveille::net::{TcpListener, TcpStream};
use reveille::time::sleep;
use reveille::{Builder, Handle, event_loop, spawn, yield_now};
use std::future::{Future, pending, poll_fn};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};
use support::{arrived, on_every_backend, pair, poll_once};

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Returns how many descriptors are open. The list contains the one that reads it.
fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn set_limit(limit: libc::rlimit) {
    // SAFETY: setrlimit reads the two integers.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

/// While it lives, no descriptor can be opened.
struct Exhausted(libc::rlimit);

impl Exhausted {
    fn new() -> Exhausted {
        Exhausted::with_spare(0)
    }

    /// Lowers the limit so that only `spare` more descriptors can be opened.
    fn with_spare(spare: libc::rlim_t) -> Exhausted {
        // SAFETY: getrlimit fills the two integers.
        let limit = unsafe {
            let mut limit = std::mem::zeroed::<libc::rlimit>();
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
            limit
        };
        let free: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        set_limit(libc::rlimit {
            rlim_cur: free.as_raw_fd() as libc::rlim_t + spare,
            ..limit
        });
        Exhausted(limit)
    }
}

impl Drop for Exhausted {
    fn drop(&mut self) {
        set_limit(self.0);
    }
}

/// Returns the processor time that this thread has used.
fn thread_time() -> Duration {
    // SAFETY: clock_gettime fills the two integers.
    unsafe {
        let mut time = std::mem::zeroed::<libc::timespec>();
        assert_eq!(
            libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time),
            0
        );
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

type Accepted<'a> = Pin<Box<dyn Future<Output = io::Result<(TcpStream, SocketAddr)>> + 'a>>;

/// Accepts while no descriptor is free for a while. `accept` makes the future to test.
fn accept_through_exhaustion(accept: impl for<'a> Fn(&'a TcpListener) -> Accepted<'a>) {
    const CLIENTS: usize = 5;
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            // All of them before the first accept, so that no further event follows.
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| std::net::TcpStream::connect(addr).unwrap())
                .collect();
            let exhausted = Exhausted::new();
            let (began, used) = (Instant::now(), thread_time());
            let relief = thread::spawn(move || {
                thread::sleep(Duration::from_millis(300));
                drop(exhausted);
            });
            let first = accept(&listener).await;
            let (took, used) = (began.elapsed(), thread_time() - used);
            assert!(first.is_ok(), "{first:?}");
            assert!(took >= Duration::from_millis(300), "accepted too early");
            assert!(used < took / 4, "used {used:?} of {took:?}: it spins");
            let mut accepted = vec![first];
            while accepted.len() < CLIENTS {
                accepted.push(accept(&listener).await);
            }
            let mut peers: Vec<_> = accepted.into_iter().map(|a| a.unwrap().1).collect();
            let mut expected: Vec<_> = clients.iter().map(|c| c.local_addr().unwrap()).collect();
            peers.sort();
            expected.sort();
            assert_eq!(peers, expected);
            relief.join().unwrap();
        });
    });
}

#[test]
fn accept_survives_running_out_of_descriptors() {
    let _alone = alone();
    accept_through_exhaustion(|listener| Box::pin(listener.accept()));
}

#[test]
fn poll_accept_survives_running_out_of_descriptors() {
    let _alone = alone();
    accept_through_exhaustion(|listener| Box::pin(poll_fn(|cx| listener.poll_accept(cx))));
}

#[test]
fn accept_lets_other_tasks_run_while_it_waits_for_descriptors() {
    let _alone = alone();
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let (client, server) = pair().await;
            let _waiting = std::net::TcpStream::connect(addr).unwrap();
            let exhausted = Exhausted::new();
            let acceptor = spawn(async move { listener.accept().await.map(drop) });
            for _ in 0..100 {
                client.write_all(b"ping").await.unwrap();
                server.read_exact(&mut [0; 4]).await.unwrap();
            }
            assert!(!acceptor.is_finished());
            drop(exhausted);
            acceptor.await.unwrap().unwrap();
        });
    });
}

#[test]
fn connections_are_closed_for_lack_of_descriptors_if_asked() {
    let _alone = alone();
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
            let addr = listener.local_addr().unwrap();
            listener.shed_when_full(true).unwrap();
            let connect = || std::net::TcpStream::connect(addr).unwrap();
            let mut clients: Vec<_> = (0..40).map(|_| connect()).collect();
            let before = open_descriptors();
            let exhausted = Exhausted::new();
            let accepting = listener.clone();
            let acceptor = spawn(async move { accepting.accept().await });
            while listener.shed() < 40 {
                yield_now().await;
            }
            assert!(!acceptor.is_finished());
            assert!(listener.shortages() >= 40);
            for client in &mut clients {
                assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "closed");
            }
            drop(exhausted);
            assert_eq!(open_descriptors(), before, "the reserve is there again");
            let mut client = connect();
            let (stream, _) = acceptor.await.unwrap().unwrap();
            stream.write_all(b"x").await.unwrap();
            assert_eq!(client.read(&mut [0; 1]).unwrap(), 1);

            // Off: the connection waits, and the reserve is given back.
            let before = open_descriptors();
            listener.shed_when_full(false).unwrap();
            assert_eq!(open_descriptors(), before - 1);
        });
    });
}

#[test]
fn try_accept_and_connect_report_running_out_of_descriptors() {
    let _alone = alone();
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let _waiting = std::net::TcpStream::connect(addr).unwrap();
            arrived(&listener);
            let exhausted = Exhausted::new();
            let errors = [
                listener.try_accept().unwrap_err(),
                TcpStream::connect(addr).await.unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            }
            drop(exhausted);
            listener.try_accept().unwrap();
        });
    });
}

#[test]
fn futures_dropped_in_the_middle_leak_no_descriptor() {
    let _alone = alone();
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let before = open_descriptors();
            for _ in 0..50 {
                let (peer, _) = {
                    let mut connect = pin!(TcpStream::connect(addr));
                    assert!(poll_once(&mut connect).await.is_pending());
                    // A connection dropped before it reaches the listener would never be accepted.
                    arrived(&listener);
                    listener.accept().await.unwrap()
                };
                assert_eq!(peer.read(&mut [0; 1]).await.unwrap(), 0);
                {
                    let mut accept = pin!(listener.accept());
                    assert!(poll_once(&mut accept).await.is_pending());
                }
                let (client, server) = pair().await;
                let big = vec![0; 32 << 20];
                {
                    let mut buf = [0; 1];
                    let mut read = pin!(client.read(&mut buf));
                    let mut write = pin!(server.write_all(&big));
                    assert!(poll_once(&mut read).await.is_pending());
                    assert!(poll_once(&mut write).await.is_pending());
                }
                // The stream still works.
                assert!(client.read(&mut [0; 64]).await.is_ok());
            }
            assert_eq!(open_descriptors(), before);
        });
    });
}

/// Returns which signals this thread blocks.
fn blocked() -> Vec<bool> {
    // SAFETY: without a new mask the call only fills the old one.
    let mask = unsafe {
        let mut mask = std::mem::zeroed::<libc::sigset_t>();
        let asked = libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut mask);
        assert_eq!(asked, 0);
        mask
    };
    // SAFETY: the set was filled above; the call writes nothing.
    let is_in = |signal| unsafe { libc::sigismember(&mask, signal) == 1 };
    (1..=libc::SIGRTMAX()).map(is_in).collect()
}

#[test]
fn runtime_that_cannot_be_built_leaks_nothing() {
    let _alone = alone();
    let (before, mask) = (open_descriptors(), blocked());
    for kind in BackendKind::ALL {
        let make = || Builder::new().backend(kind).precise_timers(true).build();
        if make().is_err_and(|error| error.kind() == io::ErrorKind::Unsupported) {
            continue;
        }
        let mut refused = 0;
        for left in 0.. {
            let made = {
                let _exhausted = Exhausted::with_spare(left);
                make()
            };
            match made {
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{kind}"),
                Ok(_) => break,
            }
            assert_eq!((open_descriptors(), blocked()), (before, mask.clone()));
            refused += 1;
        }
        println!("{kind} needs {refused} descriptors");
        assert!(refused >= 2);
        assert_eq!((open_descriptors(), blocked()), (before, mask.clone()));
    }
}

/// An open fd can be registered without another descriptor, even where the backend checks whether
/// the kernel can poll it.
#[test]
fn async_fd_registers_when_the_process_is_out_of_descriptors() {
    let _alone = alone();
    for kind in BackendKind::ALL {
        let Ok(runtime) = Builder::new().backend(kind).build() else {
            continue;
        };
        let mut callbacks = event_loop::Builder::new().backend(kind).build(()).unwrap();
        let (silent, peer) = UnixStream::pair().unwrap();
        silent.set_nonblocking(true).unwrap();
        let events = [terminal(), terminal()];
        let _exhausted = Exhausted::with_spare(0);
        runtime.block_on(async {
            let [event, other] = events;
            let event = AsyncFd::with_interest(event, Interest::READABLE);
            event.unwrap_or_else(|error| panic!("{kind}: {error}"));
            let attached =
                callbacks.attach(other, Interest::READABLE, Trigger::Level, |_, _, _| {});
            attached.unwrap_or_else(|error| panic!("{kind}: {error:?}"));
            AsyncFd::new(silent).unwrap();
        });
        drop(peer);
    }
}

/// The controlling side of a pair of terminals.
fn terminal() -> OwnedFd {
    // SAFETY: the call takes no pointer; the fd is new, and no other code owns it.
    unsafe {
        let fd = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK);
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

#[test]
fn runtime_dropped_first_leaks_no_descriptor() {
    let _alone = alone();
    let before = open_descriptors();
    for _ in 0..5 {
        let runtime = reveille::Runtime::new().unwrap();
        let (client, server) = runtime.block_on(pair());
        runtime.spawn(async move { server.read(&mut [0; 1]).await });
        runtime.block_on(reveille::yield_now());
        drop(runtime);
        drop(client);
    }
    assert_eq!(open_descriptors(), before);
}

/// Keeps every kind of handle after the runtime was dropped, on its own thread and on others.
#[test]
fn handles_of_a_runtime_that_is_gone_hold_no_descriptor() {
    let _alone = alone();
    for kind in BackendKind::ALL {
        let Ok(runtime) = Builder::new().backend(kind).build() else {
            continue;
        };
        drop(runtime);
        let before = open_descriptors();
        let mut kept: Vec<Box<dyn std::any::Any>> = Vec::new();
        for suspended in [false, true] {
            let runtime = Builder::new().backend(kind).build().unwrap();
            let handle = runtime.handle();
            let (waker, join) = runtime.block_on(async {
                let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
                (waker, spawn(pending::<()>()))
            });
            let elsewhere = handle.clone();
            let sent = thread::spawn(move || {
                let join = elsewhere.spawn(async {});
                elsewhere.stop();
                (elsewhere, join)
            });
            let sent = sent.join().unwrap();
            let mut asleep = sleep(Duration::from_secs(3600));
            runtime.block_on(async { assert!(poll_once(&mut asleep).await.is_pending()) });
            if !suspended {
                runtime.run().unwrap();
            }
            drop(runtime);
            // The handles are still used.
            handle.stop();
            waker.wake_by_ref();
            thread::spawn(move || drop(asleep)).join().unwrap();
            let late = handle.spawn(async {});
            kept.push(Box::new((handle, waker, join, sent, late)));
        }
        assert_eq!(open_descriptors(), before, "{kind}: a runtime's");

        for run in [false, true] {
            let mut event_loop = event_loop::Builder::new().backend(kind).build(()).unwrap();
            let handle = event_loop.handle();
            let sender = event_loop.on_message(|event_loop, _: u32| event_loop.stop());
            sender.send(1).unwrap();
            if run {
                event_loop.run().unwrap();
            }
            drop(event_loop);
            handle.wake();
            handle.stop();
            let (handle, sender) = thread::spawn(move || {
                handle.wake();
                assert!(sender.send(2).is_err());
                (handle, sender)
            })
            .join()
            .unwrap();
            kept.push(Box::new((handle, sender)));
        }
        assert_eq!(open_descriptors(), before, "{kind}: a callback loop's");
        drop(kept);
        assert_eq!(open_descriptors(), before, "{kind}");
    }
}

/// Other threads wake the loop while it is dropped, and none keeps its descriptor.
#[test]
fn runtime_dropped_while_it_is_woken_leaks_no_descriptor() {
    let _alone = alone();
    for kind in BackendKind::ALL {
        if Builder::new().backend(kind).build().is_err() {
            continue;
        }
        let before = open_descriptors();
        let over = Arc::new(AtomicBool::new(false));
        let (sender, handles) = mpsc::channel::<Handle>();
        let waking = {
            let over = over.clone();
            thread::spawn(move || {
                let mut all = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    all.extend(handles.try_iter());
                    if let Some(handle) = all.last() {
                        handle.stop();
                    }
                }
                all.extend(handles.try_iter());
                all
            })
        };
        for _ in 0..50 {
            let runtime = Builder::new().backend(kind).build().unwrap();
            sender.send(runtime.handle()).unwrap();
            for _ in 0..3 {
                runtime.turn(Some(Duration::ZERO)).unwrap();
            }
        }
        over.store(true, Ordering::SeqCst);
        let handles = waking.join().unwrap();
        assert_eq!(handles.len(), 50);
        assert_eq!(open_descriptors(), before, "{kind}");
    }
}
