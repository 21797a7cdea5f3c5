//! Tests of closed sides: what sets and clears them, and for which fds they are final.

use super::super::direction::visible_bits;
use super::super::io_state::{Initial, IoState};
use super::super::wake_list::WakeList;
use super::super::waker_slot::Wakers;
use super::*;
use crate::sys::fake_waker::{key, woken};
use Ready as R;

const HANG_UP: R = R::READABLE
    .union(R::WRITABLE)
    .union(R::READ_CLOSED)
    .union(R::WRITE_CLOSED);
const PEER_ENDED: R = R::READABLE.union(R::READ_CLOSED);
const FAILED: R = R::READABLE.union(R::WRITABLE).union(R::ERROR);
const CLOSED: R = R::READ_CLOSED.union(R::WRITE_CLOSED);

/// A stream that was not made by `net`.
const FOUND: Watch = Watch::Tcp {
    connected: false,
    owned: false,
};

/// What may happen to a registration.
#[derive(Clone, Copy, Debug)]
enum Step {
    Event(R),
    /// A call for an interest would have blocked.
    Blocked(Interest),
    /// The same, but an event was merged between the reading and the call.
    Late(Interest),
}

const STEPS: [Step; 16] = [
    Step::Event(R::READABLE),
    Step::Event(R::WRITABLE),
    Step::Event(R::READABLE.union(R::WRITABLE)),
    Step::Event(PEER_ENDED),
    Step::Event(HANG_UP),
    Step::Event(R::WRITABLE.union(R::WRITE_CLOSED)),
    Step::Event(R::READ_CLOSED),
    Step::Event(R::PRIORITY),
    Step::Event(FAILED),
    Step::Event(FAILED.union(CLOSED)),
    Step::Blocked(Interest::READABLE),
    Step::Blocked(Interest::WRITABLE),
    Step::Blocked(Interest::PRIORITY),
    Step::Blocked(Interest::ERROR),
    Step::Late(Interest::READABLE),
    Step::Late(Interest::WRITABLE.union(Interest::PRIORITY)),
];

/// A model of the rules, written bit by bit.
#[derive(Clone, Copy, Default)]
struct Model {
    readable: bool,
    writable: bool,
    priority: bool,
    error: bool,
    read_closed: bool,
    write_closed: bool,
    hung_up: bool,
}

impl Model {
    fn step(&mut self, step: Step, is_final: bool) {
        match step {
            Step::Event(seen) => self.event(seen, is_final),
            Step::Blocked(interest) => self.blocked(interest, is_final),
            Step::Late(_) => {}
        }
    }

    fn event(&mut self, seen: R, is_final: bool) {
        if !is_final && !seen.is_error() {
            if seen.is_readable() && !seen.is_read_closed() {
                self.read_side_is_open();
            }
            if seen.is_writable() && !seen.is_write_closed() {
                self.write_closed = false;
            }
        }
        self.readable |= seen.is_readable();
        self.writable |= seen.is_writable();
        self.priority |= seen.is_priority();
        self.error |= seen.is_error();
        self.read_closed |= seen.is_read_closed();
        self.write_closed |= seen.is_write_closed();
        self.hung_up |= seen.contains(CLOSED);
        self.hung_up &= self.read_closed && self.write_closed;
    }

    fn blocked(&mut self, interest: Interest, is_final: bool) {
        self.readable &= !interest.is_readable();
        self.writable &= !interest.is_writable();
        self.priority &= !interest.is_priority();
        self.error &= !interest.is_error();
        if is_final {
            return;
        }
        if interest.is_readable() || interest.is_priority() {
            self.read_side_is_open();
        }
        if interest.is_writable() || interest.is_error() {
            self.write_closed = false;
            self.hung_up = false;
        }
    }

    fn read_side_is_open(&mut self) {
        if self.read_closed && self.hung_up {
            self.write_closed = false;
        }
        (self.read_closed, self.hung_up) = (false, false);
    }

    fn cached(self) -> R {
        [
            (self.readable, R::READABLE),
            (self.writable, R::WRITABLE),
            (self.priority, R::PRIORITY),
            (self.error, R::ERROR),
            (self.read_closed, R::READ_CLOSED),
            (self.write_closed, R::WRITE_CLOSED),
        ]
        .into_iter()
        .filter(|(set, _)| *set)
        .fold(R::EMPTY, |bits, (_, bit)| bits | bit)
    }
}

#[test]
fn cached_bits_follow_the_rules_after_every_short_sequence() {
    const LENGTH: u32 = 4;
    let wakers = Wakers::new(KeyWakers {
        report_panic: drop,
        vtable: &KEYS,
        wake: wake_key,
        min_key: MIN_KEY,
    });
    let mut list = WakeList::default();
    let stories = (STEPS.len() as u32).pow(LENGTH);
    for (is_final, story) in [false, true]
        .into_iter()
        .flat_map(|is_final| (0..stories).map(move |story| (is_final, story)))
    {
        let terms = Initial {
            short_read_hint: true,
            readiness: R::EMPTY,
            short_proves: true,
            rearm: false,
            closed_is_final: is_final,
        };
        let (mut state, mut model, mut steps) = (IoState::new(terms, 1), Model::default(), vec![]);
        for at in 0..LENGTH {
            let (round, digit) = (at + 2, (STEPS.len() as u32).pow(at));
            let step = STEPS[(story / digit) as usize % STEPS.len()];
            match step {
                Step::Event(seen) => state.merge(seen, round, &wakers, &mut list),
                Step::Blocked(interest) => {
                    state.clear(state.round, visible_bits(interest));
                }
                Step::Late(interest) => {
                    state.clear(state.round - 1, visible_bits(interest));
                }
            }
            model.step(step, is_final);
            steps.push(step);
            assert_eq!(
                state.seen().readiness,
                model.cached(),
                "is_final {is_final}: {steps:?}"
            );
        }
    }
}

/// Makes a call that would block.
fn blocked(rig: &Rig, token: Token, direction: Direction) {
    let cx = Context::from_waker(Waker::noop());
    let polled = rig.driver.poll_io(token, direction, &cx, 10, |_| {
        io::Result::<usize>::Err(io::ErrorKind::WouldBlock.into())
    });
    assert!(polled.is_pending());
}

#[test]
fn closed_side_stays_closed_only_for_streams_of_net() {
    for (watch, stays) in [
        (TCP, true),
        (FOUND, false),
        (CUSTOM, false),
        (Watch::Listener { owned: true }, false),
    ] {
        let closed = |after: &dyn Fn(&Rig, Token)| {
            let rig = Rig::new(edge());
            let token = rig.register(watch);
            rig.deliver(&[(token, HANG_UP)]);
            after(&rig, token);
            rig.cached(token) & CLOSED
        };
        let left = |bits: R| if stays { CLOSED } else { bits };
        let reported = closed(&|rig, token| blocked(rig, token, Direction::Read));
        assert_eq!(reported, left(R::EMPTY), "{watch:?}: a read would block");
        let reported = closed(&|rig, token| blocked(rig, token, Direction::Write));
        assert_eq!(
            reported,
            left(R::READ_CLOSED),
            "{watch:?}: a write would block"
        );
        let reported = closed(&|rig, token| rig.deliver(&[(token, R::READABLE)]));
        assert_eq!(reported, left(R::EMPTY), "{watch:?}: data");
        let reported = closed(&|rig, token| rig.deliver(&[(token, R::WRITABLE)]));
        assert_eq!(reported, left(R::READ_CLOSED), "{watch:?}: room");
        for silent in [R::PRIORITY, FAILED, FAILED | R::PRIORITY] {
            let reported = closed(&|rig, token| rig.deliver(&[(token, silent)]));
            assert_eq!(reported, CLOSED, "{watch:?}: {silent:?}");
        }
    }
}

#[test]
fn clear_makes_a_wait_at_a_closed_side_wait_again() {
    for capabilities in [edge(), rearming()] {
        for (direction, reported) in [
            (Direction::Priority, R::READ_CLOSED),
            (Direction::Error, R::WRITE_CLOSED),
        ] {
            let rig = Rig::new(capabilities);
            let interest = Interest::READABLE | Interest::PRIORITY;
            let token = rig.register(Watch::Custom(interest));
            rig.there.shutdown(std::net::Shutdown::Both).unwrap();
            rig.deliver(&[(token, HANG_UP)]);
            let Poll::Ready(Ok(seen)) = rig.poll(token, direction, &key(1)) else {
                panic!("{direction:?} is ended by a hang-up");
            };
            assert!(seen.readiness.contains(reported) && seen.final_sides.is_empty());
            rig.calls();
            let bits = visible_bits(direction.interest());
            rig.driver.clear(token, seen.round, bits).unwrap();
            // The fd is still hung up: on a mechanism that has to be armed again it is on the
            // recheck list.
            assert_eq!(rig.calls(), []);
            assert_eq!(rig.driver.next_deadline().is_some(), capabilities.rearm);
            rig.wait(token, direction, &key(1));
            rig.deliver(&[(token, HANG_UP)]);
            assert_eq!(woken(), [1], "a hang-up that comes later ends it again");
        }
    }
}

#[test]
fn hangup_that_is_over_ends_no_wait() {
    for capabilities in [edge(), rearming()] {
        let rig = Rig::new(capabilities);
        let interest = Interest::READABLE | Interest::PRIORITY;
        let token = rig.register(Watch::Custom(interest));
        rig.deliver(&[(token, HANG_UP)]);
        rig.calls();
        // The socket is open, and no event reports that.
        rig.wait(token, Direction::Priority, &key(1));
        let armed = Interest::PRIORITY | Interest::ERROR;
        let armed = [Call::Rearm(token, armed)].repeat(capabilities.rearm.into());
        assert_eq!(rig.calls(), armed);
        assert_eq!(rig.cached(token), R::READABLE | R::WRITABLE);
        rig.deliver(&[(token, HANG_UP)]);
        assert_eq!(woken(), [1]);
        let mut id = 0;
        let both = Interest::READABLE | Interest::PRIORITY;
        let polled = rig.poll_named(token, &mut id, both, &key(1));
        let Poll::Ready(Ok(seen)) = polled else {
            panic!("{polled:?}");
        };
        assert_eq!(seen.readiness, R::READABLE | R::WRITABLE);
    }
}

#[test]
fn closed_sides_of_streams_of_net_are_not_rechecked() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.deliver(&[(token, HANG_UP)]);
    // Although poll(2) would say otherwise of the socket that the test uses.
    let polled = rig.poll(token, Direction::Priority, &key(1));
    let Poll::Ready(Ok(seen)) = polled else {
        panic!("{polled:?}");
    };
    assert_eq!((seen.readiness, seen.final_sides), (HANG_UP, CLOSED));
}

#[test]
fn would_block_at_a_closed_side_waits_for_an_event() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.deliver(&[(token, HANG_UP)]);
    let mut id = 0;
    let waker = key(1);
    let cx = Context::from_waker(&waker);
    let mut wait = |ends| {
        let interest = Interest::ERROR;
        rig.driver
            .poll_ready_named(token, &mut id, interest, ends, &cx)
    };
    assert!(wait(visible_bits(Interest::ERROR)).is_ready());
    assert!(wait(R::ERROR).is_pending(), "that it is closed is known");
    rig.deliver(&[(token, FAILED)]);
    assert_eq!(woken(), [1]);
    assert!(wait(R::ERROR).is_ready());
}

#[test]
fn closed_sides_stay_if_rearm_fails() {
    let rig = Rig::new(rearming());
    let token = rig.register(CUSTOM);
    rig.deliver(&[(token, HANG_UP)]);
    let seen = rig.seen(token);
    rig.script.borrow_mut().rearm_fails = true;
    let bits = visible_bits(Interest::READABLE);
    assert!(rig.driver.clear(token, seen.round, bits).is_err());
    assert_eq!(rig.cached(token), HANG_UP);
    rig.script.borrow_mut().rearm_fails = false;
    rig.driver.clear(token, seen.round, bits).unwrap();
    assert_eq!(
        rig.cached(token),
        R::WRITABLE,
        "the hang-up is remembered as one"
    );
}
