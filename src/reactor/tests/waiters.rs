//! Tests of waiters: the slots, the list beside them, which events wake which waiter, and that
//! nothing stays behind.

use super::*;
use crate::place::Place;
use crate::sys::fake_waker::{foreign, key, woken};

/// In the order of `Direction::ALL`.
fn all_four(rig: &Rig, token: Token) {
    for (number, direction) in Direction::ALL.into_iter().enumerate() {
        rig.wait(token, direction, &key(number));
    }
}

#[test]
fn each_bit_wakes_the_waiters_that_it_answers() {
    use Ready as R;
    for (seen, expected) in [
        (R::READABLE, &[0][..]),
        (R::WRITABLE, &[1]),
        (R::PRIORITY, &[2]),
        (R::READABLE | R::WRITABLE, &[0, 1]),
        // No more urgent data will come either.
        (R::READABLE | R::READ_CLOSED, &[0, 2]),
        (R::READABLE | R::WRITABLE | R::ERROR, &[0, 1, 2, 3]),
        (
            R::READABLE | R::WRITABLE | R::READ_CLOSED | R::WRITE_CLOSED,
            &[0, 1, 2, 3],
        ),
        (R::READABLE | R::WRITABLE | R::INVALID, &[0, 1, 2, 3]),
    ] {
        let rig = Rig::new(edge());
        let connected = false;
        let owned = true;
        let token = rig.register(Watch::Tcp { connected, owned });
        all_four(&rig, token);
        rig.deliver(&[(token, seen)]);
        assert_eq!(woken(), expected, "{seen:?}");
        rig.deliver(&[(token, seen)]);
        assert_eq!(woken(), [0; 0], "{seen:?} a second time");
        rig.end(token);
        // Those that it did not wake.
        assert_eq!(woken().len(), 4 - expected.len());
    }
}

#[test]
fn waiter_in_several_directions_is_woken_once() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let mut id = 0;
    let both = Interest::READABLE | Interest::WRITABLE;
    assert!(rig.poll_named(token, &mut id, both, &key(5)).is_pending());
    rig.deliver(&[(token, Ready::READABLE | Ready::WRITABLE)]);
    assert_eq!(woken(), [5]);
}

#[test]
fn both_readers_of_one_stream_are_woken() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    for number in [1, 2, 2, 1] {
        let waker = key(number);
        let cx = Context::from_waker(&waker);
        let call = |_| -> io::Result<usize> { panic!("it is not ready") };
        let polled = rig.driver.poll_io(token, Direction::Read, &cx, 10, call);
        assert!(polled.is_pending());
    }
    rig.deliver(&[(token, Ready::READABLE)]);
    assert_eq!(woken(), [1, 2]);
}

#[test]
fn woken_future_that_finds_nothing_waits_again() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    for waker in [key(1), foreign(1)] {
        let mut id = 0;
        for _ in 0..3 {
            let polled = rig.poll_named(token, &mut id, Interest::READABLE, &waker);
            assert!(polled.is_pending());
            rig.deliver(&[(token, Ready::READABLE)]);
            assert_eq!(woken(), [1]);
            let seen = rig.seen(token);
            rig.driver
                .clear(token, seen.round, Ready::READABLE)
                .unwrap();
        }
    }
}

#[test]
fn woken_future_removes_no_other_waiter() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let mut id = 0;
    let polled = rig.poll_named(token, &mut id, Interest::READABLE, &foreign(1));
    assert!(polled.is_pending());
    rig.deliver(&[(token, Ready::READABLE)]);
    assert_eq!(woken(), [1]);
    // It may get the slot that the other waker had.
    rig.wait(token, Direction::Write, &foreign(2));
    rig.driver.forget_waiter(token, id);
    rig.deliver(&[(token, Ready::WRITABLE)]);
    assert_eq!(woken(), [2]);
}

#[test]
fn event_wakes_the_slot_and_the_whole_list() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    for number in 0..5 {
        rig.wait(token, Direction::Read, &key(number));
        rig.wait(token, Direction::Write, &foreign(10 + number));
    }
    rig.deliver(&[(token, Ready::READABLE)]);
    assert_eq!(woken(), [0, 1, 2, 3, 4]);
    rig.deliver(&[(token, Ready::WRITABLE)]);
    assert_eq!(woken(), [10, 11, 12, 13, 14]);
    assert_eq!(rig.driver.foreign_wakers(), 0);
}

#[test]
fn same_waker_is_stored_once() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let (one, two, three) = (foreign(1), key(2), foreign(3));
    for waker in [&one, &two, &three, &one, &two, &three.clone()] {
        rig.wait(token, Direction::Read, waker);
    }
    assert_eq!(rig.driver.foreign_wakers(), 2);
    rig.deliver(&[(token, Ready::READABLE)]);
    assert_eq!(woken(), [2, 1, 3], "keys first");
}

#[test]
fn same_waker_of_another_thread_is_stored_once() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let waker = foreign(1);
    for _ in 0..5 {
        rig.send(rig.arm(token, Direction::Read, waker.clone()));
    }
    assert_eq!(rig.driver.foreign_wakers(), 1);
    rig.deliver(&[(token, Ready::READABLE)]);
    assert_eq!(woken(), [1]);
}

#[test]
fn future_is_woken_by_its_last_waker() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    for wide in [false, true] {
        let interest = if wide {
            Interest::READABLE | Interest::ERROR
        } else {
            Interest::READABLE
        };
        let mut id = 0;
        for number in [1, 2, 2] {
            let polled = rig.poll_named(token, &mut id, interest, &foreign(number));
            assert!(polled.is_pending());
            assert_eq!(rig.driver.foreign_wakers(), 1, "what was replaced is gone");
        }
        rig.deliver(&[(token, Ready::READABLE)]);
        assert_eq!(woken(), [2]);
        let seen = rig.seen(token);
        rig.driver
            .clear(token, seen.round, Ready::READABLE)
            .unwrap();
    }
}

#[test]
fn dropped_future_removes_only_its_waiter() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let mut ids = [0; 4];
    for (number, id) in ids.iter_mut().enumerate() {
        let waker = foreign(number);
        assert!(
            rig.poll_named(token, id, Interest::READABLE, &waker)
                .is_pending()
        );
    }
    rig.driver.forget_waiter(token, ids[0]);
    rig.driver.forget_waiter(token, ids[2]);
    rig.driver.forget_waiter(token, ids[2]);
    assert_eq!(rig.driver.foreign_wakers(), 2);
    // The slot is free again, and its former owner must not affect the waiter that has it now.
    rig.wait(token, Direction::Read, &foreign(9));
    rig.driver.forget_waiter(token, ids[0]);
    rig.deliver(&[(token, Ready::READABLE)]);
    let mut woken = woken();
    woken.sort_unstable();
    assert_eq!(woken, [1, 3, 9]);
    rig.driver.forget_waiter(token, ids[1]);
    assert_eq!(rig.driver.foreign_wakers(), 0);
}

#[test]
fn dropped_wait_leaves_nothing_behind() {
    use super::super::registration::Registration;
    use std::pin::pin;
    let rig = Rig::new(edge());
    CURRENT.enter(&rig.driver, || {
        let registration = Registration::new(rig.here.as_fd(), CUSTOM, Place::UNKNOWN).unwrap();
        for interest in [Interest::READABLE, Interest::READABLE | Interest::ERROR] {
            let waker = foreign(1);
            {
                let mut ready = pin!(registration.ready(rig.here.as_fd(), interest));
                let mut cx = Context::from_waker(&waker);
                assert!(ready.as_mut().poll(&mut cx).is_pending());
                assert_eq!(rig.driver.foreign_wakers(), 1);
            }
            assert_eq!(rig.driver.foreign_wakers(), 0);
        }
        registration.end(std::os::fd::AsRawFd::as_raw_fd(&rig.here));
    });
    assert_eq!(woken(), [0; 0]);
}

#[test]
fn too_many_foreign_wakers_are_woken_instead_of_stored() {
    const MOST: usize = 4096;
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    for number in 0..=MOST {
        rig.wait(token, Direction::Read, &foreign(number));
    }
    assert_eq!((rig.driver.foreign_wakers(), woken().len()), (MOST + 1, 0));
    rig.wait(token, Direction::Read, &foreign(0));
    assert_eq!(woken().len(), MOST, "all but the one in the slot");
    assert_eq!(rig.driver.foreign_wakers(), 2);
    rig.deliver(&[(token, Ready::READABLE)]);
    assert_eq!(woken().len(), 2);
}

/// If they were woken, they would wait again, and wake each other forever.
#[test]
fn waiting_futures_are_all_stored() {
    const MANY: usize = 9000;
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let mut ids = vec![0; MANY];
    for (number, id) in ids.iter_mut().enumerate() {
        let waker = if number % 2 == 0 {
            key(number)
        } else {
            foreign(number)
        };
        let polled = rig.poll_named(token, id, Interest::READABLE, &waker);
        assert!(polled.is_pending());
    }
    // With waiters of `poll_` methods among them, one more than are kept.
    for number in 0..=4096 {
        rig.wait(token, Direction::Read, &foreign(MANY + number));
    }
    let woken_early = woken();
    assert_eq!(woken_early.len(), 4096);
    assert!(woken_early.iter().all(|number| *number >= MANY));
    rig.driver.forget_waiter(token, ids[MANY - 1]);
    rig.deliver(&[(token, Ready::READABLE)]);
    assert_eq!(woken().len(), MANY - 1 + 1);
    assert_eq!(rig.driver.foreign_wakers(), 0);
}

#[test]
fn shutdown_wakes_all_waiters() {
    let rig = Rig::new(edge());
    let (one, two) = (rig.register(CUSTOM), rig.register(CUSTOM));
    all_four(&rig, one);
    let mut id = 0;
    let wide = Interest::READABLE | Interest::ERROR;
    assert!(rig.poll_named(one, &mut id, wide, &foreign(4)).is_pending());
    rig.wait(two, Direction::Read, &foreign(5));
    rig.end(one);
    assert_eq!(woken(), [0, 1, 2, 3, 4]);
    let key = rig.driver.arm_timer(later(), &foreign(6));
    assert!(key.is_some());
    rig.driver.shutdown();
    assert_eq!(woken(), [5, 6]);
    assert_eq!(rig.driver.foreign_wakers(), 0);
    assert_eq!(rig.driver.counts(), (0, 0));
}

/// On a mechanism that reports a hang-up only with data or room, each wait for one adds these to
/// the interest.
#[test]
fn wait_for_errors_alone_ends_with_a_hangup() {
    let either = Interest::READABLE | Interest::WRITABLE;
    for (unasked, asked) in [(true, Interest::EMPTY), (false, either)] {
        let capabilities = Capabilities { unasked, ..edge() };
        for direction in [Direction::Error, Direction::Priority] {
            let rig = Rig::new(capabilities);
            let urgent = direction.interest() - Interest::ERROR;
            let token = rig.register(Watch::Custom(direction.interest()));
            let added = direction.interest() | asked;
            assert_eq!(rig.calls(), [Call::Add(token, added)]);
            rig.wait(token, direction, &key(1));
            assert_eq!(rig.calls(), []);
            rig.end(token);

            let rig = Rig::new(capabilities);
            let token = rig.register(Watch::Custom(Interest::WRITABLE | urgent));
            let added = if urgent.is_empty() {
                urgent
            } else {
                urgent | asked
            };
            assert_eq!(rig.calls(), [Call::Add(token, added)]);
            rig.wait(token, direction, &key(1));
            let modified = asked - added;
            let modified = (!modified.is_empty()).then_some(Call::Modify(token, modified));
            assert_eq!(rig.calls(), Vec::from_iter(modified));
            rig.end(token);
        }
        // A registration for data reports its end already.
        let rig = Rig::new(capabilities);
        let token = rig.register(Watch::Custom(Interest::READABLE));
        assert_eq!(rig.calls(), [Call::Add(token, Interest::READABLE)]);
        rig.wait(token, Direction::Error, &key(1));
        assert_eq!(rig.calls(), []);
        rig.end(token);
        woken();
    }
}

/// Waiters of one registration when the ids wrap around: each is woken by its own event.
#[test]
fn waiter_is_unaffected_when_ids_wrap_around() {
    for left in 0..6 {
        let rig = Rig::new(edge());
        let token = rig.register(CUSTOM);
        let read = |id: &mut u64, waker: &Waker| {
            let polled = rig.poll_named(token, id, Interest::READABLE, waker);
            assert!(polled.is_pending());
        };
        let (mut patient, mut woken_before) = (0, 0);
        // In the first round; these get the ids 1 and 2.
        read(&mut woken_before, &foreign(1));
        rig.deliver(&[(token, Ready::READABLE)]);
        let seen = rig.seen(token);
        rig.driver
            .clear(token, seen.round, Ready::READABLE)
            .unwrap();
        read(&mut patient, &foreign(2));
        assert_eq!(woken(), [1]);
        rig.driver.use_up_waiters(left);
        // Other futures wait and are dropped, until the ids begin again.
        let mut polls = Vec::new();
        for number in 10..20 {
            let mut id = 0;
            read(&mut id, &foreign(number));
            polls.push(id);
            if number % 2 == 0 {
                rig.driver.forget_waiter(token, id);
            }
            // Woken by the new round: it waits again.
            if woken().contains(&2) {
                read(&mut patient, &foreign(2));
            }
        }
        let mut distinct = polls.clone();
        distinct.dedup();
        assert_eq!(distinct.len(), 10);
        // A future that was woken in the first round and not polled since does not affect any
        // other.
        read(&mut woken_before, &foreign(1));
        rig.driver.forget_waiter(token, woken_before);
        rig.driver.forget_waiter(token, 1);
        woken();
        rig.deliver(&[(token, Ready::READABLE)]);
        let woken = woken();
        assert!(woken.contains(&2), "{left}: {woken:?}");
        for number in [17, 19] {
            assert!(woken.contains(&number), "{left}: {woken:?}");
        }
        assert_eq!(rig.driver.foreign_wakers(), 0);
    }
}
