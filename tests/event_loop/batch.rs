//! Changes to fds whose events are in the same batch.

use super::*;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

type StreamKey = Key<UnixStream>;

/// The attached fds, and those whose handler was called.
#[derive(Default)]
struct Log {
    keys: Vec<StreamKey>,
    called: Vec<StreamKey>,
}

impl Log {
    fn other(&self, than: StreamKey) -> StreamKey {
        *self.keys.iter().find(|key| **key != than).unwrap()
    }

    fn calls(&self, of: StreamKey) -> usize {
        self.called.iter().filter(|key| **key == of).count()
    }
}

/// Attaches two ready sockets with the same handler, and returns their peers.
fn attach_two(
    event_loop: &mut EventLoop<Log>,
    trigger: Trigger,
    handler: fn(&mut EventLoop<Log>, StreamKey, Cause),
) -> [UnixStream; 2] {
    [(); 2].map(|()| {
        let (here, there) = ready_pair();
        let key = event_loop
            .attach(here, Interest::READABLE, trigger, handler)
            .unwrap();
        event_loop.data_mut().keys.push(key);
        there
    })
}

/// C23. Two fds are ready; the first handler closes the other fd.
#[test]
fn closed_fd_is_not_called_in_the_batch() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let _peers = attach_two(&mut event_loop, trigger, |event_loop, key, _| {
            let other = event_loop.data().other(key);
            event_loop.data_mut().called.push(key);
            assert_eq!(event_loop.len(), 2);
            assert!(event_loop.close(other), "it was closed before");
            assert_eq!(event_loop.len(), 1, "a closed fd still counts");
            drain(event_loop.get(key).unwrap());
        });
        assert_eq!(turn(&mut event_loop), 1);
        assert_eq!(event_loop.len(), 1);
        assert_quiet(&mut event_loop);
    });
}

/// Returns a descriptor number that no other test uses and the system does not choose.
fn own_number() -> RawFd {
    static NEXT: AtomicI32 = AtomicI32::new(9_000);
    support::raise_descriptor_limit();
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Moves a socket to another number.
fn at_number(stream: UnixStream, number: RawFd) -> UnixStream {
    // SAFETY: the call takes no pointer; the stream is open.
    let fd = unsafe { libc::fcntl(stream.as_raw_fd(), libc::F_DUPFD_CLOEXEC, number) };
    assert_eq!(fd, number, "{}", io::Error::last_os_error());
    // SAFETY: the call has just made it, and no other value owns it.
    UnixStream::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// C24. The first handler closes the other fd and attaches a new socket, which is not ready, under
/// the same number.
#[test]
fn close_reuse_in_batch() {
    #[derive(Default)]
    struct Reuse {
        keys: Vec<StreamKey>,
        old: usize,
        new: Option<(StreamKey, UnixStream)>,
        new_called: usize,
    }
    fn on_new(event_loop: &mut EventLoop<Reuse>, key: StreamKey, cause: Cause) {
        assert!(cause.is_readable());
        assert_eq!(drain(event_loop.get(key).unwrap()), b"new");
        event_loop.data_mut().new_called += 1;
    }
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Reuse::default());
        let mut peers = Vec::new();
        for _ in 0..2 {
            let (here, there) = ready_pair();
            let here = at_number(here, own_number());
            let key = event_loop
                .attach(
                    here,
                    Interest::READABLE,
                    trigger,
                    move |event_loop, key, _| {
                        drain(event_loop.get(key).unwrap());
                        let data = event_loop.data_mut();
                        data.old += 1;
                        let other = *data.keys.iter().find(|other| **other != key).unwrap();
                        let number = event_loop.get(other).unwrap().as_raw_fd();
                        assert!(event_loop.close(other));
                        let (here, there) = pair();
                        let here = at_number(here, number);
                        let new = event_loop
                            .attach(here, Interest::READABLE, trigger, on_new)
                            .unwrap();
                        assert_ne!(new, other);
                        assert!(!event_loop.is_attached(other));
                        event_loop.data_mut().new = Some((new, there));
                    },
                )
                .unwrap();
            event_loop.data_mut().keys.push(key);
            peers.push(there);
        }
        assert_eq!(turn(&mut event_loop), 1);
        assert_quiet(&mut event_loop);
        assert_eq!(
            (event_loop.data().old, event_loop.data().new_called),
            (1, 0)
        );
        let (_, there) = event_loop.data_mut().new.as_mut().unwrap();
        there.write_all(b"new").unwrap();
        run_until(&mut event_loop, |data| data.new_called == 1);
    });
}

/// C25. An fd is readable and writable, and its handler closes it at the first call.
#[test]
fn handler_that_closes_its_fd_is_not_called_for_the_other_half() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(0);
        let both = Interest::READABLE | Interest::WRITABLE;
        let (here, _there) = ready_pair();
        event_loop
            .attach(here, both, trigger, |event_loop, key, _| {
                *event_loop.data_mut() += 1;
                assert!(event_loop.close(key));
            })
            .unwrap();
        turn(&mut event_loop);
        assert_quiet(&mut event_loop);
        assert_eq!(*event_loop.data(), 1);
        assert!(event_loop.is_empty());
    });
}

/// C26. A handler attaches a thousand ready sockets.
#[test]
fn fd_attached_in_a_batch_is_called_in_a_later_one() {
    support::raise_descriptor_limit();
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make((Log::default(), Vec::new()));
        let (here, _there) = ready_pair();
        event_loop
            .attach(
                here,
                Interest::READABLE,
                trigger,
                move |event_loop, key, _| {
                    for _ in 0..1000 {
                        let (here, there) = ready_pair();
                        let key = event_loop
                            .attach(
                                here,
                                Interest::READABLE,
                                trigger,
                                |event_loop, key, cause| {
                                    assert!(cause.is_readable());
                                    drain(event_loop.get(key).unwrap());
                                    event_loop.data_mut().0.called.push(key);
                                },
                            )
                            .unwrap();
                        event_loop.data_mut().0.keys.push(key);
                        event_loop.data_mut().1.push(there);
                    }
                    event_loop.close(key);
                },
            )
            .unwrap();
        assert_eq!(
            turn(&mut event_loop),
            1,
            "a new fd was called in the same batch"
        );
        run_until(&mut event_loop, |(log, _)| {
            log.called.len() >= log.keys.len()
        });
        let log = &event_loop.data().0;
        assert!(log.keys.iter().all(|key| log.calls(*key) >= 1));
        assert_eq!(event_loop.len(), 1000);
    });
}

/// C27. The first handler removes the interest of the other fd, in each possible way.
#[test]
fn readiness_outside_the_interest_is_not_delivered() {
    fn off(way: u8, event_loop: &mut EventLoop<(Log, u8)>, key: StreamKey) {
        match way {
            0 => event_loop.modify(key, Interest::EMPTY).unwrap(),
            1 => event_loop.modify(key, Interest::PRIORITY).unwrap(),
            _ => event_loop.pause(key).unwrap(),
        }
    }
    fn handler(event_loop: &mut EventLoop<(Log, u8)>, key: StreamKey, cause: Cause) {
        assert!(cause.is_readable());
        drain(event_loop.get(key).unwrap());
        let (log, way) = event_loop.data_mut();
        log.called.push(key);
        if log.called.len() == 1 {
            let (other, way) = (log.other(key), *way);
            off(way, event_loop, other);
        }
    }
    on_every_trigger(|loops, trigger| {
        for way in 0..3 {
            let mut event_loop = loops.make((Log::default(), way));
            let mut peers = Vec::new();
            for _ in 0..2 {
                let (here, there) = ready_pair();
                let key = event_loop.attach(here, Interest::READABLE, trigger, handler);
                event_loop.data_mut().0.keys.push(key.unwrap());
                peers.push(there);
            }
            assert_eq!(turn(&mut event_loop), 1);
            assert_quiet(&mut event_loop);
            let first = event_loop.data().0.called[0];
            let other = event_loop.data().0.other(first);
            if way == 2 {
                assert!(event_loop.is_paused(other) && !event_loop.is_paused(first));
                event_loop.resume(other).unwrap();
            } else {
                event_loop.modify(other, Interest::READABLE).unwrap();
            }
            run_until(&mut event_loop, |(log, _)| log.calls(other) == 1);
        }
    });
}

/// C27. The first handler removes half of the interest of the other fd; the rest is delivered.
#[test]
fn readiness_left_in_the_interest_is_delivered() {
    #[derive(Default)]
    struct Halves {
        keys: Vec<StreamKey>,
        seen: Vec<(StreamKey, Cause)>,
    }
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Halves::default());
        let mut peers = Vec::new();
        for _ in 0..2 {
            let (here, there) = ready_pair();
            let both = Interest::READABLE | Interest::WRITABLE;
            let key = event_loop.attach(here, both, trigger, |event_loop, key, cause| {
                let data = event_loop.data_mut();
                data.seen.push((key, cause));
                let keys = data.keys.clone();
                for other in keys {
                    if other != key && event_loop.data().seen.len() == 1 {
                        event_loop.modify(other, Interest::WRITABLE).unwrap();
                    }
                }
            });
            event_loop.data_mut().keys.push(key.unwrap());
            peers.push(there);
        }
        turn(&mut event_loop);
        turn(&mut event_loop);
        let Halves { seen, .. } = event_loop.data();
        let first = seen[0].0;
        let others: Vec<Cause> = seen
            .iter()
            .filter(|(key, _)| *key != first)
            .map(|(_, cause)| *cause)
            .collect();
        assert!(others.iter().any(|cause| cause.is_writable()), "{others:?}");
        assert!(
            !others.iter().any(|cause| cause.is_readable()),
            "{others:?}"
        );
    });
}

/// C30. Two hundred fds are ready, and a batch has room for sixteen.
#[test]
fn event_capacity_skips_no_fd() {
    on_every_trigger(|loops, trigger| {
        let builder = loops.builder().event_capacity(16);
        let mut event_loop = builder.build(Log::default()).unwrap();
        let mut peers = Vec::new();
        for _ in 0..200 {
            let (here, there) = ready_pair();
            let handler = |event_loop: &mut EventLoop<Log>, key, _| {
                event_loop.data_mut().called.push(key);
            };
            let key = event_loop.attach(here, Interest::READABLE, trigger, handler);
            event_loop.data_mut().keys.push(key.unwrap());
            peers.push(there);
        }
        for _ in 0..200_usize.div_ceil(16) + 1 {
            let called = turn(&mut event_loop);
            assert!(called <= 16, "{called} in one batch");
        }
        let log = event_loop.data();
        let starved = log.keys.iter().filter(|key| log.calls(**key) == 0);
        assert_eq!(starved.count(), 0);
        if trigger == Trigger::Oneshot {
            assert_eq!(log.called.len(), 200);
        }
    });
}
