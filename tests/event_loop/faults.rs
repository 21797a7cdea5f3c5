//! What the loop makes of refusals, halves, stale records and lost places, as a mechanism shows them that does what it is told.

use super::fake::{Fake, Log, Shared, fake};
use super::*;
use reveille::backend::Readiness;
use reveille::event_loop::Builder;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::panic::panic_any;

const READ: Readiness = Readiness::READABLE;
const WRITE: Readiness = Readiness::WRITABLE;

fn causes(event_loop: &EventLoop<Log>) -> Vec<Cause> {
    event_loop.data().iter().map(|(_, cause)| *cause).collect()
}

/// C25 where a mechanism reports halves: the second half of one that closed itself is dropped.
#[test]
fn the_second_half_of_who_closed_itself_is_dropped() {
    for trigger in [Trigger::Level, Trigger::Edge, Trigger::Oneshot] {
        let script = Shared::default();
        let builder = Builder::new().with_backend(Fake(script.clone()));
        let mut event_loop = builder.build(0).unwrap();
        let (here, _there) = pair();
        let both = Interest::READABLE | Interest::WRITABLE;
        event_loop
            .attach(here, both, trigger, |event_loop, name, _| {
                *event_loop.data_mut() += 1;
                // Another one comes to its place, as soon as that is to be had.
                let (here, _there) = pair();
                event_loop.close(name);
                event_loop
                    .attach(here, Interest::READABLE, Trigger::Level, |_, _, cause| {
                        panic!("it was called for {cause:?}");
                    })
                    .unwrap();
            })
            .unwrap();
        script.borrow_mut().report(&[(0, READ), (0, WRITE)]);
        // And once more, when its place has been given away.
        script.borrow_mut().report(&[(0, READ)]);
        turn(&mut event_loop);
        turn(&mut event_loop);
        assert_eq!(*event_loop.data(), 1);
    }
}

/// Both halves come to who stays, but for a one-shot: it had its one event, and `modify` reports the other.
#[test]
fn both_halves_come_to_who_stays() {
    let both = Interest::READABLE | Interest::WRITABLE;
    for trigger in [Trigger::Level, Trigger::Edge] {
        let (script, mut event_loop, _) = fake(false, trigger, both, 1);
        script.borrow_mut().report(&[(0, READ), (0, WRITE)]);
        turn(&mut event_loop);
        assert_eq!(
            causes(&event_loop),
            [Cause::Ready(READ), Cause::Ready(WRITE)]
        );
    }
    let (script, mut event_loop, names) = fake(false, Trigger::Oneshot, both, 1);
    script.borrow_mut().report(&[(0, READ), (0, WRITE)]);
    script.borrow_mut().report(&[(0, WRITE)]);
    turn(&mut event_loop);
    event_loop.modify(names[0], both).unwrap();
    turn(&mut event_loop);
    assert_eq!(
        causes(&event_loop),
        [Cause::Ready(READ), Cause::Ready(WRITE)]
    );
}

/// A one-shot has one event, whatever that was: none behind a hang-up, and no hang-up behind another.
#[test]
fn a_one_shot_is_told_of_one_thing() {
    let hang_up = READ | WRITE | Readiness::READ_CLOSED | Readiness::WRITE_CLOSED;
    for seen in [[READ, hang_up], [hang_up, READ], [hang_up, hang_up]] {
        let (script, mut event_loop, names) = fake(false, Trigger::Oneshot, Interest::READABLE, 1);
        script.borrow_mut().report(&[(0, seen[0])]);
        script.borrow_mut().report(&[(0, seen[1])]);
        script.borrow_mut().report(&[(0, seen[1])]);
        turn(&mut event_loop);
        turn(&mut event_loop);
        assert_eq!(causes(&event_loop), [Cause::Ready(seen[0])]);
        event_loop.modify(names[0], Interest::READABLE).unwrap();
        turn(&mut event_loop);
        assert_eq!(causes(&event_loop)[1], Cause::Ready(seen[1]));
    }
}

/// What is refused has not happened: the old interest is in force, the fd is not paused, and the handler is called as before.
#[test]
fn a_change_that_is_refused_has_not_happened() {
    for trigger in [Trigger::Level, Trigger::Edge, Trigger::Oneshot] {
        let (script, mut event_loop, names) = fake(false, trigger, Interest::READABLE, 1);
        script.borrow_mut().refuses = Some("modify");
        let name = names[0];
        assert!(event_loop.modify(name, Interest::WRITABLE).is_err());
        assert!(event_loop.pause(name).is_err() && !event_loop.is_paused(name));
        assert!(event_loop.set_trigger(name, Trigger::Level).is_err());
        script.borrow_mut().report(&[(0, READ | WRITE)]);
        turn(&mut event_loop);
        assert_eq!(causes(&event_loop), [Cause::Ready(READ)]);
        // Refused again after it was delivered: a one-shot stays used up.
        assert!(event_loop.modify(name, Interest::WRITABLE).is_err());
        script.borrow_mut().report(&[(0, READ)]);
        turn(&mut event_loop);
        let calls = if trigger == Trigger::Oneshot { 1 } else { 2 };
        assert_eq!(event_loop.data().len(), calls);
        script.borrow_mut().refuses = None;
        event_loop.pause(name).unwrap();
        script.borrow_mut().refuses = Some("modify");
        assert!(event_loop.resume(name).is_err() && event_loop.is_paused(name));
        // The end of a pause cannot be refused to anybody: the handler hears of it.
        script.borrow_mut().refuses = None;
        event_loop.pause_for(name, Duration::ZERO).unwrap();
        script.borrow_mut().refuses = Some("modify");
        event_loop.data_mut().clear();
        while event_loop.data().is_empty() {
            turn(&mut event_loop);
        }
        assert!(matches!(event_loop.data()[0].1, Cause::Ready(seen) if seen.is_invalid()));
    }
}

/// A refusal to watch gives the fd back and leaves nothing behind; a socket is not taken for a file.
#[test]
fn an_fd_that_is_refused_is_given_back() {
    let (script, mut event_loop, _) = fake(false, Trigger::Level, Interest::READABLE, 0);
    script.borrow_mut().refuses = Some("add");
    let (here, _there) = pair();
    let number = here.as_raw_fd();
    let refused = event_loop
        .attach(here, Interest::READABLE, Trigger::Level, |_, _, _| {})
        .unwrap_err();
    let (error, here) = refused.into_parts();
    assert_eq!(
        (error.kind(), here.as_raw_fd()),
        (ErrorKind::OutOfMemory, number)
    );
    assert!(event_loop.is_empty());
    script.borrow_mut().refuses = None;
    event_loop
        .attach(here, Interest::READABLE, Trigger::Level, |_, _, _| {})
        .unwrap();
}

/// Interest that is asked for already costs no call at the level, and arms anew where that means something.
#[test]
fn an_interest_that_is_asked_for_already_is_not_asked_for_again() {
    for trigger in [Trigger::Level, Trigger::Edge, Trigger::Oneshot] {
        let (script, mut event_loop, names) = fake(false, trigger, Interest::READABLE, 1);
        event_loop.modify(names[0], Interest::READABLE).unwrap();
        let again = usize::from(trigger != Trigger::Level);
        assert_eq!(script.borrow().count("modify"), again);
        // After a hang-up it arms, at the level too.
        let hang_up = READ | WRITE | Readiness::READ_CLOSED | Readiness::WRITE_CLOSED;
        event_loop.modify(names[0], Interest::WRITABLE).unwrap();
        script.borrow_mut().report(&[(0, hang_up)]);
        turn(&mut event_loop);
        script.borrow_mut().calls.clear();
        event_loop.modify(names[0], Interest::WRITABLE).unwrap();
        assert_eq!(script.borrow().count("modify"), 1);
    }
}

/// The mechanism is told before the fd is closed, whoever closes it; and what it answers changes nothing.
#[test]
fn the_mechanism_is_told_before_the_fd_is_closed() {
    for refuses in [None, Some("remove")] {
        let (script, mut event_loop, names) = fake(false, Trigger::Level, Interest::READABLE, 4);
        script.borrow_mut().refuses = refuses;
        assert!(event_loop.close(names[0]));
        drop(event_loop.detach(names[1]).unwrap());
        let (here, _there) = pair();
        drop(event_loop.replace_fd(names[2], here).unwrap());
        assert_eq!(script.borrow().count("remove open"), 3);
        drop(event_loop);
        assert_eq!(script.borrow().count("remove open"), 5);
        assert_eq!(script.borrow().count("remove"), 5);
    }
}

/// After a wait that failed, nothing of the batch before it comes again; and the loop can be run again.
#[test]
fn a_wait_that_fails_delivers_nothing() {
    for kind in [ErrorKind::Interrupted, ErrorKind::OutOfMemory] {
        let (script, mut event_loop, _) = fake(false, Trigger::Level, Interest::READABLE, 1);
        script.borrow_mut().report(&[(0, READ)]);
        script.borrow_mut().batches.push_back(Err(kind));
        script.borrow_mut().report(&[(0, READ)]);
        assert_eq!(turn(&mut event_loop), 1);
        match event_loop.run_once(Some(Duration::ZERO)) {
            Ok(calls) => assert_eq!((kind, calls), (ErrorKind::Interrupted, 0)),
            Err(error) => assert_eq!((kind, error.kind()), (ErrorKind::OutOfMemory, kind)),
        }
        assert_eq!(event_loop.data().len(), 1);
        assert_eq!(turn(&mut event_loop), 1);
    }
}

/// The rest of a batch that a panic cut short is delivered without a wait in between, which would bring another batch.
#[test]
fn the_rest_of_a_batch_is_delivered_without_a_wait() {
    let (script, mut event_loop, _) = fake(false, Trigger::Edge, Interest::READABLE, 2);
    let (here, _there) = pair();
    let mut is_first = true;
    event_loop
        .attach(here, Interest::READABLE, Trigger::Edge, move |_, _, _| {
            if std::mem::take(&mut is_first) {
                panic_any("handler");
            }
        })
        .unwrap();
    script
        .borrow_mut()
        .report(&[(0, READ), (2, READ), (1, READ)]);
    assert_eq!(panic_of(&mut event_loop), "handler");
    assert!(event_loop.next_deadline().is_some());
    assert_eq!(script.borrow().count("wait"), 1);
    assert_eq!(event_loop.run_once(None).unwrap(), 1);
    assert_eq!(script.borrow().count("wait"), 1);
    let called: Vec<usize> = event_loop.data().iter().map(|(at, _)| *at).collect();
    assert_eq!(called, [0, 1]);
}

/// On a mechanism that knows no edges, what was delivered and asked for is armed again after the handler, and errors with it.
#[test]
fn an_edge_is_armed_again_for_what_was_delivered() {
    let both = Interest::READABLE | Interest::WRITABLE;
    let (script, mut event_loop, names) = fake(true, Trigger::Edge, both, 1);
    for (seen, armed) in [
        (READ, "rearm READABLE | ERROR"),
        (WRITE, "rearm WRITABLE | ERROR"),
        (READ | WRITE, "rearm READABLE | WRITABLE | ERROR"),
        (READ | Readiness::READ_CLOSED, "rearm ERROR"),
    ] {
        script.borrow_mut().calls.clear();
        script.borrow_mut().report(&[(0, seen)]);
        turn(&mut event_loop);
        assert_eq!(script.borrow().calls.last().unwrap(), armed);
    }
    // Not what is not watched, nor what has its own way of being armed.
    event_loop.pause(names[0]).unwrap();
    script.borrow_mut().calls.clear();
    script.borrow_mut().report(&[(0, READ)]);
    turn(&mut event_loop);
    assert_eq!(script.borrow().count("rearm"), 0);
    for trigger in [Trigger::Level, Trigger::Oneshot] {
        let (script, mut event_loop, _) = fake(true, trigger, both, 1);
        script.borrow_mut().report(&[(0, READ)]);
        turn(&mut event_loop);
        assert_eq!(event_loop.data().len(), 1);
        assert_eq!(script.borrow().count("rearm"), 0);
    }
    let (script, mut event_loop, _) = fake(false, Trigger::Edge, both, 1);
    script.borrow_mut().report(&[(0, READ)]);
    turn(&mut event_loop);
    assert_eq!(script.borrow().count("rearm"), 0);
}

/// The mechanism will not watch it any longer: its handler is told, once, by INVALID, and no other wait comes before that.
#[test]
fn who_cannot_be_armed_again_is_told() {
    let hang_up = READ | WRITE | Readiness::READ_CLOSED | Readiness::WRITE_CLOSED;
    for (trigger, seen, call) in [
        (Trigger::Edge, READ, "rearm"),
        (Trigger::Level, hang_up, "modify"),
    ] {
        let (script, mut event_loop, _) = fake(true, trigger, Interest::READABLE, 1);
        script.borrow_mut().refuses = Some(call);
        script.borrow_mut().report(&[(0, seen)]);
        turn(&mut event_loop);
        assert!(event_loop.next_deadline().is_some(), "there is work");
        event_loop.run_once(None).unwrap();
        turn(&mut event_loop);
        let invalid = READ | WRITE | Readiness::INVALID;
        assert_eq!(
            causes(&event_loop),
            [Cause::Ready(seen), Cause::Ready(invalid)]
        );
    }
}

/// A hang-up while nothing is asked for is told once and not armed again; nor is one at the level that only a writer waits for.
#[test]
fn a_hang_up_that_nobody_reads_is_not_armed_again() {
    let hang_up = READ | WRITE | Readiness::READ_CLOSED | Readiness::WRITE_CLOSED;
    for interest in [Interest::NONE, Interest::WRITABLE] {
        let (script, mut event_loop, _) = fake(false, Trigger::Level, interest, 1);
        // Its peer is gone, so it stays hung up.
        script.borrow_mut().report(&[(0, hang_up)]);
        turn(&mut event_loop);
        assert_eq!(causes(&event_loop), [Cause::Ready(hang_up)]);
        assert_eq!(script.borrow().count("modify"), 0);
    }
    let (script, mut event_loop, _) = fake(false, Trigger::Level, Interest::READABLE, 1);
    script.borrow_mut().report(&[(0, hang_up)]);
    turn(&mut event_loop);
    assert_eq!(script.borrow().count("modify READABLE Level"), 1);
}

/// Whoever arms it inside the handler has armed it: nothing is done twice.
#[test]
fn a_handler_that_arms_after_a_hang_up_is_not_armed_again() {
    let hang_up = READ | WRITE | Readiness::READ_CLOSED | Readiness::WRITE_CLOSED;
    let script = Shared::default();
    let builder = Builder::new().with_backend(Fake(script.clone()));
    let mut event_loop = builder.build(()).unwrap();
    let (here, _there) = pair();
    event_loop
        .attach(
            here,
            Interest::READABLE,
            Trigger::Level,
            |event_loop, name, _| {
                event_loop.modify(name, Interest::READABLE).unwrap();
            },
        )
        .unwrap();
    script.borrow_mut().report(&[(0, hang_up)]);
    turn(&mut event_loop);
    assert_eq!(script.borrow().count("modify"), 1);
}

/// A fork: all that is attached is added again as it is watched now, and who is refused is told by INVALID.
#[test]
fn a_fork_adds_everything_again() {
    let (script, mut event_loop, names) = fake(false, Trigger::Level, Interest::READABLE, 3);
    event_loop.pause(names[1]).unwrap();
    event_loop.close(names[2]);
    // What is always ready is no mechanism's.
    let null = std::fs::File::open("/dev/null").unwrap();
    event_loop
        .attach(null, Interest::NONE, Trigger::Level, |_, _, _| {})
        .unwrap();
    script.borrow_mut().calls.clear();
    event_loop.after_fork().unwrap();
    assert_eq!(
        script.borrow().calls,
        ["after_fork ", "add READABLE", "add NONE"]
    );
    script.borrow_mut().refuses = Some("add");
    event_loop.after_fork().unwrap();
    assert_eq!(event_loop.run_once(None).unwrap(), 2);
    assert_eq!(turn(&mut event_loop), 0);
    let invalid = causes(&event_loop);
    assert!(
        invalid
            .iter()
            .all(|cause| matches!(cause, Cause::Ready(seen) if seen.is_invalid()))
    );
    script.borrow_mut().refuses = Some("after_fork");
    assert!(event_loop.after_fork().is_err());
}

/// A fork in a handler: what the parent's kernel reported is not delivered by the child.
#[test]
fn a_fork_in_a_handler_drops_the_parents_batch() {
    let script = Shared::default();
    let builder = Builder::new().with_backend(Fake(script.clone()));
    let mut event_loop = builder.build(0).unwrap();
    for _ in 0..2 {
        let (here, _there) = pair();
        let handler = |event_loop: &mut EventLoop<usize>, _, _: Cause| {
            *event_loop.data_mut() += 1;
            event_loop.after_fork().unwrap();
        };
        event_loop
            .attach(here, Interest::READABLE, Trigger::Level, handler)
            .unwrap();
    }
    script.borrow_mut().report(&[(0, READ), (1, READ)]);
    assert_eq!(turn(&mut event_loop), 1);
}

/// The wait ends in time for what is due, for the limit, and at once when there is work.
#[test]
fn the_wait_is_as_long_as_it_may_be() {
    let (script, mut event_loop, _) = fake(false, Trigger::Level, Interest::READABLE, 0);
    let last = |script: &Shared| script.borrow().calls.last().unwrap().clone();
    // Less what has passed since, or more by what a deadline is rounded up to a tick.
    let is_an_hour =
        |wait: &str| wait.starts_with("wait Some(35") || wait.starts_with("wait Some(3600.0000");
    event_loop.run_once(None).unwrap();
    assert_eq!(last(&script), "wait None");
    event_loop.run_once(Some(MS)).unwrap();
    assert_eq!(last(&script), "wait Some(1ms)");
    event_loop.set_timer(HOUR, |_, _| {});
    event_loop.run_once(Some(MS)).unwrap();
    assert_eq!(last(&script), "wait Some(1ms)");
    event_loop.run_once(None).unwrap();
    assert!(is_an_hour(&last(&script)), "{}", last(&script));
    event_loop.run_once(Some(2 * HOUR)).unwrap();
    assert!(is_an_hour(&last(&script)), "{}", last(&script));
    event_loop.defer(|_| {});
    event_loop.run_once(None).unwrap();
    assert_eq!(last(&script), "wait Some(0ns)");
    event_loop.handle().wake();
    event_loop.run_once(None).unwrap();
    assert_eq!(last(&script), "wait Some(0ns)");
}

/// Its loop cannot be hosted, and passes the refusal on.
#[test]
fn a_mechanism_without_an_fd_says_so() {
    let (_script, event_loop, _) = fake(false, Trigger::Level, Interest::READABLE, 0);
    assert_eq!(
        event_loop.as_fd().unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    assert_eq!(event_loop.backend_name(), "fake");
}

/// It looks out for a moment before the next sleep, and does not sleep that moment again.
#[test]
fn after_a_sleep_that_another_thread_ended_the_loop_looks_out() {
    let script = Shared::default();
    let builder = Builder::new()
        .with_backend(Fake(script.clone()))
        .spin_before_park(Duration::from_nanos(1));
    let mut event_loop = builder.build(()).unwrap();
    let handle = event_loop.handle();
    let mut sleep = || {
        event_loop.run_once(Some(HOUR)).unwrap();
        script.borrow_mut().calls.pop().unwrap()
    };
    let whole = format!("wait {:?}", Some(HOUR));
    assert_eq!(sleep(), whole);
    script.borrow_mut().meanwhile = Some(Box::new(move || handle.wake()));
    assert_eq!(sleep(), whole);
    assert_ne!(sleep(), whole, "it did not look");
    assert_eq!(sleep(), whole);
}
