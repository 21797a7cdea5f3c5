//! Making and ending one, and the errors that say why not.

use super::*;

#[test]
fn dropping_it_closes_the_fd() {
    run(async {
        let (fd, mut there) = pair();
        drop(fd);
        assert_eq!(there.read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn it_is_deregistered_before_its_value_is_dropped() {
    /// Registers its own descriptor again while it is dropped.
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
fn an_fd_can_be_registered_again_after_it_was_given_back() {
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
fn an_event_of_the_last_owner_of_a_number_is_not_the_next_ones() {
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
fn a_registration_counts_once_and_goes_with_its_owner() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let fds: Vec<_> = (0..100).map(|_| pair()).collect();
        assert!(format!("{runtime:?}").contains("fds: 100,"), "{runtime:?}");
        drop(fds);
        assert!(format!("{runtime:?}").contains("fds: 0,"), "{runtime:?}");
    });
}

#[test]
fn a_file_or_directory_is_not_supported() {
    run(async {
        for path in [
            env!("CARGO_MANIFEST_DIR"),
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ] {
            let file = std::fs::File::open(path).unwrap();
            let error = AsyncFd::with_interest(&file, Interest::READABLE).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(
                error.to_string().contains("regular file or directory"),
                "{error}"
            );
        }
    });
}

#[test]
fn a_blocking_fd_is_refused_and_left_alone() {
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
fn a_second_registration_says_so() {
    run(async {
        let (fd, mut there) = pair();
        let (_, error) = AsyncFd::try_new(fd.as_fd()).unwrap_err().into_parts();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("registered"), "{error}");
        // The first is none the worse for it.
        there.write_all(b"x").unwrap();
        assert_eq!(drain(&mut fd.readable().await.unwrap()), 1);
    });
}

#[test]
fn without_a_runtime_there_is_an_error() {
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
fn waiting_for_what_was_not_registered_is_an_error() {
    run(async {
        let (here, _there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let error = AsyncFd::with_interest(&here, Interest::NONE).unwrap_err();
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
            fd.ready(Interest::NONE).await.unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    });
}

#[test]
fn the_number_that_was_registered_is_the_one_that_is_ended() {
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
