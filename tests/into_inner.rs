//! `into_inner` and `into_std` while the runtime does not run: between two calls of `block_on`, or
//! on another thread. The descriptor then belongs only to the caller, and its peer notices a close
//! at once.
//!
//! The peers wait without limit, so a runtime that keeps a file open shows as a hang, which the
//! guard ends.

mod support;

use reveille::Runtime;
use reveille::io::{AsyncFd, Interest};
use reveille::net::TcpStream;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread;
use support::{on_every_backend, std_pair};

/// Whether a close is noticed at once. Before Linux 6.0, io_uring releases a file only when its
/// loop runs again.
fn close_is_immediate(runtime: &Runtime) -> bool {
    if runtime.backend_name() != "io-uring" {
        return true;
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let major = release.split('.').next().and_then(|part| part.parse().ok());
    major.is_some_and(|major: u32| major >= 6)
}

/// Two registered files that the backend has seen, and their peers.
fn opened(
    runtime: &Runtime,
) -> (
    TcpStream,
    std::net::TcpStream,
    AsyncFd<UnixStream>,
    UnixStream,
) {
    runtime.block_on(async {
        let (client, stream) = std_pair().await;
        let (here, there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let fd = AsyncFd::new(here).unwrap();
        reveille::time::sleep(std::time::Duration::from_millis(1)).await;
        (stream, client, fd, there)
    })
}

fn has_ended(mut peer: impl Read) {
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn into_inner_between_two_calls_closes_at_once() {
    on_every_backend(|runtime| {
        if !close_is_immediate(runtime) {
            return;
        }
        for _ in 0..20 {
            let (stream, client, fd, there) = opened(runtime);
            drop(stream.into_std().unwrap());
            has_ended(client);
            drop(fd.into_inner());
            has_ended(there);
        }
        let (_stream, _client, fd, there) = opened(runtime);
        drop(fd);
        has_ended(there);
        runtime.block_on(async {});
    });
}

/// Meanwhile the loop's thread waits in `join`, not in the loop.
#[test]
fn into_inner_on_another_thread_closes_at_once() {
    on_every_backend(|runtime| {
        if !close_is_immediate(runtime) {
            return;
        }
        for _ in 0..20 {
            let (stream, client, fd, there) = opened(runtime);
            let other = thread::spawn(move || {
                drop(stream.into_std().unwrap());
                has_ended(client);
                drop(fd.into_inner());
                has_ended(there);
            });
            other.join().unwrap();
        }
    });
}

/// The loop sleeps, and is woken by what is sent to it.
#[test]
fn into_inner_while_the_loop_sleeps_closes_at_once() {
    on_every_backend(|runtime| {
        for _ in 0..20 {
            let (stream, client, fd, there) = opened(runtime);
            let handle = runtime.handle();
            let other = thread::spawn(move || {
                drop(stream.into_std().unwrap());
                has_ended(client);
                drop(fd.into_inner());
                has_ended(there);
                handle.stop();
            });
            runtime.run().unwrap();
            other.join().unwrap();
        }
    });
}

/// To the kernel, a duplicate is the same file. It is still registered.
#[test]
fn into_inner_keeps_the_events_of_a_registered_duplicate() {
    on_every_backend(|runtime| {
        let (here, mut there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let (fd, duplicate) = runtime.enter(|| {
            let duplicate = AsyncFd::with_interest(here.try_clone().unwrap(), Interest::READABLE);
            (AsyncFd::new(here).unwrap(), duplicate.unwrap())
        });
        let waiter = runtime.spawn(async move {
            for _ in 0..3 {
                let mut guard = duplicate.readable().await.unwrap();
                let read = guard.try_io(|fd| fd.get_ref().read(&mut [0; 8]));
                assert_eq!(read.unwrap().unwrap(), 1);
                guard.clear_ready();
            }
        });
        runtime.turn(Some(std::time::Duration::ZERO)).unwrap();
        let given_back = fd.into_inner();
        assert!(given_back.as_raw_fd() >= 0);
        runtime.block_on(async {
            for _ in 0..3 {
                there.write_all(b"x").unwrap();
                while !waiter.is_finished() && is_unread(&given_back) {
                    reveille::yield_now().await;
                }
            }
            waiter.await.unwrap();
        });
    });
}

fn is_unread(socket: &impl AsRawFd) -> bool {
    let mut entry = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry, alive during the call.
    unsafe { libc::poll(&mut entry, 1, 0) == 1 }
}
