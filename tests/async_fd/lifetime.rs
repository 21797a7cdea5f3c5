//! Creating and dropping an `AsyncFd`, and the errors of both.

use super::*;

#[test]
fn drop_closes_the_fd() {
    run(async {
        let (fd, mut there) = pair();
        drop(fd);
        assert_eq!(there.read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn drop_deregisters_before_the_value_is_dropped() {
    /// A value whose drop registers its own descriptor again.
    struct Again(UnixStream, Rc<std::cell::Cell<bool>>);
    impl AsFd for Again {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
    impl Drop for Again {
        fn drop(&mut self) {
            self.1.set(AsyncFd::new(self.0.as_fd()).is_ok());
        }
    }
    run(async {
        let (here, _there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let free = Rc::new(std::cell::Cell::new(false));
        drop(AsyncFd::new(Again(here, free.clone())).unwrap());
        assert!(free.get());
    });
}

#[test]
fn into_inner_lets_the_fd_be_registered_again() {
    run(async {
        let (mut fd, mut there) = pair();
        for _ in 0..20 {
            there.write_all(b"x").unwrap();
            assert_eq!(drain(&mut fd.readable().await.unwrap()), 1);
            let stream = fd.into_inner();
            let twice = AsyncFd::new(stream.as_fd()).unwrap();
            assert!(poll_fn(|cx| Poll::Ready(twice.poll_read_ready(cx).is_pending())).await);
            drop(twice);
            fd = AsyncFd::new(stream).unwrap();
        }
    });
}

#[test]
fn new_fd_gets_no_event_of_the_last_owner_of_its_number() {
    run(async {
        for _ in 0..20 {
            let (fd, mut there) = pair();
            fd.writable().await.unwrap().retain_ready();
            there.write_all(b"x").unwrap();
            drop(fd);
            let (fd, _there) = pair();
            assert!(poll_read(&fd).is_pending());
            assert!(!is_ready(&fd, Interest::READABLE).await);
        }
    });
}

#[test]
fn registration_counts_once_and_ends_with_its_owner() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let fds: Vec<_> = (0..100).map(|_| pair()).collect();
        assert!(format!("{runtime:?}").contains("fds: 100,"), "{runtime:?}");
        drop(fds);
        assert!(format!("{runtime:?}").contains("fds: 0,"), "{runtime:?}");
    });
}

#[test]
fn new_refuses_files_and_directories() {
    run(async {
        for path in [
            env!("CARGO_MANIFEST_DIR"),
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ] {
            let file = std::fs::File::open(path).unwrap();
            let error = AsyncFd::with_interest(&file, Interest::READABLE).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(
                error.to_string().contains("regular files, directories"),
                "{error}"
            );
        }
    });
}

#[test]
fn new_refuses_a_blocking_fd_and_does_not_change_it() {
    run(async {
        let (here, _there) = UnixStream::pair().unwrap();
        let (here, error) = AsyncFd::try_new(here).unwrap_err().into_parts();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("set O_NONBLOCK"), "{error}");
        // SAFETY: F_GETFL takes no pointer; the stream is open.
        let flags = unsafe { libc::fcntl(here.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0);
        here.set_nonblocking(true).unwrap();
        AsyncFd::try_new(here).unwrap();
    });
}

#[test]
fn new_refuses_an_fd_that_is_registered() {
    run(async {
        let (fd, mut there) = pair();
        let (_, error) = AsyncFd::try_new(fd.as_fd()).unwrap_err().into_parts();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("registered"), "{error}");
        // The first registration still works.
        there.write_all(b"x").unwrap();
        assert_eq!(drain(&mut fd.readable().await.unwrap()), 1);
    });
}

#[test]
fn new_fails_without_a_runtime() {
    let (here, _there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    let error = AsyncFd::try_new(here).unwrap_err();
    assert!(error.to_string().contains("no reveille runtime"), "{error}");
    assert!(std::error::Error::source(&error).is_some());
    let (here, _) = error.into_parts();
    let runtime = Runtime::new().unwrap();
    let fd = runtime.enter(|| AsyncFd::new(here)).unwrap();
    runtime.block_on(async { fd.writable().await.unwrap().retain_ready() });
}

#[test]
fn ready_refuses_an_interest_that_was_not_registered() {
    run(async {
        let (here, _there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let error = AsyncFd::with_interest(&here, Interest::EMPTY).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let fd = AsyncFd::with_interest(&here, Interest::READABLE).unwrap();
        let kind = |error: io::Error| {
            assert!(error.to_string().contains("READABLE"), "{error}");
            error.kind()
        };
        assert_eq!(
            kind(fd.writable().await.unwrap_err()),
            ErrorKind::InvalidInput
        );
        let error = poll_fn(|cx| fd.poll_write_ready(cx).map_ok(|_| ()))
            .await
            .unwrap_err();
        assert_eq!(kind(error), ErrorKind::InvalidInput);
        let error = fd
            .async_io(Interest::WRITABLE, |_| Ok(()))
            .await
            .unwrap_err();
        assert_eq!(kind(error), ErrorKind::InvalidInput);
        let error = fd.try_io(Interest::PRIORITY, |_| Ok(())).unwrap_err();
        assert_eq!(kind(error), ErrorKind::InvalidInput);
        assert_eq!(
            fd.ready(Interest::EMPTY).await.unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    });
}

#[test]
fn drop_deregisters_the_number_that_was_registered() {
    run(async {
        let (one, _peer) = UnixStream::pair().unwrap();
        let (two, _peer) = UnixStream::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        let (one, two) = (Arc::new(one), Arc::new(two));
        let mut fd = AsyncFd::new(one.clone()).unwrap();
        *fd.get_mut() = two.clone();
        assert_eq!(fd.as_raw_fd(), two.as_raw_fd());
        assert!(
            format!("{fd:?}").contains(&format!("fd: {}", one.as_raw_fd())),
            "{fd:?}"
        );
        drop(fd);
        AsyncFd::new(one).unwrap();
    });
}
