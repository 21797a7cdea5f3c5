//! What handlers do to the loop that calls them.

use super::super::harness::panic_as_planned;
use super::world::{Alarm, Line, Track, Watched, Where, World};
use reveille::backend::{Interest, Trigger};
use reveille::event_loop::{Cause, EventLoop, Key, WaterMarks};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

type Loop = EventLoop<World>;

/// The foreign code: does random things to the loop, and may panic.
pub(super) fn enter(event_loop: &mut Loop) {
    let world = event_loop.data_mut();
    if world.is_acting {
        return;
    }
    world.is_acting = true;
    while event_loop.data_mut().dice.one_in(2) && event_loop.data_mut().spend() {
        act(event_loop);
    }
    let world = event_loop.data_mut();
    world.is_acting = false;
    if world.left > 0 && world.dice.one_in(25) {
        panic_as_planned(false);
    }
}

fn act(event_loop: &mut Loop) {
    match event_loop.data_mut().dice.below(20) {
        0 | 1 => attach(event_loop),
        2 => close(event_loop),
        3 => detach(event_loop),
        4 => attach_again(event_loop),
        5 => modify(event_loop),
        6 => set_trigger(event_loop),
        7 => pause(event_loop),
        8 => set_timeout(event_loop),
        9 => set_timer(event_loop),
        10 => change_timer(event_loop),
        11 => defer(event_loop),
        12 => drop_peer(event_loop),
        13 => run_within(event_loop),
        14 => {
            event_loop.stop();
            event_loop.handle().wake();
        }
        15 => replace(event_loop),
        16 => set_marks(event_loop),
        _ => write(event_loop),
    }
}

/// Does something to any attached stream.
fn with_attached(event_loop: &mut Loop, f: impl FnOnce(&mut Loop, usize, Key<Watched>)) {
    let world = event_loop.data_mut();
    if world.lines.is_empty() {
        return;
    }
    let at = world.dice.below(world.lines.len());
    if let Where::Attached(key) = world.lines[at].place {
        f(event_loop, at, key);
    }
}

/// Makes two non-blocking ends.
fn pair(world: &World) -> (Watched, UnixStream) {
    let (stream, peer) = UnixStream::pair().unwrap();
    stream.set_nonblocking(true).unwrap();
    peer.set_nonblocking(true).unwrap();
    let watched = Watched {
        stream,
        _track: Track::new(&world.tracks),
    };
    (watched, peer)
}

pub(super) fn attach(event_loop: &mut Loop) {
    let world = event_loop.data_mut();
    let (watched, peer) = pair(world);
    world.lines.push(Line {
        place: Where::Gone,
        peer: Some(peer),
        interest: Interest::READABLE,
        trigger: Trigger::Level,
        is_spent: false,
        may_resume: false,
        sent: 0,
        received: 0,
        has_ended: false,
        timeout: None,
    });
    let at = world.lines.len() - 1;
    attach_at(event_loop, at, watched);
}

fn attach_at(event_loop: &mut Loop, at: usize, watched: Watched) {
    let world = event_loop.data_mut();
    let interest = any_interest(world);
    let trigger = any_trigger(world);
    let track = Track::new(&world.tracks);
    let attached = event_loop.attach(watched, interest, trigger, move |event_loop, key, cause| {
        let _ = &track;
        called(event_loop, at, key, cause);
    });
    let line = &mut event_loop.data_mut().lines[at];
    match attached {
        Ok(key) => {
            (line.interest, line.trigger) = (interest, trigger);
            line.is_spent = false;
            line.place = Where::Attached(key);
        }
        Err(error) => {
            let kind = error.error().kind();
            line.place = Where::Detached(error.into_parts().0);
            // A trigger that the backend lacks.
            event_loop
                .data()
                .check(kind == ErrorKind::InvalidInput, "not attached");
        }
    }
}

fn any_interest(world: &mut World) -> Interest {
    let (read, write) = (Interest::READABLE, Interest::WRITABLE);
    [read, read, read | write, write, Interest::EMPTY][world.dice.below(5)]
}

fn any_trigger(world: &mut World) -> Trigger {
    let all = [
        Trigger::Level,
        Trigger::Level,
        Trigger::Oneshot,
        Trigger::Edge,
    ];
    all[world.dice.below(4)]
}

/// The handler of every stream.
fn called(event_loop: &mut Loop, at: usize, key: Key<Watched>, cause: Cause) {
    let world = event_loop.data_mut();
    let line = &mut world.lines[at];
    let is_mine = matches!(line.place, Where::Attached(mine) if mine == key);
    let is_asked = match cause {
        Cause::Timeout => {
            let due = line.timeout.take();
            due.is_some_and(|due| due <= Instant::now())
        }
        Cause::Ready(seen) => {
            let is_end = seen.is_error() || seen.is_write_closed() || seen.is_invalid();
            let read = line.interest.is_readable() && seen.is_readable();
            let write = line.interest.is_writable() && seen.is_writable();
            let was_spent = std::mem::replace(&mut line.is_spent, line.trigger == Trigger::Oneshot);
            (read || write || is_end) && (!was_spent || line.may_resume)
        }
    };
    world.check(is_mine, "a handler was called for what is not attached");
    world.check(
        is_asked,
        &format!("a handler was called unasked: {cause:?}"),
    );
    if cause.is_readable() {
        read(event_loop, at, key);
    }
    enter(event_loop);
    rearm(event_loop, at, key);
}

/// Reads everything with edge triggers, and a part with others.
fn read(event_loop: &mut Loop, at: usize, key: Key<Watched>) {
    let Some((watched, world)) = event_loop.get_with_data(key) else {
        return;
    };
    let mut buffer = [0; 64];
    loop {
        let most = 1 + world.dice.below(buffer.len());
        let line = &mut world.lines[at];
        match watched.stream.read(&mut buffer[..most]) {
            Ok(0) => {
                line.has_ended = true;
                break;
            }
            Ok(count) => {
                let is_right = (0..count).all(|i| buffer[i] == (line.received + i) as u8);
                line.received += count;
                world.check(is_right, "a byte came in another's place");
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return world.check(false, &format!("not read: {error}")),
        }
        let is_edge = world.lines[at].trigger == Trigger::Edge;
        if !is_edge && world.dice.one_in(2) {
            break;
        }
    }
    let line = &world.lines[at];
    let is_over = line.has_ended && line.trigger == Trigger::Level;
    if is_over && world.dice.one_in(2) {
        event_loop.data_mut().lines[at].interest = Interest::EMPTY;
        event_loop.modify(key, Interest::EMPTY).unwrap();
    }
}

/// A one-shot handler either arms its fd again or is not called again. At the end all arm
/// theirs.
fn rearm(event_loop: &mut Loop, at: usize, key: Key<Watched>) {
    let world = event_loop.data_mut();
    let wants_it = world.left == 0 || world.dice.one_in(2);
    let line = &world.lines[at];
    let is_spent = line.trigger == Trigger::Oneshot && !line.has_ended;
    let interest = line.interest;
    if wants_it && is_spent && event_loop.is_attached(key) {
        event_loop.modify(key, interest).unwrap();
        event_loop.data_mut().lines[at].is_spent = false;
    }
}

fn close(event_loop: &mut Loop) {
    with_attached(event_loop, |event_loop, at, key| {
        event_loop.data_mut().lines[at].place = Where::Gone;
        let closed = event_loop.close(key) && !event_loop.close(key);
        event_loop.data().check(closed, "not closed, or twice");
    });
}

fn detach(event_loop: &mut Loop) {
    with_attached(event_loop, |event_loop, at, key| {
        let watched = event_loop.detach(key).expect("it is attached");
        let is_gone = event_loop.modify(key, Interest::READABLE).is_err();
        event_loop.data().check(is_gone, "it is attached still");
        let line = &mut event_loop.data_mut().lines[at];
        line.timeout = None;
        line.place = Where::Detached(watched);
    });
}

fn attach_again(event_loop: &mut Loop) {
    let lines = &mut event_loop.data_mut().lines;
    let is_off = |line: &Line| matches!(line.place, Where::Detached(_));
    let Some(at) = lines.iter().position(is_off) else {
        return;
    };
    let place = std::mem::replace(&mut lines[at].place, Where::Gone);
    if let Where::Detached(watched) = place {
        attach_at(event_loop, at, watched);
    }
}

fn modify(event_loop: &mut Loop) {
    with_attached(event_loop, |event_loop, at, key| {
        let interest = any_interest(event_loop.data_mut());
        event_loop.modify(key, interest).unwrap();
        let line = &mut event_loop.data_mut().lines[at];
        (line.interest, line.is_spent) = (interest, false);
    });
}

fn set_trigger(event_loop: &mut Loop) {
    with_attached(event_loop, |event_loop, at, key| {
        let trigger = any_trigger(event_loop.data_mut());
        match event_loop.set_trigger(key, trigger) {
            Ok(()) => {
                let line = &mut event_loop.data_mut().lines[at];
                (line.trigger, line.is_spent) = (trigger, false);
            }
            Err(error) => {
                let is_missing = error.kind() == ErrorKind::InvalidInput;
                event_loop
                    .data()
                    .check(is_missing, "the trigger was not set");
            }
        }
    });
}

fn pause(event_loop: &mut Loop) {
    with_attached(event_loop, |event_loop, at, key| {
        event_loop.data_mut().lines[at].may_resume = true;
        let way = event_loop.data_mut().dice.below(4);
        match way {
            0 => event_loop.pause(key).unwrap(),
            1 => event_loop
                .pause_for(key, Duration::from_micros(300))
                .unwrap(),
            _ => event_loop.resume(key).unwrap(),
        }
    });
}

fn short(world: &mut World) -> Duration {
    Duration::from_micros(world.dice.below(1500) as u64)
}

fn set_timeout(event_loop: &mut Loop) {
    with_attached(event_loop, |event_loop, at, key| {
        let (way, after) = (
            event_loop.data_mut().dice.below(3),
            short(event_loop.data_mut()),
        );
        let due = Some(Instant::now() + after);
        if way == 0 {
            let had = event_loop.clear_timeout(key);
            let was = event_loop.data_mut().lines[at].timeout.take();
            event_loop
                .data()
                .check(had == was.is_some(), "a timeout was lost");
        } else {
            event_loop.set_timeout(key, after).unwrap();
            event_loop.data_mut().lines[at].timeout = due;
            if way == 1 {
                event_loop.push_timeout(key).unwrap();
            }
        }
    });
}

fn set_timer(event_loop: &mut Loop) {
    let world = event_loop.data_mut();
    let (at, after) = (world.alarms.len(), short(world));
    let due = Instant::now() + after;
    world.alarms.push(Alarm {
        timer: None,
        due,
        is_armed: true,
    });
    let track = Track::new(&world.tracks);
    let timer = event_loop.set_timer(after, move |event_loop, timer| {
        let _ = &track;
        let world = event_loop.data_mut();
        let alarm = &mut world.alarms[at];
        let is_mine = alarm.timer == Some(timer);
        let is_due = std::mem::take(&mut alarm.is_armed) && alarm.due <= Instant::now();
        world.check(is_mine && is_due, "a timer came early, or again");
        if world.left > 0 && world.dice.one_in(3) {
            let after = short(event_loop.data_mut());
            let due = Instant::now() + after;
            let is_reset = event_loop.reset_timer(timer, after);
            event_loop
                .data()
                .check(is_reset, "a timer cannot be set from its handler");
            let alarm = &mut event_loop.data_mut().alarms[at];
            (alarm.due, alarm.is_armed) = (due, true);
        }
        enter(event_loop);
    });
    event_loop.data_mut().alarms[at].timer = Some(timer);
}

fn change_timer(event_loop: &mut Loop) {
    let world = event_loop.data_mut();
    if world.alarms.is_empty() {
        return;
    }
    let at = world.dice.below(world.alarms.len());
    let (alarm, cancels) = (&world.alarms[at], world.dice.one_in(2));
    let (Some(timer), true) = (alarm.timer, alarm.is_armed) else {
        return;
    };
    let after = short(world);
    let due = Instant::now() + after;
    let is_known = match cancels {
        true => event_loop.cancel_timer(timer),
        false => event_loop.reset_timer(timer, after),
    };
    let alarm = &mut event_loop.data_mut().alarms[at];
    (alarm.due, alarm.is_armed) = (due, !cancels);
    event_loop.data().check(is_known, "a timer was lost");
}

fn defer(event_loop: &mut Loop) {
    let world = event_loop.data_mut();
    world.deferred += 1;
    let track = Track::new(&world.tracks);
    event_loop.defer(move |event_loop| {
        drop(track);
        event_loop.data_mut().done += 1;
        enter(event_loop);
    });
}

fn drop_peer(event_loop: &mut Loop) {
    with_attached(event_loop, |event_loop, at, _| {
        event_loop.data_mut().lines[at].peer = None;
    });
}

fn write(event_loop: &mut Loop) {
    with_attached(event_loop, |event_loop, at, _| {
        let world = event_loop.data_mut();
        let (length, line) = (1 + world.dice.below(100), &mut world.lines[at]);
        let Some(mut peer) = line.peer.as_ref() else {
            return;
        };
        let bytes: Vec<u8> = (line.sent..line.sent + length).map(|at| at as u8).collect();
        if let Ok(count) = peer.write(&bytes) {
            line.sent += count;
        }
    });
}

/// Tries to run the loop inside a handler, which is refused.
fn run_within(event_loop: &mut Loop) {
    if event_loop.data().is_inside {
        let refused = event_loop.turn(Some(Duration::ZERO)).is_err() && event_loop.run().is_err();
        event_loop
            .data()
            .check(refused, "the loop runs within itself");
    }
}

/// Puts another stream in place of one that has ended.
fn replace(event_loop: &mut Loop) {
    with_attached(event_loop, |event_loop, at, key| {
        let (watched, peer) = pair(event_loop.data());
        match event_loop.replace_fd(key, watched) {
            Ok((key, former)) => {
                let line = &mut event_loop.data_mut().lines[at];
                (line.place, line.peer) = (Where::Attached(key), Some(peer));
                (line.sent, line.received, line.has_ended) = (0, 0, false);
                line.is_spent = false;
                drop(former);
            }
            Err(error) => {
                let what = format!("not replaced: {}", error.error());
                event_loop.data().check(false, &what);
            }
        }
    });
}

fn set_marks(event_loop: &mut Loop) {
    with_attached(event_loop, |event_loop, _, key| {
        let low = 1 + event_loop.data_mut().dice.below(6);
        let marks = WaterMarks { low, high: low + 2 };
        let marks = event_loop.data_mut().dice.one_in(2).then_some(marks);
        event_loop.set_water_marks(key, marks).unwrap();
    });
}

pub(super) fn add_hook(event_loop: &mut Loop, place: usize) {
    let track = Track::new(&event_loop.data().tracks);
    let hook = move |event_loop: &mut Loop| {
        let _ = &track;
        enter(event_loop);
    };
    match place {
        0 => event_loop.before_wait(hook),
        1 => event_loop.after_events(hook),
        _ => event_loop.after_turn(hook),
    }
}

/// Ends the random actions. From now on all handlers only read.
pub(super) fn calm(event_loop: &mut Loop) {
    event_loop.data_mut().left = 0;
    for at in 0..event_loop.data().lines.len() {
        let line = &mut event_loop.data_mut().lines[at];
        let Where::Attached(key) = line.place else {
            continue;
        };
        let wanted = match line.has_ended {
            true => Interest::EMPTY,
            false => Interest::READABLE,
        };
        (line.interest, line.is_spent) = (wanted, false);
        event_loop.set_water_marks(key, None).unwrap();
        event_loop.resume(key).unwrap();
        event_loop.modify(key, wanted).unwrap();
    }
}
