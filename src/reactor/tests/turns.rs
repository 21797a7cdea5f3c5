//! Tests of a turn: how long it waits, timers beside events, signals, and notifications.

use super::*;
use crate::sys::fake_waker::Use;
use crate::sys::fake_waker::{foreign, hooked, key, note, woken};

/// Lets a deadline that was `now` pass for a clock with ticks of a nanosecond.
pub(super) fn pass(deadline: Moment) {
    while now() <= deadline {
        std::hint::spin_loop();
    }
}

#[test]
fn turn_without_fds_makes_no_wait_of_zero_length() {
    let rig = Rig::new(edge());
    rig.turn();
    assert_eq!(rig.calls(), []);
    rig.driver.turn(None).unwrap();
    assert_eq!(rig.calls(), [Call::Wait(None)], "a wait is a wait");
    let token = rig.register(CUSTOM);
    rig.turn();
    rig.end(token);
    rig.turn();
    assert_eq!(
        rig.calls(),
        [
            Call::Add(token, Interest::READABLE),
            Call::Wait(Some(Duration::ZERO)),
            Call::Remove(token)
        ]
    );
}

#[test]
fn wait_ends_with_the_limit_or_the_next_deadline() {
    let rig = Rig::new(edge());
    let limit = Duration::from_secs(5);
    rig.driver.turn(Some(limit)).unwrap();
    assert_eq!(rig.calls(), [Call::Wait(Some(limit))]);
    let key = rig.driver.arm_timer(later(), &key(1)).unwrap();
    rig.driver.turn(Some(limit)).unwrap();
    assert_eq!(rig.calls(), [Call::Wait(Some(limit))]);
    rig.driver.turn(None).unwrap();
    match rig.calls()[..] {
        [Call::Wait(Some(timeout))] => {
            assert!(timeout > limit && timeout <= Duration::from_secs(3600));
        }
        ref other => panic!("{other:?}"),
    }
    rig.driver.cancel_timer(key);
    rig.driver.turn(None).unwrap();
    assert_eq!(rig.calls(), [Call::Wait(None)]);
    assert_eq!(woken(), [0; 0]);
}

#[test]
fn panic_of_the_backend_loses_no_waker() {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let deadline = now();
    for waker in [foreign(1), key(2)] {
        assert!(rig.driver.arm_timer(deadline, &waker).is_some());
    }
    pass(deadline);
    let panics = Box::new(|| resume_unwind(Box::new("quiet")));
    rig.next(Step::Meanwhile(panics, Vec::new()));
    let turn = AssertUnwindSafe(|| rig.driver.turn(None));
    assert!(catch_unwind(turn).is_err());
    assert_eq!(woken(), [2, 1], "keys first");
    rig.deliver(&[(token, Ready::READABLE)]);
}

#[test]
fn turn_with_due_timers_does_not_block() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.wait(token, Direction::Read, &key(2));
    rig.calls();
    let deadline = now();
    rig.driver.arm_timer(deadline, &key(1)).unwrap();
    pass(deadline);
    rig.next(Step::Events(vec![(token, Ready::READABLE)]));
    rig.driver.turn(None).unwrap();
    assert_eq!(rig.calls(), [Call::Wait(Some(Duration::ZERO))]);
    assert_eq!(woken(), [1, 2], "both, in one turn");
}

#[test]
fn events_before_a_deadline_wake_before_it() {
    let limit = Moment::after(Duration::from_secs(60));
    while Moment::now() < limit {
        let rig = Rig::new(edge());
        let token = rig.register(CUSTOM);
        rig.wait(token, Direction::Read, &key(1));
        rig.calls();
        let deadline = Moment::after(Duration::from_millis(2));
        rig.driver.arm_timer(deadline, &key(2)).unwrap();
        // An event, and the deadline passes before the wait returns.
        let meanwhile = Box::new(move || pass(deadline));
        rig.next(Step::Meanwhile(meanwhile, vec![(token, Ready::READABLE)]));
        rig.driver.turn(None).unwrap();
        let calls = rig.calls();
        rig.turn();
        let ids = woken();
        // Stopped for so long that the deadline came before the wait: again.
        if calls != [Call::Wait(Some(Duration::ZERO))] {
            return assert_eq!(ids, [1, 2]);
        }
    }
    panic!("it never waits");
}

#[test]
fn wait_that_ran_out_fires_its_timer_in_the_same_turn() {
    let rig = Rig::new(edge());
    let deadline = Moment::after(Duration::from_millis(2));
    rig.driver.arm_timer(deadline, &key(1)).unwrap();
    rig.next(Step::Meanwhile(Box::new(move || pass(deadline)), vec![]));
    rig.driver.turn(None).unwrap();
    assert_eq!(woken(), [1]);
}

#[test]
fn signal_makes_an_empty_turn_in_which_timers_fire() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.wait(token, Direction::Read, &key(1));
    rig.next(Step::Fails(io::ErrorKind::Interrupted));
    rig.driver.turn(None).unwrap();
    assert_eq!(woken(), [0; 0]);
    let deadline = now();
    rig.driver.arm_timer(deadline, &key(2)).unwrap();
    pass(deadline);
    rig.next(Step::Fails(io::ErrorKind::Interrupted));
    rig.driver.turn(None).unwrap();
    assert_eq!(woken(), [2]);
    rig.next(Step::Fails(io::ErrorKind::OutOfMemory));
    let failed = rig.driver.turn(None).unwrap_err();
    assert_eq!(failed.kind(), io::ErrorKind::OutOfMemory);
    rig.deliver(&[(token, Ready::READABLE)]);
    assert_eq!(woken(), [1], "it goes on after either");
}

#[test]
fn failed_wait_does_not_delay_due_timers() {
    let rig = Rig::new(edge());
    let _token = rig.register(CUSTOM);
    let deadline = now();
    rig.driver.arm_timer(deadline, &key(1)).unwrap();
    pass(deadline);
    rig.next(Step::Fails(io::ErrorKind::OutOfMemory));
    assert!(rig.driver.turn(None).is_err());
    assert_eq!(woken(), [1]);
}

#[test]
fn burst_of_timers_does_not_delay_fds() {
    const TIMERS: usize = 2500;
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.wait(token, Direction::Read, &key(TIMERS));
    let deadline = now();
    for number in 0..TIMERS {
        rig.driver.arm_timer(deadline, &key(number)).unwrap();
    }
    pass(deadline);
    rig.next(Step::Events(vec![(token, Ready::READABLE)]));
    let mut all = Vec::new();
    for fired in [1024 + 1, 1024, TIMERS - 2048] {
        rig.calls();
        rig.driver.turn(None).unwrap();
        assert_eq!(rig.calls(), [Call::Wait(Some(Duration::ZERO))]);
        let woken = woken();
        assert_eq!(woken.len(), fired);
        all.extend(woken);
    }
    assert!(
        all[..1025].contains(&TIMERS),
        "the fd was in the first turn"
    );
    all.sort_unstable();
    assert!(all.into_iter().eq(0..=TIMERS));
    assert_eq!(rig.driver.counts().1, 0);
}

#[test]
fn timer_armed_by_an_expiry_fires_in_the_next_turn() {
    let rig = Rig::new(edge());
    CURRENT.enter(&rig.driver, || {
        let again = |used| {
            if used == Use::Wake {
                note(1);
                CURRENT.with(|driver| {
                    let armed = driver.unwrap().arm_timer(now(), &key(2));
                    assert!(armed.is_some());
                });
            }
        };
        let deadline = now();
        rig.driver.arm_timer(deadline, &hooked(again)).unwrap();
        pass(deadline);
        rig.turn();
        assert_eq!(woken(), [1]);
        pass(now());
        rig.turn();
        assert_eq!(woken(), [2]);
    });
}

#[test]
fn arm_timer_needs_no_timer_for_a_passed_deadline() {
    let rig = Rig::new(edge());
    let early = now();
    rig.driver.arm_timer(early, &key(1)).unwrap();
    pass(early);
    rig.turn();
    assert!(rig.driver.arm_timer(early, &key(2)).is_none());
    assert_eq!((woken(), rig.driver.counts().1), (vec![1], 0));
}

#[test]
fn wake_that_panics_does_not_stop_the_others() {
    let rig = Rig::new(edge());
    let (one, two) = (rig.register(CUSTOM), rig.register(CUSTOM));
    let panics = || {
        hooked(|used| {
            if used == Use::Wake {
                std::panic::panic_any("a wake")
            }
        })
    };
    rig.wait(one, Direction::Read, &foreign(1));
    rig.wait(one, Direction::Read, &panics());
    rig.wait(one, Direction::Read, &key(2));
    rig.wait(two, Direction::Read, &panics());
    rig.wait(two, Direction::Read, &foreign(3));
    let deadline = now();
    rig.driver.arm_timer(deadline, &panics()).unwrap();
    rig.driver.arm_timer(deadline, &foreign(4)).unwrap();
    pass(deadline);
    rig.next(Step::Events(vec![
        (one, Ready::READABLE),
        (two, Ready::READABLE),
    ]));
    rig.driver.turn(None).unwrap();
    assert_eq!(reported(), ["a wake"; 3]);
    let mut all = woken();
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3, 4]);
    assert_eq!(rig.driver.foreign_wakers(), 0);
    assert_eq!(rig.driver.counts(), (2, 0));
    // And it goes on.
    let seen = rig.seen(one);
    rig.driver.clear(one, seen.round, Ready::READABLE).unwrap();
    rig.wait(one, Direction::Read, &key(5));
    rig.deliver(&[(one, Ready::READABLE)]);
    assert_eq!(woken(), [5]);
}

/// Sends a message that does nothing.
fn push(remote: &Remote) {
    let token = Token::new(9, 9);
    assert!(
        remote
            .push(Message::Deregister {
                token,
                closing: None
            })
            .is_ok()
    );
}

#[test]
fn sleep_costs_one_notification_at_most() {
    let rig = Rig::new(edge());
    // Awake: it will check.
    push(&rig.remote());
    push(&rig.remote());
    assert_eq!(rig.notifications(), 0);
    // Notified already: no sleep.
    rig.driver.turn(None).unwrap();
    assert_eq!(rig.calls(), []);
    assert!(rig.driver.take_notified());
    assert!(!rig.driver.take_notified());
    rig.driver.handle_messages();
    // Asleep: the first one ends it.
    let remote = rig.remote();
    let meanwhile = move || {
        for _ in 0..3 {
            push(&remote);
        }
    };
    rig.next(Step::Meanwhile(Box::new(meanwhile), vec![]));
    rig.driver.turn(None).unwrap();
    assert_eq!(rig.notifications(), 1);
    assert!(rig.driver.take_notified());
    rig.driver.handle_messages();
    // Left for a host: it is notified once.
    assert!(rig.driver.suspend());
    push(&rig.remote());
    push(&rig.remote());
    assert_eq!(rig.notifications(), 2);
    rig.driver.resume();
    assert!(rig.driver.is_notified());
    assert!(!rig.driver.suspend(), "something was sent");
    push(&rig.remote());
    assert!(rig.driver.take_notified());
    rig.driver.handle_messages();
    assert_eq!(rig.notifications(), 2);
}

/// The timer fd ends a wait, but not a spin.
#[cfg(target_os = "linux")]
#[test]
fn spin_is_skipped_if_an_alarm_is_due_before_its_end() {
    const HOUR: Duration = Duration::from_secs(3600);
    let limit = Duration::from_millis(1);
    let rig = Rig::with_spin(edge(), limit, true, None);
    let wait = || {
        rig.driver.turn(Some(HOUR)).unwrap();
        let calls = rig.calls();
        calls.iter().find_map(|call| match call {
            Call::Wait(timeout) => *timeout,
            _ => None,
        })
    };
    loop {
        let remote = rig.remote();
        rig.next(Step::Meanwhile(Box::new(move || push(&remote)), vec![]));
        wait();
        assert!(rig.driver.take_notified());
        rig.driver.handle_messages();
        let deadline = Moment::after(limit * 9 / 10);
        let key = rig.driver.arm_timer(deadline, &key(1)).unwrap();
        let waited = wait();
        rig.driver.cancel_timer(key);
        // Stopped for so long that the timer was due already: again.
        if waited != Some(Duration::ZERO) {
            // The second case: there is no timer fd here.
            let waited = waited.expect("it waited");
            return assert!(waited == HOUR || waited <= limit, "{waited:?}");
        }
    }
}

/// The time of the spin is not slept again, or a timer would be late by it.
#[test]
fn spin_follows_a_sleep_that_another_thread_ended() {
    const HOUR: Duration = Duration::from_secs(3600);
    let rig = Rig::with_spin(edge(), Duration::from_nanos(1), false, None);
    let sleep = || {
        rig.driver.turn(Some(HOUR)).unwrap();
        match rig.calls()[..] {
            [Call::Wait(Some(timeout))] => timeout,
            ref calls => panic!("{calls:?}"),
        }
    };
    assert_eq!(sleep(), HOUR, "no thread has ended a sleep");
    let remote = rig.remote();
    rig.next(Step::Meanwhile(Box::new(move || push(&remote)), vec![]));
    assert_eq!(sleep(), HOUR);
    assert!(rig.driver.take_notified());
    rig.driver.handle_messages();
    assert!(sleep() < HOUR, "it did not look");
    assert_eq!(sleep(), HOUR, "no thread has ended the last one");
}

#[test]
fn notification_without_a_wait_is_consumed_by_a_poll() {
    let rig = Rig::new(edge());
    assert!(rig.driver.suspend());
    let deregister = Message::Deregister {
        token: Token::new(9, 9),
        closing: None,
    };
    assert!(rig.remote().push(deregister).is_ok());
    rig.driver.resume();
    rig.turn();
    assert_eq!(rig.calls(), [Call::Wait(Some(Duration::ZERO))]);
    rig.turn();
    assert_eq!(rig.calls(), []);
}

/// A long wait is split in two, because the kernel may be late by a share of its length.
#[test]
fn timer_slack_divides_a_long_wait() {
    let slack = Some(Duration::from_micros(1));
    for (slack, divided) in [(slack, true), (None, false)] {
        let rig = Rig::with_spin(edge(), Duration::ZERO, false, slack);
        let wait = |length: Duration| {
            let key = rig
                .driver
                .arm_timer(Moment::after(length), &key(1))
                .unwrap();
            rig.driver.turn(None).unwrap();
            rig.driver.cancel_timer(key);
            match rig.calls()[..] {
                [Call::Wait(Some(timeout))] => timeout,
                ref other => panic!("{other:?}"),
            }
        };
        let hour = Duration::from_secs(3600);
        let first = wait(hour);
        assert_eq!(first < hour - hour / 150, divided, "{first:?}");
        // A shorter limit counts.
        let _far = rig.driver.arm_timer(later(), &key(1)).unwrap();
        rig.driver.turn(Some(Duration::from_secs(60))).unwrap();
        assert_eq!(rig.calls(), [Call::Wait(Some(Duration::from_secs(60)))]);
    }
}
