//! `AsyncFd::poll_io`: calls inside of futures that are written by hand.

use super::*;
use std::cell::Cell;

/// Reads one byte.
fn poll_byte(fd: &AsyncFd<UnixStream>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    fd.poll_io(Interest::READABLE, cx, |mut stream| {
        stream.read(&mut [0; 1])
    })
}

#[test]
fn poll_io_makes_its_call_only_when_the_fd_is_ready() {
    on_every_backend_kind(|_| async {
        let (fd, mut there) = pair();
        let calls = Cell::new(0);
        let mut read = poll_fn(|cx| {
            fd.poll_io(Interest::READABLE, cx, |mut stream| {
                calls.set(calls.get() + 1);
                stream.read(&mut [0; 8])
            })
        });
        assert!(!is_ready(&fd, Interest::READABLE).await);
        let first = poll_fn(|cx| Poll::Ready(pin!(&mut read).poll(cx))).await;
        assert!(first.is_pending());
        assert_eq!(calls.get(), 0);
        there.write_all(b"abc").unwrap();
        assert_eq!(read.await.unwrap(), 3);
        assert_eq!(calls.get(), 1);
    });
}

#[test]
fn poll_io_waits_again_after_a_call_that_would_block() {
    on_every_backend_kind(|_| async {
        let (fd, mut there) = pair();
        there.write_all(b"x").unwrap();
        fd.readable().await.unwrap().retain_ready();
        // The cached readiness is out of date after this.
        assert_eq!(fd.get_ref().read(&mut [0; 8]).unwrap(), 1);
        let calls = Cell::new(0);
        let writer = spawn(async move {
            sleep(2 * MS).await;
            there.write_all(b"yz").unwrap();
            there
        });
        let read = poll_fn(|cx| {
            fd.poll_io(Interest::READABLE, cx, |mut stream| {
                calls.set(calls.get() + 1);
                stream.read(&mut [0; 8])
            })
        });
        assert_eq!(read.await.unwrap(), 2);
        assert_eq!(calls.get(), 2);
        drop(writer.await.unwrap());
        assert_eq!(poll_fn(|cx| poll_byte(&fd, cx)).await.unwrap(), 0);
    });
}

/// Three tasks wait for the same direction. One of them alone stored would leave the others asleep.
#[test]
fn poll_io_keeps_the_waker_of_every_task() {
    on_every_backend_kind(|_| async {
        let (fd, mut there) = pair();
        let fd = Rc::new(fd);
        let read = || {
            let fd = fd.clone();
            spawn(async move { poll_fn(|cx| poll_byte(&fd, cx)).await })
        };
        let tasks = [(); 3].map(|()| read());
        sleep(MS).await;
        assert!(tasks.iter().all(|task| !task.is_finished()));
        there.write_all(b"xyz").unwrap();
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap(), 1);
        }
    });
}

#[test]
fn poll_io_wakes_every_foreign_waker_once() {
    on_every_backend_kind(|_| async {
        let (fd, mut there) = pair();
        let counts = [(); 3].map(|()| Arc::new(Count::default()));
        for count in counts.iter().cycle().take(9) {
            let waker = Waker::from(count.clone());
            assert!(poll_byte(&fd, &mut Context::from_waker(&waker)).is_pending());
        }
        there.write_all(b"x").unwrap();
        fd.readable().await.unwrap().retain_ready();
        assert_eq!(counts.each_ref().map(|count| count.wakes()), [1; 3]);
    });
}

#[test]
fn poll_io_waits_for_several_directions() {
    on_every_backend_kind(|_| async {
        let (fd, mut there) = pair();
        fill(fd.get_ref());
        let either = Interest::READABLE | Interest::WRITABLE;
        // What the call could do.
        let attempt = |mut stream: &UnixStream| {
            let read = stream.read(&mut [0; 8]);
            read.map(|_| "read")
                .or_else(|_| stream.write(b"x").map(|_| "written"))
        };
        let fd = Rc::new(fd);
        let wait = || {
            let fd = fd.clone();
            spawn(async move { poll_fn(|cx| fd.poll_io(either, cx, attempt)).await })
        };
        let task = wait();
        sleep(MS).await;
        assert!(!task.is_finished());
        there.write_all(b"x").unwrap();
        assert_eq!(task.await.unwrap().unwrap(), "read");
        let task = wait();
        sleep(MS).await;
        assert!(!task.is_finished());
        let mut buf = vec![0; 1 << 20];
        while there.read(&mut buf).is_ok_and(|len| len > 0) {}
        assert_eq!(task.await.unwrap().unwrap(), "written");
    });
}

#[test]
fn poll_io_returns_errors_and_interruptions_of_its_call() {
    run(async {
        let (mut fd, _there) = pair();
        for kind in [ErrorKind::Interrupted, ErrorKind::BrokenPipe] {
            let failed =
                poll_fn(|cx| fd.poll_io(Interest::WRITABLE, cx, |_| Err::<(), _>(kind.into())));
            assert_eq!(failed.await.unwrap_err().kind(), kind);
        }
        let written =
            poll_fn(|cx| fd.poll_io_mut(Interest::WRITABLE, cx, |stream| stream.write(b"x")));
        assert_eq!(written.await.unwrap(), 1);
    });
}

#[test]
fn poll_io_refuses_what_could_never_be_ready() {
    run(async {
        let (fd, _there) = pair();
        let fd = AsyncFd::with_interest(fd.into_inner(), Interest::READABLE).unwrap();
        for interest in [Interest::EMPTY, Interest::WRITABLE, Interest::PRIORITY] {
            let refused =
                poll_fn(|cx| fd.poll_io(interest, cx, |_| -> io::Result<()> { unreachable!() }));
            assert_eq!(refused.await.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn poll_io_on_a_busy_fd_lets_other_tasks_run() {
    run(async {
        let (fd, _there) = pair();
        let ran = Rc::new(Cell::new(false));
        let mark = ran.clone();
        spawn(async move { mark.set(true) });
        while !ran.get() {
            poll_fn(|cx| fd.poll_io(Interest::WRITABLE, cx, |_| Ok(())))
                .await
                .unwrap();
        }
    });
}

#[test]
fn poll_io_works_on_another_thread() {
    on_every_backend_kind(|_| async {
        let (fd, mut there) = pair();
        let done = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let done = done.clone();
            move || {
                let read = elsewhere(async {
                    let mut total = 0;
                    while total < 3 {
                        total += poll_fn(|cx| poll_byte(&fd, cx)).await?;
                    }
                    io::Result::Ok(total)
                });
                done.store(true, Ordering::SeqCst);
                read
            }
        });
        for _ in 0..3 {
            sleep(2 * MS).await;
            there.write_all(b"x").unwrap();
        }
        while !done.load(Ordering::SeqCst) {
            sleep(MS).await;
        }
        assert_eq!(thread.join().unwrap().unwrap(), 3);
    });
}

/// poll(2) reports the fd as ready there, but the call would block: other tasks of that thread run
/// between two tries.
#[test]
fn poll_io_on_another_thread_yields_while_the_call_would_block() {
    run(async {
        let (fd, mut there) = pair();
        there.write_all(b"x").unwrap();
        let found = thread::spawn(move || {
            let count = Arc::new(Count::default());
            let waker = Waker::from(count.clone());
            let calls = Cell::new(0);
            for _ in 0..10 {
                let blocked =
                    fd.poll_io(Interest::READABLE, &mut Context::from_waker(&waker), |_| {
                        calls.set(calls.get() + 1);
                        Err::<(), _>(ErrorKind::WouldBlock.into())
                    });
                assert!(blocked.is_pending());
            }
            (calls.get(), count.wakes())
        });
        assert_eq!(found.join().unwrap(), (10, 10));
    });
}

#[test]
fn poll_io_of_a_runtime_that_is_gone_is_an_error() {
    let (fd, _there) = block_on(async { pair() });
    let error = elsewhere(poll_fn(|cx| poll_byte(&fd, cx))).unwrap_err();
    assert!(error.to_string().contains("is gone"), "{error}");
    let error = run(poll_fn(|cx| poll_byte(&fd, cx))).unwrap_err();
    assert!(error.to_string().contains("is gone"), "{error}");
}
