//! Timeouts of fds: they come to the fd's own handler.

use super::*;

#[derive(Default)]
struct Log {
    timeouts: usize,
    bytes: usize,
    /// When the timeout came.
    came: Option<Instant>,
}

fn handler(event_loop: &mut EventLoop<Log>, name: Source<UnixStream>, cause: Cause) {
    if cause.is_timeout() {
        assert!(!cause.is_readable() && !cause.is_writable());
        event_loop.data_mut().timeouts += 1;
        event_loop.data_mut().came = Some(Instant::now());
    } else {
        let bytes = drain(event_loop.get(name).unwrap()).len();
        event_loop.data_mut().bytes += bytes;
    }
}

fn attach(event_loop: &mut EventLoop<Log>, trigger: Trigger) -> (Source<UnixStream>, UnixStream) {
    let (here, there) = pair();
    let name = event_loop.attach(here, Interest::READABLE, trigger, handler);
    (name.unwrap(), there)
}

/// It arrives at the same handler as events do, once, never early, and the fd stays attached.
#[test]
fn a_timeout_comes_to_the_handler_of_its_fd() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (name, mut there) = attach(&mut event_loop, trigger);
        let start = Instant::now();
        event_loop.set_timeout(name, 5 * MS).unwrap();
        run_until(&mut event_loop, |log| log.timeouts == 1);
        assert!(event_loop.data().came.unwrap() >= start + 5 * MS, "early");
        assert_quiet(&mut event_loop);
        assert!(!event_loop.clear_timeout(name), "it has come");
        there.write_all(b"x").unwrap();
        run_until(&mut event_loop, |log| log.bytes == 1);
        assert_eq!(event_loop.data().timeouts, 1);
    });
}

/// Rounded up to the tick, however coarse that is: set, set again and pushed.
#[test]
fn a_timeout_is_not_early_by_a_coarse_tick() {
    on_every_loop(|loops| {
        for way in 0..3 {
            let builder = loops.builder().timer_tick(20 * MS);
            let mut event_loop = builder.build(Log::default()).unwrap();
            let (name, _there) = attach(&mut event_loop, Trigger::Level);
            let start = Instant::now();
            let after = 3 * MS;
            event_loop.set_timeout(name, after).unwrap();
            match way {
                0 => {}
                1 => event_loop.set_timeout(name, after).unwrap(),
                _ => event_loop.push_timeout(name).unwrap(),
            }
            run_until(&mut event_loop, |log| log.timeouts == 1);
            assert!(event_loop.data().came.unwrap() >= start + after, "{way}");
        }
    });
}

/// Pushed by whatever comes, it does not come before its length has gone by since the last push, though many times that
/// goes by; then it does. (On a machine that stops this thread for so long between two pushes, it may come in between.)
#[test]
fn a_timeout_that_is_pushed_does_not_come() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make((Instant::now(), 0, false));
        let (here, mut there) = ready_pair();
        let after = 5 * MS;
        let (busy_until, mut is_busy) = (Instant::now() + 6 * after, true);
        let name = event_loop
            .attach(
                here,
                Interest::READABLE,
                trigger,
                move |event_loop, name, cause| {
                    let (pushed, pushes, is_over) = event_loop.data_mut();
                    if cause.is_timeout() {
                        assert!(pushed.elapsed() >= after, "it was pushed");
                        *is_over = !is_busy;
                        return;
                    }
                    *pushed = Instant::now();
                    *pushes += 1;
                    // Also where the first of them comes late.
                    is_busy = *pushed < busy_until || *pushes < 3;
                    event_loop.push_timeout(name).unwrap();
                    drain(event_loop.get(name).unwrap());
                    if trigger == Trigger::Oneshot {
                        event_loop.modify(name, Interest::READABLE).unwrap();
                    }
                    if is_busy {
                        there.write_all(b"y").unwrap();
                    }
                },
            )
            .unwrap();
        event_loop.set_timeout(name, after).unwrap();
        run_until(&mut event_loop, |(_, _, is_over)| *is_over);
        assert_eq!(event_loop.next_deadline(), None);
        assert!(event_loop.data().1 >= 3);
    });
}

/// A push is counted from now, not from when the timeout was set.
#[test]
fn a_push_moves_the_deadline() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (name, _there) = attach(&mut event_loop, trigger);
        let set = Instant::now();
        event_loop.set_timeout(name, HOUR).unwrap();
        pass(Instant::now() + 2 * MS);
        let pushed = Instant::now();
        event_loop.push_timeout(name).unwrap();
        // What it was may stand until the loop has looked, as it does not cost a wake-up more than that.
        assert!(event_loop.next_deadline().unwrap() >= set + HOUR);
        event_loop.set_timeout(name, 4 * MS).unwrap();
        event_loop.push_timeout(name).unwrap();
        run_until(&mut event_loop, |log| log.timeouts == 1);
        assert!(event_loop.data().came.unwrap() >= pushed + 4 * MS);
    });
}

/// A push moves no deadline to before what it was; a second `set_timeout` replaces the first, to both sides.
#[test]
fn a_timeout_set_again_replaces_the_first() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (name, _there) = attach(&mut event_loop, trigger);
        event_loop.set_timeout(name, MS).unwrap();
        event_loop.set_timeout(name, HOUR).unwrap();
        pass(Instant::now() + 2 * MS);
        assert_quiet(&mut event_loop);
        event_loop.push_timeout(name).unwrap();
        assert!(event_loop.next_deadline().unwrap() > Instant::now() + HOUR / 2);
        event_loop.set_timeout(name, MS).unwrap();
        run_until(&mut event_loop, |log| log.timeouts == 1);
        assert_quiet(&mut event_loop);
        assert_eq!(event_loop.next_deadline(), None);
    });
}

/// Set and pushed inside its own handler it comes again; by `push_timeout` after as long as it was set to.
#[test]
fn a_timeout_armed_in_its_own_handler_comes_again() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Vec::new());
        let (here, _there) = pair();
        let name = event_loop
            .attach(
                here,
                Interest::READABLE,
                trigger,
                |event_loop, name, cause| {
                    assert!(cause.is_timeout());
                    event_loop.data_mut().push(Instant::now());
                    match event_loop.data().len() {
                        1 => event_loop.push_timeout(name).unwrap(),
                        2 => event_loop.set_timeout(name, 2 * MS).unwrap(),
                        3 => event_loop.push_timeout(name).unwrap(),
                        _ => {}
                    }
                },
            )
            .unwrap();
        event_loop.set_timeout(name, 5 * MS).unwrap();
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
fn a_timeout_that_is_cleared_or_whose_fd_is_detached_does_not_come() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (cleared, _one) = attach(&mut event_loop, trigger);
        let (detached, _two) = attach(&mut event_loop, trigger);
        let (closed, _three) = attach(&mut event_loop, trigger);
        for name in [cleared, detached, closed] {
            event_loop.set_timeout(name, MS).unwrap();
        }
        assert!(event_loop.clear_timeout(cleared) && !event_loop.clear_timeout(cleared));
        assert!(event_loop.push_timeout(cleared).is_err(), "it has none");
        let here = event_loop.detach(detached).unwrap();
        assert!(event_loop.close(closed));
        assert_eq!(event_loop.next_deadline(), None);
        // The place of one that had a timeout: its timeout is not the new one's.
        event_loop
            .attach(here, Interest::READABLE, trigger, handler)
            .unwrap();
        pass(Instant::now() + 2 * MS);
        assert_quiet(&mut event_loop);
        assert_eq!(event_loop.data().timeouts, 0);
    });
}

/// Due in one pass; whoever comes first closes the other.
#[test]
fn who_is_closed_by_a_timeout_does_not_time_out() {
    on_every_trigger(|loops, trigger| {
        type Names = (Vec<Source<UnixStream>>, usize);
        let mut event_loop = loops.make((Vec::new(), 0));
        let mut peers = Vec::new();
        for _ in 0..2 {
            let (here, there) = pair();
            let handler = |event_loop: &mut EventLoop<Names>, name, _: Cause| {
                event_loop.data_mut().1 += 1;
                for other in event_loop.data().0.clone() {
                    assert!(other == name || event_loop.close(other));
                }
            };
            let name = event_loop
                .attach(here, Interest::READABLE, trigger, handler)
                .unwrap();
            event_loop.set_timeout(name, MS).unwrap();
            event_loop.data_mut().0.push(name);
            peers.push(there);
        }
        pass(Instant::now() + 2 * MS);
        assert_eq!(turn(&mut event_loop), 1);
        assert_eq!((event_loop.data().1, event_loop.len()), (1, 1));
        assert_eq!(event_loop.next_deadline(), None);
    });
}

/// The timeout goes with the handler to the new fd, at the moment it was set for, and names the new fd.
#[test]
fn a_timeout_is_kept_when_the_fd_is_replaced() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Vec::new());
        let (here, _one) = pair();
        let start = Instant::now();
        let name = event_loop
            .attach(
                here,
                Interest::READABLE,
                trigger,
                |event_loop, name, cause| {
                    assert!(cause.is_timeout());
                    event_loop.data_mut().push((name, Instant::now()));
                },
            )
            .unwrap();
        event_loop.set_timeout(name, 10 * MS).unwrap();
        let deadline = event_loop.next_deadline();
        let (here, _two) = pair();
        let (new, _old) = event_loop.replace_fd(name, here).unwrap();
        assert_eq!(event_loop.next_deadline(), deadline);
        run_until(&mut event_loop, |came| !came.is_empty());
        let (who, when) = event_loop.data()[0];
        assert!(who == new && when >= start + 10 * MS);
        // It is as long as it was, for the new one too.
        event_loop.push_timeout(new).unwrap();
        assert!(event_loop.clear_timeout(new));
        assert_quiet(&mut event_loop);
    });
}

/// A paused fd has its timeout all the same.
#[test]
fn a_paused_fd_times_out() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (name, mut there) = attach(&mut event_loop, trigger);
        event_loop.set_timeout(name, MS).unwrap();
        event_loop.pause(name).unwrap();
        there.write_all(b"x").unwrap();
        run_until(&mut event_loop, |log| log.timeouts == 1);
        assert_eq!(event_loop.data().bytes, 0);
    });
}
