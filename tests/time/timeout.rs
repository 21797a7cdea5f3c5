//! `timeout` and `timeout_at`.

use super::*;

#[test]
fn timeout_returns_the_output_of_a_ready_future() {
    run(async {
        assert_eq!(timeout(MS, ready(7)).await, Ok(7));
        assert_eq!(timeout(Duration::ZERO, ready(7)).await, Ok(7));
        assert_eq!(timeout_at(now() - MS, ready(7)).await, Ok(7));
    });
    // This needs no timer and no runtime.
    assert_eq!(poll_once(&mut timeout(MS, ready(7))), Poll::Ready(Ok(7)));
}

#[test]
fn timeout_ends_a_pending_future_and_not_early() {
    run(async {
        for limit in [Duration::ZERO, MS, 7 * MS] {
            let start = now();
            let error = timeout(limit, pending::<()>()).await.unwrap_err();
            assert!(now() - start >= limit);
            let error = std::io::Error::from(error);
            assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
            let deadline = now() + limit;
            assert!(timeout_at(deadline, pending::<()>()).await.is_err());
            assert!(now() >= deadline);
        }
    });
}

#[test]
fn timeout_starts_when_its_future_first_waits() {
    run(async {
        let limited = timeout(20 * MS, pending::<()>());
        thread::sleep(25 * MS);
        let start = now();
        assert!(limited.await.is_err());
        assert!(now() - start >= 20 * MS);
    });
}

#[test]
fn timeout_returns_an_output_that_is_late() {
    run(async {
        let slow = async {
            yield_now().await;
            thread::sleep(5 * MS);
            yield_now().await;
            thread::sleep(5 * MS);
            7
        };
        // The deadline has passed before the second poll, so either result is right.
        assert!(matches!(timeout(MS, slow).await, Ok(7) | Err(_)));
        let mut late = pin!(timeout(MS, async {
            yield_now().await;
            7
        }));
        assert!(
            poll_fn(|cx| Poll::Ready(late.as_mut().poll(cx)))
                .await
                .is_pending()
        );
        thread::sleep(5 * MS);
        sleep(MS).await;
        assert_eq!(late.await, Ok(7));
    });
}

#[test]
fn timeout_ends_a_future_that_always_uses_up_its_budget() {
    run(async {
        let leaves = async {
            loop {
                sleep(Duration::ZERO).await;
            }
        };
        assert!(timeout(5 * MS, leaves).await.is_err());
        let yields = async {
            loop {
                yield_now().await;
            }
        };
        assert!(timeout(5 * MS, yields).await.is_err());
    });
}

#[test]
fn timeouts_that_are_over_at_once_let_other_tasks_run() {
    run_quickly(async {
        let past = now() - MS;
        // After this the loop has read its clock, and `past` is over without a timer.
        sleep(MS).await;
        let ran = Rc::new(RefCell::new(false));
        let other = spawn({
            let ran = ran.clone();
            async move { *ran.borrow_mut() = true }
        });
        while !*ran.borrow() {
            assert!(timeout_at(past, pending::<()>()).await.is_err());
        }
        other.await.unwrap();
    });
}

#[test]
fn timeouts_nest() {
    run_quickly(async {
        let inner = timeout(HOUR, pending::<()>());
        assert!(timeout(2 * MS, inner).await.is_err());
        let inner = timeout(MS, pending::<()>());
        assert!(timeout(HOUR, inner).await.unwrap().is_err());
    });
}

#[test]
fn timeout_returns_its_future() {
    run_quickly(async {
        let mut limited = timeout(MS, Box::pin(sleep(HOUR)));
        assert!((&mut limited).await.is_err());
        assert!(!limited.get_ref().is_elapsed());
        limited.get_mut().as_mut().reset(now() + 2 * MS);
        limited.into_inner().await;
    });
}

#[test]
fn timeout_at_a_past_deadline_ends_at_the_first_poll() {
    run(async {
        for at in [now(), now() - MS] {
            let mut limited = pin!(timeout_at(at, pending::<()>()));
            let polled = poll_fn(|cx| Poll::Ready(limited.as_mut().poll(cx))).await;
            assert!(matches!(polled, Poll::Ready(Err(_))), "{polled:?}");
        }
    });
}
