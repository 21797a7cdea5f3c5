//! Panics of handlers, timers, messages, hooks and deferred functions: the loop stays consistent,
//! and the next run completes the turn.

use super::*;
use std::panic::panic_any;

/// How many fds, timers or deferred functions each test has.
const MANY: usize = 5;

/// What a handler does before it panics.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Before {
    Nothing,
    Detaches,
    Replaces,
    ClosesAnother,
}

#[derive(Default)]
struct Log {
    keys: Vec<Key<UnixStream>>,
    /// The indices of the fds whose handler was called.
    called: Vec<usize>,
    /// The peer of each fd.
    peers: Vec<UnixStream>,
}

fn attach_many(event_loop: &mut EventLoop<Log>, trigger: Trigger, before: Before) {
    for at in 0..MANY {
        let (here, there) = ready_pair();
        let handler = move |event_loop: &mut EventLoop<Log>, key, _| {
            let is_first = event_loop.data().called.is_empty();
            event_loop.data_mut().called.push(at);
            if is_first {
                // The data is left unread.
                act(event_loop, before, at);
                panic_any("handler");
            }
            drain(event_loop.get(key).unwrap());
        };
        let key = event_loop.attach(here, Interest::READABLE, trigger, handler);
        event_loop.data_mut().keys.push(key.unwrap());
        event_loop.data_mut().peers.push(there);
    }
}

fn act(event_loop: &mut EventLoop<Log>, before: Before, at: usize) {
    let key = event_loop.data().keys[at];
    match before {
        Before::Nothing => {}
        Before::Detaches => drop(event_loop.detach(key).unwrap()),
        Before::Replaces => {
            let (here, there) = pair();
            let (new, _old) = event_loop.replace_fd(key, here).unwrap();
            event_loop.data_mut().keys[at] = new;
            event_loop.data_mut().peers[at] = there;
        }
        Before::ClosesAnother => {
            let other = (at + 1) % MANY;
            assert!(event_loop.close(event_loop.data().keys[other]));
        }
    }
}

#[test]
fn panic_leaves_the_rest_of_the_batch_to_the_next_run() {
    on_every_trigger(|loops, trigger| {
        for before in [
            Before::Nothing,
            Before::Detaches,
            Before::Replaces,
            Before::ClosesAnother,
        ] {
            let mut event_loop = loops.make(Log::default());
            attach_many(&mut event_loop, trigger, before);
            assert_eq!(panic_of(&mut event_loop), "handler");
            let first = event_loop.data().called[0];
            for at in (0..MANY).filter(|at| *at != first) {
                if event_loop.is_attached(event_loop.data().keys[at]) {
                    run_until(&mut event_loop, |log| log.called.contains(&at));
                } else {
                    assert!(!event_loop.data().called.contains(&at), "{before:?} {at}");
                }
            }
            goes_on(&mut event_loop, trigger, before, first);
        }
    });
}

/// A handler that has panicked is called again for new data, unless it has detached its fd.
fn goes_on(event_loop: &mut EventLoop<Log>, trigger: Trigger, before: Before, first: usize) {
    let key = event_loop.data().keys[first];
    if before == Before::Detaches {
        assert!(!event_loop.is_attached(key));
        return assert_quiet(event_loop);
    }
    if before != Before::Replaces && trigger == Trigger::Oneshot {
        event_loop.modify(key, Interest::READABLE).unwrap();
    }
    event_loop.data_mut().called = vec![usize::MAX];
    event_loop.data_mut().peers[first].write_all(b"y").unwrap();
    run_until(event_loop, |log| log.called.contains(&first));
    assert!(
        event_loop
            .get(key)
            .is_some_and(|left| drain(left).is_empty())
    );
}

/// The handler of the last fd of a batch panics.
#[test]
fn panic_leaves_the_rest_of_the_turn_to_the_next_run() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Vec::new());
        let (here, _there) = ready_pair();
        event_loop
            .attach(here, Interest::READABLE, trigger, |event_loop, key, _| {
                let sender =
                    event_loop.on_message(|event_loop, ()| event_loop.data_mut().push("message"));
                sender.send(()).unwrap();
                event_loop.set_timer(Duration::ZERO, |event_loop, _| {
                    event_loop.data_mut().push("timer")
                });
                event_loop.defer(|event_loop| event_loop.data_mut().push("deferred"));
                event_loop.close(key);
                panic_any("handler");
            })
            .unwrap();
        assert_eq!(panic_of(&mut event_loop), "handler");
        run_until(&mut event_loop, |done| done.len() == 3);
        event_loop.data_mut().sort_unstable();
        assert_eq!(*event_loop.data(), ["deferred", "message", "timer"]);
        assert!(event_loop.is_empty());
    });
}

/// The rest of the data and the hang-up are reported after a panic, as without one.
#[test]
fn hang_up_is_reported_again_after_a_panic() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make((false, Vec::<u8>::new()));
        let (here, mut there) = pair();
        there.write_all(b"abc").unwrap();
        drop(there);
        event_loop
            .attach(
                here,
                Interest::READABLE,
                Trigger::Level,
                |event_loop, key, _| {
                    let mut byte = [0];
                    let length = event_loop.get(key).unwrap().read(&mut byte).unwrap();
                    let (panicked, got) = event_loop.data_mut();
                    got.extend(&byte[..length]);
                    if !std::mem::replace(panicked, true) {
                        panic_any("handler");
                    }
                    if length == 0 {
                        event_loop.close(key);
                    }
                },
            )
            .unwrap();
        assert_eq!(panic_of(&mut event_loop), "handler");
        while !event_loop.is_empty() {
            event_loop.turn(None).unwrap();
        }
        assert_eq!(event_loop.data().1, b"abc");
    });
}

#[test]
fn panic_leaves_the_rest_of_the_messages_to_the_next_run() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Vec::new());
        let senders = ['a', 'b'].map(|which| {
            event_loop.on_message(move |event_loop, number: u32| {
                event_loop.data_mut().push((which, number));
                if (which, number) == ('a', 1) {
                    panic_any("message");
                }
            })
        });
        for sender in &senders {
            for number in 0..4 {
                sender.send(number).unwrap();
            }
        }
        assert_eq!(panic_of(&mut event_loop), "message");
        assert_eq!(*event_loop.data(), [('a', 0), ('a', 1)]);
        assert!(event_loop.next_deadline().is_some(), "there is work left");
        // Handled after the messages that were sent before.
        senders[0].send(4).unwrap();
        run_until(&mut event_loop, |got| got.len() == 9);
        for (which, count) in [('a', 5), ('b', 4)] {
            let got = event_loop.data().iter().filter(|(from, _)| *from == which);
            let numbers: Vec<u32> = got.map(|(_, number)| *number).collect();
            assert_eq!(numbers, (0..count).collect::<Vec<_>>());
        }
    });
}

/// The handler stays until the last message is handled.
#[test]
fn messages_left_by_a_panic_are_handled_after_their_sender_is_dropped() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Vec::new());
        let sender = event_loop.on_message(|event_loop, number: u32| {
            event_loop.data_mut().push(number);
            if number == 0 {
                panic_any("message");
            }
        });
        sender.send(0).unwrap();
        sender.send(1).unwrap();
        drop(sender);
        assert_eq!(panic_of(&mut event_loop), "message");
        run_until(&mut event_loop, |got| *got == [0, 1]);
    });
}

#[test]
fn panic_leaves_the_rest_of_the_timers_to_the_next_run() {
    on_every_loop(|loops| {
        for again in [false, true] {
            let mut event_loop = loops.make(Vec::new());
            for at in 0..MANY {
                event_loop.set_timer(MS, move |event_loop, timer| {
                    let is_first = event_loop.data().is_empty();
                    event_loop.data_mut().push(at);
                    if is_first {
                        if again {
                            assert!(event_loop.reset_timer(timer, MS));
                        }
                        panic_any("timer");
                    }
                });
            }
            pass(Instant::now() + 2 * MS);
            assert_eq!(panic_of(&mut event_loop), "timer");
            let first = event_loop.data()[0];
            let expected = MANY + usize::from(again);
            run_until(&mut event_loop, |fired| fired.len() == expected);
            assert_eq!(event_loop.next_deadline(), None);
            let mut fired = event_loop.data().clone();
            fired.sort_unstable();
            fired.dedup();
            assert_eq!(fired, (0..MANY).collect::<Vec<_>>());
            let firsts = event_loop.data().iter().filter(|at| **at == first);
            assert_eq!(firsts.count(), 1 + usize::from(again));
        }
    });
}

/// Its index is reused by a new timer.
#[test]
fn timer_that_cancels_itself_and_panics_is_removed() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(0);
        event_loop.set_timer(Duration::ZERO, |event_loop, timer| {
            event_loop.cancel_timer(timer);
            event_loop.set_timer(MS, |event_loop, _| *event_loop.data_mut() += 1);
            panic_any("timer");
        });
        pass(Instant::now() + MS);
        assert_eq!(panic_of(&mut event_loop), "timer");
        run_until(&mut event_loop, |fired| *fired == 1);
        assert_eq!(event_loop.next_deadline(), None);
    });
}

#[test]
fn panic_leaves_the_rest_of_the_timeouts_to_the_next_run() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Vec::new());
        let mut peers = Vec::new();
        for at in 0..MANY {
            let (here, there) = pair();
            let handler =
                move |event_loop: &mut EventLoop<Vec<usize>>, _: Key<UnixStream>, cause: Cause| {
                    assert!(cause.is_timeout());
                    event_loop.data_mut().push(at);
                    if event_loop.data().len() == 1 {
                        panic_any("timeout");
                    }
                };
            let key = event_loop
                .attach(here, Interest::READABLE, trigger, handler)
                .unwrap();
            event_loop.set_timeout(key, MS).unwrap();
            peers.push(there);
        }
        pass(Instant::now() + 2 * MS);
        assert_eq!(panic_of(&mut event_loop), "timeout");
        run_until(&mut event_loop, |called| called.len() == MANY);
        event_loop.data_mut().sort_unstable();
        assert_eq!(*event_loop.data(), (0..MANY).collect::<Vec<_>>());
    });
}

#[test]
fn panic_leaves_the_rest_of_the_deferred_functions_to_the_next_run() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Vec::new());
        for at in 0..MANY {
            event_loop.defer(move |event_loop| {
                event_loop.data_mut().push(at);
                if at == 1 {
                    event_loop.defer(|event_loop| event_loop.data_mut().push(MANY));
                    panic_any("deferred");
                }
            });
        }
        assert_eq!(panic_of(&mut event_loop), "deferred");
        assert_eq!(*event_loop.data(), [0, 1]);
        run_until(&mut event_loop, |done| done.len() == MANY + 1);
        assert_eq!(*event_loop.data(), (0..=MANY).collect::<Vec<_>>());
    });
}

#[test]
fn hook_that_panics_stays_and_so_do_the_others() {
    on_every_loop(|loops| {
        for place in 0..3 {
            let mut event_loop = loops.make(Vec::new());
            for at in 0..3 {
                let hook = move |event_loop: &mut EventLoop<Vec<usize>>| {
                    event_loop.data_mut().push(at);
                    if at == 1 && event_loop.data().len() == 2 {
                        panic_any("hook");
                    }
                };
                match place {
                    0 => event_loop.before_wait(hook),
                    1 => event_loop.after_events(hook),
                    _ => event_loop.after_turn(hook),
                }
            }
            assert_eq!(panic_of(&mut event_loop), "hook");
            turn(&mut event_loop);
            assert_eq!(*event_loop.data(), [0, 1, 0, 1, 2], "point {place}");
        }
    });
}

/// After a panic the loop can run again, and another thread can wake it.
#[test]
fn event_loop_can_be_woken_after_a_panic() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(0);
        event_loop.defer(|_| panic_any("deferred"));
        let sender = event_loop.on_message(|event_loop, ()| *event_loop.data_mut() += 1);
        assert_eq!(panic_of(&mut event_loop), "deferred");
        let thread = std::thread::spawn(move || {
            std::thread::sleep(2 * MS);
            sender.send(()).unwrap();
        });
        run_until(&mut event_loop, |got| *got == 1);
        thread.join().unwrap();
    });
}
