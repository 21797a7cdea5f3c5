//! Timers, and the faults of FastDFS's timer wheel, which this one must not have.

use super::*;
use reveille::event_loop::TimerKey;
use std::cell::Cell;
use std::rc::Rc;

/// Which timers have fired.
type Fired = Vec<&'static str>;

fn note(which: &'static str) -> impl FnMut(&mut EventLoop<Fired>, TimerKey) {
    move |event_loop, _| event_loop.data_mut().push(which)
}

#[test]
fn timer_is_never_early_and_fires_once() {
    on_every_loop(|loops| {
        for tick in [Duration::from_nanos(1), MS, 100 * MS] {
            let builder = loops.builder().timer_tick(tick);
            let mut event_loop = builder.build(Vec::new()).unwrap();
            let start = Instant::now();
            let waits = [Duration::ZERO, Duration::from_micros(300), MS, 7 * MS];
            for after in waits {
                event_loop.set_timer(after, move |event_loop: &mut EventLoop<Vec<_>>, _| {
                    event_loop.data_mut().push((after, start.elapsed()));
                });
                event_loop.set_timer_at(start + after, move |event_loop, _| {
                    event_loop.data_mut().push((after, start.elapsed()));
                });
            }
            run_until(&mut event_loop, |fired| fired.len() == 2 * waits.len());
            for (after, took) in event_loop.data() {
                assert!(took >= after, "{took:?} is early for {after:?}");
            }
            assert_eq!(event_loop.next_deadline(), None);
            assert_quiet(&mut event_loop);
        }
    });
}

#[test]
fn wait_ends_for_the_earliest_timer() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Fired::new());
        event_loop.set_timer(Duration::MAX, note("never"));
        assert_eq!(event_loop.next_deadline(), None);
        event_loop.set_timer(HOUR, note("late"));
        let soon = event_loop.set_timer(2 * HOUR, note("soon"));
        assert!(event_loop.reset_timer(soon, MS));
        assert_quiet_until(&mut event_loop, "soon");
        assert!(event_loop.next_deadline().unwrap() > Instant::now());
    });
}

#[track_caller]
fn assert_quiet_until(event_loop: &mut EventLoop<Fired>, first: &'static str) {
    run_until(event_loop, |fired| !fired.is_empty());
    assert_eq!(*event_loop.data(), [first]);
}

/// The turn ends by its limit, and not before it.
#[test]
fn turn_limit_shorter_than_the_timer_ends_the_wait() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Fired::new());
        event_loop.set_timer(HOUR, note("late"));
        let start = Instant::now();
        assert_eq!(event_loop.turn(Some(5 * MS)).unwrap(), 0);
        assert!(start.elapsed() >= 5 * MS);
    });
}

#[test]
fn timers_fire_in_the_order_of_their_deadlines_after_a_stall() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Vec::new());
        let start = Instant::now();
        // Unordered, over several levels of the wheel.
        for after in [70, 3, 41, 9, 1, 26, 55, 14] {
            event_loop.set_timer_at(
                start + after * MS,
                move |event_loop: &mut EventLoop<Vec<u32>>, _| {
                    event_loop.data_mut().push(after);
                },
            );
        }
        pass(start + 80 * MS);
        assert_eq!(turn(&mut event_loop), 8);
        assert!(event_loop.data().is_sorted(), "{:?}", event_loop.data());
    });
}

/// Five timers are due together, and the first cancels another.
#[test]
fn canceled_timer_does_not_cut_off_the_timers_behind_it() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make((Vec::new(), Vec::new()));
        for at in 0..5 {
            let timer = event_loop.set_timer(
                MS,
                move |event_loop: &mut EventLoop<(Vec<TimerKey>, Vec<usize>)>, timer| {
                    let (timers, fired) = event_loop.data_mut();
                    fired.push(at);
                    if fired.len() == 1 {
                        let other = *timers.iter().find(|other| **other != timer).unwrap();
                        assert!(event_loop.cancel_timer(other));
                        assert!(!event_loop.cancel_timer(other), "it was cancelled before");
                    }
                },
            );
            event_loop.data_mut().0.push(timer);
        }
        pass(Instant::now() + 2 * MS);
        turn(&mut event_loop);
        assert_eq!(
            event_loop.data().1.len(),
            4,
            "one was cancelled, and no other was lost"
        );
        assert_eq!(event_loop.next_deadline(), None);
    });
}

/// The timer ends when its handler does not arm it again.
#[test]
fn reset_timer_in_its_own_handler_makes_it_periodic() {
    on_every_loop(|loops| {
        for at in [false, true] {
            let mut event_loop = loops.make(Vec::new());
            let start = Instant::now();
            event_loop.set_timer(
                MS,
                move |event_loop: &mut EventLoop<Vec<Duration>>, timer| {
                    event_loop.data_mut().push(start.elapsed());
                    let count = event_loop.data().len();
                    if count < 5 {
                        let armed = if at {
                            let deadline = start + (count as u32 + 1) * MS;
                            event_loop.reset_timer_at(timer, deadline)
                        } else {
                            event_loop.reset_timer(timer, MS)
                        };
                        assert!(armed);
                    }
                },
            );
            run_until(&mut event_loop, |fired| fired.len() == 5);
            let not_early = (1..).zip(event_loop.data());
            for (count, took) in not_early {
                assert!(*took >= count * MS, "{count}: {took:?}");
            }
            assert_eq!(event_loop.next_deadline(), None);
            assert_quiet(&mut event_loop);
        }
    });
}

/// It waits for the next turn, because otherwise the turn would never end.
#[test]
fn timer_reset_to_now_by_itself_fires_in_the_next_turn() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(0);
        event_loop.set_timer(Duration::ZERO, |event_loop, timer| {
            *event_loop.data_mut() += 1;
            let start = Instant::now();
            assert!(event_loop.reset_timer_at(timer, start));
            event_loop.set_timer_at(start, |_, _| {});
        });
        pass(Instant::now() + MS);
        assert_eq!(turn(&mut event_loop), 1);
        pass(Instant::now() + MS);
        assert_eq!(turn(&mut event_loop), 2);
    });
}

/// Five timers are due together, and the first moves another one, which fires later, and not twice.
#[test]
fn timer_moved_during_the_expiry_fires_once_and_later() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make((Vec::new(), Vec::new()));
        type World = (Vec<TimerKey>, Vec<(usize, Instant)>);
        let moved = Rc::new(Cell::new(None));
        for at in 0..5 {
            let moved = moved.clone();
            let timer =
                event_loop.set_timer(MS, move |event_loop: &mut EventLoop<World>, timer| {
                    let (timers, fired) = event_loop.data_mut();
                    fired.push((at, Instant::now()));
                    if fired.len() == 1 {
                        let other = (0..5).find(|other| timers[*other] != timer).unwrap();
                        let other_timer = timers[other];
                        moved.set(Some((other, Instant::now() + 20 * MS)));
                        assert!(event_loop.reset_timer(other_timer, 20 * MS));
                        // It moves itself as well, twice; the last call counts.
                        assert!(event_loop.reset_timer(timer, HOUR));
                        assert!(event_loop.reset_timer(timer, 2 * MS));
                    }
                });
            event_loop.data_mut().0.push(timer);
        }
        pass(Instant::now() + 2 * MS);
        turn(&mut event_loop);
        run_until(&mut event_loop, |(_, fired)| fired.len() == 6);
        let (moved, not_before) = moved.get().unwrap();
        let fired = &event_loop.data().1;
        let first = fired[0].0;
        let times = |who| fired.iter().filter(move |(at, _)| *at == who);
        assert_eq!(times(first).count(), 2, "the timer that moved itself");
        assert_eq!(times(moved).count(), 1, "the timer that was moved");
        let came = times(moved).next().unwrap().1;
        assert!(came >= not_before, "it fired before its new deadline");
        assert_eq!(event_loop.next_deadline(), None);
    });
}

/// The handler arms the timer again and cancels it.
#[test]
fn timer_that_cancels_itself_is_removed() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(0);
        let timer = event_loop.set_timer(MS, |event_loop, timer| {
            *event_loop.data_mut() += 1;
            assert!(event_loop.reset_timer(timer, MS));
            assert!(event_loop.cancel_timer(timer), "it was armed again");
            assert!(!event_loop.reset_timer(timer, MS), "it was cancelled");
        });
        run_until(&mut event_loop, |fired| *fired == 1);
        assert_quiet(&mut event_loop);
        assert!(!event_loop.cancel_timer(timer) && !event_loop.reset_timer(timer, MS));
        // A new timer has the same index, and the old key does not name it.
        event_loop.set_timer(HOUR, |_, _| {});
        assert!(!event_loop.cancel_timer(timer) && !event_loop.reset_timer(timer, MS));
        assert!(event_loop.next_deadline().is_some());
    });
}

/// FastDFS's wheel compared a new slot with that of the last deadline, not with the slot that held
/// the timer. A timer that was pushed twice, the second time by a whole revolution, fired a
/// revolution late.
#[test]
fn timer_moved_twice_fires_at_its_last_deadline() {
    on_every_loop(|loops| {
        // 64 ticks are a revolution of the lowest level, 4096 of the next.
        let tick = Duration::from_nanos(1 << 18);
        for revolution in [64, 4096_u32] {
            let builder = loops.builder().timer_tick(tick);
            let mut event_loop = builder.build(Fired::new()).unwrap();
            let start = Instant::now();
            let at = |ticks: u32| start + ticks * tick;
            let pushed = event_loop.set_timer_at(at(10), note("pushed"));
            assert!(event_loop.reset_timer_at(pushed, at(25)));
            assert!(event_loop.reset_timer_at(pushed, at(25 + revolution)));
            // Long before the next revolution.
            event_loop.set_timer_at(at(45 + revolution), note("control"));
            event_loop.set_timer_at(at(5 + revolution), note("earlier"));
            run_until(&mut event_loop, |fired| fired.len() == 3);
            assert_eq!(*event_loop.data(), ["earlier", "pushed", "control"]);
        }
    });
}

/// The crate never reads the wall clock, so a step of it has no effect (`tests/house` checks the
/// sources). This test checks what can be seen from outside: a deadline before the creation of the
/// loop is due at once, and once only.
#[test]
fn timer_due_before_the_loop_was_made_fires_once() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Fired::new());
        let long_ago = Instant::now().checked_sub(60 * MS).unwrap();
        event_loop.set_timer_at(long_ago, note("long ago"));
        event_loop.set_timer(HOUR, note("late"));
        run_until(&mut event_loop, |fired| !fired.is_empty());
        assert_quiet(&mut event_loop);
        assert_eq!(*event_loop.data(), ["long ago"]);
    });
}

/// Timers that are due at once do not keep an fd waiting, and none is lost.
#[test]
fn burst_of_timers_does_not_starve_fds() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make((0, Vec::new()));
        const BURST: usize = 3000;
        for _ in 0..BURST {
            event_loop.set_timer(
                Duration::ZERO,
                |event_loop: &mut EventLoop<(usize, Vec<usize>)>, _| event_loop.data_mut().0 += 1,
            );
        }
        let (here, _there) = ready_pair();
        event_loop
            .attach(
                here,
                Interest::READABLE,
                Trigger::Level,
                |event_loop, _, _| {
                    let (fired, seen) = event_loop.data_mut();
                    seen.push(*fired);
                },
            )
            .unwrap();
        pass(Instant::now() + MS);
        while event_loop.data().0 < BURST {
            event_loop.turn(None).unwrap();
        }
        let seen = &event_loop.data().1;
        assert!(
            seen.iter().any(|fired| (1..BURST).contains(fired)),
            "{seen:?}"
        );
    });
}

/// Returns the timer slack of this thread in nanoseconds.
#[cfg(target_os = "linux")]
fn current_slack() -> i32 {
    // SAFETY: the call takes no pointer.
    unsafe { libc::prctl(libc::PR_GET_TIMERSLACK, 0, 0, 0, 0) }
}

#[cfg(target_os = "linux")]
#[test]
fn timer_slack_applies_while_the_loop_runs() {
    let before = current_slack();
    if before == 0 {
        return println!("skipped: a real-time thread has no slack");
    }
    on_every_loop(|loops| {
        let before = current_slack();
        let builder = loops.builder().timer_slack(Duration::from_nanos(3000));
        let mut event_loop = builder.build(0).unwrap();
        assert_eq!(current_slack(), before, "building the loop");
        event_loop.defer(|event_loop| *event_loop.data_mut() = current_slack());
        turn(&mut event_loop);
        assert_eq!(*event_loop.data(), 3000);
        assert_eq!(current_slack(), before, "after a turn");
        event_loop.defer(|event_loop| {
            *event_loop.data_mut() = current_slack() + 1;
            event_loop.stop();
        });
        event_loop.run().unwrap();
        assert_eq!(*event_loop.data(), 3001);
        assert_eq!(current_slack(), before, "after run");
        event_loop.defer(|_| panic!("meant to be caught"));
        assert_eq!(panic_of(&mut event_loop), "meant to be caught");
        assert_eq!(current_slack(), before, "after a panic");
    });
}

#[test]
fn timers_with_timer_slack_are_neither_early_nor_lost() {
    on_every_loop(|loops| {
        let builder = loops.builder().timer_slack(Duration::from_nanos(1));
        let mut event_loop = builder.build(false).unwrap();
        for micros in [1, 3000, 49_999, 50_001, 60_000, 120_000] {
            let (length, start) = (Duration::from_micros(micros), Instant::now());
            event_loop.set_timer(length, |event_loop, _| *event_loop.data_mut() = true);
            run_until(&mut event_loop, |fired| *fired);
            assert!(start.elapsed() >= length, "{micros} us");
            *event_loop.data_mut() = false;
        }
    });
}
