//! Cached bits: what sets and clears them, what is asked of the mechanism for it, and whose events count.

use super::*;
use crate::sys::fake_waker::{key, woken};

const BITS: Readiness = Readiness::READABLE.or(Readiness::WRITABLE);

#[test]
fn an_event_of_a_former_registration_is_dropped() {
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
    rig.deliver(&[(old, Readiness::ALL)]);
    assert_eq!((rig.cached(new), woken()), (Readiness::EMPTY, vec![]));
    assert!(rig.driver.cached(old).is_none());
    rig.deliver(&[(new, Readiness::READABLE)]);
    assert_eq!(woken(), [1]);
}

#[test]
fn an_event_after_the_end_in_the_same_turn_is_dropped() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.wait(token, Direction::Read, &key(1));
    rig.end(token);
    assert_eq!(woken(), [1], "who waits is told");
    rig.deliver(&[(token, Readiness::ALL)]);
    assert_eq!(woken(), [0; 0]);
    let polled = rig.poll(token, Direction::Read, &key(1));
    assert!(matches!(polled, Poll::Ready(Err(_))), "{polled:?}");
}

#[test]
fn an_index_is_used_again_from_the_next_turn_on() {
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
        "an old token ends nobody else's registration"
    );
}

#[test]
fn an_event_that_names_no_registration_finds_none() {
    let rig = Rig::new(edge());
    let ended = rig.register(CUSTOM);
    rig.wait(ended, Direction::Read, &key(0));
    rig.next(Step::Events(vec![]));
    let told = |index, generation| {
        rig.deliver(&[(Token::new(index, generation), Readiness::ALL)]);
        woken()
    };
    let generations = [0, 1, u32::MAX];
    for index in [0, 1, u32::MAX] {
        for generation in generations {
            if Token::new(index, generation) != ended {
                assert_eq!(told(index, generation), [0; 0], "{index} {generation}");
            }
        }
    }
    rig.end(ended);
    assert_eq!(woken(), [0]);
    for generation in generations {
        // Dead in the first turn, free in the others.
        assert_eq!(told(ended.index(), generation), [0; 0], "{generation}");
    }
    let next = rig.register(CUSTOM);
    assert_eq!(next.index(), ended.index());
    assert!(rig.cached(next).is_empty());
}

#[test]
fn places_are_used_again_before_new_ones() {
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
fn the_backend_is_not_told_of_a_file_that_the_close_removes() {
    for (capabilities, sole, told) in [
        (edge(), true, false),
        (edge(), false, true),
        (rearming(), true, true),
    ] {
        let rig = Rig::new(capabilities);
        let connected = true;
        let token = rig.register(Watch::Tcp { connected, sole });
        rig.calls();
        let fd = rig.here.try_clone().unwrap().into();
        rig.driver.deregister(token, Some(fd)).unwrap();
        assert_eq!(rig.calls(), [Call::Remove(token)].repeat(told.into()));
    }
}

#[test]
fn what_was_merged_since_is_not_cleared() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.deliver(&[(token, Readiness::READABLE)]);
    let seen = rig.seen(token);
    rig.deliver(&[(token, Readiness::READABLE)]);
    rig.driver
        .clear(token, seen.round, Readiness::READABLE)
        .unwrap();
    assert_eq!(rig.cached(token), Readiness::READABLE);
    let seen = rig.seen(token);
    rig.turn();
    rig.driver
        .clear(token, seen.round, Readiness::READABLE)
        .unwrap();
    assert_eq!(
        rig.cached(token),
        Readiness::EMPTY,
        "a turn without an event of it does not count"
    );
}

#[test]
fn what_another_thread_saw_clears_nothing() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.deliver(&[(token, BITS)]);
    rig.driver.clear(token, Seen::ELSEWHERE, BITS).unwrap();
    assert_eq!(rig.cached(token), BITS);
}

#[test]
fn a_look_for_another_thread_counts_as_a_merge() {
    use std::io::Write;
    let mut rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.deliver(&[(token, Readiness::READABLE)]);
    let seen = rig.seen(token);
    rig.there.write_all(b"x").unwrap();
    rig.send(rig.arm(token, Direction::Read, key(1)));
    assert_eq!(woken(), [1]);
    rig.driver
        .clear(token, seen.round, Readiness::READABLE)
        .unwrap();
    assert_eq!(rig.cached(token), Readiness::READABLE);
}

/// Reads or writes `done` of 10 bytes and says what is cached afterwards.
fn after_io(rig: &Rig, token: Token, direction: Direction, done: io::Result<usize>) -> Readiness {
    let mut results = vec![Err(io::ErrorKind::WouldBlock.into()), done];
    let waker = key(0);
    let cx = Context::from_waker(&waker);
    let _ = rig.driver.poll_io(token, direction, &cx, 10, || {
        results.pop().expect("called once, or once more")
    });
    rig.cached(token)
}

#[test]
fn a_short_read_proves_something_only_where_it_may() {
    use Readiness as R;
    let known = Watch::Tcp {
        connected: false,
        sole: false,
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
        (edge(), Watch::Listener { sole: true }, R::EMPTY, false),
        (rearming(), TCP, R::EMPTY, true),
        (rearming(), TCP, R::READ_CLOSED, true),
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
fn a_stream_can_be_distrusted() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.deliver(&[(token, BITS)]);
    rig.driver.distrust_short(token);
    let after = after_io(&rig, token, Direction::Read, Ok(1));
    assert_eq!(after, BITS);
}

#[test]
fn would_block_clears_one_direction_and_leaves_the_facts() {
    for capabilities in [edge(), rearming()] {
        let rig = Rig::new(capabilities);
        let token = rig.register(TCP);
        let facts = Readiness::READ_CLOSED | Readiness::ERROR;
        rig.deliver(&[(token, BITS | facts)]);
        rig.calls();
        let blocked = Err(io::ErrorKind::WouldBlock.into());
        let after = after_io(&rig, token, Direction::Read, blocked);
        assert_eq!(after, facts | Readiness::WRITABLE);
        let rearmed = [Call::Rearm(token, Interest::READABLE)].repeat(capabilities.rearm.into());
        assert_eq!(rig.calls(), rearmed);
        rig.deliver(&[(token, Readiness::READABLE)]);
        assert_eq!(
            woken(),
            [0],
            "it waits now, and a closed side does not end that"
        );
    }
}

#[test]
fn an_interrupted_call_is_made_again_by_the_next_poll() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.deliver(&[(token, BITS)]);
    let mut results = vec![Ok(10), Err(io::ErrorKind::Interrupted.into())];
    let waker = key(0);
    let cx = Context::from_waker(&waker);
    let mut read = || {
        let call = || results.pop().expect("called twice");
        rig.driver.poll_io(token, Direction::Read, &cx, 10, call)
    };
    assert!(read().is_pending());
    assert_eq!(woken(), [0], "no event will come");
    let polled = read();
    assert!(matches!(polled, Poll::Ready(Ok(10))), "{polled:?}");
}

/// Runs `f` with so many units, and says how many it left.
fn with_budget(units: i64, f: impl FnOnce()) -> i64 {
    let before = budget::refill(units);
    f();
    budget::refill(before)
}

#[test]
fn a_unit_is_taken_by_what_was_done_and_not_by_who_has_to_wait() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    let waker = key(0);
    let cx = Context::from_waker(&waker);
    let read = |answer: io::Result<usize>| {
        let mut answer = Some(answer);
        let call = || answer.take().expect("called once");
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
fn rearm_is_called_for_what_was_cleared_and_for_nothing_else() {
    let rig = Rig::new(rearming());
    let token = rig.register(TCP);
    rig.deliver(&[(token, Readiness::READABLE)]);
    let seen = rig.seen(token);
    rig.calls();
    let clear = |bits| rig.driver.clear(token, seen.round, bits).unwrap();
    clear(Readiness::PRIORITY);
    assert_eq!(rig.calls(), [], "it was not set");
    rig.driver.clear(token, seen.round - 1, BITS).unwrap();
    assert_eq!(rig.calls(), [], "not of this round");
    clear(Readiness::READABLE);
    assert_eq!(rig.calls(), [Call::Rearm(token, Interest::READABLE)]);
    clear(BITS);
    assert_eq!(rig.calls(), [Call::Rearm(token, Interest::WRITABLE)]);
    clear(BITS);
    assert_eq!(rig.calls(), []);
}

#[test]
fn a_backend_that_arms_itself_is_not_called() {
    let rig = Rig::new(edge());
    let token = rig.register(TCP);
    rig.deliver(&[(token, BITS)]);
    rig.calls();
    let seen = rig.seen(token);
    rig.driver.clear(token, seen.round, BITS).unwrap();
    assert_eq!(rig.calls(), []);
}

#[test]
fn a_direction_that_is_not_watched_is_not_armed() {
    let rig = Rig::new(rearming());
    let token = rig.register(CUSTOM);
    rig.deliver(&[(token, BITS)]);
    rig.calls();
    let seen = rig.seen(token);
    rig.driver.clear(token, seen.round, BITS).unwrap();
    assert_eq!(rig.calls(), [Call::Rearm(token, Interest::READABLE)]);
}

#[test]
fn a_bit_that_could_not_be_armed_again_stays() {
    let rig = Rig::new(rearming());
    let token = rig.register(CUSTOM);
    rig.deliver(&[(token, Readiness::READABLE)]);
    let seen = rig.seen(token);
    rig.script.borrow_mut().rearm_fails = true;
    let failed = rig.driver.clear(token, seen.round, Readiness::READABLE);
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    assert_eq!(rig.cached(token), Readiness::READABLE);
}

#[test]
fn each_kind_of_fd_is_watched_for_what_it_needs() {
    use Interest as I;
    for (watch, asked, cached) in [
        (
            TCP,
            I::READABLE | I::WRITABLE | I::PRIORITY,
            Readiness::WRITABLE,
        ),
        (
            Watch::Tcp {
                connected: false,
                sole: true,
            },
            I::READABLE | I::WRITABLE | I::PRIORITY,
            Readiness::EMPTY,
        ),
        (
            Watch::Listener { sole: true },
            I::READABLE,
            Readiness::EMPTY,
        ),
        (CUSTOM, I::READABLE, Readiness::EMPTY),
        (
            Watch::Custom(I::WRITABLE | I::PRIORITY),
            I::PRIORITY,
            Readiness::EMPTY,
        ),
    ] {
        let rig = Rig::new(edge());
        let token = rig.register(watch);
        assert_eq!(rig.calls(), [Call::Add(token, asked)]);
        assert_eq!(rig.cached(token), cached);
    }
}

#[test]
fn writability_is_asked_for_by_the_first_wait_for_it() {
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
fn a_wait_that_cannot_be_asked_for_is_an_error_and_no_waiter() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    rig.script.borrow_mut().modify_fails = true;
    let polled = rig.poll(token, Direction::Write, &key(1));
    assert!(matches!(polled, Poll::Ready(Err(_))), "{polled:?}");
    rig.end(token);
    assert_eq!(woken(), [0; 0]);
}

#[test]
fn a_failed_registration_leaves_nothing_behind() {
    let rig = Rig::new(edge());
    let refuse = |kind| rig.script.borrow_mut().add_fails.push_back(kind);
    refuse(io::ErrorKind::Unsupported);
    assert!(rig.driver.register(rig.here.as_fd(), CUSTOM).is_err());
    assert_eq!(rig.driver.counts().0, 0);
    // Twice: it is tried again once what others have sent is done.
    refuse(io::ErrorKind::AlreadyExists);
    refuse(io::ErrorKind::AlreadyExists);
    let twice = rig.driver.register(rig.here.as_fd(), CUSTOM).unwrap_err();
    assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(rig.driver.counts().0, 0);
    assert_eq!(rig.calls().len(), 3);
    assert_eq!(rig.register(CUSTOM).index(), 0);
}

#[test]
fn a_read_that_could_not_be_armed_again_gives_its_bytes_and_stays_ready() {
    let rig = Rig::new(rearming());
    let token = rig.register(TCP);
    rig.deliver(&[(token, BITS)]);
    rig.script.borrow_mut().rearm_fails = true;
    let waker = key(0);
    let cx = Context::from_waker(&waker);
    let read = |done: io::Result<usize>| {
        let mut result = Some(done);
        let call = || result.take().expect("called once");
        rig.driver.poll_io(token, Direction::Read, &cx, 10, call)
    };
    let short = read(Ok(3));
    assert!(matches!(short, Poll::Ready(Ok(3))), "{short:?}");
    assert_eq!(rig.cached(token), BITS);
    let blocked = read(Err(io::ErrorKind::WouldBlock.into()));
    assert!(matches!(blocked, Poll::Ready(Err(_))), "{blocked:?}");
    assert_eq!(rig.cached(token), BITS, "it would wait for ever");
}
