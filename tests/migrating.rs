//! Differences from tokio that docs/migrating.md lists and no other test covers.

mod support;

use reveille::Runtime;
use reveille::io::AsyncFd;
use reveille::net::TcpListener;
use reveille::time::{Duration, sleep};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use support::{arrived, on_every_backend, pair, poll_once};

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn from_std_outside_a_runtime_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    client.set_nonblocking(true).unwrap();
    let (here, _there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    let errors = [
        TcpListener::from_std(listener).unwrap_err(),
        reveille::net::TcpStream::from_std(client).unwrap_err(),
        AsyncFd::new(here).unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("no reveille runtime"), "{error}");
    }
}

/// The data is there before the first read.
#[test]
fn tcp_stream_starts_writable_and_readable_only_if_it_was_accepted() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let peers = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = peers.local_addr().unwrap();
            let stream = reveille::net::TcpStream::connect(addr).await.unwrap();
            let (mut peer, _) = peers.accept().unwrap();
            peer.write_all(b"xyz").unwrap();
            arrived(&stream);
            let mut buf = [0];
            {
                let mut read = pin!(stream.read(&mut buf));
                assert!(poll_once(&mut read).await.is_pending());
            }
            let mut write = pin!(stream.write(b"x"));
            assert!(matches!(poll_once(&mut write).await, Poll::Ready(Ok(1))));
            assert_eq!(stream.try_read(&mut buf).unwrap(), 1);
            // The loop waits once, and the data is read.
            assert_eq!(stream.read(&mut buf).await.unwrap(), 1);

            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let mut client = std::net::TcpStream::connect(addr).unwrap();
            client.write_all(b"xyz").unwrap();
            let (server, _) = listener.accept().await.unwrap();
            arrived(&server);
            let mut read = pin!(server.read(&mut buf));
            assert!(matches!(poll_once(&mut read).await, Poll::Ready(Ok(1))));
        });
    });
}

#[test]
fn poll_read_ready_wakes_every_task_that_polled() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let (here, mut there) = UnixStream::pair().unwrap();
            here.set_nonblocking(true).unwrap();
            let custom = AsyncFd::new(here).unwrap();
            let wakes = [(); 4].map(|()| Arc::<Wakes>::default());
            for (at, wakes) in wakes.iter().enumerate() {
                let waker = Waker::from(wakes.clone());
                let mut cx = Context::from_waker(&waker);
                let is_ready = match at % 2 {
                    0 => server.poll_read_ready(&mut cx).is_ready(),
                    _ => custom.poll_read_ready(&mut cx).is_ready(),
                };
                assert!(!is_ready);
            }
            client.write_all(b"x").await.unwrap();
            there.write_all(b"x").unwrap();
            while wakes.iter().any(|wakes| wakes.count() == 0) {
                sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(wakes.map(|wakes| wakes.count()), [1; 4]);
        });
    });
}

/// The inner runtime has tasks and sockets of its own.
#[test]
fn runtime_may_be_dropped_inside_a_task_of_another() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let task = reveille::spawn(async {
                let inner = Runtime::new().unwrap();
                let waits = inner.enter(|| {
                    inner.spawn(async {
                        let (_client, server) = pair().await;
                        server.read(&mut [0]).await
                    })
                });
                inner.turn(Some(Duration::ZERO)).unwrap();
                drop(inner);
                waits.await.unwrap_err().is_runtime_gone()
            });
            assert!(task.await.unwrap());
            let (client, server) = pair().await;
            client.write_all(b"x").await.unwrap();
            assert_eq!(server.read(&mut [0]).await.unwrap(), 1);
        });
    });
}
