//! `AsyncFd` does not own its descriptor as a socket does. Its drop always removes the
//! registration; on another thread it drops the value before the loop handles the message.

use super::*;
use reveille::io::AsyncFd;
use std::os::unix::net::UnixStream;
use std::thread;

fn unix_pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

/// Reads one byte through a new `AsyncFd`.
async fn reads_one_byte(mut peer: &UnixStream, file: OwnedFd) {
    let fd = AsyncFd::new(UnixStream::from(file)).unwrap();
    for byte in [7, 8] {
        peer.write_all(&[byte]).unwrap();
        let mut read = [0; 2];
        let count = fd.async_io(reveille::io::Interest::READABLE, |mut file| {
            file.read(&mut read)
        });
        assert_eq!((count.await.unwrap(), read[0]), (1, byte));
    }
}

fn drain(file: &OwnedFd) {
    let mut reader = UnixStream::from(file.try_clone().unwrap());
    while matches!(reader.read(&mut [0; 64]), Ok(1..)) {}
}

/// The value of the `AsyncFd`, or a duplicate of it, lives on: its events are no longer reported.
#[test]
fn async_fd_is_removed_before_its_value_is_closed() {
    on_every_mechanism(|runtime, record| {
        for takes in [false, true] {
            runtime.block_on(async {
                let (mut ours, theirs) = unix_pair();
                let kept = duplicate(theirs.as_raw_fd());
                let fd = AsyncFd::new(theirs).unwrap();
                let number = fd.as_raw_fd();
                ours.write_all(b"x").unwrap();
                record.calls();
                let value = match takes {
                    true => Some(fd.into_inner()),
                    false => {
                        drop(fd);
                        None
                    }
                };
                assert_eq!(record.calls(), removed(number));
                drop(value);
                record.events();
                ours.write_all(b"x").unwrap();
                wait_a_while().await;
                assert_eq!(record.events(), 0);
                drain(&kept);
                let back = put_under(number, kept.as_fd());
                reads_one_byte(&ours, back).await;
            });
        }
    });
}

/// An `AsyncFd` is dropped on another thread while a duplicate lives on, before the loop can remove
/// it: its arrivals are no longer reported, and its number is free for any file.
#[test]
fn async_fd_dropped_on_another_thread_frees_its_number() {
    on_every_mechanism(|runtime, record| {
        for same_file in [false, true] {
            for at_once in [false, true] {
                runtime.block_on(async {
                    let (other_ours, other) = unix_pair();
                    let (mut ours, theirs) = unix_pair();
                    let kept = duplicate(theirs.as_raw_fd());
                    let fd = AsyncFd::new(theirs).unwrap();
                    let number = fd.as_raw_fd();
                    thread::spawn(move || drop(fd)).join().unwrap();
                    if !at_once {
                        wait_a_while().await;
                        record.events();
                        for _ in 0..3 {
                            ours.write_all(b"x").unwrap();
                            wait_a_while().await;
                        }
                        assert_eq!(record.events(), 0, "events of 3 arrivals");
                    }
                    if same_file {
                        drain(&kept);
                        let back = put_under(number, kept.as_fd());
                        reads_one_byte(&ours, back).await;
                    } else {
                        let other = put_under(number, other.as_fd());
                        ours.write_all(b"x").unwrap();
                        reads_one_byte(&other_ours, other).await;
                    }
                });
            }
        }
    });
}
