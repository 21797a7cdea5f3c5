//! Unix datagram sockets, on every backend of this host.

mod support;

use reveille::io::Interest;
use reveille::net::UnixDatagram;
use reveille::time::{Duration, sleep};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use support::{on_every_backend, poll_once, wait};

/// A path for a socket that no other test has. The file is removed at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("reveille-dgram-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Of a process that had the same number and was killed.
        let _ = std::fs::remove_file(&path);
        Place(path)
    }
}

impl AsRef<Path> for Place {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A socket whose own buffer holds more than the queue of a peer, of 10 to 512 datagrams.
fn roomy() -> UnixDatagram {
    let socket = UnixDatagram::unbound().unwrap();
    socket.set_send_buffer_size(1 << 20).unwrap();
    socket
}

/// Sends until a send would block. Returns how many were sent.
fn fill(mut send: impl FnMut() -> io::Result<usize>) -> usize {
    for count in 0.. {
        if let Err(error) = send() {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            return count;
        }
    }
    unreachable!()
}

#[test]
fn datagrams_keep_their_borders_and_order() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = UnixDatagram::pair().unwrap();
            let mut buf = [0; 8];
            for data in [&b"one"[..], b"", b"three"] {
                assert_eq!(here.send(data).await.unwrap(), data.len());
            }
            assert_eq!(there.recv(&mut buf).await.unwrap(), 3);
            assert_eq!(there.recv(&mut buf).await.unwrap(), 0);
            assert_eq!(there.recv(&mut buf[..2]).await.unwrap(), 2);
            assert_eq!(&buf[..2], b"th");
            let nothing = there.try_recv(&mut buf).unwrap_err();
            assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
            let mut all = b"old".to_vec();
            here.send(b"new").await.unwrap();
            all.reserve(3);
            assert_eq!(there.recv_buf(&mut all).await.unwrap(), 3);
            assert_eq!(all, b"oldnew");
            let long = vec![7; 60_000];
            here.send(&long).await.unwrap();
            let mut all = Vec::new();
            let (n, from) = there.recv_buf_from(&mut all).await.unwrap();
            assert_eq!((n, from.is_unnamed()), (long.len(), true));
            assert_eq!(all, long);
            assert!(there.try_recv_buf(&mut all).is_err());
        });
    });
}

#[test]
fn addresses_of_senders_can_be_answered() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (server_place, client_place) = (Place::new(), Place::new());
            let server = UnixDatagram::bind(&server_place).unwrap();
            let client = UnixDatagram::bind(&client_place).unwrap();
            let path = server.local_addr().unwrap();
            assert_eq!(path.as_pathname(), Some(server_place.as_ref()));
            assert_eq!(client.send_to(b"one", &server_place).await.unwrap(), 3);
            client.connect(&server_place).unwrap();
            let peer = client.peer_addr().unwrap();
            assert_eq!(peer.as_pathname(), Some(server_place.as_ref()));
            client.send(b"two").await.unwrap();
            let mut buf = [0; 8];
            for _ in 0..2 {
                let (n, from) = server.recv_from(&mut buf).await.unwrap();
                assert_eq!((n, from.as_pathname()), (3, Some(client_place.as_ref())));
                server.send_to_addr(&buf[..n], &from).await.unwrap();
            }
            assert_eq!(client.recv(&mut buf).await.unwrap(), 3);
            let (n, from) = client.try_recv_from(&mut buf).unwrap();
            assert_eq!((n, from.as_pathname()), (3, Some(server_place.as_ref())));
            let taken = UnixDatagram::bind(&server_place).unwrap_err();
            assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        });
    });
}

#[cfg(target_os = "linux")]
#[test]
fn abstract_names_are_addresses() {
    use std::os::linux::net::SocketAddrExt;
    on_every_backend(|runtime| {
        runtime.block_on(async {
            // With a null byte in it.
            let name = format!(
                "reveille\0{}-{:?}",
                std::process::id(),
                thread::current().id()
            );
            let addr = SocketAddr::from_abstract_name(&name).unwrap();
            let server = UnixDatagram::bind_addr(&addr).unwrap();
            let found = server.local_addr().unwrap();
            assert_eq!(found.as_abstract_name(), Some(name.as_bytes()));
            let client = UnixDatagram::unbound().unwrap();
            client.send_to_addr(b"one", &addr).await.unwrap();
            client.connect_addr(&addr).unwrap();
            let peer = client.peer_addr().unwrap();
            assert_eq!(peer.as_abstract_name(), Some(name.as_bytes()));
            client.send(b"two").await.unwrap();
            let mut buf = [0; 8];
            for _ in 0..2 {
                let (n, from) = server.recv_from(&mut buf).await.unwrap();
                assert_eq!((n, from.is_unnamed()), (3, true));
            }
        });
    });
}

/// Nothing tells the sender when the peer has room. All tasks that wait must go on.
#[test]
fn sends_to_a_full_peer_wait_without_a_connection() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let place = Place::new();
            let server = UnixDatagram::bind(&place).unwrap();
            let client = Rc::new(UnixDatagram::unbound().unwrap());
            let filler = roomy();
            for _ in 0..3 {
                // By another socket: what the peer reads makes no room in this one.
                let filled = fill(|| filler.try_send_to(b"x", &place));
                assert!(filled > 0);
                assert_eq!(fill(|| client.try_send_to(b"x", &place)), 0);
                let tasks: Vec<_> = (0..5)
                    .map(|_| {
                        let (client, path) = (client.clone(), place.0.clone());
                        reveille::spawn(async move {
                            for _ in 0..5 {
                                assert_eq!(client.send_to(b"more", &path).await.unwrap(), 4);
                            }
                        })
                    })
                    .collect();
                reveille::yield_now().await;
                let mut received = 0;
                while received < filled + 25 {
                    server.recv(&mut [0; 8]).await.unwrap();
                    received += 1;
                }
                for task in tasks {
                    task.await.unwrap();
                }
                let nothing = server.try_recv(&mut [0; 8]).unwrap_err();
                assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
                // From now on, WRITABLE is watched. A turn takes the event of what the peer has
                // read, and no other event will come.
                sleep(Duration::from_millis(1)).await;
                client.writable().await.unwrap();
            }
        });
    });
}

/// A full peer does not hold up sends to another one.
#[test]
fn full_peer_delays_no_other_peer() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (full, other) = (Place::new(), Place::new());
            let _full_server = UnixDatagram::bind(&full).unwrap();
            let server = UnixDatagram::bind(&other).unwrap();
            let client = roomy();
            for _ in 0..3 {
                fill(|| client.try_send_to(b"x", &full));
                {
                    let mut waiting = pin!(client.send_to(b"x", &full));
                    assert!(poll_once(&mut waiting).await.is_pending());
                }
                // In one poll.
                let mut sent = pin!(client.send_to(b"y", &other));
                assert!(matches!(poll_once(&mut sent).await, Poll::Ready(Ok(1))));
                assert_eq!(server.recv(&mut [0; 8]).await.unwrap(), 1);
                client.writable().await.unwrap();
            }
        });
    });
}

#[test]
fn poll_send_wakes_every_task_of_a_full_peer() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let place = Place::new();
            let server = UnixDatagram::bind(&place).unwrap();
            let (unconnected, connected) = (roomy(), UnixDatagram::unbound().unwrap());
            connected.connect(&place).unwrap();
            fill(|| unconnected.try_send_to(b"x", &place));
            let wakes: Vec<_> = (0..12).map(|_| Arc::new(Wakes::default())).collect();
            for (index, wake) in wakes.iter().enumerate() {
                let waker = Waker::from(wake.clone());
                let mut cx = Context::from_waker(&waker);
                let sent = match index % 3 {
                    0 => unconnected.poll_send_to(&mut cx, b"x", &place),
                    1 => {
                        let addr = SocketAddr::from_pathname(&place).unwrap();
                        unconnected.poll_send_to_addr(&mut cx, b"x", &addr)
                    }
                    _ => connected.poll_send(&mut cx, b"x"),
                };
                assert!(sent.is_pending());
            }
            server.recv(&mut [0; 8]).await.unwrap();
            while wakes.iter().any(|wake| wake.0.load(Ordering::SeqCst) == 0) {
                reveille::yield_now().await;
            }
        });
    });
}

/// An event reports that the peer has room, or that the sender's own buffer has.
#[test]
fn sends_to_a_full_peer_wait_with_a_connection() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let place = Place::new();
            let server = UnixDatagram::bind(&place).unwrap();
            let client = UnixDatagram::unbound().unwrap();
            client.connect(&place).unwrap();
            let pair = UnixDatagram::pair().unwrap();
            for (from, to) in [(client, server), pair] {
                let from = Rc::new(from);
                for _ in 0..3 {
                    let filled = fill(|| from.try_send(b"x"));
                    assert!(filled > 0);
                    let tasks: Vec<_> = (0..3)
                        .map(|_| {
                            let from = from.clone();
                            reveille::spawn(async move {
                                for _ in 0..filled {
                                    from.send(b"y").await.unwrap();
                                }
                            })
                        })
                        .collect();
                    reveille::yield_now().await;
                    for _ in 0..4 * filled {
                        assert_eq!(to.recv(&mut [0; 8]).await.unwrap(), 1);
                    }
                    for task in tasks {
                        task.await.unwrap();
                    }
                }
            }
        });
    });
}

/// A send by a custom call to a full peer that is not connected.
#[test]
fn custom_calls_wait_for_a_full_peer() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let place = Place::new();
            let server = UnixDatagram::bind(&place).unwrap();
            let std = std::os::unix::net::UnixDatagram::unbound().unwrap();
            std.set_nonblocking(true).unwrap();
            let client = UnixDatagram::from_std(std.try_clone().unwrap()).unwrap();
            let (client, std) = (Rc::new(client), Rc::new(std));
            let filler = roomy();
            for _ in 0..3 {
                // By another socket: what the peer reads makes no room in this one.
                let filled = fill(|| filler.try_send_to(b"x", &place));
                let error = client.try_io(Interest::WRITABLE, || std.send_to(b"x", &place));
                assert_eq!(error.unwrap_err().kind(), ErrorKind::WouldBlock);
                let task = reveille::spawn({
                    let (client, std, path) = (client.clone(), std.clone(), place.0.clone());
                    async move {
                        let send = || std.send_to(b"custom", &path);
                        client.async_io(Interest::WRITABLE, send).await
                    }
                });
                // It finds the peer full.
                reveille::yield_now().await;
                for _ in 0..filled {
                    assert_eq!(server.recv(&mut [0; 8]).await.unwrap(), 1);
                }
                assert_eq!(server.recv(&mut [0; 8]).await.unwrap(), 6);
                assert_eq!(task.await.unwrap().unwrap(), 6);
                // From now on, WRITABLE is watched. A turn takes the event of what the peer has
                // read, and no other event will come.
                sleep(Duration::from_millis(1)).await;
                client.writable().await.unwrap();
            }
        });
    });
}

/// Counts the polls of a future.
async fn counted<F: std::future::Future>(polls: Rc<Cell<u128>>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        polls.set(polls.get() + 1);
        future.as_mut().poll(cx)
    })
    .await
}

/// A send that fails makes an event of its own: the kernel frees the memory that it took for the
/// datagram.
#[test]
fn waits_for_a_full_peer_do_not_spin() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let place = Place::new();
            let server = UnixDatagram::bind(&place).unwrap();
            let std = std::os::unix::net::UnixDatagram::unbound().unwrap();
            std.set_nonblocking(true).unwrap();
            let client = UnixDatagram::from_std(std.try_clone().unwrap()).unwrap();
            let (client, polls) = (Rc::new(client), Rc::new(Cell::new(0)));
            let filler = roomy();
            let filled = fill(|| filler.try_send_to(b"x", &place));
            let (sender, path) = (client.clone(), place.0.clone());
            let send = counted(
                polls.clone(),
                async move { sender.send_to(b"y", &path).await },
            );
            let (sender, path) = (client.clone(), place.0.clone());
            let custom = counted(polls.clone(), async move {
                let send = || std.send_to(b"y", &path);
                sender.async_io(Interest::WRITABLE, send).await
            });
            let tasks = [send_task(send), send_task(custom)];
            let begin = std::time::Instant::now();
            sleep(Duration::from_millis(100)).await;
            let most = 2 * (20 + begin.elapsed().as_millis() / 16);
            assert!(polls.get() <= most, "{} polls, at most {most}", polls.get());
            for _ in 0..filled + 2 {
                server.recv(&mut [0; 8]).await.unwrap();
            }
            for task in tasks {
                task.await.unwrap().unwrap();
            }
        });
    });
}

fn send_task(
    send: impl std::future::Future<Output = io::Result<usize>> + 'static,
) -> reveille::JoinHandle<io::Result<usize>> {
    reveille::spawn(send)
}

#[test]
fn other_threads_wait_for_a_full_peer() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let place = Place::new();
            let server = UnixDatagram::bind(&place).unwrap();
            let client = roomy();
            let filled = fill(|| client.try_send_to(b"x", &place));
            let path = place.0.clone();
            let sender = thread::spawn(move || {
                wait(async {
                    for _ in 0..20 {
                        client.send_to(b"y", &path).await.unwrap();
                    }
                });
            });
            let receiver = thread::spawn(move || {
                wait(async {
                    for _ in 0..filled + 20 {
                        server.recv(&mut [0; 8]).await.unwrap();
                    }
                });
            });
            while !(sender.is_finished() && receiver.is_finished()) {
                reveille::yield_now().await;
            }
            sender.join().unwrap();
            receiver.join().unwrap();
        });
    });
}

/// A pause on a thread without a runtime needs the loop of the socket's runtime.
#[test]
fn pause_on_a_runtime_that_is_gone_is_an_error() {
    let runtime = reveille::Runtime::new().unwrap();
    let place = Place::new();
    let (server, client) = runtime.enter(|| {
        let server = UnixDatagram::bind(&place).unwrap();
        (server, roomy())
    });
    fill(|| client.try_send_to(b"x", &place));
    let path = place.0.clone();
    let waiting = thread::spawn(move || wait(client.send_to(b"x", &path)).unwrap_err());
    runtime.turn(Some(Duration::ZERO)).unwrap();
    drop(runtime);
    let error = waiting.join().unwrap();
    assert!(error.to_string().contains("is gone"), "{error}");
    drop(server);
}

#[test]
fn peer_that_vanishes_is_an_error() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = UnixDatagram::pair().unwrap();
            there.send(b"last words").await.unwrap();
            drop(there);
            let mut buf = [0; 16];
            assert_eq!(here.recv(&mut buf).await.unwrap(), 10);
            let error = here.send(b"hello?").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

            let place = Place::new();
            let error = here.send_to(b"x", &place).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            drop(UnixDatagram::bind(&place).unwrap());
            let error = here.send_to(b"x", &place).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            let error = here.connect(&place).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        });
    });
}

/// The peer vanishes while senders wait for room.
#[test]
fn full_peer_that_vanishes_ends_the_wait() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let place = Place::new();
            let server = UnixDatagram::bind(&place).unwrap();
            let (unconnected, connected) = (roomy(), UnixDatagram::unbound().unwrap());
            connected.connect(&place).unwrap();
            fill(|| unconnected.try_send_to(b"x", &place));
            let path = place.0.clone();
            let waits = [
                reveille::spawn(async move { connected.send(b"y").await }),
                reveille::spawn(async move { unconnected.send_to(b"y", &path).await }),
            ];
            reveille::yield_now().await;
            drop(server);
            for wait in waits {
                let error = wait.await.unwrap().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            }
        });
    });
}

/// `unix_dgram_disconnected` in the kernel of Linux.
#[cfg(target_os = "linux")]
#[test]
fn peer_that_leaves_datagrams_unread_resets_the_sender_once() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let place = Place::new();
            let _elsewhere = UnixDatagram::bind(&place).unwrap();
            let (here, there) = UnixDatagram::pair().unwrap();
            here.send(b"unread").await.unwrap();
            let here = Rc::new(here);
            let waiting = here.clone();
            let receive = reveille::spawn(async move { waiting.recv(&mut [0; 8]).await });
            reveille::yield_now().await;
            there.connect(&place).unwrap();
            let error = receive.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let nothing = here.try_recv(&mut [0; 8]).unwrap_err();
            assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        });
    });
}

#[test]
fn shutdown_ends_receives_and_sends() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = UnixDatagram::pair().unwrap();
            let (there, ended) = (Rc::new(there), Rc::new(Cell::new(0)));
            let tasks: Vec<_> = (0..3)
                .map(|_| {
                    let (there, ended) = (there.clone(), ended.clone());
                    reveille::spawn(async move {
                        assert_eq!(there.recv(&mut [0; 8]).await.unwrap(), 0);
                        ended.set(ended.get() + 1);
                    })
                })
                .collect();
            reveille::yield_now().await;
            assert_eq!(ended.get(), 0);
            there.shutdown(Shutdown::Read).unwrap();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(there.try_recv(&mut [0; 8]).unwrap(), 0);
            assert_eq!(there.recv_from(&mut [0; 8]).await.unwrap().0, 0);
            let error = here.send(b"x").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            // The other direction still works.
            there.send(b"x").await.unwrap();
            assert_eq!(here.recv(&mut [0; 8]).await.unwrap(), 1);
            there.shutdown(Shutdown::Write).unwrap();
            let error = there.send(b"x").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        });
    });
}

#[test]
fn datagram_that_is_too_long_is_an_error() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = UnixDatagram::pair().unwrap();
            here.set_send_buffer_size(4096).unwrap();
            assert!(here.send_buffer_size().unwrap() >= 4096);
            let error = here.send(&vec![7; 1 << 20]).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
            here.send(b"short").await.unwrap();
            assert_eq!(there.recv(&mut [0; 8]).await.unwrap(), 5);
        });
    });
}

#[test]
fn paths_that_are_too_long_are_refused() {
    reveille::block_on(async {
        let long = "x".repeat(200);
        let socket = UnixDatagram::unbound().unwrap();
        let errors = [
            UnixDatagram::bind(&long).map(drop),
            socket.connect(&long),
            socket.send_to(b"x", &long).await.map(drop),
            socket.try_send_to(b"x", &long).map(drop),
            poll_fn(|cx| socket.poll_send_to(cx, b"x", &long))
                .await
                .map(drop),
        ];
        for error in errors {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        let error = socket.send(b"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn bind_outside_a_runtime_leaves_no_file() {
    let place = Place::new();
    let error = UnixDatagram::bind(&place).unwrap_err();
    assert!(error.to_string().contains("no reveille runtime"), "{error}");
    assert!(!place.0.exists());
}

#[test]
fn sockets_are_converted_from_and_to_std() {
    on_every_backend(|runtime| {
        let (here, there) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let again = here.try_clone().unwrap();
        runtime.block_on(async {
            let error = UnixDatagram::from_std(here).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            again.set_nonblocking(true).unwrap();
            let here = UnixDatagram::from_std(again).unwrap();
            there.send(b"hello").unwrap();
            assert_eq!(here.recv(&mut [0; 8]).await.unwrap(), 5);
            let text = format!("{here:?}");
            assert!(
                text.contains("UnixDatagram") && text.contains("peer"),
                "{text}"
            );
            let here = here.into_std().unwrap();
            here.send(b"bye").unwrap();
            assert_eq!(there.recv(&mut [0; 8]).unwrap(), 3);
        });
    });
}
