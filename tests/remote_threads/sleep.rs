//! Timers.

use super::fixture::{Event, Fixture, RemoteThread, State, wake_a_task};
use reveille::time::{Sleep, now, sleep};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// A timer that the runtime has armed.
pub(crate) fn armed(fixture: &Fixture, duration: Duration) -> Sleep {
    let mut sleep = sleep(duration);
    fixture.make(poll_fn(|cx| {
        assert!(Pin::new(&mut sleep).poll(cx).is_pending());
        Poll::Ready(())
    }));
    sleep
}

pub(crate) fn sleep_poll(fixture: &mut Fixture) {
    let sleep = armed(fixture, HOUR);
    let sleeps = |mut sleep: Sleep, remote: &RemoteThread| {
        if remote.state.is_gone() {
            remote.wait(&mut sleep);
            unreachable!("nothing can wake it");
        }
        // Twice, because the second time the runtime no longer has the timer.
        for _ in 0..2 {
            let deadline = now() + Duration::from_millis(2);
            sleep.reset(deadline);
            remote.wait(&mut sleep);
            assert!(now() >= deadline, "it was early");
        }
    };
    let slept = fixture.run(sleep, sleeps, || {});
    if fixture.state.is_gone() {
        let text = slept.unwrap_err();
        assert!(text.contains("gone"), "{text}");
    } else {
        slept.unwrap();
    }
}

pub(crate) fn sleep_poll_moved(fixture: &mut Fixture) {
    let sleep = armed(fixture, Duration::from_millis(1));
    fixture.make(reveille::time::sleep(Duration::from_millis(2)));
    let sleeps = |mut sleep: Sleep, remote: &RemoteThread| {
        assert!(sleep.is_elapsed());
        // It is ready even without the runtime.
        remote.wait(&mut sleep);
        sleep.reset(now() + HOUR);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            remote.wait(poll_fn(|cx| {
                for _ in 0..3 {
                    assert!(Pin::new(&mut sleep).poll(cx).is_pending());
                }
                Poll::Ready(())
            }));
        }));
        remote.waits();
        if remote.state != State::Dropping {
            let gone = remote.state == State::Dropped;
            assert_eq!(polled.is_err(), gone);
        }
    };
    fixture.run(sleep, sleeps, || {}).unwrap();
}

pub(crate) fn sleep_wake(fixture: &mut Fixture) {
    let (moves, probe) = (Event::new(), fixture.probe.clone());
    let moved = moves.clone();
    let sleeps = async move {
        let _probe = probe;
        let mut sleep = sleep(HOUR);
        let mut moved = pin!(moved.wait());
        poll_fn(|cx| {
            assert!(Pin::new(&mut sleep).poll(cx).is_pending());
            moved.as_mut().poll(cx)
        })
        .await;
        sleep.reset(now() + Duration::from_millis(1));
        sleep.await;
    };
    wake_a_task(fixture, sleeps, move || moves.set());
}

pub(crate) fn sleep_drop(fixture: &mut Fixture) {
    let sleep = armed(fixture, HOUR);
    let drops = |sleep, remote: &RemoteThread| {
        drop(sleep);
        remote.waits();
    };
    fixture.run(sleep, drops, || {}).unwrap();
}
