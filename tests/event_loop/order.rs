//! The order of work in a turn, hooks, and `stop`.

use super::*;
use std::sync::mpsc;
use std::thread;

type Trace = Vec<&'static str>;

fn hooks(event_loop: &mut EventLoop<Trace>) {
    event_loop.before_wait(|event_loop| event_loop.data_mut().push("before"));
    event_loop.after_events(|event_loop| event_loop.data_mut().push("events done"));
    event_loop.after_turn(|event_loop| event_loop.data_mut().push("turn done"));
}

/// One turn with work of each kind.
#[test]
fn turn_has_an_order() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Trace::new());
        hooks(&mut event_loop);
        // Set up in another order.
        event_loop.defer(|event_loop| event_loop.data_mut().push("deferred"));
        let timer = |event_loop: &mut EventLoop<Trace>, _| {
            event_loop.data_mut().push("timer");
            event_loop.defer(|event_loop| event_loop.data_mut().push("deferred by timer"));
        };
        event_loop.set_timer(MS, timer);
        let sender = event_loop.on_message(|event_loop, ()| event_loop.data_mut().push("message"));
        sender.send(()).unwrap();
        let (here, _there) = ready_pair();
        event_loop
            .attach(here, Interest::READABLE, trigger, |event_loop, key, _| {
                drain(event_loop.get(key).unwrap());
                event_loop.data_mut().push("event");
            })
            .unwrap();
        pass(Instant::now() + 2 * MS);
        assert_eq!(turn(&mut event_loop), 3);
        let order = [
            "before",
            "event",
            "events done",
            "message",
            "timer",
            "deferred",
            "deferred by timer",
            "turn done",
        ];
        assert_eq!(*event_loop.data(), order);
    });
}

/// The timeout is due in the turn in which another handler closes the fd.
#[test]
fn timeout_of_a_closed_fd_does_not_fire() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(None);
        let (here, _there) = pair();
        let doomed = event_loop
            .attach(here, Interest::READABLE, trigger, |_, _, cause| {
                panic!("it was called for {cause:?}");
            })
            .unwrap();
        event_loop.set_timeout(doomed, MS).unwrap();
        let (here, _other) = ready_pair();
        event_loop
            .attach(
                here,
                Interest::READABLE,
                trigger,
                move |event_loop, key, _| {
                    drain(event_loop.get(key).unwrap());
                    *event_loop.data_mut() = Some(event_loop.close(doomed));
                },
            )
            .unwrap();
        pass(Instant::now() + 2 * MS);
        assert_eq!(turn(&mut event_loop), 1);
        assert_eq!(*event_loop.data(), Some(true));
        assert_eq!(event_loop.next_deadline(), None);
    });
}

/// The next turn does not wait.
#[test]
fn defer_in_a_deferred_function_waits_for_the_next_turn() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Trace::new());
        event_loop.defer(|event_loop| {
            event_loop.data_mut().push("first");
            event_loop.defer(|event_loop| event_loop.data_mut().push("second"));
        });
        event_loop.turn(None).unwrap();
        assert_eq!(*event_loop.data(), ["first"]);
        assert!(event_loop.next_deadline().is_some(), "there is work");
        event_loop.turn(None).unwrap();
        assert_eq!(*event_loop.data(), ["first", "second"]);
        assert_eq!(event_loop.next_deadline(), None);
        assert_quiet(&mut event_loop);
    });
}

#[test]
fn hooks_are_called_on_idle_turns_in_the_order_they_were_added() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Trace::new());
        hooks(&mut event_loop);
        event_loop.after_turn(|event_loop| event_loop.data_mut().push("and again"));
        let one = ["before", "events done", "turn done", "and again"];
        for turns in 1..4 {
            assert_eq!(turn(&mut event_loop), 0);
            assert_eq!(*event_loop.data(), one.repeat(turns));
        }
    });
}

#[test]
fn hook_added_by_a_hook_waits_for_the_next_turn() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Trace::new());
        let mut is_first = true;
        event_loop.after_turn(move |event_loop| {
            event_loop.data_mut().push("old");
            if std::mem::take(&mut is_first) {
                event_loop.after_turn(|event_loop| event_loop.data_mut().push("new"));
            }
        });
        turn(&mut event_loop);
        assert_eq!(*event_loop.data(), ["old"]);
        turn(&mut event_loop);
        assert_eq!(*event_loop.data(), ["old", "old", "new"]);
    });
}

/// The hook sets a timer, defers a function, sends a message or attaches an fd; the wait ends in
/// time for it.
#[test]
fn wait_ends_in_time_for_the_work_of_a_before_wait_hook() {
    on_every_loop(|loops| {
        for what in 0..4 {
            let mut event_loop = loops.make(0);
            let sender = event_loop.on_message(|event_loop, ()| *event_loop.data_mut() += 1);
            let mut is_first = true;
            event_loop.before_wait(move |event_loop| {
                if !std::mem::take(&mut is_first) {
                    return;
                }
                match what {
                    0 => {
                        event_loop.set_timer(MS, |event_loop, _| *event_loop.data_mut() += 1);
                    }
                    1 => event_loop.defer(|event_loop| *event_loop.data_mut() += 1),
                    2 => sender.send(()).unwrap(),
                    _ => {
                        let (here, _) = pair();
                        let readable = Interest::READABLE;
                        event_loop
                            .attach(here, readable, Trigger::Level, |event_loop, key, _| {
                                *event_loop.data_mut() += 1;
                                event_loop.close(key);
                            })
                            .unwrap();
                    }
                }
            });
            run_until(&mut event_loop, |done| *done == 1);
        }
    });
}

/// C04. A signal ends the wait, and the turn is completed.
#[test]
fn signal_makes_an_empty_turn() {
    extern "C" fn handler(_: libc::c_int) {}
    // SAFETY: a zeroed sigaction without SA_RESTART and with a handler that does nothing is a valid
    // one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
    }
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Trace::new());
        hooks(&mut event_loop);
        // SAFETY: the call takes nothing.
        let this = unsafe { libc::pthread_self() } as usize;
        let (done, over) = mpsc::channel::<()>();
        let killer = thread::spawn(move || {
            while over.recv_timeout(5 * MS) == Err(mpsc::RecvTimeoutError::Timeout) {
                // SAFETY: the thread waits for this one, so it lives.
                unsafe { libc::pthread_kill(this as libc::pthread_t, libc::SIGUSR1) };
            }
        });
        for _ in 0..3 {
            event_loop.data_mut().clear();
            assert_eq!(event_loop.turn(None).unwrap(), 0);
            assert_eq!(*event_loop.data(), ["before", "events done", "turn done"]);
        }
        drop(done);
        killer.join().unwrap();
    });
}

/// Another thread stops a waiting loop: the turn is completed, and no work is left.
#[test]
fn stop_from_another_thread_ends_the_turn_that_waits() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make((0, Trace::new()));
        let (waits, waiting) = mpsc::channel();
        event_loop.before_wait(move |event_loop| {
            event_loop.data_mut().0 += 1;
            // Fails in a second turn, because the receiver is gone.
            let _ = waits.send(());
        });
        let sender = event_loop.on_message(|event_loop, ()| {
            event_loop.data_mut().1.push("message");
            event_loop.defer(|event_loop| event_loop.data_mut().1.push("deferred"));
        });
        event_loop.after_turn(|event_loop| event_loop.data_mut().1.push("hook"));
        let handle = event_loop.handle();
        let stopper = thread::spawn(move || {
            waiting.recv().unwrap();
            // The loop finds both when it wakes, or the message first.
            sender.send(()).unwrap();
            handle.stop();
        });
        event_loop.run().unwrap();
        stopper.join().unwrap();
        let (turns, trace) = event_loop.data();
        assert!(*turns <= 2, "{turns} turns");
        assert_eq!(trace[..3], ["message", "deferred", "hook"]);
        assert_eq!(trace.len(), 2 + turns);
        // The loop may find the stop before its notification, which is then left for one more turn.
        event_loop.data_mut().1.clear();
        event_loop.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(event_loop.data().1, ["hook"]);
        assert_eq!(event_loop.next_deadline(), None, "something is left over");
    });
}

/// Only the stop ends the wait.
#[test]
fn stop_alone_ends_the_wait() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(());
        for _ in 0..3 {
            let handle = event_loop.handle();
            let stopper = thread::spawn(move || {
                // By then the loop probably waits; if not, the stop has to end it all the same.
                thread::sleep(3 * MS);
                handle.stop();
            });
            event_loop.run().unwrap();
            stopper.join().unwrap();
        }
    });
}

/// The rest of the turn is completed, and the next `run` is not stopped.
#[test]
fn stop_in_a_handler_lets_the_turn_end() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Trace::new());
        for _ in 0..2 {
            let (here, there) = ready_pair();
            event_loop
                .attach(
                    here,
                    Interest::READABLE,
                    Trigger::Level,
                    move |event_loop, key, _| {
                        let _ = &there;
                        drain(event_loop.get(key).unwrap());
                        event_loop.data_mut().push("event");
                        event_loop.stop();
                        event_loop.defer(|event_loop| event_loop.data_mut().push("deferred"));
                    },
                )
                .unwrap();
        }
        event_loop.run().unwrap();
        assert_eq!(
            *event_loop.data(),
            ["event", "event", "deferred", "deferred"]
        );
        // The stop was consumed, so this `run` waits for the timer.
        event_loop.set_timer(MS, |event_loop, _| event_loop.stop());
        event_loop.run().unwrap();
    });
}

#[test]
fn stop_in_a_before_wait_hook_prevents_the_wait() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Trace::new());
        hooks(&mut event_loop);
        event_loop.before_wait(EventLoop::stop);
        event_loop.run().unwrap();
        assert_eq!(*event_loop.data(), ["before", "events done", "turn done"]);
    });
}

/// No hook is called, and the next `run` is not stopped.
#[test]
fn stop_before_run_ends_it_at_once() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Trace::new());
        hooks(&mut event_loop);
        event_loop.handle().stop();
        event_loop.run().unwrap();
        event_loop.stop();
        event_loop.run().unwrap();
        assert!(event_loop.data().is_empty());
        event_loop.after_turn(EventLoop::stop);
        event_loop.handle().wake();
        event_loop.run().unwrap();
        assert_eq!(event_loop.data().len(), 3);
    });
}
