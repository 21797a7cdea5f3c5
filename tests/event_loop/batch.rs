//! What handlers do to fds whose events are in the same batch.

use super::*;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

type Name = Source<UnixStream>;

/// Who is attached, and who was called.
#[derive(Default)]
struct Log {
    names: Vec<Name>,
    called: Vec<Name>,
}

impl Log {
    fn other(&self, than: Name) -> Name {
        *self.names.iter().find(|name| **name != than).unwrap()
    }

    fn calls(&self, of: Name) -> usize {
        self.called.iter().filter(|name| **name == of).count()
    }
}

/// Attaches two ready sockets with the same handler; their peers.
fn attach_two(
    event_loop: &mut EventLoop<Log>,
    trigger: Trigger,
    handler: fn(&mut EventLoop<Log>, Name, Cause),
) -> [UnixStream; 2] {
    [(); 2].map(|()| {
        let (here, there) = ready_pair();
        let name = event_loop
            .attach(here, Interest::READABLE, trigger, handler)
            .unwrap();
        event_loop.data_mut().names.push(name);
        there
    })
}

/// C23. Two are ready; whoever is called first closes the other.
#[test]
fn who_is_closed_in_the_batch_is_not_called() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let _peers = attach_two(&mut event_loop, trigger, |event_loop, name, _| {
            let other = event_loop.data().other(name);
            event_loop.data_mut().called.push(name);
            assert_eq!(event_loop.len(), 2);
            assert!(event_loop.close(other), "closed twice");
            assert_eq!(event_loop.len(), 1, "it counts no more");
            drain(event_loop.get(name).unwrap());
        });
        assert_eq!(turn(&mut event_loop), 1);
        assert_eq!(event_loop.len(), 1);
        assert_quiet(&mut event_loop);
    });
}

/// A number that no other test uses, nor the system gives by itself.
fn own_number() -> RawFd {
    static NEXT: AtomicI32 = AtomicI32::new(9_000);
    support::raise_descriptor_limit();
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The socket under another number.
fn at_number(stream: UnixStream, number: RawFd) -> UnixStream {
    // SAFETY: the call takes no pointer; the stream is open.
    let fd = unsafe { libc::fcntl(stream.as_raw_fd(), libc::F_DUPFD_CLOEXEC, number) };
    assert_eq!(fd, number, "{}", io::Error::last_os_error());
    // SAFETY: the call has just made it, and nobody else knows it.
    UnixStream::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// C24. Whoever is called first closes the other and attaches a new socket under its number, on which nothing has come.
#[test]
fn close_reuse_in_batch() {
    #[derive(Default)]
    struct Reuse {
        names: Vec<Name>,
        old: usize,
        new: Option<(Name, UnixStream)>,
        new_called: usize,
    }
    fn on_new(event_loop: &mut EventLoop<Reuse>, name: Name, cause: Cause) {
        assert!(cause.is_readable());
        assert_eq!(drain(event_loop.get(name).unwrap()), b"new");
        event_loop.data_mut().new_called += 1;
    }
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Reuse::default());
        let mut peers = Vec::new();
        for _ in 0..2 {
            let (here, there) = ready_pair();
            let here = at_number(here, own_number());
            let name = event_loop
                .attach(
                    here,
                    Interest::READABLE,
                    trigger,
                    move |event_loop, name, _| {
                        drain(event_loop.get(name).unwrap());
                        let data = event_loop.data_mut();
                        data.old += 1;
                        let other = *data.names.iter().find(|other| **other != name).unwrap();
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
            event_loop.data_mut().names.push(name);
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

/// C25. It is readable and writable, and closes itself when it hears of the first.
#[test]
fn who_closes_itself_is_not_called_for_the_other_half() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(0);
        let both = Interest::READABLE | Interest::WRITABLE;
        let (here, _there) = ready_pair();
        event_loop
            .attach(here, both, trigger, |event_loop, name, _| {
                *event_loop.data_mut() += 1;
                assert!(event_loop.close(name));
            })
            .unwrap();
        turn(&mut event_loop);
        assert_quiet(&mut event_loop);
        assert_eq!(*event_loop.data(), 1);
        assert!(event_loop.is_empty());
    });
}

/// C26. A handler attaches a thousand sockets that are ready.
#[test]
fn who_is_attached_in_the_batch_is_called_in_a_later_one() {
    support::raise_descriptor_limit();
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make((Log::default(), Vec::new()));
        let (here, _there) = ready_pair();
        event_loop
            .attach(
                here,
                Interest::READABLE,
                trigger,
                move |event_loop, name, _| {
                    for _ in 0..1000 {
                        let (here, there) = ready_pair();
                        let name = event_loop
                            .attach(
                                here,
                                Interest::READABLE,
                                trigger,
                                |event_loop, name, cause| {
                                    assert!(cause.is_readable());
                                    drain(event_loop.get(name).unwrap());
                                    event_loop.data_mut().0.called.push(name);
                                },
                            )
                            .unwrap();
                        event_loop.data_mut().0.names.push(name);
                        event_loop.data_mut().1.push(there);
                    }
                    event_loop.close(name);
                },
            )
            .unwrap();
        assert_eq!(turn(&mut event_loop), 1, "they are not of this batch");
        run_until(&mut event_loop, |(log, _)| {
            log.called.len() >= log.names.len()
        });
        let log = &event_loop.data().0;
        assert!(log.names.iter().all(|name| log.calls(*name) >= 1));
        assert_eq!(event_loop.len(), 1000);
    });
}

/// C27. Whoever is called first takes the other's interest off, in each of the ways there are.
#[test]
fn what_is_not_asked_for_any_more_is_not_told() {
    fn off(way: u8, event_loop: &mut EventLoop<(Log, u8)>, name: Name) {
        match way {
            0 => event_loop.modify(name, Interest::NONE).unwrap(),
            1 => event_loop.modify(name, Interest::PRIORITY).unwrap(),
            _ => event_loop.pause(name).unwrap(),
        }
    }
    fn handler(event_loop: &mut EventLoop<(Log, u8)>, name: Name, cause: Cause) {
        assert!(cause.is_readable());
        drain(event_loop.get(name).unwrap());
        let (log, way) = event_loop.data_mut();
        log.called.push(name);
        if log.called.len() == 1 {
            let (other, way) = (log.other(name), *way);
            off(way, event_loop, other);
        }
    }
    on_every_trigger(|loops, trigger| {
        for way in 0..3 {
            let mut event_loop = loops.make((Log::default(), way));
            let mut peers = Vec::new();
            for _ in 0..2 {
                let (here, there) = ready_pair();
                let name = event_loop.attach(here, Interest::READABLE, trigger, handler);
                event_loop.data_mut().0.names.push(name.unwrap());
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

/// C27, the other direction: the half that is still asked for is told.
#[test]
fn of_two_halves_the_one_still_asked_for_is_told() {
    #[derive(Default)]
    struct Halves {
        names: Vec<Name>,
        seen: Vec<(Name, Cause)>,
    }
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Halves::default());
        let mut peers = Vec::new();
        for _ in 0..2 {
            let (here, there) = ready_pair();
            let both = Interest::READABLE | Interest::WRITABLE;
            let name = event_loop.attach(here, both, trigger, |event_loop, name, cause| {
                let data = event_loop.data_mut();
                data.seen.push((name, cause));
                let names = data.names.clone();
                for other in names {
                    if other != name && event_loop.data().seen.len() == 1 {
                        event_loop.modify(other, Interest::WRITABLE).unwrap();
                    }
                }
            });
            event_loop.data_mut().names.push(name.unwrap());
            peers.push(there);
        }
        turn(&mut event_loop);
        turn(&mut event_loop);
        let Halves { seen, .. } = event_loop.data();
        let first = seen[0].0;
        let others: Vec<Cause> = seen
            .iter()
            .filter(|(name, _)| *name != first)
            .map(|(_, cause)| *cause)
            .collect();
        assert!(others.iter().any(|cause| cause.is_writable()), "{others:?}");
        assert!(
            !others.iter().any(|cause| cause.is_readable()),
            "{others:?}"
        );
    });
}

/// C30. Two hundred are ready, and a batch has room for sixteen.
#[test]
fn a_small_batch_passes_nobody_over() {
    on_every_trigger(|loops, trigger| {
        let builder = loops.builder().event_capacity(16);
        let mut event_loop = builder.build(Log::default()).unwrap();
        let mut peers = Vec::new();
        for _ in 0..200 {
            let (here, there) = ready_pair();
            let handler = |event_loop: &mut EventLoop<Log>, name, _| {
                event_loop.data_mut().called.push(name);
            };
            let name = event_loop.attach(here, Interest::READABLE, trigger, handler);
            event_loop.data_mut().names.push(name.unwrap());
            peers.push(there);
        }
        for _ in 0..200_usize.div_ceil(16) + 1 {
            let called = turn(&mut event_loop);
            assert!(called <= 16, "{called} in one batch");
        }
        let log = event_loop.data();
        let starved = log.names.iter().filter(|name| log.calls(**name) == 0);
        assert_eq!(starved.count(), 0);
        if trigger == Trigger::Oneshot {
            assert_eq!(log.called.len(), 200);
        }
    });
}
