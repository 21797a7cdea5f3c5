//! `from_std_exclusive` of the listeners: several runtimes share one, and a connection wakes one of
//! them.

mod support;

use reveille::backend::BackendKind;
use reveille::io::Interest;
use reveille::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use reveille::runtime::Handle;
use reveille::{Builder, Runtime};
use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use support::{Directory, guarded, on_every_backend};

const RUNTIMES: usize = 4;
const CONNECTIONS: usize = 50;

/// Returns how often this thread has gone to sleep. A thread that the kernel wakes for a connection
/// that is already taken sleeps again inside `epoll_wait`, which only this count shows.
fn sleeps() -> Option<usize> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

fn shared() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn epoll() -> Option<Runtime> {
    match Builder::new().backend(BackendKind::Epoll).build() {
        Ok(runtime) => Some(runtime),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Accepts, answers with a byte and closes, until the runtime is stopped.
async fn serve(listener: TcpListener, served: Arc<AtomicUsize>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        served.fetch_add(1, Ordering::Relaxed);
        stream.write_all(b"x").await.unwrap();
    }
}

/// Connects, and is served.
fn visit(addr: SocketAddr) {
    // Gives the runtimes time to sleep. Which of them is woken depends on it, the service does not.
    thread::sleep(Duration::from_millis(2));
    let mut client = std::net::TcpStream::connect(addr).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(120)))
        .unwrap();
    client.read_exact(&mut [0]).unwrap();
}

/// Connects many times in sequence to runtimes that share a listener. Returns how often these have
/// gone to sleep.
fn round() -> Option<usize> {
    let (listener, addr) = shared();
    let served = Arc::new(AtomicUsize::new(0));
    let (ready, handles) = mpsc::channel::<Handle>();
    let threads: Vec<_> = (0..RUNTIMES)
        .map(|_| {
            let (clone, ready) = (listener.try_clone().unwrap(), ready.clone());
            let served = served.clone();
            thread::spawn(move || {
                let runtime = epoll().expect("it was available before");
                let listener = runtime.enter(|| TcpListener::from_std_exclusive(clone));
                runtime.spawn(serve(listener.unwrap(), served));
                ready.send(runtime.handle()).unwrap();
                let before = sleeps()?;
                runtime.run().unwrap();
                Some(sleeps()? - before)
            })
        })
        .collect();
    let handles: Vec<_> = (0..RUNTIMES).map(|_| handles.recv().unwrap()).collect();
    (0..CONNECTIONS).for_each(|_| visit(addr));
    handles.iter().for_each(Handle::stop);
    let slept = threads.into_iter().map(|thread| thread.join().unwrap());
    let slept = slept.collect::<Vec<_>>();
    assert_eq!(served.load(Ordering::Relaxed), CONNECTIONS);
    slept.into_iter().sum()
}

#[test]
fn exclusive_listener_wakes_few_runtimes_and_serves_all() {
    if epoll().is_none() {
        return;
    }
    guarded("epoll", || {
        let mut best = usize::MAX;
        for _ in 0..10 {
            let Some(slept) = round() else {
                return println!("skipped: no /proc");
            };
            best = best.min(slept);
            if best < CONNECTIONS * 2 {
                break;
            }
        }
        println!("{best} sleeps of {RUNTIMES} runtimes for {CONNECTIONS} connections");
        assert!(best < CONNECTIONS * 2, "{best} sleeps at best");
    });
}

/// Another runtime's clone keeps the file open, and with it the kernel's registration unless that
/// is removed.
#[test]
fn exclusive_listener_dropped_takes_no_connections() {
    if epoll().is_none() {
        return;
    }
    guarded("epoll", || {
        let (listener, addr) = shared();
        let (clone, (ready, handles)) = (listener.try_clone().unwrap(), mpsc::channel());
        let idle = thread::spawn(move || {
            let runtime = epoll().expect("it was available before");
            drop(runtime.enter(|| TcpListener::from_std_exclusive(clone)));
            ready.send(runtime.handle()).unwrap();
            runtime.run().unwrap();
        });
        let idle_handle: Handle = handles.recv().unwrap();
        let (ready, handles) = mpsc::channel();
        let busy = thread::spawn(move || {
            let runtime = epoll().expect("it was available before");
            let listener = runtime.enter(|| TcpListener::from_std_exclusive(listener));
            let served = Arc::new(AtomicUsize::new(0));
            runtime.spawn(serve(listener.unwrap(), served));
            ready.send(runtime.handle()).unwrap();
            runtime.run().unwrap();
        });
        let busy_handle: Handle = handles.recv().unwrap();
        (0..5).for_each(|_| visit(addr));
        idle_handle.stop();
        busy_handle.stop();
        idle.join().unwrap();
        busy.join().unwrap();
    });
}

/// Many connections at once, while runtimes come and go.
#[test]
fn exclusive_listener_serves_a_crowd_while_runtimes_leave() {
    if epoll().is_none() {
        return;
    }
    guarded("epoll", || {
        let (listener, addr) = shared();
        let served = Arc::new(AtomicUsize::new(0));
        let leaving = epoll().expect("it was available before");
        let first = leaving
            .enter(|| TcpListener::from_std_exclusive(listener.try_clone().unwrap()).unwrap());
        let staying = epoll().expect("it was available before");
        let second = staying.enter(|| TcpListener::from_std_exclusive(listener).unwrap());
        staying.spawn(serve(second, served.clone()));
        let clients: Vec<_> = (0..40)
            .map(|_| std::net::TcpStream::connect(addr).unwrap())
            .collect();
        // No runtime waited, so both are woken. This one ends without a look at the listener.
        leaving.turn(Some(Duration::ZERO)).unwrap();
        drop(first);
        drop(leaving);
        staying.block_on(async {
            for client in clients {
                client.set_nonblocking(true).unwrap();
                let client = TcpStream::from_std(client).unwrap();
                client.read_exact(&mut [0]).await.unwrap();
            }
        });
        assert_eq!(served.load(Ordering::Relaxed), 40);
    });
}

/// With epoll it accepts like any listener, on a remote thread too. Other backends return an error
/// with the reason.
#[test]
fn exclusive_listener_is_unsupported_where_all_are_woken() {
    on_every_backend(|runtime| {
        let (listener, addr) = shared();
        let made = runtime.enter(|| TcpListener::from_std_exclusive(listener));
        let listener = match made {
            Ok(listener) => listener,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                let text = error.to_string();
                assert!(text.contains("wakes every loop"), "{text}");
                assert_ne!(runtime.backend_name(), "epoll");
                return;
            }
        };
        runtime.block_on(async {
            let refused = listener.try_accept().unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
            let client = TcpStream::connect(addr).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            server.write_all(b"x").await.unwrap();
            assert!(client.ready(Interest::READABLE).await.is_ok());
            client.read_exact(&mut [0]).await.unwrap();
        });
        let std = listener.into_std().unwrap();
        let again = runtime.enter(|| TcpListener::from_std_exclusive(std));
        drop(again.unwrap());
    });
}

#[test]
fn exclusive_listener_refuses_a_blocking_socket() {
    reveille::block_on(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = TcpListener::from_std_exclusive(listener).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    });
}

/// The other clone of the socket is not affected by an error, and takes nothing once it is dropped.
#[test]
fn exclusive_unix_listener_accepts_or_is_unsupported() {
    on_every_backend(|runtime| {
        let directory = Directory::new();
        let path = directory.socket();
        let shared = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let clone = shared.try_clone().unwrap();
        let blocking = runtime.enter(|| UnixListener::from_std_exclusive(clone));
        assert_eq!(blocking.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        shared.set_nonblocking(true).unwrap();
        let clone = shared.try_clone().unwrap();
        let listener = match runtime.enter(|| UnixListener::from_std_exclusive(clone)) {
            Ok(listener) => listener,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                assert_ne!(runtime.backend_name(), "epoll");
                // The other clone is not affected.
                return drop(runtime.enter(|| UnixListener::from_std(shared)).unwrap());
            }
        };
        assert_eq!(runtime.backend_name(), "epoll");
        let other = runtime.enter(|| UnixListener::from_std_exclusive(shared).unwrap());
        runtime.block_on(async {
            let refused = listener.try_accept().unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
            drop(other);
            for _ in 0..3 {
                let client = UnixStream::connect(&path).await.unwrap();
                let (server, _) = listener.accept().await.unwrap();
                server.write_all(b"x").await.unwrap();
                client.read_exact(&mut [0]).await.unwrap();
            }
        });
    });
}
