//! Connecting to a listener whose queue is full.

use super::Directory;
use super::support::{on_every_backend, poll_once};
use reveille::net::{UnixListener, UnixStream};
use reveille::spawn;
use reveille::time::{Duration, timeout};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::pin::pin;

/// A listener with room for one connection, and the connections that fill its queue.
fn full(path: &Path) -> (UnixListener, Vec<std::os::unix::net::UnixStream>) {
    let listener = UnixListener::bind(path).unwrap();
    // SAFETY: listen takes no pointer. A second call changes the length of the queue.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    // Linux lets one more wait than was asked for.
    let waiting = std::os::unix::net::UnixStream::connect(path).unwrap();
    (listener, vec![waiting])
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn connect_waits_until_there_is_room() {
    on_every_backend(|runtime| {
        let directory = Directory::new();
        let path = directory.socket();
        runtime.block_on(async {
            let (listener, _waiting) = full(&path);
            let mut connect = pin!(UnixStream::connect(&path));
            for _ in 0..3 {
                assert!(poll_once(&mut connect).await.is_pending());
            }
            let accepted = listener.accept().await.unwrap();
            let client = connect.await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            client.write_all(b"x").await.unwrap();
            assert_eq!(server.read(&mut [0; 4]).await.unwrap(), 1);
            drop(accepted);
        });
    });
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn many_that_wait_are_all_served() {
    on_every_backend(|runtime| {
        let directory = Directory::new();
        let path = directory.socket();
        runtime.block_on(async {
            let (listener, _waiting) = full(&path);
            let clients: Vec<_> = (0..20_u8)
                .map(|number| {
                    let path = path.clone();
                    spawn(async move {
                        let stream = UnixStream::connect(path).await.unwrap();
                        stream.write_all(&[number]).await.unwrap();
                        stream
                    })
                })
                .collect();
            drop(listener.accept().await.unwrap());
            let mut seen = [false; 20];
            for _ in 0..20 {
                let (stream, _) = listener.accept().await.unwrap();
                let mut number = [0];
                stream.read_exact(&mut number).await.unwrap();
                assert!(!std::mem::replace(&mut seen[number[0] as usize], true));
            }
            for client in clients {
                client.await.unwrap();
            }
        });
    });
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn connect_that_is_dropped_leaves_no_connection_and_no_timer() {
    on_every_backend(|runtime| {
        let directory = Directory::new();
        let path = directory.socket();
        runtime.block_on(async {
            let (listener, _waiting) = full(&path);
            for _ in 0..3 {
                let connect = UnixStream::connect(&path);
                assert!(timeout(Duration::from_millis(5), connect).await.is_err());
            }
            // Only the first connection is in the queue.
            drop(listener.accept().await.unwrap());
            assert!(listener.try_accept().is_err());
        });
        assert_eq!(runtime.next_deadline(), None);
    });
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn connect_ends_when_the_listener_goes() {
    on_every_backend(|runtime| {
        let directory = Directory::new();
        let path = directory.socket();
        runtime.block_on(async {
            let (listener, _waiting) = full(&path);
            let mut connect = pin!(UnixStream::connect(&path));
            assert!(poll_once(&mut connect).await.is_pending());
            drop(listener);
            let error = connect.await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        });
    });
}
