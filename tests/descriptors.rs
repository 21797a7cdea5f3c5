//! What sockets do with the process's descriptors: none is leaked, and running out of them stops no server.
//!
//! In a binary of its own, one test at a time: the limit and the table are the whole process's.

#![cfg(target_os = "linux")]

mod support;

use reveille::backend::BackendKind;
use reveille::net::{TcpListener, TcpStream};
use reveille::{Builder, spawn};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};
use support::{arrived, on_every_backend, pair, poll_once};

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How many descriptors are open; reading the list opens one, each time.
fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn set_limit(limit: libc::rlimit) {
    // SAFETY: setrlimit reads the two integers.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

/// Until it is dropped, no descriptor can be opened.
struct Exhausted(libc::rlimit);

impl Exhausted {
    fn new() -> Exhausted {
        Exhausted::but(0)
    }

    /// Only so many can be opened.
    fn but(left: libc::rlim_t) -> Exhausted {
        // SAFETY: getrlimit fills the two integers.
        let limit = unsafe {
            let mut limit = std::mem::zeroed::<libc::rlimit>();
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
            limit
        };
        let free: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        set_limit(libc::rlimit {
            rlim_cur: free.as_raw_fd() as libc::rlim_t + left,
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

/// The processor time that this thread has used.
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

/// Accepts while no descriptor is free for a while; `accept` makes the future to be tried.
fn accept_through_exhaustion(accept: impl for<'a> Fn(&'a TcpListener) -> Accepted<'a>) {
    const CLIENTS: usize = 5;
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            // All of them before the first accept: there will be no other event.
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
fn poll_accept_survives_it_too() {
    let _alone = alone();
    accept_through_exhaustion(|listener| Box::pin(poll_fn(|cx| listener.poll_accept(cx))));
}

#[test]
fn other_tasks_run_while_accept_waits_for_descriptors() {
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
fn try_accept_and_connect_report_it() {
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
                    // Dropped before it has reached the other side, it would never be there.
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
                // The stream itself is as good as before.
                assert!(client.read(&mut [0; 64]).await.is_ok());
            }
            assert_eq!(open_descriptors(), before);
        });
    });
}

/// Which signals this thread blocks.
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
fn a_runtime_that_cannot_be_made_leaves_nothing_behind() {
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
                let _exhausted = Exhausted::but(left);
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

#[test]
fn dropping_the_runtime_first_leaks_no_descriptor() {
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
