//! `interval` and `interval_at`.

use super::*;

#[test]
fn interval_ticks_at_once_and_then_at_the_period() {
    run_quickly(async {
        let mut ticks = interval(2 * MS);
        assert_eq!(ticks.period(), 2 * MS);
        let first = poll_fn(|cx| Poll::Ready(ticks.poll_tick(cx))).await;
        let Poll::Ready(first) = first else {
            panic!("the first tick is at once")
        };
        for nth in 1..10 {
            let due = ticks.tick().await;
            assert_eq!(due, first + nth * 2 * MS);
            assert!(now() >= due);
        }
    });
}

#[test]
fn interval_at_starts_later() {
    run_quickly(async {
        let start = now() + 3 * MS;
        let mut ticks = interval_at(start, HOUR);
        assert_eq!(ticks.tick().await, start);
        assert!(now() >= start);
        ticks.reset_after(2 * MS);
        assert!(ticks.tick().await > start);
        let at = now() + MS;
        ticks.reset_at(at);
        assert_eq!(ticks.tick().await, at);
    });
}

#[test]
fn interval_is_a_stream_without_an_end() {
    run_quickly(async {
        let start = now() + MS;
        let mut ticks = interval_at(start, 2 * MS);
        assert_eq!(ticks.size_hint(), (usize::MAX, None));
        let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut ticks).poll_next(cx))).await;
        // Pending, unless the thread was held up.
        let mut nth = match first {
            Poll::Ready(due) => {
                assert_eq!(due, Some(start));
                1
            }
            Poll::Pending => 0,
        };
        while nth < 10 {
            let due = poll_fn(|cx| Pin::new(&mut ticks).poll_next(cx)).await;
            assert_eq!(due, Some(start + nth * 2 * MS));
            assert!(!ticks.is_terminated());
            nth += 1;
        }
    });
}

/// Takes the second tick of an interval of 10 ms late. Returns when its ticks were due, in
/// microseconds after the start.
async fn ticks_after_a_stall(behavior: MissedTickBehavior) -> Vec<u128> {
    let period = 10 * MS;
    let start = now();
    let mut ticks = interval_at(start, period);
    ticks.set_missed_tick_behavior(behavior);
    assert_eq!(ticks.missed_tick_behavior(), behavior);
    ticks.tick().await;
    thread::sleep(36 * MS);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let due = ticks.tick().await;
        assert!(now() >= due);
        seen.push((due - start).as_micros());
    }
    seen
}

#[test]
fn interval_bursts_after_missed_ticks_by_default() {
    run(async {
        assert_eq!(
            interval(MS).missed_tick_behavior(),
            MissedTickBehavior::Burst
        );
        let seen = ticks_after_a_stall(MissedTickBehavior::Burst).await;
        assert_eq!(seen, [10_000, 20_000, 30_000, 40_000]);
    });
}

#[test]
fn interval_skips_missed_ticks() {
    run(async {
        let seen = ticks_after_a_stall(MissedTickBehavior::Skip).await;
        assert!(seen[0] >= 10_000, "{seen:?}");
        assert!(seen[1] >= 40_000, "{seen:?}");
        assert!(seen.iter().all(|due| due % 10_000 == 0), "{seen:?}");
        assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    });
}

#[test]
fn interval_delays_after_missed_ticks() {
    run(async {
        let seen = ticks_after_a_stall(MissedTickBehavior::Delay).await;
        assert!(seen[0] >= 10_000, "{seen:?}");
        assert!(seen[1] >= 46_000, "{seen:?}");
        assert!(
            seen.windows(2).all(|two| two[1] - two[0] > 9_999),
            "{seen:?}"
        );
    });
}

#[test]
fn interval_burst_lets_other_tasks_run() {
    run(async {
        let ran = Rc::new(RefCell::new(false));
        let other = spawn({
            let ran = ran.clone();
            async move { *ran.borrow_mut() = true }
        });
        let mut ticks = interval_at(now() - 1000 * HOUR, MS);
        while !*ran.borrow() {
            ticks.tick().await;
        }
        other.await.unwrap();
    });
}

#[test]
fn tick_future_dropped_loses_no_tick() {
    run_quickly(async {
        loop {
            let start = now() + 2 * MS;
            let mut ticks = interval_at(start, HOUR);
            let early = timeout(Duration::ZERO, ticks.tick()).await;
            assert_eq!(early.unwrap_or(start), start);
            // Repeated if this thread was delayed until the tick was due.
            if early.is_err() {
                assert_eq!(ticks.tick().await, start);
                break;
            }
        }
    });
}

#[test]
#[should_panic(expected = "the period of an interval is zero")]
fn interval_of_zero_panics() {
    let _ = interval(Duration::ZERO);
}

#[test]
fn interval_at_an_instant_before_the_machine_was_started_keeps_its_grid() {
    run_quickly(async {
        let period = Duration::from_secs(1000);
        let past = [3600, 86_400 * 30, 4_000_000_000].map(Duration::from_secs);
        for ago in past {
            let Some(start) = now().checked_sub(ago + period / 2) else {
                continue;
            };
            let mut ticks = interval_at(start, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            assert_eq!(ticks.tick().await, start, "{ago:?} ago");
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let next = poll_fn(|cx| Poll::Ready(ticks.poll_tick(cx))).await;
            assert!(next.is_pending(), "{ago:?} ago");
            ticks.reset_immediately();
            ticks.tick().await;
            // A burst leaves out no tick.
            let mut ticks = interval_at(start, period);
            for nth in 0..4 {
                assert_eq!(ticks.tick().await, start + nth * period, "{ago:?} ago");
            }
        }
    });
}

#[test]
fn reset_at_the_past_ticks_at_the_next_poll() {
    run(async {
        let mut ticks = interval(HOUR);
        for ago in [Duration::ZERO, MS, HOUR] {
            ticks.tick().await;
            let polled = poll_fn(|cx| Poll::Ready(ticks.poll_tick(cx))).await;
            assert!(polled.is_pending());
            let at = now() - ago;
            ticks.reset_at(at);
            let polled = poll_fn(|cx| Poll::Ready(ticks.poll_tick(cx))).await;
            assert_eq!(polled, Poll::Ready(at));
            ticks.reset_immediately();
        }
    });
}
