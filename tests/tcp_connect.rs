//! Connecting: the race of several addresses, its ends, and the errors of `connect(2)`.
//!
//! A program of its own with one test at a time, because it counts the process's descriptors.

#![cfg(target_os = "linux")]

mod support;

use reveille::backend::BackendKind;
use reveille::net::{TcpListener, TcpSocket, TcpStream};
use reveille::time::timeout;
use reveille::{Builder, block_on, spawn, yield_now};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;
use support::{Refusing, guarded, on_every_backend};

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Returns how many descriptors are open. The list contains the one that reads it.
fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// An address that answers no connection: a listener whose queue is full. Linux drops further
/// SYNs, and the clients repeat them.
struct Silent {
    addr: SocketAddr,
    _listener: std::net::TcpListener,
    _queue: Vec<TcpStream>,
}

impl Silent {
    async fn new() -> Silent {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap().into_std().unwrap();
        let addr = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        loop {
            let socket = TcpSocket::new_v4().unwrap();
            let full = timeout(Duration::from_millis(200), socket.connect(addr)).await;
            match full {
                Ok(stream) => queue.push(stream.unwrap()),
                Err(_) => break,
            }
        }
        Silent {
            addr,
            _listener: listener,
            _queue: queue,
        }
    }
}

/// The waits between the attempts of a race then pass at once. Not for `Silent::new`, which waits
/// for the kernel.
fn pause_clock() {
    #[cfg(feature = "test-util")]
    reveille::time::pause();
}

async fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    let mut future = Some(future);
    poll_fn(|cx| Poll::Ready(future.take().expect("polled once").poll(cx))).await
}

/// The kernel would try the silent address for two minutes.
#[test]
fn an_address_that_does_not_answer_is_passed_over() {
    let _alone = alone();
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let silent = Silent::new().await;
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let good = listener.local_addr().unwrap();
            let before = open_descriptors();
            pause_clock();
            let stream = TcpStream::connect(&[silent.addr, good][..]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good);
            assert_eq!(open_descriptors(), before + 1, "the loser was closed");
            let (server, _) = listener.accept().await.unwrap();
            stream.write_all(b"works").await.unwrap();
            server.read_exact(&mut [0; 5]).await.unwrap();
        });
    });
}

#[test]
fn a_refused_address_makes_the_next_attempt_begin_at_once() {
    let _alone = alone();
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let refusing = Refusing::tcp();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let good = listener.local_addr().unwrap();
            let addrs = [refusing.addr, refusing.addr, refusing.addr, good];
            // All in one poll, or as soon as the errors arrive: no timer is needed, which the test
            // of the silent address would notice.
            let stream = TcpStream::connect(&addrs[..]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good);
        });
    });
}

#[test]
fn the_last_error_is_returned_when_all_fail() {
    let _alone = alone();
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let refusing = Refusing::tcp();
            let before = open_descriptors();
            let addrs = [refusing.addr, refusing.addr];
            let error = TcpStream::connect(&addrs[..]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            let nothing: &[SocketAddr] = &[];
            let error = TcpStream::connect(nothing).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert_eq!(open_descriptors(), before);
        });
    });
}

#[test]
fn a_race_that_is_dropped_closes_all_its_sockets() {
    let _alone = alone();
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let silent = Silent::new().await;
            let before = open_descriptors();
            let addrs = [silent.addr; 3];
            let limit = Duration::from_millis(600);
            pause_clock();
            let race = TcpStream::connect(&addrs[..]);
            assert!(timeout(limit, race).await.is_err());
            assert_eq!(open_descriptors(), before);

            // Before its first timer, and after its second attempt has begun.
            let mut race = Box::pin(TcpStream::connect(&addrs[..]));
            assert!(poll_once(race.as_mut()).await.is_pending());
            assert_eq!(open_descriptors(), before + 1);
            while open_descriptors() < before + 2 {
                let _ = timeout(Duration::from_millis(10), race.as_mut()).await;
            }
            drop(race);
            assert_eq!(open_descriptors(), before);
        });
    });
}

#[test]
fn a_race_in_a_task_ends_with_its_runtime() {
    let _alone = alone();
    let before = open_descriptors();
    for kind in BackendKind::ALL {
        let Ok(runtime) = Builder::new().backend(kind).build() else {
            continue;
        };
        guarded(kind.name(), || {
            runtime.block_on(async {
                let silent = Silent::new().await;
                let addrs = [silent.addr; 2];
                let race = spawn(async move { TcpStream::connect(&addrs[..]).await });
                yield_now().await;
                assert!(!race.is_finished());
            });
            drop(runtime);
        });
        assert_eq!(open_descriptors(), before, "{kind}");
    }
}

/// Each error that Linux's connect(2) can return at once. The rest are in the test below.
#[test]
fn errors_of_connect_are_returned() {
    let _alone = alone();
    block_on(async {
        // An address that is not this host's.
        let socket = TcpSocket::new_v4().unwrap();
        let elsewhere = socket.bind("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert_eq!(elsewhere.kind(), ErrorKind::AddrNotAvailable);

        // Another family.
        let error = socket
            .connect("[::1]:1".parse().unwrap())
            .await
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAFNOSUPPORT), "{error}");

        // The same four numbers twice.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let bound = |from| {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuse_addr(true).unwrap();
            socket.bind(from).unwrap();
            socket
        };
        let socket = bound("127.0.0.1:0".parse().unwrap());
        let from = socket.local_addr().unwrap();
        let second = bound(from);
        let _first = socket.connect(addr).await.unwrap();
        let error = second.connect(addr).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable, "{error}");

        // Nobody listens.
        let refusing = Refusing::tcp();
        let error = TcpStream::connect(refusing.addr).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

        // No answer, within the limit of the socket.
        let silent = Silent::new().await;
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .set_user_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        let error = socket.connect(silent.addr).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    });
}

/// `.ci/faults.py` makes connect(2) fail with each error of its man page, and names it here.
#[test]
fn an_error_of_the_system_is_returned_and_nothing_is_left() {
    let _alone = alone();
    let Ok(expected) = std::env::var("REVEILLE_CONNECT_FAILS") else {
        return;
    };
    let expected: i32 = expected.parse().expect("a number");
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let before = open_descriptors();
        let error = TcpStream::connect(addr).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(expected), "{error}");
        assert_eq!(open_descriptors(), before);
        // The second of two addresses is tried after such an error, and connects.
        let stream = TcpStream::connect(&[addr, addr][..]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addr);
    });
}

#[test]
fn a_socket_is_used_without_a_runtime_until_it_connects() {
    let _alone = alone();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = socket.local_addr().unwrap();
    assert_ne!(addr.port(), 0);
    assert!(format!("{socket:?}").contains(&addr.to_string()));
    let before = open_descriptors();
    let error = socket.listen(1).unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
    assert_eq!(open_descriptors(), before - 1, "closed");
    let mut connect = pin!(TcpSocket::new_v4().unwrap().connect(addr));
    let waker = std::task::Waker::noop();
    let polled = connect
        .as_mut()
        .poll(&mut std::task::Context::from_waker(waker));
    match polled {
        Poll::Ready(Err(error)) => assert!(error.to_string().contains("runtime"), "{error}"),
        polled => panic!("{polled:?}"),
    }
}

#[test]
fn a_blocking_socket_is_refused() {
    let _alone = alone();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let error = TcpSocket::from_std_stream(stream).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn options_of_a_socket_go_on_in_its_stream_and_in_accepted_ones() -> io::Result<()> {
    let _alone = alone();
    block_on(async {
        let socket = TcpSocket::new_v6()?;
        socket.set_only_v6(true)?;
        socket.set_reuse_addr(true)?;
        socket.set_reuse_port(true)?;
        assert!(socket.only_v6()? && socket.reuse_addr()? && socket.reuse_port()?);
        socket.set_recv_buffer_size(50_000)?;
        socket.set_tclass_v6(0x20)?;
        socket.bind_device(Some(b"lo"))?;
        assert_eq!(socket.device()?, Some(b"lo".to_vec()));
        socket.bind("[::1]:0".parse().unwrap())?;
        let listener = socket.listen(16)?;

        let socket = TcpSocket::new_v6()?;
        socket.set_nodelay(true)?;
        socket.set_send_buffer_size(40_000)?;
        let client = socket.connect(listener.local_addr()?).await?;
        assert!(client.nodelay()?);
        assert!(client.send_buffer_size()? >= 40_000);
        let (server, _) = listener.accept().await?;
        assert!(server.recv_buffer_size()? >= 50_000);
        client.set_quickack(false)?;
        assert!(!client.quickack()?);
        Ok(())
    })
}
