//! Fds that are not sockets.

use super::syscalls::pipe;
use super::*;

#[test]
fn async_fd_of_a_pipe_carries_bytes() {
    run(async {
        let (reader, writer) = pipe();
        let reader =
            AsyncFd::with_interest(std::fs::File::from(reader), Interest::READABLE).unwrap();
        let writer =
            AsyncFd::with_interest(std::fs::File::from(writer), Interest::WRITABLE).unwrap();
        let task = spawn(async move {
            let mut total = 0;
            loop {
                match reader
                    .async_io(Interest::READABLE, |mut f| f.read(&mut [0; 4096]))
                    .await
                    .unwrap()
                {
                    0 => return total,
                    len => total += len,
                }
            }
        });
        let mut left = 1 << 20;
        while left > 0 {
            let chunk = vec![0; left.min(1 << 16)];
            left -= writer
                .async_io(Interest::WRITABLE, |mut f| f.write(&chunk))
                .await
                .unwrap();
        }
        drop(writer);
        assert_eq!(task.await.unwrap(), 1 << 20);
    });
}

/// A backend that cannot wait for such a file reports that.
#[cfg(target_os = "linux")]
#[test]
fn async_fd_of_an_eventfd_and_a_timerfd() {
    fn register(fd: std::os::fd::OwnedFd) -> Option<AsyncFd<std::fs::File>> {
        match AsyncFd::with_interest(std::fs::File::from(fd), Interest::READABLE) {
            Ok(fd) => Some(fd),
            // The default backend can wait for them. Only a backend that REVEILLE_BACKEND names may
            // be unable to.
            Err(error)
                if error.kind() == ErrorKind::Unsupported
                    && std::env::var_os("REVEILLE_BACKEND")
                        .is_some_and(|name| !name.is_empty()) =>
            {
                eprintln!("skipped: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }
    run(async {
        let Some(event) = register(super::syscalls::eventfd()) else {
            return;
        };
        assert!(!is_ready(&event, Interest::READABLE).await);
        for value in [1u64, 7] {
            event.get_ref().write_all(&value.to_ne_bytes()).unwrap();
            let mut buf = [0; 8];
            let len = event
                .async_io(Interest::READABLE, |mut f| f.read(&mut buf))
                .await
                .unwrap();
            assert_eq!((len, u64::from_ne_bytes(buf)), (8, value));
        }
        let Some(timer) = register(super::syscalls::timerfd(2 * MS)) else {
            return;
        };
        for _ in 0..3 {
            let mut buf = [0; 8];
            timer
                .async_io(Interest::READABLE, |mut f| f.read(&mut buf))
                .await
                .unwrap();
            assert!(u64::from_ne_bytes(buf) > 0);
        }
    });
}
