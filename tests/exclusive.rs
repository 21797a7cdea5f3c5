//! One listener shared by several runtimes, of which a connection wakes one.

mod support;

use reveille::backend::BackendKind;
use reveille::io::Interest;
use reveille::net::{TcpListener, TcpStream};
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
use support::{guarded, on_every_backend};

const RUNTIMES: usize = 4;
const CONNECTIONS: usize = 50;

/// How often this thread has gone to sleep. Who is woken by the kernel and finds a connection taken goes to sleep again
/// inside `epoll_wait`, and nothing else tells of it.
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
    // Time for the runtimes to go to sleep: who is woken depends on it, what is served does not.
    thread::sleep(Duration::from_millis(2));
    let mut client = std::net::TcpStream::connect(addr).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(120)))
        .unwrap();
    client.read_exact(&mut [0]).unwrap();
}

/// Connects many times, one after the other, to runtimes that share a listener. How often these have gone to sleep.
fn round() -> Option<usize> {
    let (listener, addr) = shared();
    let served = Arc::new(AtomicUsize::new(0));
    let (ready, handles) = mpsc::channel::<Handle>();
    let threads: Vec<_> = (0..RUNTIMES)
        .map(|_| {
            let (clone, ready) = (listener.try_clone().unwrap(), ready.clone());
            let served = served.clone();
            thread::spawn(move || {
                let runtime = epoll().expect("it was to be had before");
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
fn every_connection_is_served_and_few_runtimes_are_woken() {
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

/// The file lives on in the other's clone, and the kernel's registration with it, unless it is taken out.
#[test]
fn a_runtime_without_its_listener_takes_no_connections_from_others() {
    if epoll().is_none() {
        return;
    }
    guarded("epoll", || {
        let (listener, addr) = shared();
        let (clone, (ready, handles)) = (listener.try_clone().unwrap(), mpsc::channel());
        let idle = thread::spawn(move || {
            let runtime = epoll().expect("it was to be had before");
            drop(runtime.enter(|| TcpListener::from_std_exclusive(clone)));
            ready.send(runtime.handle()).unwrap();
            runtime.run().unwrap();
        });
        let idle_handle: Handle = handles.recv().unwrap();
        let (ready, handles) = mpsc::channel();
        let busy = thread::spawn(move || {
            let runtime = epoll().expect("it was to be had before");
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

/// Connections that come all at once, and runtimes that come and go.
#[test]
fn a_crowd_is_served_whoever_leaves() {
    if epoll().is_none() {
        return;
    }
    guarded("epoll", || {
        let (listener, addr) = shared();
        let served = Arc::new(AtomicUsize::new(0));
        let leaving = epoll().expect("it was to be had before");
        let first = leaving
            .enter(|| TcpListener::from_std_exclusive(listener.try_clone().unwrap()).unwrap());
        let staying = epoll().expect("it was to be had before");
        let second = staying.enter(|| TcpListener::from_std_exclusive(listener).unwrap());
        staying.spawn(serve(second, served.clone()));
        let clients: Vec<_> = (0..40)
            .map(|_| std::net::TcpStream::connect(addr).unwrap())
            .collect();
        // Nobody waited, so both are told: this one finds nothing out and goes.
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

/// It accepts as any other listener does, also on a foreign thread; elsewhere it says what is missing.
#[test]
fn a_mechanism_that_wakes_all_says_so() {
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
fn a_blocking_listener_is_refused() {
    reveille::block_on(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = TcpListener::from_std_exclusive(listener).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    });
}
