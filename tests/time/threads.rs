//! Sleeps and intervals on other threads, while their runtime runs and after its end.

use super::*;

#[test]
fn sleep_continues_on_another_thread() {
    run(async {
        let mut asleep = sleep(10 * MS);
        let deadline = asleep.deadline();
        assert!(poll_here(&mut asleep).await.is_pending());
        let (sender, ended) = mpsc::channel();
        thread::spawn(move || {
            elsewhere(asleep);
            sender.send(now()).unwrap();
        });
        let at = loop {
            match ended.try_recv() {
                Ok(at) => break at,
                Err(_) => sleep(MS).await,
            }
        };
        assert!(at >= deadline);
    });
}

#[test]
fn sleep_reset_on_another_thread_takes_effect_there() {
    run(async {
        let mut asleep = sleep(HOUR);
        assert!(poll_here(&mut asleep).await.is_pending());
        let thread = thread::spawn(move || {
            for _ in 0..5 {
                let deadline = now() + 2 * MS;
                asleep.reset(deadline);
                elsewhere(&mut asleep);
                assert!(now() >= deadline);
            }
        });
        while !thread.is_finished() {
            sleep(MS).await;
        }
        thread.join().unwrap();
    });
}

#[test]
fn waker_left_by_another_thread_does_not_replace_a_newer_one() {
    run(async {
        let mut length = 50 * MS;
        loop {
            let mut asleep = sleep(length);
            assert!(poll_here(&mut asleep).await.is_pending());
            // The loop does not run meanwhile, so the message is handled after the poll below.
            let left = thread::spawn(move || (poll_once(&mut asleep), asleep));
            let (polled, asleep) = left.join().unwrap();
            asleep.await;
            if polled.is_pending() {
                return;
            }
            // The thread was late: the sleep was already over.
            length *= 2;
        }
    });
}

#[test]
fn reset_left_by_another_thread_does_not_undo_a_newer_one() {
    run(async {
        let mut asleep = sleep(MS);
        assert!(poll_here(&mut asleep).await.is_pending());
        let mut asleep = thread::spawn(move || {
            asleep.reset(now() + HOUR);
            asleep
        })
        .join()
        .unwrap();
        let deadline = now() + 2 * MS;
        asleep.reset(deadline);
        asleep.await;
        assert!(now() >= deadline);
    });
}

#[test]
fn reset_on_another_thread_after_the_expiry_is_not_early() {
    run(async {
        let mut asleep = sleep(MS);
        assert!(poll_here(&mut asleep).await.is_pending());
        sleep(3 * MS).await;
        let deadline = now() + 10 * MS;
        let asleep = thread::spawn(move || {
            asleep.reset(deadline);
            asleep
        })
        .join()
        .unwrap();
        asleep.await;
        assert!(now() >= deadline);
    });
}

#[test]
fn sleep_dropped_on_another_thread_is_removed() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let mut asleep = sleep(HOUR);
        assert!(poll_here(&mut asleep).await.is_pending());
        thread::spawn(move || drop(asleep)).join().unwrap();
        sleep(MS).await;
        assert!(format!("{runtime:?}").contains("timers: 0"), "{runtime:?}");
    });
}

#[test]
fn sleep_dropped_before_its_message_is_handled_is_removed() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let mut asleep = sleep(HOUR);
        assert!(poll_here(&mut asleep).await.is_pending());
        // The loop does not run meanwhile, so the message is handled after the drop below.
        let asleep = thread::spawn(move || {
            assert!(poll_once(&mut asleep).is_pending());
            asleep
        });
        drop(asleep.join().unwrap());
        sleep(MS).await;
        assert!(format!("{runtime:?}").contains("timers: 0"), "{runtime:?}");
    });
}

#[test]
fn sleep_of_a_runtime_that_is_gone_panics_unless_it_is_over() {
    let (mut near, mut far) = block_on(async {
        let (mut near, mut far) = (sleep(MS), sleep(HOUR));
        assert!(poll_here(&mut near).await.is_pending());
        assert!(poll_here(&mut far).await.is_pending());
        (near, far)
    });
    thread::sleep(2 * MS);
    assert!(poll_once(&mut near).is_ready());
    assert!(panic_text(|| assert!(poll_once(&mut far).is_pending())).contains("is gone"));
    far.reset(now());
    assert!(poll_once(&mut far).is_ready());
    // Inside another runtime it still belongs to its own.
    far.reset(now() + HOUR);
    let text = panic_text(|| block_on(async { assert!(poll_here(&mut far).await.is_pending()) }));
    assert!(text.contains("is gone"), "{text}");
}

#[test]
fn sleep_works_inside_another_runtime() {
    let outer = Runtime::new().unwrap();
    let mut asleep = sleep(5 * MS);
    outer.enter(|| assert!(poll_once(&mut asleep).is_pending()));
    let thread = thread::spawn(move || {
        run(async {
            let deadline = asleep.deadline();
            asleep.await;
            assert!(now() >= deadline);
        });
    });
    while !thread.is_finished() {
        outer.turn(Some(MS)).unwrap();
    }
    thread.join().unwrap();
}

/// Returns sleeps of `runtime` that are known to be over, so that they have no entry in its wheel.
fn over(runtime: &Runtime) -> Vec<(&'static str, Sleep)> {
    runtime.block_on(async {
        let mut fired = sleep(MS);
        (&mut fired).await;
        let mut moved = sleep(HOUR);
        assert!(poll_here(&mut moved).await.is_pending());
        moved.reset(now());
        (&mut moved).await;
        let mut unseen = sleep(MS);
        assert!(poll_here(&mut unseen).await.is_pending());
        sleep(3 * MS).await;
        let mut zero = sleep(Duration::ZERO);
        (&mut zero).await;
        let mut past = sleep_until(now() - MS);
        (&mut past).await;
        vec![
            ("fired", fired),
            ("reset to now", moved),
            ("fired, not polled since", unseen),
            ("of no length", zero),
            ("until the past", past),
        ]
    })
}

/// Runs `runtime` until `f`, on another thread, has returned.
fn beside<T: Send + 'static>(runtime: &Runtime, f: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(f);
    while !thread.is_finished() {
        runtime.turn(Some(MS)).unwrap();
    }
    thread.join().unwrap()
}

#[test]
fn sleep_that_is_over_is_reset_and_polled_on_another_thread() {
    for resets_at_home in [false, true] {
        for inside in [false, true] {
            let runtime = Runtime::new().unwrap();
            for (name, mut asleep) in over(&runtime) {
                println!("{name}, reset at home: {resets_at_home}, inside another: {inside}");
                if resets_at_home {
                    runtime.enter(|| asleep.reset(now() + 3 * MS));
                }
                let mut asleep = beside(&runtime, move || {
                    for _ in 0..3 {
                        let deadline = now() + 3 * MS;
                        asleep.reset(deadline);
                        match inside {
                            true => run(&mut asleep),
                            false => elsewhere(&mut asleep),
                        }
                        assert!(now() >= deadline);
                    }
                    asleep
                });
                // On the thread of the runtime again, with no timer left.
                asleep.reset(now() + MS);
                runtime.block_on(&mut asleep);
                drop(asleep);
                runtime.turn(Some(Duration::ZERO)).unwrap();
                assert!(format!("{runtime:?}").contains("timers: 0"), "{runtime:?}");
            }
        }
    }
}

#[test]
fn sleep_that_is_over_belongs_to_its_runtime_when_that_is_gone() {
    let runtime = Runtime::new().unwrap();
    let over = over(&runtime);
    drop(runtime);
    for (name, mut asleep) in over {
        assert!(poll_once(&mut asleep).is_ready(), "{name}");
        asleep.reset(now() + HOUR);
        let text = panic_text(|| assert!(poll_once(&mut asleep).is_pending()));
        assert!(text.contains("is gone"), "{name}: {text}");
        let polled = || run(async { assert!(poll_here(&mut asleep).await.is_pending()) });
        let text = panic_text(polled);
        assert!(text.contains("is gone"), "{name}: {text}");
        asleep.reset(now());
        assert!(poll_once(&mut asleep).is_ready(), "{name}");
    }
}

#[test]
fn interval_continues_on_another_thread_after_any_number_of_ticks() {
    for ticked in 0..3 {
        for pending in [false, true] {
            for inside in [false, true] {
                let runtime = Runtime::new().unwrap();
                let period = 3 * MS;
                let (mut ticks, last) = runtime.block_on(async {
                    let mut ticks = interval(period);
                    let mut last = ticks.tick().await;
                    for _ in 0..ticked {
                        last = ticks.tick().await;
                    }
                    if pending {
                        // It may have ticked meanwhile. Then one tick fewer follows.
                        if let Poll::Ready(due) =
                            poll_fn(|cx| Poll::Ready(ticks.poll_tick(cx))).await
                        {
                            last = due;
                        }
                    }
                    (ticks, last)
                });
                beside(&runtime, move || {
                    for nth in 1..4 {
                        let due = match inside {
                            true => run(ticks.tick()),
                            false => elsewhere(ticks.tick()),
                        };
                        assert_eq!(due, last + nth * period);
                        assert!(now() >= due);
                    }
                });
            }
        }
    }
}

#[test]
fn sleep_first_polled_without_budget_gets_its_runtime() {
    let runtime = reveille::Builder::new().poll_budget(1).build().unwrap();
    runtime.block_on(async {
        let (mut first, mut asleep) = (sleep(Duration::ZERO), sleep(HOUR));
        let mut ticks = interval_at(now() + HOUR, HOUR);
        poll_fn(|cx| {
            assert!(
                Pin::new(&mut first).poll(cx).is_ready(),
                "the one operation"
            );
            assert!(Pin::new(&mut asleep).poll(cx).is_pending());
            assert!(ticks.poll_tick(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        let there = thread::spawn(move || {
            asleep.reset(now() + MS);
            elsewhere(asleep);
            ticks.reset_after(MS);
            elsewhere(ticks.tick());
        });
        while !there.is_finished() {
            sleep(MS).await;
        }
        there.join().unwrap();
    });
}
