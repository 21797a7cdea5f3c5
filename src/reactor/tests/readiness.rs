//! Tests of cached bits: what sets and clears them, and which calls the backend gets for that.

use super::*;
use crate::place::Place;
use crate::sys::fake_waker::{key, woken};
use crate::sys::fork;

const READER: Watch = Watch::Pipe {
    writes: false,
    owned: true,
};

const WRITER: Watch = Watch::Pipe {
    writes: true,
    owned: true,
};

const BITS: Ready = Ready::READABLE.union(Ready::WRITABLE);

#[test]
fn turn_drops_an_event_of_a_former_registration() {
    let rig = Rig::new(edge());
    let old = rig.register(CUSTOM);
    rig.end(old);
    rig.turn();
    let new = rig.register(CUSTOM);
    assert_eq!(
        new.index(),
        old.index(),
        "the test needs the same index again"
    );
    rig.wait(new, Direction::Read, &key(1));
    rig.deliver(&[(old, Ready::ALL)]);
    assert_eq!((rig.cached(new), woken()), (Ready::EMPTY, vec![]));
    assert!(rig.driver.cached(old).is_none());
    rig.deliver(&[(new, Ready::READABLE)]);
    assert_eq!(woken(), [1]);
}

#[test]
fn turn_drops_an_event_after_the_end_of_its_registration() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.wait(token, Direction::Read, &key(1));
    rig.end(token);
    assert_eq!(woken(), [1], "the waiter is woken");
    rig.deliver(&[(token, Ready::ALL)]);
    assert_eq!(woken(), [0; 0]);
    let polled = rig.poll(token, Direction::Read, &key(1));
    assert!(matches!(polled, Poll::Ready(Err(_))), "{polled:?}");
}

#[test]
fn register_reuses_an_index_from_the_next_turn_on() {
    let rig = Rig::new(edge());
    let first = rig.register(CUSTOM);
    rig.end(first);
    let second = rig.register(CUSTOM);
    assert_ne!(second.index(), first.index());
    assert_eq!(rig.driver.counts().0, 1);
    rig.turn();
    let third = rig.register(CUSTOM);
    assert_eq!(third.index(), first.index());
    assert_ne!(third.generation(), first.generation());
    rig.end(first);
    assert_eq!(
        rig.driver.counts().0,
        2,
        "an old token ends no other registration"
    );
}

#[test]
fn turn_drops_events_of_unknown_tokens() {
    let rig = Rig::new(edge());
    let ended = rig.register(CUSTOM);
    rig.wait(ended, Direction::Read, &key(0));
    rig.next(Step::Events(vec![]));
    let reported = |index, generation| {
        rig.deliver(&[(Token::new(index, generation), Ready::ALL)]);
        woken()
    };
    let generations = [0, 1, u32::MAX];
    for index in [0, 1, u32::MAX] {
        for generation in generations {
            if Token::new(index, generation) != ended {
                assert_eq!(reported(index, generation), [0; 0], "{index} {generation}");
            }
        }
    }
    rig.end(ended);
    assert_eq!(woken(), [0]);
    for generation in generations {
        // Dead in the first turn, free in the others.
        assert_eq!(reported(ended.index(), generation), [0; 0], "{generation}");
    }
    let next = rig.register(CUSTOM);
    assert_eq!(next.index(), ended.index());
    assert!(rig.cached(next).is_empty());
}

#[test]
fn register_reuses_places_before_new_ones() {
    let rig = Rig::new(rearming());
    let tokens: Vec<Token> = (0..4).map(|_| rig.register(CUSTOM)).collect();
    assert_eq!(rig.driver.counts().0, 4);
    for token in &tokens[1..3] {
        rig.end(*token);
    }
    assert_eq!(rig.driver.counts().0, 2);
    rig.turn();
    let mut fresh: Vec<u32> = (0..3).map(|_| rig.register(CUSTOM).index()).collect();
    fresh.sort_unstable();
    assert_eq!(fresh, [1, 2, 4]);
    assert_eq!(rig.driver.counts().0, 5);
    assert!(rig.driver.cached(tokens[1]).is_none());
}

#[test]
fn deregister_calls_forget_only_if_the_close_removes() {
    let _no_child = fork::no_child();
    // Whether the fd is closed, and was lent before.
    let (closed, lent, kept) = (Some(false), Some(true), None);
    for (capabilities, owned, lent, forgets) in [
        (edge(), true, closed, true),
        (edge(), true, lent, false),
        (edge(), true, kept, false),
        (edge(), false, closed, false),
        (rearming(), true, closed, false),
    ] {
        let rig = Rig::new(capabilities);
        let connected = true;
        let token = rig.register(Watch::Tcp { connected, owned });
        rig.calls();
        let closing = lent.map(|lent| rig.closing(lent));
        rig.driver.deregister(token, closing).unwrap();
        let expected = match forgets {
            true => Call::Forget(token),
            false => Call::Remove(token),
        };
        assert_eq!(rig.calls(), [expected]);
    }
}

/// A child of a fork has a copy of every fd that was open at the fork, whenever it was registered,
/// and of none that is made later.
#[test]
fn deregister_calls_remove_for_fds_that_a_child_has() {
    let rig = Rig::new(edge());
    let close = |token| {
        rig.calls();
        let closing = Some(rig.closing(false));
        rig.driver.deregister(token, closing).unwrap();
        rig.calls()
    };
    let before: Vec<Token> = (0..3).map(|_| rig.register(TCP)).collect();
    fork::in_child(|| Ok(())).unwrap().unwrap();
    assert_eq!(close(before[0]), [Call::Remove(before[0])]);
    // Registered only now; as far as the table knows, it was made before the fork.
    fork::in_child(|| Ok(())).unwrap().unwrap();
    let meanwhile = rig.register(TCP);
    let _no_child = fork::no_child();
    // Notices forks that other tests have made meanwhile.
    rig.register(TCP);
    let later = rig.register(TCP);
    for token in [before[1], before[2], meanwhile] {
        assert_eq!(close(token), [Call::Remove(token)]);
    }
    assert_eq!(close(later), [Call::Forget(later)]);
}

#[test]
fn accepted_connection_is_added_by_its_first_wait() {
    for capabilities in [edge(), rearming()] {
        let rig = Rig::new(capabilities);
        let token = rig.register(Watch::Accepted);
        assert_eq!(rig.cached(token), BITS);
        assert_eq!(
            after_io(&rig, token, Direction::Read, Ok(9)),
            Ready::WRITABLE
        );
        assert_eq!(rig.calls(), []);
        rig.wait(token, Direction::Read, &key(1));
        let all = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        assert_eq!(rig.calls(), [Call::Add(token, all)]);
        rig.deliver(&[(token, Ready::READABLE)]);
        assert_eq!(woken(), [1]);
        rig.calls();
        // It is added once.
        after_io(&rig, token, Direction::Read, Ok(9));
        rig.wait(token, Direction::Read, &key(2));
        assert!(
            rig.calls()
                .iter()
                .all(|call| matches!(call, Call::Rearm(..)))
        );
        rig.end(token);
        assert_eq!(woken(), [2]);
    }
}

#[test]
fn accepted_connection_ends_as_it_is_known() {
    let rig = Rig::new(edge());
    let close = |token| {
        rig.calls();
        let closing = Some(rig.closing(false));
        rig.driver.deregister(token, closing).unwrap();
        rig.calls()
    };
    let wait = |token| {
        after_io(&rig, token, Direction::Read, Ok(9));
        rig.wait(token, Direction::Read, &key(1));
    };
    let forked = rig.register(Watch::Accepted);
    fork::in_child(|| Ok(())).unwrap().unwrap();
    wait(forked);
    assert_eq!(close(forked), [Call::Remove(forked)]);

    let _no_child = fork::no_child();
    // Notices forks that other tests have made meanwhile.
    rig.register(TCP);
    let unknown = rig.register(Watch::Accepted);
    assert_eq!(close(unknown), []);
    let known = rig.register(Watch::Accepted);
    wait(known);
    assert_eq!(close(known), [Call::Forget(known)]);
}

#[test]
fn accepted_connection_that_is_refused_fails_and_is_tried_again() {
    let rig = Rig::new(edge());
    let token = rig.register(Watch::Accepted);
    let add_fails = |kinds: &[io::ErrorKind]| {
        rig.script.borrow_mut().add_fails = kinds.iter().copied().collect();
    };
    after_io(&rig, token, Direction::Read, Ok(9));
    add_fails(&[io::ErrorKind::StorageFull]);
    let Poll::Ready(Err(error)) = rig.poll(token, Direction::Read, &key(1)) else {
        panic!("it waits for what is not watched");
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(
        error.to_string().contains("limit of watched fds"),
        "{error}"
    );
    // Another thread may have sent the end of the number's last registration.
    add_fails(&[io::ErrorKind::AlreadyExists]);
    rig.wait(token, Direction::Read, &key(1));
    rig.deliver(&[(token, Ready::READABLE)]);
    assert_eq!(woken(), [1]);
}

/// An fd is refused, then accepted after the messages of other threads were handled: it may have
/// been copied in between.
#[test]
fn deregister_calls_remove_after_a_second_try() {
    let rig = Rig::new(edge());
    rig.script.borrow_mut().add_fails = [io::ErrorKind::AlreadyExists].into();
    let token = rig.register(TCP);
    rig.calls();
    let closing = Some(rig.closing(false));
    rig.driver.deregister(token, closing).unwrap();
    assert_eq!(rig.calls(), [Call::Remove(token)]);
}

#[test]
fn clear_keeps_what_was_merged_since() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.deliver(&[(token, Ready::READABLE)]);
    let seen = rig.seen(token);
    rig.deliver(&[(token, Ready::READABLE)]);
    rig.driver
        .clear(token, seen.round, Ready::READABLE)
        .unwrap();
    assert_eq!(rig.cached(token), Ready::READABLE);
    let seen = rig.seen(token);
    rig.turn();
    rig.driver
        .clear(token, seen.round, Ready::READABLE)
        .unwrap();
    assert_eq!(
        rig.cached(token),
        Ready::EMPTY,
        "a turn without an event of it does not count"
    );
}

#[test]
fn clear_ignores_readings_of_other_threads() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.deliver(&[(token, BITS)]);
    rig.driver
        .clear(token, Seen::remote(BITS).round, BITS)
        .unwrap();
    assert_eq!(rig.cached(token), BITS);
}

#[test]
fn poll_for_another_thread_counts_as_a_merge() {
    use std::io::Write;
    let mut rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.deliver(&[(token, Ready::READABLE)]);
    let seen = rig.seen(token);
    rig.there.write_all(b"x").unwrap();
    rig.send(rig.arm(token, Direction::Read, key(1)));
    assert_eq!(woken(), [1]);
    rig.driver
        .clear(token, seen.round, Ready::READABLE)
        .unwrap();
    assert_eq!(rig.cached(token), Ready::READABLE);
}

/// Reads or writes `done` of 10 bytes, and returns what is cached afterwards.
fn after_io(rig: &Rig, token: Token, direction: Direction, done: io::Result<usize>) -> Ready {
    let mut results = vec![Err(io::ErrorKind::WouldBlock.into()), done];
    let waker = key(0);
    let cx = Context::from_waker(&waker);
    let _ = rig.driver.poll_io(token, direction, &cx, 10, |_| {
        results.pop().expect("called once, or once more")
    });
    rig.cached(token)
}

#[test]
fn short_read_clears_only_where_it_proves_something() {
    use Ready as R;
    let known = Watch::Tcp {
        connected: false,
        owned: false,
    };
    let cases = [
        // capabilities, what, seen, cleared
        (edge(), TCP, R::EMPTY, true),
        (edge(), known, R::EMPTY, true),
        (edge(), TCP, R::READ_CLOSED, false),
        (edge(), TCP, R::WRITE_CLOSED, false),
        (edge(), TCP, R::ERROR, false),
        (edge(), TCP, R::PRIORITY, false),
        (edge(), CUSTOM, R::EMPTY, false),
        (edge(), Watch::Listener { owned: true }, R::EMPTY, false),
        (rearming(), TCP, R::EMPTY, true),
        (edge(), READER, R::EMPTY, false),
        (edge(), WRITER, R::EMPTY, false),
        (rearming(), TCP, R::READ_CLOSED, true),
        (rearming(), TCP, R::READ_CLOSED | R::WRITE_CLOSED, false),
        (rearming(), READER, R::EMPTY, true),
        (rearming(), READER, R::READ_CLOSED | R::WRITE_CLOSED, false),
        (rearming(), WRITER, R::EMPTY, true),
        (rearming(), TCP, R::PRIORITY, true),
        (rearming(), CUSTOM, R::EMPTY, true),
    ];
    for (capabilities, watch, seen, clears) in cases {
        for direction in [Direction::Read, Direction::Write] {
            let rig = Rig::new(capabilities);
            let token = rig.register(watch);
            rig.deliver(&[(token, BITS | seen)]);
            let case = format!("{watch:?} after {seen:?} rearm {}", capabilities.rearm);
            let whole = after_io(&rig, token, direction, Ok(10));
            assert_eq!(whole, BITS | seen, "a whole one: {case}");
            let ended = after_io(&rig, token, direction, Ok(0));
            assert_eq!(ended, BITS | seen, "the end: {case}");
            let short = after_io(&rig, token, direction, Ok(9));
            assert_eq!(!short.contains(direction.bit()), clears, "{case}");
            assert!(short.contains(BITS - direction.bit()), "{case}");
        }
    }
}

#[test]
fn short_read_hint_can_be_switched_off_and_on() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    let short = |rig: &Rig| {
        rig.deliver(&[(token, BITS)]);
        after_io(rig, token, Direction::Read, Ok(1))
    };
    rig.driver.set_short_read_hint(token, false);
    assert_eq!(short(&rig), BITS);
    rig.driver.set_short_read_hint(token, true);
    assert_eq!(short(&rig), Ready::WRITABLE);
}

#[test]
fn short_read_hint_can_be_switched_on_for_readers_of_pipes() {
    for (watch, clears) in [(READER, true), (WRITER, false), (CUSTOM, false)] {
        for seen in [Ready::EMPTY, Ready::READ_CLOSED | Ready::WRITE_CLOSED] {
            let rig = Rig::new(edge());
            let token = rig.register(watch);
            rig.driver.set_short_read_hint(token, true);
            rig.deliver(&[(token, BITS | seen)]);
            let after = after_io(&rig, token, Direction::Read, Ok(1));
            let clears = clears && seen.is_empty();
            assert_eq!(!after.is_readable(), clears, "{watch:?} after {seen:?}");
        }
    }
}

#[test]
fn short_read_hint_does_not_undo_another_distrust() {
    for off_first in [true, false] {
        let rig = Rig::new(edge());
        let token = rig.register(TCP);
        rig.deliver(&[(token, BITS)]);
        rig.driver.set_short_read_hint(token, !off_first);
        rig.driver.distrust_short(token);
        rig.driver.set_short_read_hint(token, false);
        rig.driver.set_short_read_hint(token, true);
        assert_eq!(after_io(&rig, token, Direction::Read, Ok(1)), BITS);
    }
}

#[test]
fn short_read_hint_comes_from_another_thread() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.deliver(&[(token, BITS)]);
    rig.send(Message::ShortReadHint { token, on: false });
    assert_eq!(after_io(&rig, token, Direction::Read, Ok(1)), BITS);
}

#[test]
fn would_block_clears_one_direction_and_keeps_closed_sides() {
    for capabilities in [edge(), rearming()] {
        let rig = Rig::new(capabilities);
        let token = rig.register(TCP);
        let facts = Ready::READ_CLOSED | Ready::ERROR;
        rig.deliver(&[(token, BITS | facts)]);
        rig.calls();
        let blocked = Err(io::ErrorKind::WouldBlock.into());
        let after = after_io(&rig, token, Direction::Read, blocked);
        assert_eq!(after, facts | Ready::WRITABLE);
        let rearmed = [Call::Rearm(token, Interest::READABLE)].repeat(capabilities.rearm.into());
        assert_eq!(rig.calls(), rearmed);
        rig.deliver(&[(token, Ready::READABLE)]);
        assert_eq!(
            woken(),
            [0],
            "it waits now, and a closed side does not end that"
        );
    }
}

/// How a registration learns that there is urgent data.
type Tell = fn(&mut Rig, Token);

#[test]
fn would_block_is_checked_after_urgent_data() {
    use std::io::{Read, Write};
    let ways: [(&str, Tell); 4] = [
        ("nothing", |_, _| {}),
        ("an event", |rig, token| {
            rig.deliver(&[(token, Ready::PRIORITY)]);
            let seen = rig.seen(token);
            let bit = Ready::PRIORITY;
            rig.driver.clear(token, seen.round, bit).unwrap();
        }),
        ("a waiter elsewhere", |rig, token| {
            rig.send(rig.arm(token, Direction::Priority, key(9)));
        }),
        ("another thread that takes it", |rig, token| {
            rig.send(Message::Urgent { token });
        }),
    ];
    for capabilities in [edge(), rearming()] {
        for (about, tell) in ways {
            let mut rig = Rig::new(capabilities);
            let token = rig.register(TCP);
            tell(&mut rig, token);
            rig.deliver(&[(token, BITS)]);
            rig.there.write_all(b"x").unwrap();
            woken();
            let blocked = || Err(io::ErrorKind::WouldBlock.into());
            let after = after_io(&rig, token, Direction::Read, blocked());
            // A mechanism that has to be armed finds the data itself.
            let is_asked = about != "nothing" && !capabilities.rearm;
            assert_eq!(after.is_readable(), is_asked, "{about}");
            let again = [0].repeat(is_asked.into());
            assert_eq!(woken(), again, "{about}: the task tries again");
            if is_asked {
                rig.here.read_exact(&mut [0]).unwrap();
                let after = after_io(&rig, token, Direction::Read, blocked());
                assert!(!after.is_readable(), "{about}");
                assert_eq!(woken(), [0; 0], "{about}");
            }
        }
    }
}

#[test]
fn poll_io_repeats_an_interrupted_call_in_the_next_poll() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.deliver(&[(token, BITS)]);
    let mut results = vec![Ok(10), Err(io::ErrorKind::Interrupted.into())];
    let waker = key(0);
    let cx = Context::from_waker(&waker);
    let mut read = || {
        let call = |_| results.pop().expect("called twice");
        rig.driver.poll_io(token, Direction::Read, &cx, 10, call)
    };
    assert!(read().is_pending());
    assert_eq!(woken(), [0], "no event will come");
    let polled = read();
    assert!(matches!(polled, Poll::Ready(Ok(10))), "{polled:?}");
}

/// Runs `f` with that many units, and returns how many it left.
fn with_budget(units: i64, f: impl FnOnce()) -> i64 {
    let before = budget::refill(units);
    f();
    budget::refill(before)
}

#[test]
fn budget_is_spent_by_success_and_not_by_waiting() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    let waker = key(0);
    let cx = Context::from_waker(&waker);
    let read = |answer: io::Result<usize>| {
        let mut answer = Some(answer);
        let call = |_| answer.take().expect("called once");
        rig.driver.poll_io(token, Direction::Read, &cx, 10, call)
    };
    let refused = |kind: io::ErrorKind| Err(kind.into());
    let left = with_budget(0, || assert!(read(Ok(10)).is_pending()));
    assert_eq!((left, woken()), (0, vec![]), "an event will wake it");

    rig.deliver(&[(token, BITS)]);
    assert_eq!(woken(), [0]);
    let left = with_budget(0, || assert!(read(Ok(10)).is_pending()));
    assert_eq!((left, woken()), (0, vec![0]), "no event will");
    let left = with_budget(3, || {
        assert!(read(Ok(10)).is_ready());
        assert!(read(refused(io::ErrorKind::ConnectionReset)).is_ready());
        assert!(read(refused(io::ErrorKind::WouldBlock)).is_pending());
    });
    assert_eq!(left, 1, "two calls have done something");
}

#[test]
fn rearm_is_called_only_for_cleared_bits() {
    let rig = Rig::new(rearming());
    let token = rig.register(TCP);
    rig.deliver(&[(token, Ready::READABLE)]);
    let seen = rig.seen(token);
    rig.calls();
    let clear = |bits| rig.driver.clear(token, seen.round, bits).unwrap();
    clear(Ready::PRIORITY);
    assert_eq!(rig.calls(), [], "it was not set");
    rig.driver.clear(token, seen.round - 1, BITS).unwrap();
    assert_eq!(rig.calls(), [], "not of this round");
    clear(Ready::READABLE);
    assert_eq!(rig.calls(), [Call::Rearm(token, Interest::READABLE)]);
    clear(BITS);
    assert_eq!(rig.calls(), [Call::Rearm(token, Interest::WRITABLE)]);
    clear(BITS);
    assert_eq!(rig.calls(), []);
}

#[test]
fn rearm_is_not_called_for_a_backend_without_rearm() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.deliver(&[(token, BITS)]);
    rig.calls();
    let seen = rig.seen(token);
    rig.driver.clear(token, seen.round, BITS).unwrap();
    assert_eq!(rig.calls(), []);
}

#[test]
fn rearm_is_not_called_for_a_direction_outside_the_interest() {
    let rig = Rig::new(rearming());
    let token = rig.register(CUSTOM);
    rig.deliver(&[(token, BITS)]);
    rig.calls();
    let seen = rig.seen(token);
    rig.driver.clear(token, seen.round, BITS).unwrap();
    assert_eq!(rig.calls(), [Call::Rearm(token, Interest::READABLE)]);
}

#[test]
fn clear_restores_the_bit_if_rearm_fails() {
    let rig = Rig::new(rearming());
    let token = rig.register(CUSTOM);
    rig.deliver(&[(token, Ready::READABLE)]);
    let seen = rig.seen(token);
    rig.script.borrow_mut().rearm_fails = true;
    let failed = rig.driver.clear(token, seen.round, Ready::READABLE);
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    assert_eq!(rig.cached(token), Ready::READABLE);
}

#[test]
fn register_uses_the_interest_of_each_kind() {
    use Interest as I;
    for (watch, asked, cached) in [
        (
            TCP,
            I::READABLE | I::WRITABLE | I::PRIORITY,
            Ready::WRITABLE,
        ),
        (
            Watch::Tcp {
                connected: false,
                owned: true,
            },
            I::READABLE | I::WRITABLE | I::PRIORITY,
            Ready::EMPTY,
        ),
        (Watch::Listener { owned: true }, I::READABLE, Ready::EMPTY),
        (READER, I::READABLE, Ready::EMPTY),
        (WRITER, I::EMPTY, Ready::WRITABLE),
        (CUSTOM, I::READABLE, Ready::EMPTY),
        (
            Watch::Custom(I::WRITABLE | I::PRIORITY),
            I::PRIORITY,
            Ready::EMPTY,
        ),
    ] {
        let rig = Rig::new(edge());
        let token = rig.register(watch);
        assert_eq!(rig.calls(), [Call::Add(token, asked)]);
        assert_eq!(rig.cached(token), cached);
    }
}

#[test]
fn first_wait_for_writing_adds_it_to_the_interest() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.calls();
    rig.wait(token, Direction::Read, &key(1));
    rig.wait(token, Direction::Error, &key(1));
    assert_eq!(rig.calls(), [], "errors come unasked");
    rig.wait(token, Direction::Write, &key(1));
    rig.wait(token, Direction::Write, &key(2));
    assert_eq!(
        rig.calls(),
        [Call::Modify(token, Interest::READABLE | Interest::WRITABLE)]
    );
}

#[test]
fn failed_modify_is_an_error_and_stores_no_waiter() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.script.borrow_mut().modify_fails = true;
    let polled = rig.poll(token, Direction::Write, &key(1));
    assert!(matches!(polled, Poll::Ready(Err(_))), "{polled:?}");
    rig.end(token);
    assert_eq!(woken(), [0; 0]);
}

#[test]
fn failed_register_leaves_nothing_behind() {
    let rig = Rig::new(edge());
    let refuse = |kind| rig.script.borrow_mut().add_fails.push_back(kind);
    refuse(io::ErrorKind::Unsupported);
    assert!(
        rig.driver
            .register(rig.here.as_fd(), CUSTOM, Place::UNKNOWN)
            .is_err()
    );
    assert_eq!(rig.driver.counts().0, 0);
    // Twice: it is tried again after the messages of other threads were handled.
    refuse(io::ErrorKind::AlreadyExists);
    refuse(io::ErrorKind::AlreadyExists);
    let twice = rig
        .driver
        .register(rig.here.as_fd(), CUSTOM, Place::UNKNOWN)
        .unwrap_err();
    assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(rig.driver.counts().0, 0);
    assert_eq!(rig.calls().len(), 3);
    assert_eq!(rig.register(CUSTOM).index(), 0);
}

#[test]
fn poll_io_returns_its_bytes_if_rearm_fails() {
    let rig = Rig::new(rearming());
    let token = rig.register(TCP);
    rig.deliver(&[(token, BITS)]);
    rig.script.borrow_mut().rearm_fails = true;
    let waker = key(0);
    let cx = Context::from_waker(&waker);
    let read = |done: io::Result<usize>| {
        let mut result = Some(done);
        let call = |_| result.take().expect("called once");
        rig.driver.poll_io(token, Direction::Read, &cx, 10, call)
    };
    let short = read(Ok(3));
    assert!(matches!(short, Poll::Ready(Ok(3))), "{short:?}");
    assert_eq!(rig.cached(token), BITS);
    let blocked = read(Err(io::ErrorKind::WouldBlock.into()));
    assert!(matches!(blocked, Poll::Ready(Err(_))), "{blocked:?}");
    assert_eq!(rig.cached(token), BITS, "it would wait forever");
}

#[cfg(target_pointer_width = "64")]
#[test]
fn registration_has_its_expected_size() {
    use super::super::io_state::IoState;
    use super::super::registrations::Entry;
    assert!(size_of::<IoState>() <= 40);
    assert!(size_of::<Entry<IoState>>() <= 56);
}
