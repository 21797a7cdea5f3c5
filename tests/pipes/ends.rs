//! The ends of pipes: what the other side finds when one is dropped.

use super::support::{on_every_backend, poll_once, wait};
use super::{fill, joined, received};
use reveille::net::pipe::{Sender, pipe};
use reveille::{Runtime, spawn, yield_now};
use std::io::ErrorKind;
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

#[test]
fn receiver_reads_what_is_left_and_then_the_end() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (sender, receiver) = pipe().unwrap();
            let reader = spawn(async move {
                let mut all = Vec::new();
                while receiver.read_buf(&mut all).await.unwrap() != 0 {}
                // The end stays.
                receiver.readable().await.unwrap();
                assert_eq!(receiver.read(&mut [0; 8]).await.unwrap(), 0);
                assert_eq!(receiver.try_read(&mut [0; 8]).unwrap(), 0);
                all
            });
            yield_now().await;
            let filled = fill(&sender);
            drop(sender);
            assert_eq!(reader.await.unwrap(), vec![b'f'; filled]);

            // The end alone.
            let (sender, receiver) = pipe().unwrap();
            let reader = spawn(async move { receiver.read(&mut [0; 8]).await });
            yield_now().await;
            drop(sender);
            assert_eq!(reader.await.unwrap().unwrap(), 0);
        });
    });
}

async fn is_broken(sender: &Sender) {
    for _ in 0..3 {
        sender.writable().await.unwrap();
        let error = sender.write(b"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        let error = sender.write_all(&[0; 100_000]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        let error = sender.try_write(b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}

#[test]
fn writes_without_a_receiver_are_broken() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            // Before the first write.
            let (sender, receiver) = pipe().unwrap();
            drop(receiver);
            is_broken(&sender).await;
            // After some, with bytes unread.
            let (sender, receiver) = pipe().unwrap();
            sender.write_all(b"unread").await.unwrap();
            drop(receiver);
            is_broken(&sender).await;
            // In a full pipe.
            let (sender, receiver) = pipe().unwrap();
            fill(&sender);
            drop(receiver);
            is_broken(&sender).await;
        });
    });
}

#[test]
fn all_that_wait_in_a_full_pipe_find_that_it_is_broken() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (sender, receiver) = pipe().unwrap();
            fill(&sender);
            let sender = Rc::new(sender);
            let writers = [(); 3].map(|()| {
                let sender = sender.clone();
                spawn(async move { sender.write_all(b"more").await })
            });
            let waiters = [(); 3].map(|()| {
                let sender = sender.clone();
                spawn(async move { sender.writable().await })
            });
            for _ in 0..3 {
                yield_now().await;
            }
            assert!(!writers.iter().any(|writer| writer.is_finished()));
            assert!(!waiters.iter().any(|waiter| waiter.is_finished()));
            drop(receiver);
            for writer in writers {
                let error = writer.await.unwrap().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            }
            for waiter in waiters {
                waiter.await.unwrap().unwrap();
            }
            is_broken(&sender).await;
        });
    });
}

#[test]
fn a_writer_on_another_thread_finds_that_the_pipe_is_broken() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (sender, receiver) = pipe().unwrap();
            fill(&sender);
            let (begun, has_begun) = mpsc::channel();
            let foreign = thread::spawn(move || {
                wait(async {
                    let mut write = pin!(sender.write_all(b"more"));
                    assert!(poll_once(&mut write).await.is_pending());
                    begun.send(()).unwrap();
                    let error = write.await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                    is_broken(&sender).await;
                });
            });
            received(&has_begun).await;
            drop(receiver);
            joined(foreign).await;
        });
    });
}

/// Whether the runtime's mechanism can tell that the last receiver is gone. If not, checks that
/// `closed` says so.
async fn can_tell(runtime: &Runtime) -> bool {
    if runtime.backend_name() != "select" {
        return true;
    }
    let (sender, _receiver) = pipe().unwrap();
    let error = sender.closed().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("mechanism"), "{error}");
    false
}

#[test]
fn closed_ends_with_the_last_receiver() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            if !can_tell(runtime).await {
                return;
            }
            for is_full in [false, true] {
                let (sender, receiver) = pipe().unwrap();
                let second = receiver.into_nonblocking_fd().unwrap();
                let receiver = second.try_clone().unwrap();
                if is_full {
                    fill(&sender);
                }
                let sender = Rc::new(sender);
                let waiters = [(); 2].map(|()| {
                    let sender = sender.clone();
                    spawn(async move { sender.closed().await })
                });
                drop(receiver);
                for _ in 0..3 {
                    yield_now().await;
                }
                assert!(!waiters.iter().any(|waiter| waiter.is_finished()));
                if !is_full {
                    // A writer and those that wait do not disturb each other.
                    sender.write_all(b"x").await.unwrap();
                }
                drop(second);
                for waiter in waiters {
                    waiter.await.unwrap().unwrap();
                }
                sender.closed().await.unwrap();
                is_broken(&sender).await;
                sender.closed().await.unwrap();
            }
        });
    });
}

#[test]
fn closed_ends_on_another_thread() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            if !can_tell(runtime).await {
                return;
            }
            let (sender, receiver) = pipe().unwrap();
            let (begun, has_begun) = mpsc::channel();
            let foreign = thread::spawn(move || {
                wait(async {
                    let mut closed = pin!(sender.closed());
                    assert!(poll_once(&mut closed).await.is_pending());
                    begun.send(()).unwrap();
                    closed.await.unwrap();
                });
            });
            received(&has_begun).await;
            drop(receiver);
            joined(foreign).await;
        });
    });
}

#[test]
fn dropping_an_end_on_another_thread_closes_it() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (sender, receiver) = pipe().unwrap();
            let foreign = thread::spawn(move || drop(sender));
            assert_eq!(receiver.read(&mut [0; 8]).await.unwrap(), 0);
            joined(foreign).await;

            let (sender, receiver) = pipe().unwrap();
            fill(&sender);
            let foreign = thread::spawn(move || drop(receiver));
            let error = sender.write_all(b"more").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            joined(foreign).await;
        });
    });
}
