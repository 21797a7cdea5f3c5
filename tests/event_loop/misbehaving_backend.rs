//! Errors, split events, stale events and lost fds, produced by the fake mechanism.

use super::fake::{Fake, Log, Shared, fake};
use super::*;
use reveille::backend::Ready;
use reveille::event_loop::Builder;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::panic::panic_any;

const READ: Ready = Ready::READABLE;
const WRITE: Ready = Ready::WRITABLE;

fn causes(event_loop: &EventLoop<Log>) -> Vec<Cause> {
    event_loop.data().iter().map(|(_, cause)| *cause).collect()
}

/// C25 on a mechanism that reports readable and writable as two events.
#[test]
fn second_half_for_a_closed_fd_is_dropped() {
    for trigger in [Trigger::Level, Trigger::Edge, Trigger::Oneshot] {
        let script = Shared::default();
        let builder = Builder::new().with_backend(Fake(script.clone()));
        let mut event_loop = builder.build(0).unwrap();
        let (here, _there) = pair();
        let both = Interest::READABLE | Interest::WRITABLE;
        event_loop
            .attach(here, both, trigger, |event_loop, key, _| {
                *event_loop.data_mut() += 1;
                // A new registration, which would take the index if it were free.
                let (here, _there) = pair();
                event_loop.close(key);
                event_loop
                    .attach(here, Interest::READABLE, Trigger::Level, |_, _, cause| {
                        panic!("it was called for {cause:?}");
                    })
                    .unwrap();
            })
            .unwrap();
        script.borrow_mut().report(&[(0, READ), (0, WRITE)]);
        // Once more in the next turn.
        script.borrow_mut().report(&[(0, READ)]);
        turn(&mut event_loop);
        turn(&mut event_loop);
        assert_eq!(*event_loop.data(), 1);
    }
}

/// Both events are delivered, except to a one-shot: it receives the first, and the second after
/// `modify`.
#[test]
fn both_halves_are_delivered_to_an_attached_fd() {
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
    let (script, mut event_loop, keys) = fake(false, Trigger::Oneshot, both, 1);
    script.borrow_mut().report(&[(0, READ), (0, WRITE)]);
    script.borrow_mut().report(&[(0, WRITE)]);
    turn(&mut event_loop);
    event_loop.modify(keys[0], both).unwrap();
    turn(&mut event_loop);
    assert_eq!(
        causes(&event_loop),
        [Cause::Ready(READ), Cause::Ready(WRITE)]
    );
}

/// A one-shot receives no event after a hang-up, and no hang-up after an event.
#[test]
fn one_shot_receives_one_event() {
    let hang_up = READ | WRITE | Ready::READ_CLOSED | Ready::WRITE_CLOSED;
    for seen in [[READ, hang_up], [hang_up, READ], [hang_up, hang_up]] {
        let (script, mut event_loop, keys) = fake(false, Trigger::Oneshot, Interest::READABLE, 1);
        script.borrow_mut().report(&[(0, seen[0])]);
        script.borrow_mut().report(&[(0, seen[1])]);
        script.borrow_mut().report(&[(0, seen[1])]);
        turn(&mut event_loop);
        turn(&mut event_loop);
        assert_eq!(causes(&event_loop), [Cause::Ready(seen[0])]);
        event_loop.modify(keys[0], Interest::READABLE).unwrap();
        turn(&mut event_loop);
        assert_eq!(causes(&event_loop)[1], Cause::Ready(seen[1]));
    }
}

/// The old interest applies, the fd is not paused, and the handler is called as before.
#[test]
fn refused_change_has_no_effect() {
    for trigger in [Trigger::Level, Trigger::Edge, Trigger::Oneshot] {
        let (script, mut event_loop, keys) = fake(false, trigger, Interest::READABLE, 1);
        script.borrow_mut().refuses = Some("modify");
        let key = keys[0];
        assert!(event_loop.modify(key, Interest::WRITABLE).is_err());
        assert!(event_loop.pause(key).is_err() && !event_loop.is_paused(key));
        assert!(event_loop.set_trigger(key, Trigger::Level).is_err());
        script.borrow_mut().report(&[(0, READ | WRITE)]);
        turn(&mut event_loop);
        assert_eq!(causes(&event_loop), [Cause::Ready(READ)]);
        // Refused again after an event: a one-shot stays disarmed.
        assert!(event_loop.modify(key, Interest::WRITABLE).is_err());
        script.borrow_mut().report(&[(0, READ)]);
        turn(&mut event_loop);
        let calls = if trigger == Trigger::Oneshot { 1 } else { 2 };
        assert_eq!(event_loop.data().len(), calls);
        script.borrow_mut().refuses = None;
        event_loop.pause(key).unwrap();
        script.borrow_mut().refuses = Some("modify");
        assert!(event_loop.resume(key).is_err() && event_loop.is_paused(key));
        // If a pause cannot end by itself, the handler is called with INVALID.
        script.borrow_mut().refuses = None;
        event_loop.pause_for(key, Duration::ZERO).unwrap();
        script.borrow_mut().refuses = Some("modify");
        event_loop.data_mut().clear();
        while event_loop.data().is_empty() {
            turn(&mut event_loop);
        }
        assert!(matches!(event_loop.data()[0].1, Cause::Ready(seen) if seen.is_invalid()));
    }
}

/// The refused fd leaves nothing behind, and a socket is not treated as a file that is always
/// ready.
#[test]
fn attach_returns_an_fd_that_is_refused() {
    let (script, mut event_loop, _) = fake(false, Trigger::Level, Interest::READABLE, 0);
    script.borrow_mut().refuses = Some("add");
    let (here, _there) = pair();
    let number = here.as_raw_fd();
    let refused = event_loop
        .attach(here, Interest::READABLE, Trigger::Level, |_, _, _| {})
        .unwrap_err();
    let (here, error) = refused.into_parts();
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

/// An equal interest costs no call at the level. With other triggers, and after a hang-up, it arms
/// the fd.
#[test]
fn modify_to_an_equal_interest_makes_no_call() {
    for trigger in [Trigger::Level, Trigger::Edge, Trigger::Oneshot] {
        let (script, mut event_loop, keys) = fake(false, trigger, Interest::READABLE, 1);
        event_loop.modify(keys[0], Interest::READABLE).unwrap();
        let again = usize::from(trigger != Trigger::Level);
        assert_eq!(script.borrow().count("modify"), again);
        // At the level the hang-up has taken the fd out.
        let hang_up = READ | WRITE | Ready::READ_CLOSED | Ready::WRITE_CLOSED;
        event_loop.modify(keys[0], Interest::WRITABLE).unwrap();
        script.borrow_mut().report(&[(0, hang_up)]);
        turn(&mut event_loop);
        script.borrow_mut().calls.clear();
        event_loop.modify(keys[0], Interest::WRITABLE).unwrap();
        let call = match trigger {
            Trigger::Level => "add WRITABLE",
            Trigger::Edge | Trigger::Oneshot => "modify WRITABLE",
        };
        assert_eq!(script.borrow().count(call), 1, "{trigger:?}");
    }
}

/// `remove` is called while the descriptor is open, in each way to close it, and its result changes
/// nothing.
#[test]
fn remove_is_called_before_the_fd_is_closed() {
    for refuses in [None, Some("remove")] {
        let (script, mut event_loop, keys) = fake(false, Trigger::Level, Interest::READABLE, 4);
        script.borrow_mut().refuses = refuses;
        assert!(event_loop.close(keys[0]));
        drop(event_loop.detach(keys[1]).unwrap());
        let (here, _there) = pair();
        drop(event_loop.replace_fd(keys[2], here).unwrap());
        assert_eq!(script.borrow().count("remove open"), 3);
        drop(event_loop);
        assert_eq!(script.borrow().count("remove open"), 5);
        assert_eq!(script.borrow().count("remove"), 5);
    }
}

/// After a failed wait the previous batch is not delivered again, and the loop can run again.
#[test]
fn failed_wait_delivers_nothing() {
    for kind in [ErrorKind::Interrupted, ErrorKind::OutOfMemory] {
        let (script, mut event_loop, _) = fake(false, Trigger::Level, Interest::READABLE, 1);
        script.borrow_mut().report(&[(0, READ)]);
        script.borrow_mut().batches.push_back(Err(kind));
        script.borrow_mut().report(&[(0, READ)]);
        assert_eq!(turn(&mut event_loop), 1);
        match event_loop.turn(Some(Duration::ZERO)) {
            Ok(calls) => assert_eq!((kind, calls), (ErrorKind::Interrupted, 0)),
            Err(error) => assert_eq!((kind, error.kind()), (ErrorKind::OutOfMemory, kind)),
        }
        assert_eq!(event_loop.data().len(), 1);
        assert_eq!(turn(&mut event_loop), 1);
    }
}

/// After a panic the rest of the batch is delivered without a wait, which would return another
/// batch.
#[test]
fn rest_of_a_batch_is_delivered_without_a_wait() {
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
    assert_eq!(event_loop.turn(None).unwrap(), 1);
    assert_eq!(script.borrow().count("wait"), 1);
    let called: Vec<usize> = event_loop.data().iter().map(|(at, _)| *at).collect();
    assert_eq!(called, [0, 1]);
}

/// On a mechanism without edges, delivered readiness that is in the interest is armed again after
/// the handler, and errors too.
#[test]
fn edge_is_armed_again_for_delivered_readiness() {
    let both = Interest::READABLE | Interest::WRITABLE;
    let (script, mut event_loop, keys) = fake(true, Trigger::Edge, both, 1);
    for (seen, armed) in [
        (READ, "rearm READABLE | ERROR"),
        (WRITE, "rearm WRITABLE | ERROR"),
        (READ | WRITE, "rearm READABLE | WRITABLE | ERROR"),
        (READ | Ready::READ_CLOSED, "rearm ERROR"),
    ] {
        script.borrow_mut().calls.clear();
        script.borrow_mut().report(&[(0, seen)]);
        turn(&mut event_loop);
        assert_eq!(script.borrow().calls.last().unwrap(), armed);
    }
    // A paused fd is not armed, nor is an fd with another trigger.
    event_loop.pause(keys[0]).unwrap();
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

/// The handler is called once with INVALID, before the next wait that may sleep.
#[test]
fn fd_that_cannot_be_armed_again_receives_invalid() {
    let (script, mut event_loop, _) = fake(true, Trigger::Edge, Interest::READABLE, 1);
    script.borrow_mut().refuses = Some("rearm");
    script.borrow_mut().report(&[(0, READ)]);
    turn(&mut event_loop);
    assert!(event_loop.next_deadline().is_some(), "there is work");
    event_loop.turn(None).unwrap();
    turn(&mut event_loop);
    let invalid = READ | WRITE | Ready::INVALID;
    assert_eq!(
        causes(&event_loop),
        [Cause::Ready(READ), Cause::Ready(invalid)]
    );
}

const HANG_UP: Ready = READ
    .union(WRITE)
    .union(Ready::READ_CLOSED)
    .union(Ready::WRITE_CLOSED);

/// `Level` without READABLE: a lasting hang-up is reported once, and the fd is watched again from
/// the next `modify` on.
#[test]
fn hang_up_without_readable_takes_the_fd_out_until_modify() {
    for interest in [Interest::EMPTY, Interest::WRITABLE] {
        for refuses in [None, Some("remove")] {
            // The peer is gone, so the hang-up lasts.
            let (script, mut event_loop, keys) = fake(false, Trigger::Level, interest, 1);
            script.borrow_mut().refuses = refuses;
            script.borrow_mut().report(&[(0, HANG_UP), (0, HANG_UP)]);
            turn(&mut event_loop);
            assert_eq!(causes(&event_loop), [Cause::Ready(HANG_UP)]);
            assert_eq!(script.borrow().count("remove open"), 1);
            assert_eq!(script.borrow().count("modify"), 0);
            // After an error `modify` can be called again.
            script.borrow_mut().refuses = Some("add");
            assert!(event_loop.modify(keys[0], interest).is_err());
            script.borrow_mut().refuses = None;
            event_loop.modify(keys[0], interest).unwrap();
            assert_eq!(script.borrow().count(&format!("add {interest:?}")), 3);
            script.borrow_mut().report(&[(0, HANG_UP)]);
            turn(&mut event_loop);
            assert_eq!(causes(&event_loop).len(), 2);
            // The mechanism no longer knows the fd, so `remove` is not called again.
            assert!(event_loop.close(keys[0]));
            assert_eq!(script.borrow().count("remove"), 2);
        }
    }
}

/// `Level` with READABLE: the mechanism goes on reporting the hang-up.
#[test]
fn hang_up_with_readable_stays_watched() {
    let (script, mut event_loop, _) = fake(false, Trigger::Level, Interest::READABLE, 1);
    for calls in 1..4 {
        script.borrow_mut().report(&[(0, HANG_UP)]);
        turn(&mut event_loop);
        assert_eq!(causes(&event_loop).len(), calls);
    }
    for call in ["modify", "remove", "rearm"] {
        assert_eq!(script.borrow().count(call), 0);
    }
}

/// The file cannot be attached a second time, and a fork does not add it.
#[test]
fn fd_that_was_taken_out_is_still_attached() {
    let script = Shared::default();
    let builder = Builder::new().with_backend(Fake(script.clone()));
    let mut event_loop = builder.build(0).unwrap();
    let (here, _) = pair();
    let here = std::rc::Rc::new(here);
    let count = |event_loop: &mut EventLoop<usize>, _, _: Cause| *event_loop.data_mut() += 1;
    let level = Trigger::Level;
    let key = event_loop
        .attach(here.clone(), Interest::EMPTY, level, count)
        .unwrap();
    script.borrow_mut().report(&[(0, HANG_UP)]);
    turn(&mut event_loop);
    let twice = event_loop.attach(here.clone(), Interest::READABLE, level, count);
    assert_eq!(twice.unwrap_err().error().kind(), ErrorKind::AlreadyExists);
    event_loop.after_fork().unwrap();
    assert_eq!(script.borrow().count("add"), 1);
    assert!(event_loop.close(key));
    event_loop
        .attach(here, Interest::READABLE, level, count)
        .unwrap();
}

/// The handler arms the fd during the call for the hang-up, so the fd is not taken out afterwards.
#[test]
fn fd_armed_during_a_hang_up_stays_watched() {
    for interest in [Interest::READABLE, Interest::WRITABLE] {
        let script = Shared::default();
        let builder = Builder::new().with_backend(Fake(script.clone()));
        let mut event_loop = builder.build(()).unwrap();
        let (here, _there) = pair();
        event_loop
            .attach(here, interest, Trigger::Level, move |event_loop, key, _| {
                event_loop.modify(key, interest).unwrap();
            })
            .unwrap();
        script.borrow_mut().report(&[(0, HANG_UP)]);
        turn(&mut event_loop);
        assert_eq!(script.borrow().count("modify"), 1);
        assert_eq!(script.borrow().count("remove"), 0);
    }
}

/// Every attached fd is added with its present interest. A handler whose fd is refused is called
/// with INVALID.
#[test]
fn after_fork_adds_everything_again() {
    let (script, mut event_loop, keys) = fake(false, Trigger::Level, Interest::READABLE, 3);
    event_loop.pause(keys[1]).unwrap();
    event_loop.close(keys[2]);
    // The mechanism never knew a file that is always ready.
    let null = std::fs::File::open("/dev/null").unwrap();
    event_loop
        .attach(null, Interest::EMPTY, Trigger::Level, |_, _, _| {})
        .unwrap();
    script.borrow_mut().calls.clear();
    event_loop.after_fork().unwrap();
    assert_eq!(
        script.borrow().calls,
        ["after_fork ", "add READABLE", "add EMPTY"]
    );
    script.borrow_mut().refuses = Some("add");
    event_loop.after_fork().unwrap();
    assert_eq!(event_loop.turn(None).unwrap(), 2);
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

/// The child does not deliver the events of the parent's kernel object.
#[test]
fn after_fork_in_a_handler_drops_the_parents_batch() {
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

/// The wait is limited by the next timer and by the limit of the turn, and is zero if there is
/// work.
#[test]
fn wait_lasts_until_the_next_timer_or_the_limit() {
    let (script, mut event_loop, _) = fake(false, Trigger::Level, Interest::READABLE, 0);
    let last = |script: &Shared| script.borrow().calls.last().unwrap().clone();
    // Less the time that has passed since, or more because a deadline is rounded up to a tick.
    let is_an_hour =
        |wait: &str| wait.starts_with("wait Some(35") || wait.starts_with("wait Some(3600.0000");
    event_loop.turn(None).unwrap();
    assert_eq!(last(&script), "wait None");
    event_loop.turn(Some(MS)).unwrap();
    assert_eq!(last(&script), "wait Some(1ms)");
    event_loop.set_timer(HOUR, |_, _| {});
    event_loop.turn(Some(MS)).unwrap();
    assert_eq!(last(&script), "wait Some(1ms)");
    event_loop.turn(None).unwrap();
    assert!(is_an_hour(&last(&script)), "{}", last(&script));
    event_loop.turn(Some(2 * HOUR)).unwrap();
    assert!(is_an_hour(&last(&script)), "{}", last(&script));
    event_loop.defer(|_| {});
    event_loop.turn(None).unwrap();
    assert_eq!(last(&script), "wait Some(0ns)");
    event_loop.handle().wake();
    event_loop.turn(None).unwrap();
    assert_eq!(last(&script), "wait Some(0ns)");
}

/// `host_fd` passes on the error of the mechanism.
#[test]
fn host_fd_without_a_kernel_object_is_unsupported() {
    let (_script, event_loop, _) = fake(false, Trigger::Level, Interest::READABLE, 0);
    assert_eq!(
        event_loop.host_fd().unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    assert_eq!(event_loop.backend_name(), "fake");
}

/// The loop spins once before the next sleep, which is shorter by the time of the spin.
#[test]
fn loop_spins_after_a_sleep_that_another_thread_ended() {
    let script = Shared::default();
    let builder = Builder::new()
        .with_backend(Fake(script.clone()))
        .spin_before_park(Duration::from_nanos(1));
    let mut event_loop = builder.build(()).unwrap();
    let handle = event_loop.handle();
    let mut sleep = || {
        event_loop.turn(Some(HOUR)).unwrap();
        script.borrow_mut().calls.pop().unwrap()
    };
    let whole = format!("wait {:?}", Some(HOUR));
    assert_eq!(sleep(), whole);
    script.borrow_mut().meanwhile = Some(Box::new(move || handle.wake()));
    assert_eq!(sleep(), whole);
    assert_ne!(sleep(), whole, "it did not spin");
    assert_eq!(sleep(), whole);
}
