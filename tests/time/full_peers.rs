//! A paused clock (feature `test-util`) and calls that pause because no event reports that a full
//! peer has room: the pauses are timers of the runtime, so they take no real time.
//!
//! Only Linux has such calls.

use super::support::{Directory, on_every_backend};
use super::*;
use reveille::Builder;
use reveille::io::Interest;
use reveille::net::{UnixDatagram, UnixListener, UnixStream};
use reveille::time::advance;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::path::Path;

const LONG: Duration = Duration::from_secs(20);

/// The longest pause of both calls.
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

/// Runs a test on a new runtime of every mechanism, whose clock is paused.
fn on_every_paused_backend(auto_advance: bool, test: impl AsyncFn()) {
    on_every_backend(|like| {
        let builder = Builder::new().start_paused(true).auto_advance(auto_advance);
        let kind = like.backend_name().parse().unwrap();
        builder.backend(kind).build().unwrap().block_on(test());
    });
}

/// A listener with room for one connection, and the connection that fills its queue.
fn full_listener(path: &Path) -> (UnixListener, std::os::unix::net::UnixStream) {
    let listener = UnixListener::bind(path).unwrap();
    // SAFETY: listen takes no pointer. A second call changes the length of the queue.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let waiting = std::os::unix::net::UnixStream::connect(path).unwrap();
    (listener, waiting)
}

/// A datagram socket whose queue is full, how many datagrams are in it, and the socket that has
/// sent them.
fn full_datagram(path: &Path) -> (UnixDatagram, usize, UnixDatagram) {
    let (server, filler) = (
        UnixDatagram::bind(path).unwrap(),
        UnixDatagram::unbound().unwrap(),
    );
    // The queue of a peer may hold 512 datagrams, more than the buffer of a new socket.
    filler.set_send_buffer_size(1 << 20).unwrap();
    for count in 0.. {
        if let Err(error) = filler.try_send_to(b"x", path) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            return (server, count, filler);
        }
    }
    unreachable!()
}

/// Asserts that a call that was due at `LONG` has ended now, at most one pause later.
fn assert_one_pause_after(start: Instant) {
    let waited = now() - start;
    let longest = LONG + LONGEST_PAUSE;
    assert!(waited >= LONG && waited <= longest, "{waited:?}");
}

#[test]
fn connect_to_a_full_listener_pauses_by_the_paused_clock() {
    on_every_paused_backend(true, async || {
        let directory = Directory::new();
        let path = directory.socket();
        let (listener, _waiting) = full_listener(&path);
        let start = now();
        let client = spawn({
            let path = path.clone();
            async move { UnixStream::connect(path).await }
        });
        sleep(LONG).await;
        assert!(!client.is_finished());
        assert_eq!(now() - start, LONG);
        drop(listener.accept().await.unwrap());
        let client = client.await.unwrap().unwrap();
        assert_one_pause_after(start);
        // The new connection is that of the client.
        let (server, _) = listener.accept().await.unwrap();
        client.write_all(b"x").await.unwrap();
        assert_eq!(server.read(&mut [0; 4]).await.unwrap(), 1);
    });
}

/// However often it is polled, and although there is room.
#[test]
fn connect_to_a_full_listener_waits_while_the_clock_stands() {
    on_every_paused_backend(false, async || {
        let directory = Directory::new();
        let path = directory.socket();
        let (listener, _waiting) = full_listener(&path);
        let mut connect = Box::pin(UnixStream::connect(&path));
        // The pauses double. After each there is another attempt.
        for pause in [1, 2, 4, 8] {
            assert!(poll_here(&mut connect).await.is_pending());
            advance(pause * MS).await;
        }
        assert!(poll_here(&mut connect).await.is_pending());
        drop(listener.accept().await.unwrap());
        for _ in 0..20 {
            yield_now().await;
            assert!(poll_here(&mut connect).await.is_pending());
        }
        advance(16 * MS - Duration::from_nanos(1)).await;
        assert!(poll_here(&mut connect).await.is_pending());
        advance(Duration::from_nanos(1)).await;
        assert!(poll_here(&mut connect).await.is_ready());
    });
}

#[test]
fn send_to_a_full_datagram_socket_pauses_by_the_paused_clock() {
    on_every_paused_backend(true, async || {
        let directory = Directory::new();
        let path = directory.socket();
        let (server, filled, _filler) = full_datagram(&path);
        let std = std::os::unix::net::UnixDatagram::unbound().unwrap();
        std.set_nonblocking(true).unwrap();
        let client = UnixDatagram::from_std(std.try_clone().unwrap()).unwrap();
        let client = Rc::new(client);
        let start = now();
        let send = spawn({
            let (client, path) = (client.clone(), path.clone());
            async move { client.send_to(b"y", path).await }
        });
        let custom = spawn({
            let (client, path) = (client.clone(), path.clone());
            async move {
                let send = || std.send_to(b"y", &path);
                client.async_io(Interest::WRITABLE, send).await
            }
        });
        sleep(LONG).await;
        assert!(!send.is_finished() && !custom.is_finished());
        assert_eq!(now() - start, LONG);
        for _ in 0..filled {
            assert_eq!(server.try_recv(&mut [0; 4]).unwrap(), 1);
        }
        assert_eq!(send.await.unwrap().unwrap(), 1);
        assert_eq!(custom.await.unwrap().unwrap(), 1);
        assert_one_pause_after(start);
        for _ in 0..2 {
            assert_eq!(server.recv(&mut [0; 4]).await.unwrap(), 1);
        }
    });
}

#[test]
fn send_to_a_full_datagram_socket_is_tried_again_by_an_advance() {
    on_every_paused_backend(false, async || {
        let directory = Directory::new();
        let path = directory.socket();
        let (server, filled, _filler) = full_datagram(&path);
        let client = UnixDatagram::unbound().unwrap();
        let send = spawn({
            let path = path.clone();
            async move { client.send_to(b"y", path).await }
        });
        yield_now().await;
        advance(LONGEST_PAUSE).await;
        assert!(!send.is_finished());
        for _ in 0..filled {
            assert_eq!(server.try_recv(&mut [0; 4]).unwrap(), 1);
        }
        advance(LONGEST_PAUSE).await;
        assert!(send.is_finished());
        assert_eq!(send.await.unwrap().unwrap(), 1);
    });
}
