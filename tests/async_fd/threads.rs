//! `AsyncFd` on other threads, while its runtime runs and after its end.

use super::*;

#[test]
fn async_fd_is_awaited_and_read_on_another_thread() {
    run(async {
        let (fd, mut there) = pair();
        let done = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let done = done.clone();
            move || {
                let result = elsewhere(async {
                    let mut total = 0;
                    while total < 3 {
                        total += fd
                            .async_io(Interest::READABLE, |mut s| s.read(&mut [0; 1]))
                            .await?;
                    }
                    fd.writable().await?.retain_ready();
                    fd.readable().await?.retain_ready();
                    assert_eq!(fd.get_ref().read(&mut [0; 1])?, 0);
                    io::Result::Ok(())
                });
                done.store(true, Ordering::SeqCst);
                result
            }
        });
        for _ in 0..3 {
            sleep(2 * MS).await;
            there.write_all(b"x").unwrap();
        }
        sleep(2 * MS).await;
        drop(there);
        while !done.load(Ordering::SeqCst) {
            sleep(MS).await;
        }
        thread.join().unwrap().unwrap();
    });
}

#[test]
fn guard_on_another_thread_clears_nothing() {
    run(async {
        let (fd, mut there) = pair();
        there.write_all(b"x").unwrap();
        fd.readable().await.unwrap().retain_ready();
        let mut foreign = thread::scope(|scope| {
            let wait = scope.spawn(|| {
                let mut guard = elsewhere(fd.readable()).unwrap();
                assert!(guard.ready().is_readable());
                guard.clear_ready();
                let mut guard = elsewhere(fd.readable()).unwrap();
                guard
                    .try_io(|_| Err::<(), _>(ErrorKind::WouldBlock.into()))
                    .unwrap_err();
                elsewhere(fd.readable()).unwrap()
            });
            wait.join().unwrap()
        });
        foreign.clear_ready();
        assert!(poll_read(&fd).is_ready());
    });
}

#[test]
fn async_io_on_another_thread_yields_while_the_call_would_block() {
    run(async {
        let (fd, mut there) = pair();
        there.write_all(b"x").unwrap();
        // poll(2) reports the fd as ready, but the call would block. The future must yield between
        // two tries.
        let polls = thread::spawn(move || {
            let count = Arc::new(Count::default());
            let waker = Waker::from(count.clone());
            let mut cx = Context::from_waker(&waker);
            let calls = std::cell::Cell::new(0);
            let mut wait = pin!(fd.async_io(Interest::READABLE, |_| {
                calls.set(calls.get() + 1);
                Err::<(), _>(ErrorKind::WouldBlock.into())
            }));
            for _ in 0..10 {
                assert!(wait.as_mut().poll(&mut cx).is_pending());
            }
            (calls.get(), count.wakes())
        })
        .join()
        .unwrap();
        assert_eq!(polls, (10, 10));
    });
}

#[test]
fn drop_on_another_thread_deregisters() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let (here, _there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let here = Arc::new(here);
        for _ in 0..10 {
            let fd = AsyncFd::new(here.clone()).unwrap();
            thread::spawn(move || drop(fd)).join().unwrap();
        }
        sleep(MS).await;
        assert!(format!("{runtime:?}").contains("fds: 0,"), "{runtime:?}");
    });
}

#[test]
fn async_fd_of_a_runtime_that_is_gone_fails_only_to_wait() {
    let (fd, mut there) = block_on(async { pair() });
    there.write_all(b"x").unwrap();
    let error = elsewhere(fd.readable()).unwrap_err();
    assert!(error.to_string().contains("is gone"), "{error}");
    let error = block_on(fd.writable()).unwrap_err();
    assert!(error.to_string().contains("is gone"), "{error}");
    assert_eq!(
        fd.try_io(Interest::READABLE, |mut s| s.read(&mut [0; 8]))
            .unwrap(),
        1
    );
    let stream = fd.into_inner();
    run(async {
        AsyncFd::new(stream)
            .unwrap()
            .writable()
            .await
            .unwrap()
            .retain_ready()
    });
}

/// A thread waits, and the runtime ends before or after it has handled the message of that wait.
fn wait_until_the_end_of_the_runtime(handled: bool) {
    let _watched = Watchdog::of_this_test();
    let runtime = Runtime::new().unwrap();
    let (fd, _there) = runtime.enter(pair);
    let (waits, started) = mpsc::channel();
    let thread = thread::spawn(move || {
        elsewhere(async {
            let mut wait = pin!(fd.readable());
            let first = poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx))).await;
            assert!(first.is_pending());
            waits.send(()).unwrap();
            wait.await.map(|_| ())
        })
    });
    started.recv().unwrap();
    if handled {
        runtime.turn(Some(Duration::ZERO)).unwrap();
    }
    drop(runtime);
    let error = thread.join().unwrap().unwrap_err();
    assert!(error.to_string().contains("is gone"), "{error}");
}

#[test]
fn runtime_end_ends_the_waits_of_other_threads() {
    wait_until_the_end_of_the_runtime(true);
}

#[test]
fn runtime_end_ends_waits_whose_messages_were_not_handled() {
    wait_until_the_end_of_the_runtime(false);
}

#[test]
fn async_fd_between_two_calls_of_block_on_works_as_on_another_thread() {
    let runtime = Runtime::new().unwrap();
    let (fd, mut there) = runtime.enter(pair);
    assert!(poll_read(&fd).is_pending());
    there.write_all(b"x").unwrap();
    assert!(poll_read(&fd).is_ready());
    elsewhere(fd.readable()).unwrap().clear_ready();
    runtime.block_on(async { assert_eq!(drain(&mut fd.readable().await.unwrap()), 1) });
}
