//! Fds that are only waited for: they are in blocking mode, and neither a wait nor a call blocks
//! the loop.

use super::*;
use reveille::io::{ReadinessOnly, set_nonblocking};
use std::cell::Cell;

type Waited = AsyncFd<ReadinessOnly<UnixStream>>;

/// A pair in blocking mode whose first end is registered.
fn blocking_pair() -> (Waited, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    let both = Interest::READABLE | Interest::WRITABLE;
    (AsyncFd::readiness_only(here, both).unwrap(), there)
}

fn read(fd: &ReadinessOnly<UnixStream>) -> io::Result<usize> {
    fd.get_ref().read(&mut [0; 1])
}

fn is_nonblocking(fd: &impl AsRawFd) -> bool {
    // SAFETY: F_GETFL takes no pointer.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    assert!(flags >= 0, "{}", io::Error::last_os_error());
    flags & libc::O_NONBLOCK != 0
}

#[test]
fn readiness_only_keeps_blocking_mode() {
    run(async {
        let (fd, mut there) = blocking_pair();
        fd.writable().await.unwrap().retain_ready();
        assert!(!is_nonblocking(&fd));
        let mut here = fd.into_inner().into_inner();
        there.write_all(b"x").unwrap();
        assert_eq!(here.read(&mut [0; 8]).unwrap(), 1);
    });
}

/// Nothing clears the cached readiness, because no call returns `WouldBlock`.
#[test]
fn readiness_only_waits_again_after_a_read_has_taken_everything() {
    on_every_backend_kind(|_| async {
        let (fd, mut there) = blocking_pair();
        for _ in 0..3 {
            assert!(!is_readable(&fd).await);
            there.write_all(b"xy").unwrap();
            for left in [1, 0] {
                let guard = fd.readable().await.unwrap();
                assert!(guard.ready().is_readable());
                assert_eq!(read(guard.get_inner()).unwrap(), 1);
                assert_eq!(is_readable(&fd).await, left == 1);
            }
            // The same for the methods that keep their wakers.
            let polled = poll_fn(|cx| Poll::Ready(fd.poll_read_ready(cx).is_ready())).await;
            assert!(!polled);
        }
        fill_without_blocking(fd.get_ref().get_ref());
        assert!(timeout(5 * MS, fd.writable()).await.is_err());
        drop(there);
        fd.writable().await.unwrap().retain_ready();
        fd.readable().await.unwrap().retain_ready();
    });
}

async fn is_readable(fd: &Waited) -> bool {
    is_ready(fd, Interest::READABLE).await
}

fn fill_without_blocking(stream: &UnixStream) {
    // SAFETY: pointer and length are those of the buffer.
    while unsafe {
        let buf = [0_u8; 4096];
        let (from, flags) = (buf.as_ptr().cast(), libc::MSG_DONTWAIT);
        libc::send(stream.as_raw_fd(), from, buf.len(), flags)
    } > 0
    {}
}

/// Each read would block the loop, and with it the task that writes.
#[test]
fn calls_on_a_blocking_fd_do_not_block_the_loop() {
    on_every_backend_kind(|_| async {
        let (mut fd, mut there) = blocking_pair();
        let writer = spawn(async move {
            for _ in 0..4 {
                sleep(2 * MS).await;
                there.write_all(b"x").unwrap();
            }
            there
        });
        let readable = Interest::READABLE;
        let calls = Cell::new(0);
        let counted = |fd: &ReadinessOnly<UnixStream>| {
            calls.set(calls.get() + 1);
            read(fd)
        };
        assert_eq!(fd.async_io(readable, counted).await.unwrap(), 1);
        let polled = poll_fn(|cx| fd.poll_io(readable, cx, counted)).await;
        assert_eq!(polled.unwrap(), 1);
        let nothing = fd.try_io(readable, counted).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        let polled = poll_fn(|cx| fd.poll_io_mut(readable, cx, |fd| counted(fd))).await;
        assert_eq!(polled.unwrap(), 1);
        let last = fd.async_io_mut(readable, |fd| counted(fd)).await;
        assert_eq!(last.unwrap(), 1);
        assert_eq!(calls.get(), 4);
        drop(writer.await.unwrap());
        assert_eq!(fd.async_io(readable, counted).await.unwrap(), 0);
    });
}

#[test]
fn readiness_only_is_waited_for_on_another_thread() {
    on_every_backend_kind(|_| async {
        let (fd, mut there) = blocking_pair();
        let done = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let done = done.clone();
            move || {
                elsewhere(async {
                    for _ in 0..3 {
                        let guard = fd.readable().await.unwrap();
                        assert_eq!(read(guard.get_inner()).unwrap(), 1);
                        assert_eq!(fd.async_io(Interest::READABLE, read).await.unwrap(), 1);
                        let nothing = fd.try_io(Interest::READABLE, read).unwrap_err();
                        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
                    }
                });
                done.store(true, Ordering::SeqCst);
            }
        });
        for _ in 0..3 {
            for _ in 0..2 {
                sleep(2 * MS).await;
                there.write_all(b"x").unwrap();
            }
            // The thread has read both before it tries to read a third.
            while !is_drained(&there) {
                sleep(MS).await;
            }
        }
        while !done.load(Ordering::SeqCst) {
            sleep(MS).await;
        }
        thread.join().unwrap();
    });
}

/// Whether the peer has read everything.
fn is_drained(stream: &UnixStream) -> bool {
    let mut queued: libc::c_int = 0;
    // The libc crate lacks it there; `<sys/ttycom.h>` has it.
    #[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
    const QUEUED: libc::c_ulong = 0x4004_7473;
    #[cfg(not(any(target_os = "netbsd", target_os = "openbsd")))]
    use libc::TIOCOUTQ as QUEUED;
    // SAFETY: the call writes one int.
    let asked = unsafe { libc::ioctl(stream.as_raw_fd(), QUEUED, &mut queued) };
    asked != 0 || queued == 0
}

/// An error in the queue of the socket lasts, and a read would block: it is reported once.
#[cfg(target_os = "linux")]
#[test]
fn readiness_only_reports_an_error_that_lasts_once() {
    on_every_backend_kind(|_| async {
        let here = UdpSocket::bind("127.0.0.1:0").unwrap();
        let on: libc::c_int = 1;
        // SAFETY: pointer and size are those of one int.
        let set = unsafe {
            libc::setsockopt(
                here.as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_RECVERR,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        };
        assert_eq!(set, 0);
        let dead = Refusing::udp();
        here.send_to(b"anyone?", dead.addr).unwrap();
        let addr = here.local_addr().unwrap();
        let fd = AsyncFd::readiness_only(here, Interest::READABLE).unwrap();
        let error = fd.async_io(Interest::READABLE, |fd| fd.get_ref().recv(&mut [0; 8]));
        assert_eq!(
            error.await.unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        // The entry of the error queue is left.
        assert!(!is_ready(&fd, Interest::READABLE).await);
        fd.get_ref().get_ref().send_to(b"news", addr).unwrap();
        let len = fd.async_io(Interest::READABLE, |fd| fd.get_ref().recv(&mut [0; 8]));
        assert_eq!(len.await.unwrap(), 4);
    });
}

#[test]
fn readiness_only_refuses_what_cannot_be_polled() {
    run(async {
        let file = std::fs::File::open("/").unwrap();
        let error = AsyncFd::readiness_only(&file, Interest::READABLE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let (here, _there) = UnixStream::pair().unwrap();
        let error = AsyncFd::readiness_only(&here, Interest::EMPTY).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let fd = AsyncFd::readiness_only(&here, Interest::READABLE).unwrap();
        let error = AsyncFd::readiness_only(&here, Interest::READABLE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        let error = fd.writable().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

/// The flag is one of the open file description, as documented.
#[test]
fn set_nonblocking_is_seen_through_a_duplicate() {
    run(async {
        let (here, _there) = UnixStream::pair().unwrap();
        let duplicate = here.try_clone().unwrap();
        AsyncFd::new(&here).unwrap_err();
        set_nonblocking(&here).unwrap();
        set_nonblocking(&here).unwrap();
        assert!(is_nonblocking(&duplicate));
        let mut fd = AsyncFd::new(duplicate).unwrap();
        let nothing = fd.try_io_mut(Interest::READABLE, |s| s.read(&mut [0; 8]));
        assert_eq!(nothing.unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn set_nonblocking_keeps_other_flags() {
    let dir = std::env::temp_dir();
    let path = dir.join(format!("reveille.append.{}", std::process::id()));
    let file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(path).unwrap();
    let flags = |file: &std::fs::File| {
        // SAFETY: F_GETFL takes no pointer.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) }
    };
    let before = flags(&file);
    assert_ne!(before & libc::O_APPEND, 0);
    set_nonblocking(&file).unwrap();
    assert_eq!(flags(&file), before | libc::O_NONBLOCK);
}

/// A process that ends, seen through a pidfd in blocking mode.
#[cfg(target_os = "linux")]
#[test]
fn readiness_only_waits_for_the_end_of_a_process() {
    use std::os::fd::{FromRawFd, OwnedFd};
    on_every_backend_kind(|kind| async move {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // SAFETY: the call takes no pointer; its result is a new fd.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
        if fd < 0 {
            println!("skipped: {}", io::Error::last_os_error());
            return drop(child.wait());
        }
        // SAFETY: as above.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) };
        match AsyncFd::readiness_only(fd, Interest::READABLE) {
            Ok(fd) => {
                assert!(!is_ready(&fd, Interest::READABLE).await);
                drop(child.stdin.take());
                fd.readable().await.unwrap().retain_ready();
                assert!(child.try_wait().unwrap().is_some());
                assert!(is_ready(&fd, Interest::READABLE).await);
            }
            Err(error) => {
                println!("skipped on {kind}: {error}");
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                drop(child.stdin.take());
                child.wait().unwrap();
            }
        }
    });
}
