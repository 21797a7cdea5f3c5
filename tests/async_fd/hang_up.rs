//! Hang-ups, errors, urgent data, and reads that leave data behind.

use super::syscalls::{pipe, receive_urgent, send_descriptor, send_urgent, try_send_urgent};
use super::*;
use std::os::fd::OwnedFd;

#[test]
fn hang_up_ends_every_wait() {
    run(async {
        let (fd, there) = pair();
        let mut guard = fd.writable().await.unwrap();
        fill(guard.get_inner());
        guard.clear_ready();
        let fd = Rc::new(fd);
        let mut interests = vec![
            Interest::READABLE,
            Interest::WRITABLE,
            Interest::WRITABLE | Interest::ERROR,
        ];
        if reports_errors().await {
            interests.push(Interest::ERROR);
        }
        let waits: Vec<_> = interests
            .into_iter()
            .map(|interest| {
                let fd = fd.clone();
                spawn(async move { fd.ready(interest).await.unwrap().ready() })
            })
            .collect();
        sleep(MS).await;
        drop(there);
        for wait in waits {
            assert!(!wait.await.unwrap().is_empty());
        }
        let guard = fd.readable().await.unwrap();
        // Unread data at the peer resets the connection. The test needs only that the call returns.
        let result = guard.get_inner().read(&mut [0; 8]);
        assert!(!result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    });
}

#[test]
fn half_close_leaves_the_writing_side_open() {
    run(async {
        let (fd, there) = pair();
        there.shutdown(std::net::Shutdown::Write).unwrap();
        let guard = fd.readable().await.unwrap();
        assert!(guard.ready().is_readable() && !guard.ready().is_write_closed());
        assert_eq!(
            fd.async_io(Interest::WRITABLE, |mut s| s.write(b"x"))
                .await
                .unwrap(),
            1
        );
    });
}

#[test]
fn priority_wait_ends_with_urgent_data() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (here, _) = listener.accept().unwrap();
    here.set_nonblocking(true).unwrap();
    run(async {
        let here = AsyncFd::with_interest(here, Interest::READABLE | Interest::PRIORITY).unwrap();
        let here = Rc::new(here);
        let (urgent, plain) = (here.clone(), here.clone());
        let urgent = spawn(async move { urgent.ready(Interest::PRIORITY).await.unwrap().ready() });
        let plain = spawn(async move { plain.readable().await.unwrap().ready() });
        sleep(MS).await;
        assert!(!urgent.is_finished());
        send_urgent(&there, b"!");
        assert!(urgent.await.unwrap().is_priority());
        (&there).write_all(b"x").unwrap();
        assert!(plain.await.unwrap().is_readable());
        let mut guard = here.ready(Interest::PRIORITY).await.unwrap();
        assert_eq!(receive_urgent(guard.get_inner()).unwrap(), b'!');
        guard.clear_ready();
        assert!(!is_ready(&here, Interest::PRIORITY).await);
        send_urgent(&there, b"?");
        here.ready(Interest::PRIORITY).await.unwrap().retain_ready();
    });
}

#[test]
fn async_io_repeats_a_read_at_the_urgent_mark() {
    on_every_backend_kind(|_| async move {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (here, _) = listener.accept().unwrap();
        here.set_nonblocking(true).unwrap();
        read_past_the_mark(here.into(), there.into()).await;
        let (here, there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        read_past_the_mark(here.into(), there.into()).await;
    });
}

/// Reads past the mark of urgent data. The first call fails there, like recv(2) of Linux while a
/// signal is pending.
async fn read_past_the_mark(here: OwnedFd, there: OwnedFd) {
    let (here, there) = (std::fs::File::from(here), std::fs::File::from(there));
    let here = AsyncFd::with_interest(here, Interest::READABLE).unwrap();
    (&there).write_all(b"ab").unwrap();
    if try_send_urgent(there.as_fd(), b"!").is_err() {
        return println!("skipped: no urgent data");
    }
    (&there).write_all(b"cd").unwrap();
    let mut buf = [0; 8];
    let mut read = async |len| {
        let call = |mut file: &std::fs::File| file.read(&mut buf[..len]);
        here.async_io(Interest::READABLE, call).await.unwrap()
    };
    assert_eq!(read(8).await, 2);
    let untrue = || io::Result::<usize>::Err(ErrorKind::WouldBlock.into());
    for _ in 0..3 {
        here.try_io(Interest::READABLE, |_| untrue()).unwrap_err();
        here.readable().await.unwrap().clear_ready();
    }
    assert_eq!(read(8).await, 2);
    assert_eq!(&buf[..2], b"cd");
    let true_now = here.try_io(Interest::READABLE, |mut file| file.read(&mut buf));
    assert_eq!(true_now.unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(!is_ready(&here, Interest::READABLE).await);
}

#[test]
fn pipe_without_a_reader_reports_an_error() {
    run(async {
        if !reports_errors().await {
            return;
        }
        let (reader, writer) = pipe();
        let writer = Rc::new(AsyncFd::with_interest(writer, Interest::WRITABLE).unwrap());
        let wait = spawn({
            let writer = writer.clone();
            async move { writer.ready(Interest::ERROR).await.unwrap().ready() }
        });
        sleep(MS).await;
        assert!(!wait.is_finished());
        drop(reader);
        let seen = wait.await.unwrap();
        assert!(seen.is_error() || seen.is_write_closed(), "{seen:?}");
        writer.writable().await.unwrap().retain_ready();
    });
}

#[test]
fn ready_waits_for_errors_alone() {
    run(async {
        if !reports_errors().await {
            return;
        }
        let (reader, writer) = pipe();
        let writer = AsyncFd::with_interest(writer, Interest::ERROR).unwrap();
        assert!(!is_ready(&writer, Interest::ERROR).await);
        assert_eq!(
            writer.writable().await.unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        drop(reader);
        drop(writer.ready(Interest::ERROR).await.unwrap());
    });
}

#[test]
fn ready_reports_each_of_several_errors() {
    on_every_backend_kind(|kind| async move {
        if !reports_errors().await {
            return;
        }
        let closed = Refusing::udp();
        let here = UdpSocket::bind("127.0.0.1:0").unwrap();
        here.connect(closed.addr).unwrap();
        here.set_nonblocking(true).unwrap();
        let here = AsyncFd::with_interest(here, Interest::READABLE).unwrap();
        for _ in 0..3 {
            // The kernel of the peer refuses it.
            here.get_ref().send(b"anybody there?").unwrap();
            let mut guard = here.ready(Interest::ERROR).await.unwrap();
            assert!(here.get_ref().take_error().unwrap().is_some(), "{kind}");
            guard.clear_ready();
            assert!(!is_ready(&here, Interest::ERROR).await, "{kind}");
        }
    });
}

#[test]
fn pipe_without_a_writer_is_readable() {
    run(async {
        let (reader, writer) = pipe();
        let reader = Rc::new(AsyncFd::with_interest(reader, Interest::READABLE).unwrap());
        let wait = spawn({
            let reader = reader.clone();
            async move { reader.readable().await.unwrap().ready() }
        });
        sleep(MS).await;
        drop(writer);
        assert!(wait.await.unwrap().is_readable());
    });
}

#[test]
fn short_read_clears_no_readiness() {
    run(async {
        let (fd, there) = pair();
        // The read of "abc" ends at the descriptor that was sent with it. "d" is left, and no event
        // follows.
        send_descriptor(&there, b"abc", there.as_fd());
        (&there).write_all(b"d").unwrap();
        let mut buf = [0; 64];
        let first = fd
            .async_io(Interest::READABLE, |mut s| s.read(&mut buf))
            .await
            .unwrap();
        let second = fd
            .async_io(Interest::READABLE, |mut s| s.read(&mut buf[first..]))
            .await
            .unwrap();
        assert_eq!(&buf[..first + second], b"abcd");
        assert!(first < 4, "the read did not stop at the descriptor");
    });
}

#[test]
fn async_io_reads_datagrams_one_by_one() {
    run(async {
        let (here, there) = UnixDatagram::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let here = AsyncFd::new(here).unwrap();
        for i in 0..5 {
            there.send(&vec![i; usize::from(i)]).unwrap();
        }
        for i in 0..5 {
            let mut buf = [0; 64];
            let len = here
                .async_io(Interest::READABLE, |s| s.recv(&mut buf))
                .await
                .unwrap();
            assert_eq!(len, i);
        }
        assert!(
            here.try_io(Interest::READABLE, |s| s.recv(&mut [0; 8]))
                .is_err()
        );
        assert!(!is_ready(&here, Interest::READABLE).await);
    });
}

/// A wait for errors alone that could not end is refused. A wait that an error ends as readiness is
/// not.
#[test]
fn ready_refuses_errors_alone_if_the_backend_cannot_report_them() {
    let Ok(runtime) = Builder::new().backend(BackendKind::Select).build() else {
        return println!("skipped: no select");
    };
    let _watched = Watchdog::of_this_test();
    runtime.block_on(async {
        assert!(!reports_errors().await);
        let (fd, _there) = pair();
        for interest in [Interest::ERROR, Interest::ERROR | Interest::PRIORITY] {
            let fd = AsyncFd::with_interest(fd.get_ref().try_clone().unwrap(), Interest::PRIORITY);
            let error = fd.unwrap().ready(interest).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
        let (reader, writer) = pipe();
        let writer = std::fs::File::from(writer);
        let writer = AsyncFd::with_interest(writer, Interest::WRITABLE).unwrap();
        let mut guard = writer.writable().await.unwrap();
        while let Ok(written) = guard.try_io(|fd| {
            let mut file = fd.get_ref();
            file.write(&[0; 4096])
        }) {
            written.unwrap();
        }
        let either = Interest::WRITABLE | Interest::ERROR;
        assert!(!is_ready(&writer, either).await);
        drop(reader);
        assert!(is_ready(&writer, either).await);
    });
}
