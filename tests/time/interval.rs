//! Intervals.

use super::*;

#[test]
fn an_interval_ticks_at_once_and_then_a_period_apart() {
    run(async {
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
fn an_interval_may_start_later() {
    run(async {
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

/// The instants at which an interval of 10 ms ticks, in microseconds after the start, when the second tick is taken late.
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
fn missed_ticks_burst_by_default() {
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
fn missed_ticks_are_skipped() {
    run(async {
        let seen = ticks_after_a_stall(MissedTickBehavior::Skip).await;
        assert!(seen[0] >= 10_000, "{seen:?}");
        assert!(seen[1] >= 40_000, "{seen:?}");
        assert!(seen.iter().all(|due| due % 10_000 == 0), "{seen:?}");
        assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    });
}

#[test]
fn missed_ticks_delay_what_follows() {
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
fn a_burst_of_ticks_lets_the_others_run() {
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
fn a_tick_is_not_lost_when_its_future_is_dropped() {
    run(async {
        let start = now() + 2 * MS;
        let mut ticks = interval_at(start, HOUR);
        assert!(timeout(Duration::ZERO, ticks.tick()).await.is_err());
        assert_eq!(ticks.tick().await, start);
    });
}

#[test]
#[should_panic(expected = "must not be zero")]
fn a_period_of_zero_panics() {
    let _ = interval(Duration::ZERO);
}
