//! Tests of messages of remote threads: late, twice, for what is gone, after the end.

use super::*;
use crate::place::Place;
use crate::sys::fake_waker::{Use, foreign, hooked, key, woken};
use crate::sys::fork;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

#[test]
fn arm_wakes_if_the_fd_is_ready() {
    for capabilities in [edge(), rearming()] {
        for delivered in [false, true] {
            let rig = Rig::new(capabilities);
            let token = rig.register(CUSTOM);
            (&rig.there).write_all(b"x").unwrap();
            if delivered {
                // The event came and was cached before any task waited: no other will come.
                rig.deliver(&[(token, Ready::READABLE)]);
            }
            rig.send(rig.arm(token, Direction::Read, foreign(1)));
            assert_eq!(woken(), [1]);
            assert_eq!(rig.cached(token), Ready::READABLE);
            assert_eq!(rig.driver.foreign_wakers(), 0);
        }
    }
}

#[test]
fn arm_waits_for_an_event_if_the_fd_is_not_ready() {
    for capabilities in [edge(), rearming()] {
        let rig = Rig::new(capabilities);
        let token = rig.register(CUSTOM);
        // What is cached is out of date, because the other thread has read everything.
        rig.deliver(&[(token, Ready::READABLE)]);
        rig.calls();
        rig.send(rig.arm(token, Direction::Read, foreign(1)));
        let rearmed = [Call::Rearm(token, Interest::READABLE)].repeat(capabilities.rearm.into());
        assert_eq!(rig.calls(), rearmed);
        assert_eq!((rig.cached(token), woken()), (Ready::EMPTY, vec![]));
        rig.deliver(&[(token, Ready::READABLE)]);
        assert_eq!(woken(), [1]);
    }
}

#[test]
fn arm_for_writing_adds_it_to_the_interest() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.calls();
    rig.send(rig.arm(token, Direction::Write, foreign(1)));
    let both = Interest::READABLE | Interest::WRITABLE;
    assert_eq!(rig.calls(), [Call::Modify(token, both)]);
    assert_eq!(woken(), [1], "a socket pair can be written to");
}

#[test]
fn arm_wakes_if_arming_fails() {
    let rig = Rig::new(rearming());
    let token = rig.register(CUSTOM);
    rig.deliver(&[(token, Ready::READABLE)]);
    rig.script.borrow_mut().rearm_fails = true;
    rig.send(rig.arm(token, Direction::Read, foreign(1)));
    assert_eq!(woken(), [1]);
    rig.script.borrow_mut().modify_fails = true;
    rig.send(rig.arm(token, Direction::Write, foreign(2)));
    assert_eq!(woken(), [2]);
}

#[test]
fn arm_of_a_refused_connection_wakes_after_a_pause() {
    for capabilities in [edge(), rearming()] {
        let rig = Rig::new(capabilities);
        let token = rig.register(Watch::Accepted);
        for _ in 0..2 {
            rig.script.borrow_mut().add_fails = [io::ErrorKind::StorageFull].into();
            rig.send(rig.arm(token, Direction::Read, foreign(1)));
            // If it were woken now it would wait again now, and so on.
            assert_eq!(woken(), []);
            assert_eq!(rig.driver.counts().1, 1);
            while rig.driver.counts().1 != 0 {
                std::thread::sleep(Duration::from_millis(1));
                rig.turn();
            }
            assert_eq!(woken(), [1]);
        }
        // The limit is gone.
        rig.send(rig.arm(token, Direction::Read, foreign(1)));
        assert_eq!((woken(), rig.driver.counts().1), (vec![], 0));
        rig.deliver(&[(token, Ready::READABLE)]);
        assert_eq!(woken(), [1]);
        assert_eq!(rig.driver.foreign_wakers(), 0);
    }
}

/// Another thread has waited, then taken the fd out of the stream. The number may name another file
/// by now, which the mechanism must not touch.
#[test]
fn arm_does_not_watch_a_number_that_may_be_closed() {
    let rig = Rig::new(edge());
    let token = rig.register(Watch::Accepted);
    let remote = rig.remote();
    let kept = Message::Deregister {
        token,
        closing: None,
    };
    for message in [rig.arm(token, Direction::Read, foreign(1)), kept] {
        assert!(remote.push(message).is_ok());
    }
    rig.driver.handle_messages();
    assert_eq!((rig.calls(), woken()), (vec![], vec![1]));
    assert_eq!(rig.driver.counts().0, 0);

    // The message is handled, so other connections are watched.
    let token = rig.register(Watch::Accepted);
    rig.send(rig.arm(token, Direction::Read, foreign(2)));
    assert!(matches!(rig.calls()[..], [Call::Add(added, _)] if added == token));
    assert_eq!(woken(), []);

    // Once the runtime is gone, the fd of a stream is closed without a message.
    let last = rig.register(Watch::Accepted);
    let arm = rig.arm(last, Direction::Read, foreign(3));
    assert!(remote.push(arm).is_ok());
    rig.driver.shutdown();
    assert_eq!(rig.calls(), [Call::Remove(token)]);
    assert_eq!(woken(), [3, 2]);
}

#[test]
fn arm_wakes_if_the_registration_is_gone() {
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
fn arm_for_urgent_data_wakes_if_none_can_come() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.there.shutdown(std::net::Shutdown::Write).unwrap();
    let closed = Ready::READABLE | Ready::READ_CLOSED;
    rig.deliver(&[(token, closed)]);
    assert!(rig.poll(token, Direction::Priority, &key(1)).is_ready());
    rig.send(rig.arm(token, Direction::Priority, foreign(2)));
    assert_eq!(woken(), [2], "the same from another thread");
}

#[test]
fn arm_for_urgent_data_makes_short_reads_prove_nothing() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.send(rig.arm(token, Direction::Priority, foreign(1)));
    rig.deliver(&[(token, Ready::READABLE)]);
    let cx = Context::from_waker(Waker::noop());
    let read = rig
        .driver
        .poll_io(token, Direction::Read, &cx, 9, |_| Ok(3));
    assert!(matches!(read, Poll::Ready(Ok(3))), "{read:?}");
    assert!(
        rig.cached(token).is_readable(),
        "it may have stopped at the mark"
    );
}

#[test]
fn panic_in_one_message_loses_no_other() {
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
            closing: Some(Closing {
                fd: fd.into(),
                lent: false,
            }),
        },
    ] {
        assert!(remote.push(message).is_ok());
    }
    assert!(rig.driver.take_notified());
    rig.driver.handle_messages();
    assert_eq!(reported(), ["a wake"]);
    assert_eq!(woken(), [1]);
    assert!(
        rig.driver.cached(two).is_none(),
        "fd {number} is registered"
    );
    assert_eq!(rig.driver.counts().0, 1);
}

#[test]
fn messages_are_handled_in_the_order_they_were_sent() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let remote = rig.remote();
    // The wake handles the queue itself: what was sent before comes first all the same.
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
    assert!(
        remote
            .push(Message::Deregister {
                token,
                closing: None
            })
            .is_ok()
    );
    CURRENT.enter(&rig.driver, || rig.driver.handle_messages());
    assert_eq!(woken(), [2, 3, 1]);
    assert_eq!(rig.driver.counts().0, 0);
}

/// Returns another handle of the rig's socket, which is then the last except the rig's own.
fn closing(rig: &Rig) -> Option<Closing> {
    Some(rig.closing(false))
}

/// Whether the peer sees no end when the rig's own handle is closed, as it is here.
fn is_held(rig: &mut Rig) -> bool {
    rig.here = UnixStream::pair().unwrap().0;
    matches!((&rig.there).read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Whether the peer then sees the end. It may come late: a child that another test forks has a copy
/// of every handle while it lives.
fn peer_sees_the_end(rig: &mut Rig) -> bool {
    rig.here = UnixStream::pair().unwrap().0;
    rig.there.set_nonblocking(false).unwrap();
    let limit = Some(Duration::from_secs(60));
    rig.there.set_read_timeout(limit).unwrap();
    matches!((&rig.there).read(&mut [0]), Ok(0))
}

#[test]
fn deregister_message_closes_the_fd_when_it_is_handled() {
    let _no_child = fork::no_child();
    let mut rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.calls();
    let closing = closing(&rig);
    assert!(
        rig.remote()
            .push(Message::Deregister { token, closing })
            .is_ok()
    );
    assert!(is_held(&mut rig));
    rig.driver.handle_messages();
    assert!(peer_sees_the_end(&mut rig));
    assert_eq!(rig.calls(), [Call::Forget(token)], "the close removes it");
    assert_eq!(rig.driver.counts().0, 0);
}

#[test]
fn register_handles_a_queued_deregister_first() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    assert!(
        rig.remote()
            .push(Message::Deregister {
                token,
                closing: None
            })
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
fn shutdown_handles_queued_messages() {
    let mut rig = Rig::new(edge());
    let (one, two) = (rig.register(TCP), rig.register(TCP));
    let closing = closing(&rig);
    let remote = rig.remote();
    assert!(
        remote
            .push(Message::Deregister {
                token: one,
                closing
            })
            .is_ok()
    );
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
fn push_after_the_end_returns_the_message() {
    let mut rig = Rig::new(edge());
    let token = rig.register(TCP);
    let (closing, remote) = (closing(&rig), rig.remote());
    rig.driver.shutdown();
    assert!(REMOTES.get(rig.driver.id()).is_none());
    let back = remote.push(Message::Deregister { token, closing });
    assert!(matches!(
        &back,
        Err(Message::Deregister {
            closing: Some(_),
            ..
        })
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
fn panic_at_the_end_keeps_no_task_waiting() {
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
    rig.driver.shutdown();
    assert_eq!(reported(), ["a wake"]);
    let mut all = woken();
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3]);
    assert_eq!(rig.driver.counts(), (0, 0));
}

#[test]
fn timer_messages_arm_reset_and_cancel() {
    let rig = Rig::new(edge());
    let deadline = later();
    let waiting = rig.driver.arm_timer(deadline, &foreign(1)).unwrap();
    let waker = foreign(2);
    rig.send(Message::Timer {
        key: waiting,
        deadline,
        place: Place::UNKNOWN,
        waker,
    });
    assert_eq!(rig.driver.foreign_wakers(), 1, "one waker a timer");
    rig.send(Message::Reset {
        key: waiting,
        deadline: now(),
    });
    rig.turn();
    assert_eq!(woken(), [2]);
    // Fired, and reset before the other thread knew.
    let waker = foreign(3);
    rig.send(Message::Timer {
        key: waiting,
        deadline: now(),
        place: Place::UNKNOWN,
        waker,
    });
    assert_eq!(woken(), [3], "the new deadline has come too");
    let cancelled = rig.driver.arm_timer(deadline, &foreign(4)).unwrap();
    rig.send(Message::Cancel { key: cancelled });
    assert_eq!(rig.driver.counts().1, 0);
    assert_eq!(rig.driver.foreign_wakers(), 0);
}

#[test]
fn reset_of_a_fired_timer_makes_one_timer() {
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
            place: Place::UNKNOWN,
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
        place: Place::UNKNOWN,
        waker,
    });
    rig.send(Message::Cancel { key });
    assert_eq!(rig.driver.counts().1, 0, "it outlived its handle");
    assert_eq!((woken(), rig.driver.foreign_wakers()), (vec![], 0));
}
