//! A turn: what is waited for and how long, timers beside events, what a signal does, who is notified.

use super::*;
use crate::sys::fake_waker::Use;
use crate::sys::fake_waker::{foreign, hooked, key, note, woken};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Lets a deadline that was `now` pass for a clock with ticks of a nanosecond.
fn pass(deadline: Moment) {
    while now() <= deadline {
        std::hint::spin_loop();
    }
}

#[test]
fn a_loop_without_fds_does_not_ask_the_mechanism_without_waiting() {
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
fn the_wait_ends_with_the_limit_or_the_next_deadline() {
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
fn due_timers_make_the_turn_a_look() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.wait(token, Direction::Read, &key(2));
    rig.calls();
    let deadline = now();
    rig.driver.arm_timer(deadline, &key(1)).unwrap();
    pass(deadline);
    rig.next(Step::Events(vec![(token, Readiness::READABLE)]));
    rig.driver.turn(None).unwrap();
    assert_eq!(rig.calls(), [Call::Wait(Some(Duration::ZERO))]);
    assert_eq!(woken(), [1, 2], "both, in one turn");
}

#[test]
fn what_came_before_a_deadline_is_told_before_it() {
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
        rig.next(Step::Meanwhile(
            meanwhile,
            vec![(token, Readiness::READABLE)],
        ));
        rig.driver.turn(None).unwrap();
        let calls = rig.calls();
        rig.turn();
        let told = woken();
        // Held up for so long that the deadline came before the wait: again.
        if calls != [Call::Wait(Some(Duration::ZERO))] {
            return assert_eq!(told, [1, 2]);
        }
    }
    panic!("it never waits");
}

#[test]
fn a_wait_that_ran_out_fires_its_timer_in_the_same_turn() {
    let rig = Rig::new(edge());
    let deadline = Moment::after(Duration::from_millis(2));
    rig.driver.arm_timer(deadline, &key(1)).unwrap();
    rig.next(Step::Meanwhile(Box::new(move || pass(deadline)), vec![]));
    rig.driver.turn(None).unwrap();
    assert_eq!(woken(), [1]);
}

#[test]
fn a_signal_is_an_empty_turn_in_which_timers_fire() {
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
    rig.deliver(&[(token, Readiness::READABLE)]);
    assert_eq!(woken(), [1], "it goes on after either");
}

#[test]
fn a_failed_wait_does_not_keep_due_timers() {
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
fn a_burst_of_timers_does_not_keep_the_fds_waiting() {
    const TIMERS: usize = 2500;
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.wait(token, Direction::Read, &key(TIMERS));
    let deadline = now();
    for number in 0..TIMERS {
        rig.driver.arm_timer(deadline, &key(number)).unwrap();
    }
    pass(deadline);
    rig.next(Step::Events(vec![(token, Readiness::READABLE)]));
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
fn a_timer_that_is_armed_by_an_expiry_fires_in_the_next_turn() {
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
fn a_deadline_that_has_been_seen_to_pass_needs_no_timer() {
    let rig = Rig::new(edge());
    let early = now();
    rig.driver.arm_timer(early, &key(1)).unwrap();
    pass(early);
    rig.turn();
    assert!(rig.driver.arm_timer(early, &key(2)).is_none());
    assert_eq!((woken(), rig.driver.counts().1), (vec![1], 0));
}

#[test]
fn a_wake_that_panics_does_not_keep_the_others_from_being_woken() {
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
        (one, Readiness::READABLE),
        (two, Readiness::READABLE),
    ]));
    let turn = catch_unwind(AssertUnwindSafe(|| rig.driver.turn(None)));
    assert_eq!(turn.unwrap_err().downcast_ref(), Some(&"a wake"));
    let mut all = woken();
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3, 4]);
    assert_eq!(rig.driver.foreign_wakers(), 0);
    assert_eq!(rig.driver.counts(), (2, 0));
    // And it goes on.
    let seen = rig.seen(one);
    rig.driver
        .clear(one, seen.round, Readiness::READABLE)
        .unwrap();
    rig.wait(one, Direction::Read, &key(5));
    rig.deliver(&[(one, Readiness::READABLE)]);
    assert_eq!(woken(), [5]);
}

#[test]
fn a_panic_whose_payload_panics_too_keeps_nobody_waiting() {
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("the payload of a panic");
            }
        }
    }
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let panics = || {
        hooked(|used| {
            if used == Use::Wake {
                std::panic::panic_any(Payload)
            }
        })
    };
    let (one, two) = (panics(), panics());
    rig.wait(token, Direction::Read, &one);
    rig.wait(token, Direction::Read, &two);
    rig.wait(token, Direction::Read, &key(1));
    rig.next(Step::Events(vec![(token, Readiness::READABLE)]));
    let turn = catch_unwind(AssertUnwindSafe(|| rig.driver.turn(None)));
    std::mem::forget(turn.unwrap_err());
    assert_eq!(woken(), [1]);
}

/// A message that does nothing.
fn push(remote: &Remote) {
    let token = Token::new(9, 9);
    assert!(remote.push(Message::Deregister { token, fd: None }).is_ok());
}

#[test]
fn one_sleep_costs_one_notification_at_most() {
    let rig = Rig::new(edge());
    // Awake: it will look.
    push(&rig.remote());
    push(&rig.remote());
    assert_eq!(rig.notifications(), 0);
    // Told already: no sleep.
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
    // Left for a host: it is told once.
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

/// The timer fd ends a wait, but not a look.
#[cfg(target_os = "linux")]
#[test]
fn the_loop_does_not_look_out_where_an_alarm_is_due_before_the_end_of_it() {
    const HOUR: Duration = Duration::from_secs(3600);
    let limit = Duration::from_millis(1);
    let rig = Rig::looking_out(edge(), limit, true);
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
        // Held up for so long that the timer was due already: again.
        if waited != Some(Duration::ZERO) {
            // The second: no timer fd is to be had here.
            let waited = waited.expect("it waited");
            return assert!(waited == HOUR || waited <= limit, "{waited:?}");
        }
    }
}

/// What the look took is not slept again: a timer would be late by it.
#[test]
fn after_a_sleep_that_another_thread_ended_the_loop_looks_out_before_the_next() {
    const HOUR: Duration = Duration::from_secs(3600);
    let rig = Rig::looking_out(edge(), Duration::from_nanos(1), false);
    let sleep = || {
        rig.driver.turn(Some(HOUR)).unwrap();
        match rig.calls()[..] {
            [Call::Wait(Some(timeout))] => timeout,
            ref calls => panic!("{calls:?}"),
        }
    };
    assert_eq!(sleep(), HOUR, "nobody has ended a sleep");
    let remote = rig.remote();
    rig.next(Step::Meanwhile(Box::new(move || push(&remote)), vec![]));
    assert_eq!(sleep(), HOUR);
    assert!(rig.driver.take_notified());
    rig.driver.handle_messages();
    assert!(sleep() < HOUR, "it did not look");
    assert_eq!(sleep(), HOUR, "nobody has ended the last one");
}

#[test]
fn a_notification_that_no_wait_saw_is_consumed_by_a_look() {
    let rig = Rig::new(edge());
    assert!(rig.driver.suspend());
    let deregister = Message::Deregister {
        token: Token::new(9, 9),
        fd: None,
    };
    assert!(rig.remote().push(deregister).is_ok());
    rig.driver.resume();
    rig.turn();
    assert_eq!(rig.calls(), [Call::Wait(Some(Duration::ZERO))]);
    rig.turn();
    assert_eq!(rig.calls(), []);
}
