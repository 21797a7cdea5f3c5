//! Every function of the loop may be called by handlers, timers, messages, hooks and deferred
//! functions.

use super::*;
use reveille::event_loop::TimerKey;
use std::cell::Cell;
use std::rc::Rc;

/// The effects of `call_everything`.
#[derive(Default)]
struct World {
    rounds: usize,
    victims: Vec<Key<UnixStream>>,
    timers: Vec<TimerKey>,
    peers: Vec<UnixStream>,
    later: usize,
}

/// Calls every function of a running loop.
fn call_everything(event_loop: &mut EventLoop<World>) {
    let refused = event_loop.run().unwrap_err();
    assert!(refused.to_string().contains("running already"), "{refused}");
    assert!(event_loop.turn(Some(Duration::ZERO)).is_err());

    let (here, there) = ready_pair();
    let readable = Interest::READABLE;
    let new = event_loop
        .attach(here, readable, Trigger::Level, |event_loop, key, _| {
            event_loop.data_mut().later += 1;
            event_loop.close(key);
        })
        .unwrap();
    event_loop.data_mut().peers.push(there);
    event_loop.modify(new, Interest::EMPTY).unwrap();
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
    event_loop.data_mut().rounds += 1;
}

/// Makes a loop with three fds and a timer that `call_everything` removes.
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

/// Runs until all five effects have happened: of an fd, a timer, a deferred function, a message and
/// a hook.
#[track_caller]
fn finish(event_loop: &mut EventLoop<World>) {
    run_until(event_loop, |world| world.rounds > 0 && world.later == 5);
    assert_quiet(event_loop);
    let world = event_loop.data();
    assert_eq!((world.rounds, world.later), (1, 5));
    // One of the three fds was replaced. The new fd of `call_everything` has closed itself.
    assert_eq!(event_loop.len(), 1);
}

/// A hook that calls everything in its first turn.
fn once() -> impl FnMut(&mut EventLoop<World>) {
    let mut is_first = true;
    move |event_loop| {
        if std::mem::take(&mut is_first) {
            call_everything(event_loop);
        }
    }
}

#[test]
fn handler_may_call_everything() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = world(loops);
        let (here, _there) = ready_pair();
        event_loop
            .attach(here, Interest::READABLE, trigger, |event_loop, key, _| {
                call_everything(event_loop);
                event_loop.close(key);
            })
            .unwrap();
        finish(&mut event_loop);
    });
}

#[test]
fn timer_may_call_everything() {
    on_every_loop(|loops| {
        let mut event_loop = world(loops);
        event_loop.set_timer(MS, |event_loop, _| call_everything(event_loop));
        finish(&mut event_loop);
    });
}

#[test]
fn timeout_may_call_everything() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = world(loops);
        let (here, _there) = pair();
        let key = event_loop
            .attach(here, Interest::READABLE, trigger, |event_loop, key, _| {
                call_everything(event_loop);
                event_loop.close(key);
            })
            .unwrap();
        event_loop.set_timeout(key, MS).unwrap();
        finish(&mut event_loop);
    });
}

#[test]
fn message_handler_may_call_everything() {
    on_every_loop(|loops| {
        let mut event_loop = world(loops);
        let sender = event_loop.on_message(|event_loop, ()| call_everything(event_loop));
        sender.send(()).unwrap();
        finish(&mut event_loop);
    });
}

#[test]
fn hooks_may_call_everything() {
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
fn deferred_function_may_call_everything() {
    on_every_loop(|loops| {
        let mut event_loop = world(loops);
        event_loop.defer(call_everything);
        finish(&mut event_loop);
    });
}

/// A handler may run a loop other than its own.
#[test]
fn handler_may_run_another_loop() {
    on_every_loop(|loops| {
        let mut inner = loops.make(0);
        inner.defer(|inner| *inner.data_mut() += 1);
        let mut outer = loops.make(0);
        outer.defer(move |outer| {
            inner.turn(None).unwrap();
            *outer.data_mut() += *inner.data();
        });
        outer.turn(None).unwrap();
        assert_eq!(*outer.data(), 1);
    });
}

/// Not later, so that values that the handlers own are freed in time.
#[test]
fn handlers_are_dropped_with_their_fd_timer_or_loop() {
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
                    move |event_loop, key, _| {
                        let _ = &held;
                        event_loop.close(key);
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
        event_loop.turn(None).unwrap();
    }
}
