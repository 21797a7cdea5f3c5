//! Child processes, which have a copy of every descriptor that was open at the fork.

use super::*;
use reveille::net::TcpListener;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A forked child that holds copies of the open descriptors until this is dropped.
struct Child {
    number: libc::pid_t,
    /// The child ends when this is closed.
    release: Option<File>,
    /// The child reports here that it has read from `watched`.
    says: File,
}

fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: the call fills both, and what it made is ours.
    unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        (
            OwnedFd::from_raw_fd(ends[0]).into(),
            OwnedFd::from_raw_fd(ends[1]).into(),
        )
    }
}

impl Child {
    /// Forks a child that reads [`PACKETS`] bytes from its copy of `watched`, and then reports it.
    fn holding(watched: RawFd) -> Child {
        let (hold, release) = pipe();
        let (says, say) = pipe();
        // SAFETY: the child only makes system calls that are allowed after a fork, and ends by
        // `_exit`. The alarm ends a forgotten child.
        let number = unsafe { libc::fork() };
        assert!(number >= 0);
        if number == 0 {
            // SAFETY: as above; every pointer is to a local that outlives the call.
            unsafe {
                libc::alarm(120);
                libc::close(release.as_raw_fd());
                let mut byte = 0u8;
                let mut read = 0;
                while read < PACKETS {
                    let mut entry = libc::pollfd {
                        fd: watched,
                        events: libc::POLLIN,
                        revents: 0,
                    };
                    libc::poll(&mut entry, 1, -1);
                    match libc::read(watched, (&raw mut byte).cast(), 1) {
                        1 => read += 1,
                        0 => break,
                        _ => {}
                    }
                }
                libc::write(say.as_raw_fd(), (&raw const byte).cast(), 1);
                libc::read(hold.as_raw_fd(), (&raw mut byte).cast(), 1);
                libc::_exit(0);
            }
        }
        Child {
            number,
            release: Some(release),
            says,
        }
    }

    /// Sends the child as many bytes as it reads, and waits until it has read them.
    fn is_sent(&mut self, peer: &mut std::net::TcpStream) {
        for _ in 0..PACKETS {
            peer.write_all(b"x").unwrap();
        }
        self.says.read_exact(&mut [0]).unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.release.take());
        if std::thread::panicking() {
            // SAFETY: the child is ours and was not waited for.
            unsafe { libc::kill(self.number, libc::SIGKILL) };
        }
        let mut status = 0;
        // SAFETY: the status outlives the call; the child is ours.
        let ended = unsafe { libc::waitpid(self.number, &mut status, 0) };
        if !std::thread::panicking() {
            assert_eq!((ended, status), (self.number, 0));
        }
    }
}

#[test]
fn stream_that_a_child_holds_does_not_wake_the_parent() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (new_peer, new) = plain_pair();
            let (mut other_peer, other) = fresh(record).await;
            let (mut peer, stream) = fresh(record).await;
            let (number, other_number) = (number_of(&stream), number_of(&other));
            let mut child = Child::holding(number);
            drop(stream);
            assert_eq!(record.calls(), removed(number));
            child.is_sent(&mut peer);
            wait_a_while().await;
            assert_eq!(record.events(), 0);

            // The stream that was registered before the fork, and the next owner of the number.
            drop(other);
            assert_eq!(record.calls(), removed(other_number));
            let new = put_under(number, new.as_fd());
            let serving = serves(new_peer, new);
            peer.write_all(b"x").unwrap();
            other_peer.write_all(b"x").unwrap();
            serving.await;
            record.calls();

            // Descriptors that are made after the fork have no copy.
            let (_later_peer, later) = fresh(record).await;
            let number = number_of(&later);
            drop(later);
            assert_eq!(record.calls(), forgotten(runtime, number));
        });
    });
}

/// A child has a copy of the listener: connections enter its queue, and do not wake the loop.
#[test]
fn listener_that_a_child_holds_does_not_wake_the_parent() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let number = number_of(&listener);
            let (mut peer, stream) = fresh(record).await;
            let mut child = Child::holding(number_of(&stream));
            drop(listener);
            assert_eq!(record.calls(), removed(number));
            // The stream is writable.
            wait_a_while().await;
            record.events();
            let _clients = [(); 5].map(|()| std::net::TcpStream::connect(addr).unwrap());
            wait_a_while().await;
            assert_eq!(record.events(), 0);
            drop(stream);
            child.is_sent(&mut peer);
        });
    });
}

/// Another thread forks all the time. Each child briefly has copies of the descriptors that are
/// open at that moment.
#[test]
fn connections_come_and_go_while_another_thread_forks() {
    on_every_mechanism(|runtime, _record| {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let forks = std::thread::spawn(move || {
            let mut forks = 0;
            while !seen.load(Ordering::Relaxed) || forks < 10 {
                // SAFETY: the child ends at once, by a call that is allowed after a fork.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    // SAFETY: as above.
                    unsafe { libc::_exit(0) };
                }
                // SAFETY: a null status is allowed; the child is ours.
                let ended = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
                assert_eq!(ended, child);
                forks += 1;
            }
        });
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            for _ in 0..100 {
                let client = TcpStream::connect(addr).await.unwrap();
                let (server, _) = listener.accept().await.unwrap();
                client.write_all(b"ping").await.unwrap();
                server.read_exact(&mut [0; 4]).await.unwrap();
            }
        });
        over.store(true, Ordering::Relaxed);
        forks.join().unwrap();
    });
}

/// The peer sees the end only when the child has ended too. Then the number and the kernel's entry
/// are free.
#[test]
fn stream_that_a_child_held_ends_with_the_child() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (mut peer, stream) = fresh(record).await;
            let mut child = Child::holding(number_of(&stream));
            drop(stream);
            child.is_sent(&mut peer);
            drop(child);
            assert_eq!(peer.read(&mut [0]).unwrap(), 0);
            wait_a_while().await;
            assert_eq!(record.events(), 0);
        });
    });
}

/// The crate's sockets are closed in a program that is started.
#[test]
fn program_inherits_no_socket() {
    on_every_mechanism(|runtime, record| {
        for forks in [false, true] {
            runtime.block_on(async {
                let (mut peer, stream) = fresh(record).await;
                let number = number_of(&stream);
                let mut command = Command::new("cat");
                command.stdin(Stdio::piped()).stdout(Stdio::null());
                if forks {
                    // Std can then not do without a fork(2).
                    // SAFETY: the function does nothing.
                    unsafe { command.pre_exec(|| Ok(())) };
                }
                let mut program = command.spawn().unwrap();
                drop(stream);
                if forks {
                    assert_eq!(record.calls(), removed(number));
                } else {
                    // By posix_spawn(3) where there is that, which says nothing.
                    record.calls();
                }
                assert_eq!(peer.read(&mut [0]).unwrap(), 0);
                wait_a_while().await;
                assert_eq!(record.events(), 0);
                drop(program.stdin.take());
                assert!(program.wait().unwrap().success());
            });
        }
    });
}
