//! L5: a panic leaves the loop consistent, and what it has cut short is done by the next run.

use super::*;
use std::panic::panic_any;

/// How many attached fds, timers and the like there are in each test.
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
    names: Vec<Source<UnixStream>>,
    /// Who was called, by its place among those that were attached.
    called: Vec<usize>,
    /// Where the new fd's peer is.
    peers: Vec<UnixStream>,
}

fn attach_many(event_loop: &mut EventLoop<Log>, trigger: Trigger, before: Before) {
    for at in 0..MANY {
        let (here, there) = ready_pair();
        let handler = move |event_loop: &mut EventLoop<Log>, name, _| {
            let is_first = event_loop.data().called.is_empty();
            event_loop.data_mut().called.push(at);
            if is_first {
                // What there is to read is left there.
                deed(event_loop, before, at);
                panic_any("handler");
            }
            drain(event_loop.get(name).unwrap());
        };
        let name = event_loop.attach(here, Interest::READABLE, trigger, handler);
        event_loop.data_mut().names.push(name.unwrap());
        event_loop.data_mut().peers.push(there);
    }
}

fn deed(event_loop: &mut EventLoop<Log>, before: Before, at: usize) {
    let name = event_loop.data().names[at];
    match before {
        Before::Nothing => {}
        Before::Detaches => drop(event_loop.detach(name).unwrap()),
        Before::Replaces => {
            let (here, there) = pair();
            let (new, _old) = event_loop.replace_fd(name, here).unwrap();
            event_loop.data_mut().names[at] = new;
            event_loop.data_mut().peers[at] = there;
        }
        Before::ClosesAnother => {
            let other = (at + 1) % MANY;
            assert!(event_loop.close(event_loop.data().names[other]));
        }
    }
}

#[test]
fn the_rest_of_the_batch_is_delivered_by_the_next_run() {
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
                if event_loop.is_attached(event_loop.data().names[at]) {
                    run_until(&mut event_loop, |log| log.called.contains(&at));
                } else {
                    assert!(!event_loop.data().called.contains(&at), "{before:?} {at}");
                }
            }
            goes_on(&mut event_loop, trigger, before, first);
        }
    });
}

/// Whoever panicked is called again for what comes, unless it has detached itself.
fn goes_on(event_loop: &mut EventLoop<Log>, trigger: Trigger, before: Before, first: usize) {
    let name = event_loop.data().names[first];
    if before == Before::Detaches {
        assert!(!event_loop.is_attached(name));
        return assert_quiet(event_loop);
    }
    if before != Before::Replaces && trigger == Trigger::Oneshot {
        event_loop.modify(name, Interest::READABLE).unwrap();
    }
    event_loop.data_mut().called = vec![usize::MAX];
    event_loop.data_mut().peers[first].write_all(b"y").unwrap();
    run_until(event_loop, |log| log.called.contains(&first));
    assert!(
        event_loop
            .get(name)
            .is_some_and(|left| drain(left).is_empty())
    );
}

/// The last one of a batch, which leaves no rest of it.
#[test]
fn what_stands_behind_a_panic_in_the_turn_is_not_lost() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Vec::new());
        let (here, _there) = ready_pair();
        event_loop
            .attach(here, Interest::READABLE, trigger, |event_loop, name, _| {
                let sender =
                    event_loop.on_message(|event_loop, ()| event_loop.data_mut().push("message"));
                sender.send(()).unwrap();
                event_loop.set_timer(Duration::ZERO, |event_loop, _| {
                    event_loop.data_mut().push("timer")
                });
                event_loop.defer(|event_loop| event_loop.data_mut().push("deferred"));
                event_loop.close(name);
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

/// A hang-up that was delivered to a handler which panicked is told again where it would have been without the panic.
#[test]
fn what_is_left_to_read_after_a_hang_up_is_told_in_spite_of_a_panic() {
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
                |event_loop, name, _| {
                    let mut byte = [0];
                    let length = event_loop.get(name).unwrap().read(&mut byte).unwrap();
                    let (panicked, got) = event_loop.data_mut();
                    got.extend(&byte[..length]);
                    if !std::mem::replace(panicked, true) {
                        panic_any("handler");
                    }
                    if length == 0 {
                        event_loop.close(name);
                    }
                },
            )
            .unwrap();
        assert_eq!(panic_of(&mut event_loop), "handler");
        while !event_loop.is_empty() {
            event_loop.run_once(None).unwrap();
        }
        assert_eq!(event_loop.data().1, b"abc");
    });
}

#[test]
fn the_rest_of_the_messages_is_handled_by_the_next_run_in_order() {
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
        // Behind what was sent before.
        senders[0].send(4).unwrap();
        run_until(&mut event_loop, |got| got.len() == 9);
        for (which, count) in [('a', 5), ('b', 4)] {
            let got = event_loop.data().iter().filter(|(from, _)| *from == which);
            let numbers: Vec<u32> = got.map(|(_, number)| *number).collect();
            assert_eq!(numbers, (0..count).collect::<Vec<_>>());
        }
    });
}

/// Nobody can send any more, and the handler stays for what is left.
#[test]
fn messages_left_by_a_panic_are_handled_though_their_sender_is_gone() {
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
fn the_rest_of_the_timers_fires_in_the_next_run() {
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

/// A timer that cancels itself and panics is gone; its place is used again without harm.
#[test]
fn a_timer_that_cancelled_itself_before_it_panicked_is_gone() {
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
fn the_rest_of_the_timeouts_comes_in_the_next_run() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Vec::new());
        let mut peers = Vec::new();
        for at in 0..MANY {
            let (here, there) = pair();
            let handler = move |event_loop: &mut EventLoop<Vec<usize>>,
                                _: Source<UnixStream>,
                                cause: Cause| {
                assert!(cause.is_timeout());
                event_loop.data_mut().push(at);
                if event_loop.data().len() == 1 {
                    panic_any("timeout");
                }
            };
            let name = event_loop
                .attach(here, Interest::READABLE, trigger, handler)
                .unwrap();
            event_loop.set_timeout(name, MS).unwrap();
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
fn the_rest_of_what_was_deferred_is_done_by_the_next_run_in_order() {
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
fn a_hook_that_panics_stays_and_so_do_the_others() {
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
            assert_eq!(*event_loop.data(), [0, 1, 0, 1, 2], "place {place}");
        }
    });
}

/// After a panic the loop can be run, so it does not think that it runs; and another thread can wake it.
#[test]
fn a_loop_that_panicked_is_woken_by_others_as_before() {
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
