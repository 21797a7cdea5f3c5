//! Timers of their own, and the faults of an older wheel that this one must not have.

use super::*;
use reveille::event_loop::Timer;
use std::cell::Cell;
use std::rc::Rc;

/// Which timers have fired.
type Fired = Vec<&'static str>;

fn note(which: &'static str) -> impl FnMut(&mut EventLoop<Fired>, Timer) {
    move |event_loop, _| event_loop.data_mut().push(which)
}

/// T1, its lower half.
#[test]
fn a_timer_is_never_early_and_fires_once() {
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
fn a_wait_ends_for_the_earliest_timer_and_never_does_not_count() {
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

/// A run that is limited ends by its limit, not by a timer that is far away, and not before it.
#[test]
fn a_limit_shorter_than_the_timer_ends_the_wait() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Fired::new());
        event_loop.set_timer(HOUR, note("late"));
        let start = Instant::now();
        assert_eq!(event_loop.run_once(Some(5 * MS)).unwrap(), 0);
        assert!(start.elapsed() >= 5 * MS);
    });
}

#[test]
fn timers_come_in_the_order_of_their_deadlines_also_after_a_stall() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Vec::new());
        let start = Instant::now();
        // In no order, over several levels of the wheel.
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

/// T3. Due together; the first to fire cancels one that waits in the same pass.
#[test]
fn truncated_expiry_chain() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make((Vec::new(), Vec::new()));
        for at in 0..5 {
            let timer = event_loop.set_timer(
                MS,
                move |event_loop: &mut EventLoop<(Vec<Timer>, Vec<usize>)>, timer| {
                    let (timers, fired) = event_loop.data_mut();
                    fired.push(at);
                    if fired.len() == 1 {
                        let other = *timers.iter().find(|other| **other != timer).unwrap();
                        assert!(event_loop.cancel_timer(other));
                        assert!(!event_loop.cancel_timer(other), "cancelled twice");
                    }
                },
            );
            event_loop.data_mut().0.push(timer);
        }
        pass(Instant::now() + 2 * MS);
        turn(&mut event_loop);
        assert_eq!(event_loop.data().1.len(), 4, "cancelled: one, lost: none");
        assert_eq!(event_loop.next_deadline(), None);
    });
}

/// T4. It arms itself again in its own handler, so it is a periodic one; and ends when it does not.
#[test]
fn a_timer_armed_again_in_its_own_handler_is_periodic() {
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

/// A timer that arms itself for now does not hold the turn: it is the next turn's.
#[test]
fn a_timer_armed_for_now_by_a_timer_is_the_next_turns() {
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

/// T5. Due together; the first to fire moves one that waits in the same pass: it comes later, and comes.
#[test]
fn modify_in_and_around_expiry() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make((Vec::new(), Vec::new()));
        type World = (Vec<Timer>, Vec<(usize, Instant)>);
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
                        // The one that fires is moved later, and moved earlier: it counts what was said last.
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
        assert_eq!(times(first).count(), 2, "the one that moved itself");
        assert_eq!(times(moved).count(), 1, "the one that was moved");
        let came = times(moved).next().unwrap().1;
        assert!(came >= not_before, "it fired in spite of the move");
        assert_eq!(event_loop.next_deadline(), None);
    });
}

/// Cancelled by itself while it runs: it has fired, so there is nothing to cancel, and it is not armed again.
#[test]
fn a_timer_that_cancels_itself_is_gone() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(0);
        let timer = event_loop.set_timer(MS, |event_loop, timer| {
            *event_loop.data_mut() += 1;
            assert!(event_loop.reset_timer(timer, MS));
            assert!(event_loop.cancel_timer(timer), "it was armed again");
            assert!(!event_loop.reset_timer(timer, MS), "it is gone");
        });
        run_until(&mut event_loop, |fired| *fired == 1);
        assert_quiet(&mut event_loop);
        assert!(!event_loop.cancel_timer(timer) && !event_loop.reset_timer(timer, MS));
        // Its place is another's now: the old name does not reach that.
        event_loop.set_timer(HOUR, |_, _| {});
        assert!(!event_loop.cancel_timer(timer) && !event_loop.reset_timer(timer, MS));
        assert!(event_loop.next_deadline().is_some());
    });
}

/// The old wheel compared a new slot with that of the last deadline, not with where the timer lay: pushed twice, by a whole
/// revolution the second time, it fired a revolution late.
#[test]
fn lost_move() {
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
            // Well before the next revolution.
            event_loop.set_timer_at(at(45 + revolution), note("control"));
            event_loop.set_timer_at(at(5 + revolution), note("earlier"));
            run_until(&mut event_loop, |fired| fired.len() == 3);
            assert_eq!(*event_loop.data(), ["earlier", "pushed", "control"]);
        }
    });
}

/// A step of the wall clock cannot matter, for nothing here asks it: deadlines are `Instant`s and durations, and the one
/// clock is the monotonic one (`tests/house.rs` finds no other in the sources). What is to be seen from outside: a
/// deadline that lies before the loop was made is due, once, and does not make it catch up with anything.
#[test]
fn wall_clock() {
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

/// A burst of timers does not keep the fds waiting, and none of them is lost.
#[test]
fn a_burst_of_timers_lets_fds_in_between() {
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
            event_loop.run_once(None).unwrap();
        }
        let seen = &event_loop.data().1;
        assert!(
            seen.iter().any(|fired| (1..BURST).contains(fired)),
            "{seen:?}"
        );
    });
}
