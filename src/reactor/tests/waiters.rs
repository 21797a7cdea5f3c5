//! Who waits: the slots, the list beside them, who is woken by what, and that nothing stays behind.

use super::*;
use crate::sys::fake_waker::{foreign, key, woken};

/// In the order of `Direction::ALL`.
fn all_four(rig: &Rig, token: Token) {
    for (number, direction) in Direction::ALL.into_iter().enumerate() {
        rig.wait(token, direction, &key(number));
    }
}

#[test]
fn each_bit_wakes_those_whom_it_answers() {
    use Readiness as R;
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
        let sole = true;
        let token = rig.register(Watch::Tcp { connected, sole });
        all_four(&rig, token);
        rig.deliver(&[(token, seen)]);
        assert_eq!(woken(), expected, "{seen:?}");
        rig.deliver(&[(token, seen)]);
        assert_eq!(woken(), [0; 0], "{seen:?} a second time");
        rig.end(token);
        // Those whom it did not wake.
        assert_eq!(woken().len(), 4 - expected.len());
    }
}

#[test]
fn who_waits_in_several_directions_is_woken_once() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let mut id = 0;
    let both = Interest::READABLE | Interest::WRITABLE;
    assert!(rig.poll_named(token, &mut id, both, &key(5)).is_pending());
    rig.deliver(&[(token, Readiness::READABLE | Readiness::WRITABLE)]);
    assert_eq!(woken(), [5]);
}

#[test]
fn two_tasks_that_read_one_stream_are_both_woken() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    for number in [1, 2, 2, 1] {
        let waker = key(number);
        let cx = Context::from_waker(&waker);
        let call = || -> io::Result<usize> { panic!("it is not ready") };
        let polled = rig.driver.poll_io(token, Direction::Read, &cx, 10, call);
        assert!(polled.is_pending());
    }
    rig.deliver(&[(token, Readiness::READABLE)]);
    assert_eq!(woken(), [1, 2]);
}

#[test]
fn a_future_that_was_woken_and_finds_nothing_waits_again() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    for waker in [key(1), foreign(1)] {
        let mut id = 0;
        for _ in 0..3 {
            let polled = rig.poll_named(token, &mut id, Interest::READABLE, &waker);
            assert!(polled.is_pending());
            rig.deliver(&[(token, Readiness::READABLE)]);
            assert_eq!(woken(), [1]);
            let seen = rig.seen(token);
            rig.driver
                .clear(token, seen.round, Readiness::READABLE)
                .unwrap();
        }
    }
}

#[test]
fn a_future_that_was_woken_takes_nobody_off() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let mut id = 0;
    let polled = rig.poll_named(token, &mut id, Interest::READABLE, &foreign(1));
    assert!(polled.is_pending());
    rig.deliver(&[(token, Readiness::READABLE)]);
    assert_eq!(woken(), [1]);
    // It may get the room that the other's waker had.
    rig.wait(token, Direction::Write, &foreign(2));
    rig.driver.forget_waiter(token, id);
    rig.deliver(&[(token, Readiness::WRITABLE)]);
    assert_eq!(woken(), [2]);
}

#[test]
fn the_slot_and_the_list_behind_it_are_all_woken() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    for number in 0..5 {
        rig.wait(token, Direction::Read, &key(number));
        rig.wait(token, Direction::Write, &foreign(10 + number));
    }
    rig.deliver(&[(token, Readiness::READABLE)]);
    assert_eq!(woken(), [0, 1, 2, 3, 4]);
    rig.deliver(&[(token, Readiness::WRITABLE)]);
    assert_eq!(woken(), [10, 11, 12, 13, 14]);
    assert_eq!(rig.driver.foreign_wakers(), 0);
}

#[test]
fn the_same_waker_is_stored_once() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let (one, two, three) = (foreign(1), key(2), foreign(3));
    for waker in [&one, &two, &three, &one, &two, &three.clone()] {
        rig.wait(token, Direction::Read, waker);
    }
    assert_eq!(rig.driver.foreign_wakers(), 2);
    rig.deliver(&[(token, Readiness::READABLE)]);
    assert_eq!(woken(), [2, 1, 3], "keys first");
}

#[test]
fn the_same_waker_of_another_thread_is_stored_once() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let waker = foreign(1);
    for _ in 0..5 {
        rig.send(rig.arm(token, Direction::Read, waker.clone()));
    }
    assert_eq!(rig.driver.foreign_wakers(), 1);
    rig.deliver(&[(token, Readiness::READABLE)]);
    assert_eq!(woken(), [1]);
}

#[test]
fn a_future_is_woken_by_the_waker_it_showed_last() {
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
        rig.deliver(&[(token, Readiness::READABLE)]);
        assert_eq!(woken(), [2]);
        let seen = rig.seen(token);
        rig.driver
            .clear(token, seen.round, Readiness::READABLE)
            .unwrap();
    }
}

#[test]
fn a_future_that_is_dropped_takes_its_waiter_off_and_no_other() {
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
    // The slot is free again, and its former owner has nothing to do with who sits there now.
    rig.wait(token, Direction::Read, &foreign(9));
    rig.driver.forget_waiter(token, ids[0]);
    rig.deliver(&[(token, Readiness::READABLE)]);
    let mut woken = woken();
    woken.sort_unstable();
    assert_eq!(woken, [1, 3, 9]);
    rig.driver.forget_waiter(token, ids[1]);
    assert_eq!(rig.driver.foreign_wakers(), 0);
}

#[test]
fn a_wait_that_is_given_up_leaves_nothing_behind() {
    use super::super::registration::Registration;
    use std::pin::pin;
    let rig = Rig::new(edge());
    CURRENT.enter(&rig.driver, || {
        let registration = Registration::new(rig.here.as_fd(), CUSTOM).unwrap();
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
        registration.end();
    });
    assert_eq!(woken(), [0; 0]);
}

#[test]
fn too_many_foreign_wakers_are_woken_instead_of_kept() {
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
    rig.deliver(&[(token, Readiness::READABLE)]);
    assert_eq!(woken().len(), 2);
}

#[test]
fn all_who_wait_are_told_of_the_end() {
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

/// A mechanism that tells a hang-up only with data or room is asked for them by whoever waits for one.
#[test]
fn who_waits_for_errors_alone_hears_of_a_hang_up() {
    let either = Interest::READABLE | Interest::WRITABLE;
    for (unasked, asked) in [(true, Interest::NONE), (false, either)] {
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
            let added = if urgent.is_none() {
                urgent
            } else {
                urgent | asked
            };
            assert_eq!(rig.calls(), [Call::Add(token, added)]);
            rig.wait(token, direction, &key(1));
            let modified = asked - added;
            let modified = (!modified.is_none()).then_some(Call::Modify(token, modified));
            assert_eq!(rig.calls(), Vec::from_iter(modified));
            rig.end(token);
        }
        // Who is asked for data hears of its end already.
        let rig = Rig::new(capabilities);
        let token = rig.register(Watch::Custom(Interest::READABLE));
        assert_eq!(rig.calls(), [Call::Add(token, Interest::READABLE)]);
        rig.wait(token, Direction::Error, &key(1));
        assert_eq!(rig.calls(), []);
        rig.end(token);
        woken();
    }
}
