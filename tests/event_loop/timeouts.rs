//! Timeouts of fds, which call the handler of the fd.

use super::*;

#[derive(Default)]
struct Log {
    timeouts: usize,
    bytes: usize,
    /// When the timeout fired.
    came: Option<Instant>,
}

fn handler(event_loop: &mut EventLoop<Log>, key: Key<UnixStream>, cause: Cause) {
    if cause.is_timeout() {
        assert!(!cause.is_readable() && !cause.is_writable());
        event_loop.data_mut().timeouts += 1;
        event_loop.data_mut().came = Some(Instant::now());
    } else {
        let bytes = drain(event_loop.get(key).unwrap()).len();
        event_loop.data_mut().bytes += bytes;
    }
}

fn attach(event_loop: &mut EventLoop<Log>, trigger: Trigger) -> (Key<UnixStream>, UnixStream) {
    let (here, there) = pair();
    let key = event_loop.attach(here, Interest::READABLE, trigger, handler);
    (key.unwrap(), there)
}

/// Once and never early, and the fd stays attached.
#[test]
fn timeout_calls_the_handler_of_its_fd() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (key, mut there) = attach(&mut event_loop, trigger);
        let start = Instant::now();
        event_loop.set_timeout(key, 5 * MS).unwrap();
        run_until(&mut event_loop, |log| log.timeouts == 1);
        assert!(event_loop.data().came.unwrap() >= start + 5 * MS, "early");
        assert_quiet(&mut event_loop);
        assert!(!event_loop.clear_timeout(key), "it has fired");
        there.write_all(b"x").unwrap();
        run_until(&mut event_loop, |log| log.bytes == 1);
        assert_eq!(event_loop.data().timeouts, 1);
    });
}

/// The deadline is rounded up to the tick, whether the timeout is set, set again or pushed.
#[test]
fn timeout_is_not_early_with_a_coarse_tick() {
    on_every_loop(|loops| {
        for way in 0..3 {
            let builder = loops.builder().timer_tick(20 * MS);
            let mut event_loop = builder.build(Log::default()).unwrap();
            let (key, _there) = attach(&mut event_loop, Trigger::Level);
            let start = Instant::now();
            let after = 3 * MS;
            event_loop.set_timeout(key, after).unwrap();
            match way {
                0 => {}
                1 => event_loop.set_timeout(key, after).unwrap(),
                _ => event_loop.push_timeout(key).unwrap(),
            }
            run_until(&mut event_loop, |log| log.timeouts == 1);
            assert!(event_loop.data().came.unwrap() >= start + after, "{way}");
        }
    });
}

/// Each event pushes the timeout, for several times its length. It fires only when its length has
/// passed since the last push. (If this thread is held up for so long between two pushes, it fires
/// in between.)
#[test]
fn pushed_timeout_does_not_fire() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make((Instant::now(), 0, false));
        let (here, mut there) = ready_pair();
        let after = 5 * MS;
        let (busy_until, mut is_busy) = (Instant::now() + 6 * after, true);
        let key = event_loop
            .attach(
                here,
                Interest::READABLE,
                trigger,
                move |event_loop, key, cause| {
                    let (pushed, pushes, is_over) = event_loop.data_mut();
                    if cause.is_timeout() {
                        assert!(pushed.elapsed() >= after, "it was pushed");
                        *is_over = !is_busy;
                        return;
                    }
                    *pushed = Instant::now();
                    *pushes += 1;
                    // At least three pushes, even if the first is late.
                    is_busy = *pushed < busy_until || *pushes < 3;
                    event_loop.push_timeout(key).unwrap();
                    drain(event_loop.get(key).unwrap());
                    if trigger == Trigger::Oneshot {
                        event_loop.modify(key, Interest::READABLE).unwrap();
                    }
                    if is_busy {
                        there.write_all(b"y").unwrap();
                    }
                },
            )
            .unwrap();
        event_loop.set_timeout(key, after).unwrap();
        run_until(&mut event_loop, |(_, _, is_over)| *is_over);
        assert_eq!(event_loop.next_deadline(), None);
        assert!(event_loop.data().1 >= 3);
    });
}

/// The new deadline counts from the push, not from `set_timeout`.
#[test]
fn push_timeout_moves_the_deadline() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (key, _there) = attach(&mut event_loop, trigger);
        let set = Instant::now();
        event_loop.set_timeout(key, HOUR).unwrap();
        pass(Instant::now() + 2 * MS);
        let pushed = Instant::now();
        event_loop.push_timeout(key).unwrap();
        // The old deadline may stay in place until it has passed: it costs one wake-up.
        assert!(event_loop.next_deadline().unwrap() >= set + HOUR);
        event_loop.set_timeout(key, 4 * MS).unwrap();
        event_loop.push_timeout(key).unwrap();
        run_until(&mut event_loop, |log| log.timeouts == 1);
        assert!(event_loop.data().came.unwrap() >= pushed + 4 * MS);
    });
}

/// A second `set_timeout` replaces the first, with a later and with an earlier deadline.
#[test]
fn set_timeout_replaces_the_first() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (key, _there) = attach(&mut event_loop, trigger);
        event_loop.set_timeout(key, MS).unwrap();
        event_loop.set_timeout(key, HOUR).unwrap();
        pass(Instant::now() + 2 * MS);
        assert_quiet(&mut event_loop);
        event_loop.push_timeout(key).unwrap();
        assert!(event_loop.next_deadline().unwrap() > Instant::now() + HOUR / 2);
        event_loop.set_timeout(key, MS).unwrap();
        run_until(&mut event_loop, |log| log.timeouts == 1);
        assert_quiet(&mut event_loop);
        assert_eq!(event_loop.next_deadline(), None);
    });
}

/// By `set_timeout`, and by `push_timeout` with the duration that was set.
#[test]
fn timeout_armed_in_its_own_handler_fires_again() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Vec::new());
        let (here, _there) = pair();
        let key = event_loop
            .attach(
                here,
                Interest::READABLE,
                trigger,
                |event_loop, key, cause| {
                    assert!(cause.is_timeout());
                    event_loop.data_mut().push(Instant::now());
                    match event_loop.data().len() {
                        1 => event_loop.push_timeout(key).unwrap(),
                        2 => event_loop.set_timeout(key, 2 * MS).unwrap(),
                        3 => event_loop.push_timeout(key).unwrap(),
                        _ => {}
                    }
                },
            )
            .unwrap();
        event_loop.set_timeout(key, 5 * MS).unwrap();
        run_until(&mut event_loop, |came| came.len() == 4);
        assert_quiet(&mut event_loop);
        let came = event_loop.data();
        for (at, after) in [(1, 5), (2, 2), (3, 2)] {
            let took = came[at] - came[at - 1];
            assert!(took >= after * MS, "{at}: {took:?}");
        }
    });
}

#[test]
fn timeout_that_is_cleared_or_whose_fd_is_detached_does_not_fire() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (cleared, _one) = attach(&mut event_loop, trigger);
        let (detached, _two) = attach(&mut event_loop, trigger);
        let (closed, _three) = attach(&mut event_loop, trigger);
        for key in [cleared, detached, closed] {
            event_loop.set_timeout(key, MS).unwrap();
        }
        assert!(event_loop.clear_timeout(cleared) && !event_loop.clear_timeout(cleared));
        assert!(event_loop.push_timeout(cleared).is_err(), "it has none");
        let here = event_loop.detach(detached).unwrap();
        assert!(event_loop.close(closed));
        assert_eq!(event_loop.next_deadline(), None);
        // The new registration may have the index of an old one, but not its timeout.
        event_loop
            .attach(here, Interest::READABLE, trigger, handler)
            .unwrap();
        pass(Instant::now() + 2 * MS);
        assert_quiet(&mut event_loop);
        assert_eq!(event_loop.data().timeouts, 0);
    });
}

/// Two timeouts are due in one turn; the first handler closes the other fd.
#[test]
fn fd_closed_by_a_timeout_does_not_time_out() {
    on_every_trigger(|loops, trigger| {
        type Keys = (Vec<Key<UnixStream>>, usize);
        let mut event_loop = loops.make((Vec::new(), 0));
        let mut peers = Vec::new();
        for _ in 0..2 {
            let (here, there) = pair();
            let handler = |event_loop: &mut EventLoop<Keys>, key, _: Cause| {
                event_loop.data_mut().1 += 1;
                for other in event_loop.data().0.clone() {
                    assert!(other == key || event_loop.close(other));
                }
            };
            let key = event_loop
                .attach(here, Interest::READABLE, trigger, handler)
                .unwrap();
            event_loop.set_timeout(key, MS).unwrap();
            event_loop.data_mut().0.push(key);
            peers.push(there);
        }
        pass(Instant::now() + 2 * MS);
        assert_eq!(turn(&mut event_loop), 1);
        assert_eq!((event_loop.data().1, event_loop.len()), (1, 1));
        assert_eq!(event_loop.next_deadline(), None);
    });
}

/// The timeout keeps its deadline, and calls the handler with the new key.
#[test]
fn replace_fd_keeps_the_timeout() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Vec::new());
        let (here, _one) = pair();
        let start = Instant::now();
        let key = event_loop
            .attach(
                here,
                Interest::READABLE,
                trigger,
                |event_loop, key, cause| {
                    assert!(cause.is_timeout());
                    event_loop.data_mut().push((key, Instant::now()));
                },
            )
            .unwrap();
        event_loop.set_timeout(key, 10 * MS).unwrap();
        let deadline = event_loop.next_deadline();
        let (here, _two) = pair();
        let (new, _old) = event_loop.replace_fd(key, here).unwrap();
        assert_eq!(event_loop.next_deadline(), deadline);
        run_until(&mut event_loop, |came| !came.is_empty());
        let (who, when) = event_loop.data()[0];
        assert!(who == new && when >= start + 10 * MS);
        // The duration was kept, too.
        event_loop.push_timeout(new).unwrap();
        assert!(event_loop.clear_timeout(new));
        assert_quiet(&mut event_loop);
    });
}

#[test]
fn paused_fd_times_out() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (key, mut there) = attach(&mut event_loop, trigger);
        event_loop.set_timeout(key, MS).unwrap();
        event_loop.pause(key).unwrap();
        there.write_all(b"x").unwrap();
        run_until(&mut event_loop, |log| log.timeouts == 1);
        assert_eq!(event_loop.data().bytes, 0);
    });
}
