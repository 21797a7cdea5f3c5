//! Tests of foreign wakers and mechanisms that panic while a handle is dropped: the panic is
//! reported, and does not come out of the drop.

use super::*;
use crate::place::Place;
use crate::sys::fake_waker::{Use, foreign, hooked, key, woken};

/// Returns a foreign waker that panics at that use.
fn panics_at(bad: Use, text: &'static str) -> Waker {
    hooked(move |used| {
        if used == bad {
            std::panic::panic_any(text);
        }
    })
}

#[test]
fn cancel_timer_reports_a_panic_in_the_drop_of_its_waker() {
    let rig = Rig::new(edge());
    let waker = panics_at(Use::Drop, "timer");
    let timer = rig.driver.arm_timer(later(), &waker).unwrap();
    rig.driver.cancel_timer(timer);
    assert_eq!(reported(), ["timer"]);
    assert_eq!(rig.driver.counts(), (0, 0));
    crate::panics::drop_caught(waker);
}

#[test]
fn cancel_timer_reports_a_panic_in_the_drop_of_a_replacements_waker() {
    let rig = Rig::new(edge());
    let timer = rig.driver.arm_timer(now(), &foreign(1)).unwrap();
    super::turns::pass(now());
    rig.turn();
    assert_eq!(woken(), [1]);
    rig.send(Message::Timer {
        key: timer,
        deadline: later(),
        place: Place::UNKNOWN,
        waker: panics_at(Use::Drop, "replacement"),
    });
    assert_eq!(rig.driver.counts(), (0, 1));
    rig.driver.cancel_timer(timer);
    assert_eq!(reported(), ["replacement"]);
    assert_eq!(rig.driver.counts(), (0, 0));
}

#[test]
fn deregister_reports_a_panic_in_a_wake() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.wait(token, Direction::Read, &panics_at(Use::Wake, "wake"));
    rig.wait(token, Direction::Write, &foreign(1));
    rig.wait(token, Direction::Error, &key(2));
    rig.end(token);
    assert_eq!(reported(), ["wake"]);
    let mut all = woken();
    all.sort_unstable();
    assert_eq!(all, [1, 2]);
    assert_eq!(rig.driver.counts(), (0, 0));
}

/// The waiters are woken all the same, and the end of the driver reports the panic of each
/// registration that is left.
#[test]
fn deregister_reports_a_panic_of_the_mechanism() {
    let rig = Rig::new(edge());
    rig.script.borrow_mut().remove_panics = true;
    let (token, _left) = (rig.register(CUSTOM), rig.register(CUSTOM));
    rig.wait(token, Direction::Read, &foreign(1));
    rig.end(token);
    assert_eq!(reported(), ["remove"]);
    assert_eq!(woken(), [1]);
    assert_eq!(rig.driver.counts(), (1, 0));
    rig.driver.shutdown();
    assert_eq!(reported(), ["remove"]);
    assert_eq!(rig.driver.counts(), (0, 0));
}

#[test]
fn forget_waiter_reports_a_panic_in_the_drop_of_its_waker() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let (waker, mut id) = (panics_at(Use::Drop, "waiter"), 0);
    let polled = rig.poll_named(token, &mut id, Interest::READABLE, &waker);
    assert!(polled.is_pending());
    rig.driver.forget_waiter(token, id);
    assert_eq!(reported(), ["waiter"]);
    assert_eq!(rig.driver.foreign_wakers(), 0);
    crate::panics::drop_caught(waker);
}
