//! What other threads send, and when it arrives: too late, twice, for what is gone, after the end.

use super::*;
use crate::sys::fake_waker::{Use, foreign, hooked, key, woken};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn arming_after_the_fd_got_ready_wakes() {
    for capabilities in [edge(), rearming()] {
        for delivered in [false, true] {
            let rig = Rig::new(capabilities);
            let token = rig.register(CUSTOM);
            (&rig.there).write_all(b"x").unwrap();
            if delivered {
                // The event came and was cached before anyone waited: no other will come.
                rig.deliver(&[(token, Readiness::READABLE)]);
            }
            rig.send(rig.arm(token, Direction::Read, foreign(1)));
            assert_eq!(woken(), [1]);
            assert_eq!(rig.cached(token), Readiness::READABLE);
            assert_eq!(rig.driver.foreign_wakers(), 0);
        }
    }
}

#[test]
fn arming_what_is_not_ready_waits_for_an_event() {
    for capabilities in [edge(), rearming()] {
        let rig = Rig::new(capabilities);
        let token = rig.register(CUSTOM);
        // What is cached is out of date: the other thread has read it all.
        rig.deliver(&[(token, Readiness::READABLE)]);
        rig.calls();
        rig.send(rig.arm(token, Direction::Read, foreign(1)));
        let rearmed = [Call::Rearm(token, Interest::READABLE)].repeat(capabilities.rearm.into());
        assert_eq!(rig.calls(), rearmed);
        assert_eq!((rig.cached(token), woken()), (Readiness::EMPTY, vec![]));
        rig.deliver(&[(token, Readiness::READABLE)]);
        assert_eq!(woken(), [1]);
    }
}

#[test]
fn arming_for_writing_adds_it_to_what_is_watched() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.calls();
    rig.send(rig.arm(token, Direction::Write, foreign(1)));
    let both = Interest::READABLE | Interest::WRITABLE;
    assert_eq!(rig.calls(), [Call::Modify(token, both)]);
    assert_eq!(woken(), [1], "a socket pair can be written to");
}

#[test]
fn arming_what_cannot_be_armed_wakes() {
    let rig = Rig::new(rearming());
    let token = rig.register(CUSTOM);
    rig.deliver(&[(token, Readiness::READABLE)]);
    rig.script.borrow_mut().rearm_fails = true;
    rig.send(rig.arm(token, Direction::Read, foreign(1)));
    assert_eq!(woken(), [1]);
    rig.script.borrow_mut().modify_fails = true;
    rig.send(rig.arm(token, Direction::Write, foreign(2)));
    assert_eq!(woken(), [2]);
}

#[test]
fn arming_what_is_gone_wakes() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.end(token);
    rig.send(rig.arm(token, Direction::Read, foreign(1)));
    assert_eq!(woken(), [1]);
    rig.turn();
    rig.register(CUSTOM);
    rig.send(rig.arm(token, Direction::Read, key(2)));
    assert_eq!(woken(), [2]);
    assert_eq!(rig.driver.foreign_wakers(), 0);
}

#[test]
fn urgent_data_that_cannot_come_any_more_is_not_waited_for() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.there.shutdown(std::net::Shutdown::Write).unwrap();
    let closed = Readiness::READABLE | Readiness::READ_CLOSED;
    rig.deliver(&[(token, closed)]);
    assert!(rig.poll(token, Direction::Priority, &key(1)).is_ready());
    rig.send(rig.arm(token, Direction::Priority, foreign(2)));
    assert_eq!(woken(), [2], "the same from another thread");
}

#[test]
fn who_waits_for_urgent_data_elsewhere_makes_short_reads_prove_nothing() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.send(rig.arm(token, Direction::Priority, foreign(1)));
    rig.deliver(&[(token, Readiness::READABLE)]);
    let cx = Context::from_waker(Waker::noop());
    let read = rig.driver.poll_io(token, Direction::Read, &cx, 9, || Ok(3));
    assert!(matches!(read, Poll::Ready(Ok(3))), "{read:?}");
    assert!(
        rig.cached(token).is_readable(),
        "it may have stopped at the mark"
    );
}

#[test]
fn a_panic_in_one_message_does_not_lose_the_others() {
    let rig = Rig::new(edge());
    let (one, two) = (rig.register(CUSTOM), rig.register(CUSTOM));
    (&rig.there).write_all(b"x").unwrap();
    let panics = hooked(|used| {
        if used == Use::Wake {
            std::panic::panic_any("a wake")
        }
    });
    let fd = rig.there.try_clone().unwrap();
    let number = fd.as_raw_fd();
    let remote = rig.remote();
    for message in [
        rig.arm(one, Direction::Read, panics),
        rig.arm(one, Direction::Read, foreign(1)),
        Message::Deregister {
            token: two,
            fd: Some(fd.into()),
        },
    ] {
        assert!(remote.push(message).is_ok());
    }
    assert!(rig.driver.take_notified());
    let handled = catch_unwind(AssertUnwindSafe(|| rig.driver.handle_messages()));
    assert_eq!(handled.unwrap_err().downcast_ref(), Some(&"a wake"));
    assert!(rig.driver.is_notified(), "what is left must be looked at");
    rig.driver.handle_messages();
    assert_eq!(woken(), [1]);
    assert!(
        rig.driver.cached(two).is_none(),
        "fd {number} is registered"
    );
    assert_eq!(rig.driver.counts().0, 1);
}

#[test]
fn messages_are_done_in_the_order_they_were_sent() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let remote = rig.remote();
    // The wake looks at the queue itself: what was sent before comes first all the same.
    let looks = hooked(|used| {
        if used == Use::Wake {
            CURRENT.with(|driver| driver.unwrap().handle_messages());
            crate::sys::fake_waker::note(1);
        }
    });
    for waker in [looks, foreign(2), foreign(3)] {
        let gone = Token::new(7, 7);
        assert!(remote.push(rig.arm(gone, Direction::Read, waker)).is_ok());
    }
    assert!(remote.push(Message::Deregister { token, fd: None }).is_ok());
    CURRENT.enter(&rig.driver, || rig.driver.handle_messages());
    assert_eq!(woken(), [2, 3, 1]);
    assert_eq!(rig.driver.counts().0, 0);
}

/// Another handle of the rig's socket, which is then the last but the rig's own.
fn fd(rig: &Rig) -> Option<OwnedFd> {
    Some(rig.here.try_clone().unwrap().into())
}

/// Whether the peer sees no end when the rig's own handle is closed, as it is here.
fn is_held(rig: &mut Rig) -> bool {
    rig.here = UnixStream::pair().unwrap().0;
    matches!((&rig.there).read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Whether the peer sees the end then. It may come late: a child that another test forks has a copy of every handle
/// while it lives.
fn peer_sees_the_end(rig: &mut Rig) -> bool {
    rig.here = UnixStream::pair().unwrap().0;
    rig.there.set_nonblocking(false).unwrap();
    let limit = Some(Duration::from_secs(60));
    rig.there.set_read_timeout(limit).unwrap();
    matches!((&rig.there).read(&mut [0]), Ok(0))
}

#[test]
fn a_drop_elsewhere_closes_when_it_is_heard_of() {
    let mut rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.calls();
    let fd = fd(&rig);
    assert!(rig.remote().push(Message::Deregister { token, fd }).is_ok());
    assert!(is_held(&mut rig));
    rig.driver.handle_messages();
    assert!(peer_sees_the_end(&mut rig));
    assert_eq!(rig.calls(), [], "the close removes it");
    assert_eq!(rig.driver.counts().0, 0);
}

#[test]
fn a_drop_that_is_queued_makes_room_for_the_next_registration() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    assert!(
        rig.remote()
            .push(Message::Deregister { token, fd: None })
            .is_ok()
    );
    let refusal = io::ErrorKind::AlreadyExists;
    rig.script.borrow_mut().add_fails.push_back(refusal);
    let next = rig.register(CUSTOM);
    assert_ne!(next, token);
    assert!(rig.calls().contains(&Call::Remove(token)));
    assert_eq!(rig.driver.counts().0, 1);
}

#[test]
fn what_is_queued_at_the_end_is_done() {
    let mut rig = Rig::new(edge());
    let (one, two) = (rig.register(TCP), rig.register(TCP));
    let fd = fd(&rig);
    let remote = rig.remote();
    assert!(remote.push(Message::Deregister { token: one, fd }).is_ok());
    assert!(
        remote
            .push(rig.arm(two, Direction::Read, foreign(1)))
            .is_ok()
    );
    rig.driver.shutdown();
    assert!(peer_sees_the_end(&mut rig));
    assert_eq!(woken(), [1], "it finds the runtime gone");
    assert_eq!(rig.driver.foreign_wakers(), 0);
}

#[test]
fn after_the_end_messages_come_back_and_their_fds_are_closed() {
    let mut rig = Rig::new(edge());
    let token = rig.register(TCP);
    let (fd, remote) = (fd(&rig), rig.remote());
    rig.driver.shutdown();
    assert!(REMOTES.get(rig.driver.id()).is_none());
    let back = remote.push(Message::Deregister { token, fd });
    assert!(matches!(
        &back,
        Err(Message::Deregister { fd: Some(_), .. })
    ));
    assert!(is_held(&mut rig));
    drop(back);
    assert!(peer_sees_the_end(&mut rig));
    assert!(
        remote
            .push(rig.arm(token, Direction::Read, key(1)))
            .is_err()
    );
}

#[test]
fn a_panic_at_the_end_keeps_nobody_waiting() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let panics = || {
        hooked(|used| {
            if used == Use::Wake {
                std::panic::panic_any("a wake")
            }
        })
    };
    rig.wait(token, Direction::Read, &foreign(1));
    rig.driver.arm_timer(later(), &foreign(2)).unwrap();
    let remote = rig.remote();
    for waker in [panics(), foreign(3)] {
        let gone = Token::new(7, 7);
        assert!(remote.push(rig.arm(gone, Direction::Read, waker)).is_ok());
    }
    let ended = catch_unwind(AssertUnwindSafe(|| rig.driver.shutdown()));
    assert_eq!(ended.unwrap_err().downcast_ref(), Some(&"a wake"));
    let mut all = woken();
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3]);
    assert_eq!(rig.driver.counts(), (0, 0));
}

#[test]
fn timers_obey_other_threads() {
    let rig = Rig::new(edge());
    let deadline = later();
    let waiting = rig.driver.arm_timer(deadline, &foreign(1)).unwrap();
    let waker = foreign(2);
    rig.send(Message::Timer {
        key: waiting,
        deadline,
        waker,
    });
    assert_eq!(rig.driver.foreign_wakers(), 1, "one waker a timer");
    rig.send(Message::Reset {
        key: waiting,
        deadline: now(),
    });
    rig.turn();
    assert_eq!(woken(), [2]);
    // Fired, and moved before the other thread knew.
    let waker = foreign(3);
    rig.send(Message::Timer {
        key: waiting,
        deadline: now(),
        waker,
    });
    assert_eq!(woken(), [3], "the new deadline has come too");
    let cancelled = rig.driver.arm_timer(deadline, &foreign(4)).unwrap();
    rig.send(Message::Cancel { key: cancelled });
    assert_eq!(rig.driver.counts().1, 0);
    assert_eq!(rig.driver.foreign_wakers(), 0);
}

#[test]
fn a_timer_that_was_moved_after_it_fired_is_one_timer() {
    let rig = Rig::new(edge());
    let key = rig.driver.arm_timer(now(), &foreign(1)).unwrap();
    rig.turn();
    assert_eq!(woken(), [1]);
    let deadline = later();
    for _ in 0..5 {
        let waker = foreign(2);
        rig.send(Message::Timer {
            key,
            deadline,
            waker,
        });
    }
    assert_eq!(rig.driver.counts().1, 1, "each poll armed one more");
    assert_eq!(rig.driver.foreign_wakers(), 1);
    rig.send(Message::Reset {
        key,
        deadline: now(),
    });
    rig.turn();
    assert_eq!(woken(), [2], "it follows its handle");
    let waker = foreign(3);
    rig.send(Message::Timer {
        key,
        deadline,
        waker,
    });
    rig.send(Message::Cancel { key });
    assert_eq!(rig.driver.counts().1, 0, "it outlived its handle");
    assert_eq!((woken(), rig.driver.foreign_wakers()), (vec![], 0));
}
