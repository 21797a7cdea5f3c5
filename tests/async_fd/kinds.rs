//! Other kinds of fd than sockets.

use super::syscalls::pipe;
use super::*;

#[test]
fn a_pipe_carries_bytes() {
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

/// eventfd and timerfd; a mechanism that cannot wait for such a file says so.
#[cfg(target_os = "linux")]
#[test]
fn linux_has_fds_for_events_and_timers() {
    fn register(fd: std::os::fd::OwnedFd) -> Option<AsyncFd<std::fs::File>> {
        match AsyncFd::with_interest(std::fs::File::from(fd), Interest::READABLE) {
            Ok(fd) => Some(fd),
            // Whatever is chosen without being asked for can: only one that was may not.
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
