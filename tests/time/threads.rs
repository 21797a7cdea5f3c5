//! Sleeps on other threads, with their runtime running and gone.

use super::*;

#[test]
fn a_sleep_goes_on_on_another_thread() {
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
fn a_sleep_reset_on_another_thread_is_heeded_there() {
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
fn a_waker_left_by_another_thread_does_not_displace_a_newer_one() {
    run(async {
        let mut length = 50 * MS;
        loop {
            let mut asleep = sleep(length);
            assert!(poll_here(&mut asleep).await.is_pending());
            // The loop stands still meanwhile, so the message is handled after the poll below.
            let left = thread::spawn(move || (poll_once(&mut asleep), asleep));
            let (polled, asleep) = left.join().unwrap();
            asleep.await;
            if polled.is_pending() {
                return;
            }
            // The thread came to it when it was over.
            length *= 2;
        }
    });
}

#[test]
fn a_reset_left_by_another_thread_does_not_undo_a_newer_one() {
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
fn a_reset_on_another_thread_after_the_expiry_is_not_early() {
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
fn a_sleep_dropped_on_another_thread_is_taken_off() {
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
fn what_another_thread_asked_of_a_sleep_ends_with_it() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let mut asleep = sleep(HOUR);
        assert!(poll_here(&mut asleep).await.is_pending());
        // The loop stands still meanwhile, so the message is handled after the drop below.
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
fn a_sleep_of_a_runtime_that_is_gone_panics_unless_it_is_over() {
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
    // On another runtime it stays what it was.
    far.reset(now() + HOUR);
    let text = panic_text(|| block_on(async { assert!(poll_here(&mut far).await.is_pending()) }));
    assert!(text.contains("is gone"), "{text}");
}

#[test]
fn a_sleep_works_inside_another_runtime() {
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
