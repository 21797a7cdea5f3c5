//! Tasks that wait: many at once, removed when dropped, woken after a move.

use super::*;

#[test]
fn ready_wakes_every_waiter_of_a_direction() {
    run(async {
        let (fd, mut there) = pair();
        let fd = Rc::new(fd);
        let tasks: Vec<_> = (0..50)
            .map(|i| {
                let fd = fd.clone();
                spawn(async move {
                    match i % 3 {
                        0 => fd.readable().await.unwrap().retain_ready(),
                        1 => fd
                            .ready(Interest::READABLE | Interest::PRIORITY)
                            .await
                            .map_or_else(
                                |error| assert_eq!(error.kind(), ErrorKind::InvalidInput),
                                |_| panic!("not registered for that"),
                            ),
                        _ => poll_fn(|cx| fd.poll_read_ready(cx).map_ok(|_| ()))
                            .await
                            .unwrap(),
                    }
                })
            })
            .collect();
        sleep(MS).await;
        there.write_all(b"x").unwrap();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn ready_waits_for_reading_and_writing_at_once() {
    run(async {
        let (fd, mut there) = pair();
        let mut guard = fd.writable().await.unwrap();
        fill(guard.get_inner());
        guard.clear_ready();
        let fd = Rc::new(fd);
        let (reader, writer) = (fd.clone(), fd.clone());
        let reader = spawn(async move { reader.readable().await.unwrap().ready() });
        let writer = spawn(async move { writer.writable().await.unwrap().ready() });
        sleep(MS).await;
        assert!(!reader.is_finished());
        there.write_all(b"x").unwrap();
        assert!(reader.await.unwrap().is_readable());
        let mut buf = vec![0; 1 << 20];
        while there.read(&mut buf).is_ok_and(|len| len > 0) {}
        assert!(writer.await.unwrap().is_writable());
    });
}

#[test]
fn ready_future_dropped_leaves_no_waker() {
    run(async {
        let (fd, mut there) = pair();
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        for _ in 0..10 {
            let mut waits: Vec<_> = (0..1000).map(|_| Box::pin(fd.readable())).collect();
            for wait in &mut waits {
                assert!(wait.as_mut().poll(&mut cx).is_pending());
            }
            assert_eq!(Arc::strong_count(&count), 1002);
            // In another order than they were stored.
            while !waits.is_empty() {
                drop(waits.swap_remove(waits.len() / 2));
            }
            assert_eq!(Arc::strong_count(&count), 2);
        }
        there.write_all(b"x").unwrap();
        fd.readable().await.unwrap().retain_ready();
        assert_eq!(count.wakes(), 0);
    });
}

#[test]
fn poll_read_ready_stores_a_task_once() {
    run(async {
        let (fd, mut there) = pair();
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        for _ in 0..1000 {
            let mut cx = Context::from_waker(&waker);
            assert!(fd.poll_read_ready(&mut cx).is_pending());
        }
        assert_eq!(Arc::strong_count(&count), 3);
        there.write_all(b"x").unwrap();
        fd.readable().await.unwrap().retain_ready();
        assert_eq!((count.wakes(), Arc::strong_count(&count)), (1, 2));
    });
}

#[test]
fn ready_future_moved_to_another_task_wakes_that_task() {
    run(async {
        let (fd, mut there) = pair();
        let old = Arc::new(Count::default());
        let mut wait = pin!(fd.readable());
        let waker = Waker::from(old.clone());
        assert!(
            wait.as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        assert!(
            poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx)))
                .await
                .is_pending()
        );
        assert_eq!(Arc::strong_count(&old), 2);
        there.write_all(b"x").unwrap();
        wait.await.unwrap().retain_ready();
        assert_eq!(old.wakes(), 0);
    });
}

#[test]
fn async_io_on_a_busy_fd_lets_other_tasks_run() {
    run(async {
        let (fd, _there) = pair();
        fd.writable().await.unwrap().retain_ready();
        let other = || {
            let ran = Rc::new(std::cell::Cell::new(false));
            let mark = ran.clone();
            spawn(async move { mark.set(true) });
            ran
        };
        let ran = other();
        while !ran.get() {
            fd.writable().await.unwrap().retain_ready();
        }
        let ran = other();
        while !ran.get() {
            poll_fn(|cx| fd.poll_write_ready(cx).map_ok(|_| ()))
                .await
                .unwrap();
        }
    });
}
