//! L4: whatever a handler, a timer, a message, a hook or something deferred does to the loop, it may.

use super::*;
use reveille::event_loop::Timer;
use std::cell::Cell;
use std::rc::Rc;

/// What the deeds leave behind.
#[derive(Default)]
struct World {
    deeds: usize,
    victims: Vec<Source<UnixStream>>,
    timers: Vec<Timer>,
    peers: Vec<UnixStream>,
    later: usize,
}

/// Does all that can be done to a loop, in the middle of it.
fn do_everything(event_loop: &mut EventLoop<World>) {
    let refused = event_loop.run().unwrap_err();
    assert!(refused.to_string().contains("runs already"), "{refused}");
    assert!(event_loop.run_once(Some(Duration::ZERO)).is_err());

    let (here, there) = ready_pair();
    let readable = Interest::READABLE;
    let new = event_loop
        .attach(here, readable, Trigger::Level, |event_loop, name, _| {
            event_loop.data_mut().later += 1;
            event_loop.close(name);
        })
        .unwrap();
    event_loop.data_mut().peers.push(there);
    event_loop.modify(new, Interest::NONE).unwrap();
    event_loop.modify(new, readable).unwrap();
    event_loop.pause(new).unwrap();
    event_loop.resume(new).unwrap();
    event_loop.set_trigger(new, Trigger::Oneshot).unwrap();
    event_loop.set_timeout(new, HOUR).unwrap();
    event_loop.push_timeout(new).unwrap();

    let victims = std::mem::take(&mut event_loop.data_mut().victims);
    for (at, victim) in victims.into_iter().enumerate() {
        match at % 3 {
            0 => assert!(event_loop.close(victim)),
            1 => drop(event_loop.detach(victim).unwrap()),
            _ => {
                let (other, there) = pair();
                let (other, _old) = event_loop.replace_fd(victim, other).unwrap();
                event_loop.data_mut().peers.push(there);
                event_loop.data_mut().victims.push(other);
            }
        }
    }
    for timer in std::mem::take(&mut event_loop.data_mut().timers) {
        assert!(event_loop.cancel_timer(timer));
    }
    let timer = event_loop.set_timer(HOUR, |_, _| {});
    assert!(event_loop.reset_timer(timer, HOUR / 2));
    event_loop.data_mut().timers.push(timer);
    event_loop.set_timer(Duration::ZERO, |event_loop, _| {
        event_loop.data_mut().later += 1;
    });
    event_loop.defer(|event_loop| event_loop.data_mut().later += 1);
    let sender = event_loop.on_message(|event_loop, ()| event_loop.data_mut().later += 1);
    sender.send(()).unwrap();
    let mut is_first = true;
    event_loop.after_turn(move |event_loop| {
        event_loop.data_mut().later += usize::from(std::mem::take(&mut is_first));
    });
    event_loop.data_mut().deeds += 1;
}

/// A loop with three fds and a timer to be done away with.
fn world(loops: Loops) -> EventLoop<World> {
    let mut event_loop = loops.make(World::default());
    for _ in 0..3 {
        let (here, there) = pair();
        let victim = event_loop
            .attach(here, Interest::READABLE, Trigger::Level, |_, _, _| {})
            .unwrap();
        event_loop.data_mut().victims.push(victim);
        event_loop.data_mut().peers.push(there);
    }
    let timer = event_loop.set_timer(HOUR, |_, _| {});
    event_loop.data_mut().timers.push(timer);
    event_loop
}

/// Runs until everything that was done has had its effect: an fd, a timer, something deferred, a message, a hook.
#[track_caller]
fn finish(event_loop: &mut EventLoop<World>) {
    run_until(event_loop, |world| world.deeds > 0 && world.later == 5);
    assert_quiet(event_loop);
    let world = event_loop.data();
    assert_eq!((world.deeds, world.later), (1, 5));
    // One of the three was replaced, and the new one has been closed by its handler.
    assert_eq!(event_loop.len(), 1);
}

/// For closures that are called every turn.
fn once() -> impl FnMut(&mut EventLoop<World>) {
    let mut is_first = true;
    move |event_loop| {
        if std::mem::take(&mut is_first) {
            do_everything(event_loop);
        }
    }
}

#[test]
fn a_handler_may_do_everything() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = world(loops);
        let (here, _there) = ready_pair();
        event_loop
            .attach(here, Interest::READABLE, trigger, |event_loop, name, _| {
                do_everything(event_loop);
                event_loop.close(name);
            })
            .unwrap();
        finish(&mut event_loop);
    });
}

#[test]
fn a_timer_may_do_everything() {
    on_every_loop(|loops| {
        let mut event_loop = world(loops);
        event_loop.set_timer(MS, |event_loop, _| do_everything(event_loop));
        finish(&mut event_loop);
    });
}

#[test]
fn a_timeout_may_do_everything() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = world(loops);
        let (here, _there) = pair();
        let name = event_loop
            .attach(here, Interest::READABLE, trigger, |event_loop, name, _| {
                do_everything(event_loop);
                event_loop.close(name);
            })
            .unwrap();
        event_loop.set_timeout(name, MS).unwrap();
        finish(&mut event_loop);
    });
}

#[test]
fn a_message_may_do_everything() {
    on_every_loop(|loops| {
        let mut event_loop = world(loops);
        let sender = event_loop.on_message(|event_loop, ()| do_everything(event_loop));
        sender.send(()).unwrap();
        finish(&mut event_loop);
    });
}

#[test]
fn hooks_may_do_everything() {
    on_every_loop(|loops| {
        let mut event_loop = world(loops);
        event_loop.before_wait(once());
        finish(&mut event_loop);
        let mut event_loop = world(loops);
        event_loop.after_events(once());
        event_loop.handle().wake();
        finish(&mut event_loop);
        let mut event_loop = world(loops);
        event_loop.after_turn(once());
        event_loop.handle().wake();
        finish(&mut event_loop);
    });
}

#[test]
fn what_is_deferred_may_do_everything() {
    on_every_loop(|loops| {
        let mut event_loop = world(loops);
        event_loop.defer(do_everything);
        finish(&mut event_loop);
    });
}

/// Another loop may be run from inside a handler: a host's.
#[test]
fn a_handler_may_run_another_loop() {
    on_every_loop(|loops| {
        let mut inner = loops.make(0);
        inner.defer(|inner| *inner.data_mut() += 1);
        let mut outer = loops.make(0);
        outer.defer(move |outer| {
            inner.run_once(None).unwrap();
            *outer.data_mut() += *inner.data();
        });
        outer.run_once(None).unwrap();
        assert_eq!(*outer.data(), 1);
    });
}

/// Handlers go when their fd, timer or loop goes, not later: what they hold is free then.
#[test]
fn handlers_are_dropped_with_what_they_belong_to() {
    struct Counted(Rc<Cell<usize>>);
    impl Counted {
        fn stays(&self) {}
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    on_every_trigger(|loops, trigger| {
        let dropped = Rc::new(Cell::new(0));
        let counted = || Counted(dropped.clone());
        let mut event_loop = loops.make(());
        let attach = |event_loop: &mut EventLoop<()>, peer: &mut Vec<UnixStream>| {
            let (here, there) = ready_pair();
            peer.push(there);
            let held = counted();
            event_loop
                .attach(
                    here,
                    Interest::READABLE,
                    trigger,
                    move |event_loop, name, _| {
                        let _ = &held;
                        event_loop.close(name);
                    },
                )
                .unwrap()
        };
        let mut peers = Vec::new();
        let closed = attach(&mut event_loop, &mut peers);
        event_loop.close(closed);
        assert_eq!(dropped.get(), 1, "closed from outside");
        attach(&mut event_loop, &mut peers);
        turn(&mut event_loop);
        assert_eq!(dropped.get(), 2, "closed by itself");
        let held = counted();
        let timer = event_loop.set_timer(HOUR, move |_, _| held.stays());
        event_loop.cancel_timer(timer);
        assert_eq!(dropped.get(), 3, "cancelled");
        let held = counted();
        event_loop.set_timer(Duration::ZERO, move |_, _| held.stays());
        run_until_idle(&mut event_loop);
        assert_eq!(dropped.get(), 4, "fired");
        attach(&mut event_loop, &mut peers);
        let held = counted();
        event_loop.set_timer(HOUR, move |_, _| held.stays());
        let held = counted();
        event_loop.after_turn(move |_| held.stays());
        let held = counted();
        event_loop.defer(move |_| drop(held));
        let held = counted();
        let sender = event_loop.on_message(move |_, ()| held.stays());
        drop(event_loop);
        assert_eq!(dropped.get(), 9, "the loop is gone");
        assert!(sender.send(()).is_err());
    });
}

fn run_until_idle(event_loop: &mut EventLoop<()>) {
    while event_loop.next_deadline().is_some() {
        event_loop.run_once(None).unwrap();
    }
}
