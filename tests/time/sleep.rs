//! `sleep` and `sleep_until`: never early, in order, dropped, reset.

use super::*;

#[test]
fn sleep_is_never_early() {
    run(async {
        for micros in (0..3000).step_by(37).chain([10_000, 20_001]) {
            let duration = Duration::from_micros(micros);
            let start = Instant::now();
            sleep(duration).await;
            assert!(start.elapsed() >= duration, "{micros} us");
            let deadline = Instant::now() + duration;
            sleep_until(deadline).await;
            assert!(Instant::now() >= deadline, "until {micros} us");
        }
    });
}

#[test]
fn sleep_counts_from_the_call_and_not_from_the_first_poll() {
    run(async {
        let asleep = sleep(20 * MS);
        assert!(asleep.deadline() <= Instant::now() + 20 * MS);
        thread::sleep(30 * MS);
        let before = now();
        assert!(asleep.is_elapsed());
        assert!(asleep.deadline() < before);
        asleep.await;
    });
}

#[test]
fn sleep_that_is_over_is_ready_at_once_and_again() {
    run(async {
        assert!(poll_once(&mut sleep(Duration::ZERO)).is_ready());
        let mut asleep = sleep(MS);
        (&mut asleep).await;
        assert!(poll_once(&mut asleep).is_ready());
        assert!(asleep.is_elapsed());
    });
    // A sleep of zero needs no runtime.
    assert!(poll_once(&mut sleep(Duration::ZERO)).is_ready());
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines() {
    // A deadline that passes before its timer is set is not in the order. On a slow machine the
    // test is repeated with later deadlines.
    let mut ahead = 5 * MS;
    while !ordered(ahead) {
        ahead *= 2;
    }
}

/// Returns true if a hundred sleeps were set before the first one was due. Then it also checks that
/// they end in order.
fn ordered(ahead: Duration) -> bool {
    run_quickly(async move {
        let (order, armed) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
        let start = now() + ahead;
        let sleeper = |i: u32| {
            let (order, armed, place) = (order.clone(), armed.clone(), i * 37 % 100);
            spawn(async move {
                let mut asleep = sleep_until(start + place * Duration::from_micros(200));
                let polled = poll_here(&mut asleep).await;
                armed.set(armed.get() + u32::from(polled.is_pending()));
                asleep.await;
                order.borrow_mut().push(place);
            })
        };
        let tasks: Vec<_> = (0..100).map(sleeper).collect();
        while order.borrow().is_empty() && armed.get() < 100 {
            yield_now().await;
        }
        let in_time = now() < start;
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(order.borrow().len(), 100);
        assert!(!in_time || order.borrow().is_sorted(), "{order:?}");
        in_time
    })
}

#[test]
fn sleeps_dropped_by_the_thousand_leave_nothing() {
    let runtime = Runtime::new().unwrap();
    let count = Arc::new(Count::default());
    runtime.block_on(async {
        for wakes in [false, true] {
            let mut sleeps: Vec<Sleep> = (0..100_000).map(|i| sleep(HOUR + i * MS)).collect();
            let waker = Waker::from(count.clone());
            for asleep in &mut sleeps {
                assert!(match wakes {
                    true => poll_here(asleep).await.is_pending(),
                    false => Pin::new(asleep)
                        .poll(&mut Context::from_waker(&waker))
                        .is_pending(),
                });
            }
            assert!(
                format!("{runtime:?}").contains("timers: 100000"),
                "{runtime:?}"
            );
            drop(sleeps);
            assert!(format!("{runtime:?}").contains("timers: 0"), "{runtime:?}");
        }
    });
    assert_eq!(runtime.next_deadline(), None);
    assert_eq!((Arc::strong_count(&count), count.wakes()), (1, 0));
}

#[test]
fn sleep_moved_to_another_task_wakes_that_task() {
    run_quickly(async {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut asleep = sleep(5 * MS);
        assert!(
            Pin::new(&mut asleep)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        assert_eq!(Arc::strong_count(&count), 3);
        spawn(asleep).await.unwrap();
        assert_eq!(count.wakes(), 0);
        drop(waker);
        assert_eq!(Arc::strong_count(&count), 1);
    });
}

#[test]
fn sleep_of_a_huge_duration_does_not_panic() {
    run_quickly(async {
        let far = sleep(Duration::MAX);
        assert!(far.deadline() > now() + 20 * 365 * 24 * HOUR);
        assert!(!far.is_elapsed());
        for duration in [
            Duration::MAX,
            Duration::from_secs(u64::MAX),
            Duration::from_secs(1 << 62),
            1_000_000 * HOUR,
        ] {
            let mut asleep = sleep(duration);
            assert!(poll_here(&mut asleep).await.is_pending());
            asleep.reset(now() + HOUR);
            asleep.reset(far.deadline());
            assert!(poll_here(&mut asleep).await.is_pending());
            assert_eq!(timeout(duration, async { yield_now().await }).await, Ok(()));
            let mut ticks = interval(duration);
            ticks.tick().await;
            ticks.reset_after(duration);
            ticks.reset();
            ticks.reset_immediately();
            ticks.tick().await;
        }
        // None of them delays a timer with a near deadline.
        sleep(MS).await;
    });
}

#[test]
#[should_panic(expected = "no reveille runtime runs on this thread")]
fn sleep_first_polled_without_a_runtime_panics() {
    let _ = poll_once(&mut sleep(HOUR));
}

#[test]
fn reset_to_later_is_not_early() {
    run_quickly(async {
        let mut asleep = sleep(MS);
        assert!(poll_here(&mut asleep).await.is_pending());
        for _ in 0..10 {
            asleep.reset(now() + 3 * MS);
            sleep(MS).await;
        }
        let deadline = now() + 10 * MS;
        asleep.reset(deadline);
        assert_eq!(asleep.deadline(), deadline);
        asleep.await;
        assert!(now() >= deadline);
    });
}

#[test]
fn reset_to_earlier_wakes_without_another_poll() {
    run_quickly(async {
        let asleep = Rc::new(RefCell::new(sleep(HOUR)));
        let task = spawn({
            let asleep = asleep.clone();
            poll_fn(move |cx| Pin::new(&mut *asleep.borrow_mut()).poll(cx))
        });
        yield_now().await;
        let deadline = now() + 2 * MS;
        asleep.borrow_mut().reset(deadline);
        task.await.unwrap();
        assert!(now() >= deadline);
    });
}

#[test]
fn reset_after_the_end_starts_again() {
    run_quickly(async {
        let mut asleep = sleep(MS);
        for _ in 0..3 {
            (&mut asleep).await;
            let deadline = now() + 2 * MS;
            asleep.reset(deadline);
            assert!(!asleep.is_elapsed() || now() >= deadline);
            (&mut asleep).await;
            assert!(now() >= deadline);
        }
    });
}

#[test]
fn reset_between_the_expiry_and_the_poll_takes_effect() {
    run_quickly(async {
        let mut asleep = sleep(MS);
        assert!(poll_here(&mut asleep).await.is_pending());
        sleep(3 * MS).await;
        let deadline = now() + 5 * MS;
        asleep.reset(deadline);
        asleep.await;
        assert!(now() >= deadline);
    });
}

#[test]
fn reset_before_the_first_poll_takes_effect() {
    run_quickly(async {
        let mut asleep = pin!(sleep(HOUR));
        asleep.as_mut().reset(now() + MS);
        asleep.await;
        let mut boxed = Box::pin(sleep(Duration::ZERO));
        let deadline = now() + 2 * MS;
        boxed.as_mut().reset(deadline);
        boxed.await;
        assert!(now() >= deadline);
    });
}

/// Returns instants in the past, the latest first.
fn past() -> Vec<Instant> {
    let ago = [Duration::ZERO, MS, HOUR, 24 * 365 * 100 * HOUR];
    let at = now();
    ago.into_iter()
        .filter_map(|ago| at.checked_sub(ago))
        .collect()
}

#[test]
fn reset_to_the_past_is_ready_at_the_next_poll() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        for at in past() {
            let mut asleep = sleep(HOUR);
            assert!(poll_here(&mut asleep).await.is_pending());
            asleep.reset(at);
            assert!(asleep.is_elapsed());
            assert!(poll_once(&mut asleep).is_ready(), "armed");
            assert!(format!("{runtime:?}").contains("timers: 0"), "{runtime:?}");
            asleep.reset(at);
            assert!(poll_once(&mut asleep).is_ready(), "after the end");
            assert!(poll_once(&mut sleep_until(at)).is_ready(), "not armed");
        }
        // A reset to a later instant that is past as well, because the thread was busy.
        let mut asleep = sleep(5 * MS);
        let start = now();
        assert!(poll_once(&mut asleep).is_pending());
        thread::sleep(20 * MS);
        asleep.reset(start + 15 * MS);
        assert!(poll_once(&mut asleep).is_ready());
        // Of two resets the last one takes effect.
        let mut asleep = sleep(HOUR);
        assert!(poll_once(&mut asleep).is_pending());
        asleep.reset(now());
        asleep.reset(now() + HOUR);
        assert!(poll_once(&mut asleep).is_pending());
        asleep.reset(now());
        assert!(poll_once(&mut asleep).is_ready());
    });
}

#[test]
fn reset_to_the_past_is_ready_at_the_next_poll_on_another_thread() {
    run(async {
        for at in past() {
            let mut asleep = sleep(HOUR);
            assert!(poll_once(&mut asleep).is_pending());
            thread::scope(|scope| {
                let polled = scope.spawn(|| {
                    asleep.reset(at);
                    poll_once(&mut asleep)
                });
                assert!(polled.join().unwrap().is_ready());
            });
            // Reset on the other thread and polled here.
            asleep.reset(now() + HOUR);
            assert!(poll_once(&mut asleep).is_pending());
            thread::scope(|scope| {
                scope.spawn(|| asleep.reset(at)).join().unwrap();
            });
            assert!(poll_once(&mut asleep).is_ready());
        }
    });
}

#[test]
fn deadline_returns_what_was_set() {
    let at = now();
    for seconds in [0, 1, 86_400, 4_000_000_003, 8_000_000_000] {
        let far = Duration::new(seconds, 7);
        for at in [at.checked_sub(far), at.checked_add(far)]
            .into_iter()
            .flatten()
        {
            let mut asleep = sleep_until(at);
            assert_eq!(asleep.deadline(), at);
            asleep.reset(at);
            assert_eq!(asleep.deadline(), at);
        }
    }
}
