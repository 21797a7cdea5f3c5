//! Which events a Unix stream gets, and how many.

use super::pair;
use super::support::recording::{Call, recorded};
use reveille::backend::BackendKind;
use reveille::net::UnixStream;
use std::os::fd::AsRawFd;
use std::task::Poll;

/// Writes and reads `count` times, one byte each. Returns the events of it.
async fn events_of(
    count: usize,
    record: &super::support::recording::Record,
    near: &UnixStream,
    far: &UnixStream,
) -> usize {
    record.events();
    for _ in 0..count {
        near.write_all(b"x").await.unwrap();
        assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 1);
    }
    // The last report, if there is one that nobody waits for.
    reveille::yield_now().await;
    record.events()
}

/// Fills the stream until a write waits, and empties it.
async fn fill_and_empty(near: &UnixStream, far: &UnixStream) {
    let chunk = [0; 1 << 14];
    let mut sent = 0;
    std::future::poll_fn(|cx| {
        loop {
            match near.poll_write(cx, &chunk) {
                Poll::Ready(written) => sent += written.unwrap(),
                Poll::Pending => return Poll::Ready(()),
            }
        }
    })
    .await;
    let mut buf = vec![0; 1 << 16];
    while sent > 0 {
        sent -= far.read(&mut buf).await.unwrap();
    }
}

/// An edge trigger with WRITABLE reports each read of the peer.
#[test]
fn reads_of_the_peer_are_reported_only_for_a_while_after_writes_that_block() {
    for kind in BackendKind::ALL {
        let Some((runtime, record)) = recorded(kind) else {
            continue;
        };
        if record_rearms(kind) {
            continue;
        }
        runtime.block_on(async {
            let (near, far) = pair();
            assert_eq!(events_of(20, &record, &near, &far).await, 20, "{kind}");
            for _ in 0..3 {
                fill_and_empty(&near, &far).await;
                let busy = events_of(10, &record, &near, &far).await;
                assert!(busy >= 10, "{kind}: {busy}");
                events_of(20, &record, &near, &far).await;
                assert_eq!(events_of(20, &record, &near, &far).await, 20, "{kind}");
            }
            // Another wait is reported again.
            fill_and_empty(&near, &far).await;
            near.writable().await.unwrap();
        });
    }
}

/// Mechanisms without an edge trigger report only what was armed.
fn record_rearms(kind: BackendKind) -> bool {
    kind.open(8)
        .is_ok_and(|backend| backend.capabilities().rearm)
}

/// A task that waits for room keeps it watched, whatever other tasks write.
#[test]
fn waiting_writer_is_woken_although_others_write() {
    super::support::on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            let near = std::rc::Rc::new(near);
            let writers: Vec<_> = (0..4)
                .map(|_| {
                    let near = near.clone();
                    reveille::spawn(async move {
                        for len in [1, 1 << 17, 1, 1, 1 << 18, 3, 1 << 17] {
                            near.write_all(&vec![0; len]).await.unwrap();
                        }
                    })
                })
                .collect();
            let expected = 4 * (2 * (1 << 17) + (1 << 18) + 6);
            let (mut got, mut buf) = (0, vec![0; 50_000]);
            while got < expected {
                got += far.read(&mut buf).await.unwrap();
            }
            for writer in writers {
                writer.await.unwrap();
            }
            assert_eq!(got, expected);
        });
    });
}

/// A stream that this crate has made is closed without a call that ends its registration, where
/// closing does that.
#[test]
fn closing_ends_the_registration_of_one_of_a_pair() {
    let Some((runtime, record)) = recorded(BackendKind::Epoll) else {
        return;
    };
    runtime.block_on(async {
        for is_lent in [false, true] {
            let (one, other) = pair();
            let [Call::Add(one_fd), Call::Add(other_fd)] = record.calls()[..] else {
                panic!("both are registered");
            };
            if is_lent {
                assert_eq!(one.as_raw_fd(), one_fd);
            }
            drop((one, other));
            let first = if is_lent { Call::Remove } else { Call::Forget };
            assert_eq!(record.calls(), [first(one_fd), Call::Remove(other_fd)]);
        }
    });
}

/// So many exchanges change the trigger of both streams, where the mechanism has a level trigger
/// that costs nothing.
const EXCHANGES: usize = 250;

/// Sends one byte to each side and reads it.
async fn exchange(near: &UnixStream, far: &UnixStream) {
    for _ in 0..EXCHANGES {
        for (from, to) in [(near, far), (far, near)] {
            from.write_all(b"x").await.unwrap();
            assert_eq!(to.read(&mut [0; 8]).await.unwrap(), 1);
        }
    }
}

/// Makes 50 turns with a wait each, and returns how many of the waits brought an event.
async fn events_of_turns(record: &super::support::recording::Record) -> usize {
    record.events();
    for _ in 0..50 {
        reveille::time::sleep(std::time::Duration::from_micros(100)).await;
    }
    record.events()
}

/// Under a level trigger each wait would report them.
#[test]
fn unread_bytes_do_not_end_every_wait() {
    for kind in BackendKind::ALL {
        let Some((runtime, record)) = recorded(kind) else {
            continue;
        };
        runtime.block_on(async {
            let (near, far) = pair();
            for round in 0..3 {
                exchange(&near, &far).await;
                near.write_all(b"unread").await.unwrap();
                let events = events_of_turns(&record).await;
                assert!(events <= 4, "{kind}, {round}: {events}");
                assert_eq!(far.read(&mut [0; 16]).await.unwrap(), 6);
            }
        });
    }
}

#[test]
fn ended_stream_does_not_end_every_wait() {
    for kind in BackendKind::ALL {
        let Some((runtime, record)) = recorded(kind) else {
            continue;
        };
        runtime.block_on(async {
            for closes in [false, true] {
                let (near, far) = pair();
                exchange(&near, &far).await;
                let near = if closes {
                    drop(near);
                    None
                } else {
                    near.shutdown(std::net::Shutdown::Write).unwrap();
                    Some(near)
                };
                assert_eq!(far.read(&mut [0; 16]).await.unwrap(), 0);
                let events = events_of_turns(&record).await;
                assert!(events <= 4, "{kind}, closed {closes}: {events}");
                assert_eq!(far.read(&mut [0; 16]).await.unwrap(), 0);
                drop(near);
            }
        });
    }
}

/// A duplicate that the runtime does not know of keeps the file, and with a level trigger its
/// registration, if that was left to the close.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn duplicate_of_a_closed_stream_does_not_end_every_wait() {
    let Some((runtime, record)) = recorded(BackendKind::Epoll) else {
        return;
    };
    runtime.block_on(async {
        let (near, far) = pair();
        let [Call::Add(near_fd), Call::Add(_)] = record.calls()[..] else {
            panic!("both are registered");
        };
        exchange(&near, &far).await;
        // SAFETY: the number is open, and the call makes a new descriptor, which is owned here.
        let duplicate = unsafe {
            let fd = libc::dup(near_fd);
            assert!(fd >= 0);
            <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd)
        };
        drop(near);
        assert_eq!(record.calls(), [Call::Remove(near_fd)]);
        far.write_all(b"unread").await.unwrap();
        assert_eq!(events_of_turns(&record).await, 0);
        drop(duplicate);
    });
}
