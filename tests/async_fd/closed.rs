//! Hang-ups that are over: the side is reported as open again, and no longer ends waits.

use super::syscalls::{Fifo, connect, listen, terminal, unconnected};
use super::*;

/// Clears the bits of an earlier hang-up. Returns true if later waits still end at once.
async fn always_ends(fd: &AsyncFd<impl AsFd>, interest: Interest) -> bool {
    if let Ok(guard) = timeout(10 * MS, fd.ready(interest)).await {
        guard.unwrap().clear_ready();
    }
    is_ready(fd, interest).await
}

/// Asserts that no side of the fd is reported as closed, and that waits for absent conditions are
/// pending.
async fn assert_open(fd: &AsyncFd<impl AsFd>, about: &str) {
    assert!(!always_ends(fd, Interest::PRIORITY).await, "{about}");
    if reports_errors().await {
        assert!(!always_ends(fd, Interest::ERROR).await, "{about}");
    }
}

const READ_OR_PRIORITY: Interest = Interest::READABLE.union(Interest::PRIORITY);

fn read_one(fd: &AsyncFd<impl AsFd>) -> io::Result<usize> {
    fd.try_io(Interest::READABLE, |fd| syscalls::read_one(fd.as_fd()))
}

#[test]
fn readable_waits_again_after_the_next_writer_of_a_fifo() {
    on_every_backend_kind(|kind| async move {
        let fifo = Fifo::new();
        let reader = AsyncFd::with_interest(fifo.open(false), READ_OR_PRIORITY).unwrap();
        for round in 0..3 {
            let about = format!("{kind}, round {round}");
            drop(fifo.open(true));
            let closed = reader.readable().await.unwrap().ready().is_read_closed();
            assert!(
                round > 0 || closed == (kind != BackendKind::Select),
                "{about}"
            );
            assert_eq!(syscalls::read_one(reader.as_fd()).unwrap(), 0, "{about}");
            let mut writer = fifo.open(true);
            // No event reports that a writer has opened it.
            assert!(!is_ready(&reader, Interest::PRIORITY).await, "{about}");
            for _ in 0..2 {
                writer.write_all(b"x").unwrap();
                let ready = reader.readable().await.unwrap().ready();
                assert!(!ready.is_read_closed(), "{about}");
                let read = |fd: &std::fs::File| syscalls::read_one(fd.as_fd());
                let count = reader.async_io(Interest::READABLE, read).await.unwrap();
                assert_eq!(count, 1, "{about}");
                assert_open(&reader, &about).await;
            }
            assert!(read_one(&reader).is_err(), "{about}");
        }
    });
}

#[test]
fn read_that_would_block_clears_a_hang_up() {
    on_every_backend_kind(|kind| async move {
        let fifo = Fifo::new();
        let reader = AsyncFd::with_interest(fifo.open(false), READ_OR_PRIORITY).unwrap();
        drop(fifo.open(true));
        reader.readable().await.unwrap().retain_ready();
        // No event reports that a writer has opened it.
        let mut writer = fifo.open(true);
        assert!(read_one(&reader).is_err());
        assert!(!is_ready(&reader, Interest::READABLE).await, "{kind}");
        assert!(!is_ready(&reader, Interest::PRIORITY).await, "{kind}");
        assert_open(&reader, kind.name()).await;
        writer.write_all(b"x").unwrap();
        assert!(!reader.readable().await.unwrap().ready().is_read_closed());
        assert_eq!(read_one(&reader).unwrap(), 1);
        // The next hang-up is reported like the first one.
        assert!(read_one(&reader).is_err());
        drop(writer);
        reader.readable().await.unwrap().retain_ready();
        assert_eq!(read_one(&reader).unwrap(), 0);
    });
}

#[test]
fn terminal_that_is_opened_again_is_open() {
    on_every_backend_kind(|kind| async move {
        let (master, terminal) = terminal();
        let slave = terminal.open();
        let master = AsyncFd::with_interest(master, READ_OR_PRIORITY).unwrap();
        assert!(!is_ready(&master, READ_OR_PRIORITY).await, "{kind}");
        drop(slave);
        master.readable().await.unwrap().retain_ready();
        assert!(read_one(&master).is_err_and(|e| e.kind() != ErrorKind::WouldBlock));
        let mut slave = terminal.open();
        assert!(read_one(&master).is_err_and(|e| e.kind() == ErrorKind::WouldBlock));
        assert!(!is_ready(&master, READ_OR_PRIORITY).await, "{kind}");
        assert_open(&master, kind.name()).await;
        slave.write_all(b"x").unwrap();
        let ready = master.readable().await.unwrap().ready();
        assert!(!ready.is_read_closed(), "{kind}: {ready:?}");
        assert_eq!(read_one(&master).unwrap(), 1);
    });
}

#[test]
fn socket_connected_after_registration_is_open() {
    on_every_backend_kind(|kind| async move {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = AsyncFd::with_interest(unconnected(), READ_OR_PRIORITY).unwrap();
        // Linux reports it as hung up.
        let _ = is_ready(&here, READ_OR_PRIORITY).await;
        connect(here.as_fd(), listener.local_addr().unwrap());
        let (mut there, _) = listener.accept().unwrap();
        there.write_all(b"x").unwrap();
        let read = |fd: &_| syscalls::read_one(AsFd::as_fd(fd));
        assert_eq!(here.async_io(Interest::READABLE, read).await.unwrap(), 1);
        assert!(read_one(&here).is_err(), "{kind}");
        assert_open(&here, kind.name()).await;
        drop(there);
        assert_eq!(here.async_io(Interest::READABLE, read).await.unwrap(), 0);
    });
}

#[test]
fn socket_listening_after_registration_is_open() {
    on_every_backend_kind(|kind| async move {
        let here = AsyncFd::with_interest(unconnected(), READ_OR_PRIORITY).unwrap();
        let _ = is_ready(&here, READ_OR_PRIORITY).await;
        let addr = listen(here.as_fd());
        let accept = |fd: &_| syscalls::accept(AsFd::as_fd(fd));
        let refused = here.try_io(Interest::READABLE, accept).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WouldBlock, "{kind}");
        assert_open(&here, kind.name()).await;
        for _ in 0..2 {
            let _there = TcpStream::connect(addr).unwrap();
            let ready = here.readable().await.unwrap().ready();
            assert!(!ready.is_read_closed(), "{kind}: {ready:?}");
            here.async_io(Interest::READABLE, accept).await.unwrap();
            assert!(here.try_io(Interest::READABLE, accept).is_err(), "{kind}");
        }
    });
}

#[test]
fn stream_from_std_that_is_connected_later_is_open() {
    on_every_backend_kind(|kind| async move {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = reveille::net::TcpStream::from_std(unconnected().into()).unwrap();
        let _ = timeout(10 * MS, here.readable()).await;
        connect(here.as_fd(), listener.local_addr().unwrap());
        let (mut there, _) = listener.accept().unwrap();
        // No data has arrived yet, so only poll(2) shows that the socket is open.
        for interest in [Interest::PRIORITY, Interest::ERROR] {
            let early = timeout(10 * MS, here.ready(interest)).await;
            assert!(early.is_err(), "{kind}, {interest:?}: {early:?}");
        }
        there.write_all(b"hello").unwrap();
        let mut buf = [0; 5];
        here.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"hello");
        for interest in [Interest::PRIORITY, Interest::ERROR, Interest::READABLE] {
            let early = timeout(10 * MS, here.ready(interest)).await;
            assert!(early.is_err(), "{kind}, {interest:?}: {early:?}");
        }
        drop(there);
        assert_eq!(here.read(&mut buf).await.unwrap(), 0);
        if kind != BackendKind::Select {
            here.ready(Interest::PRIORITY).await.unwrap();
        }
    });
}

#[test]
fn async_io_for_errors_waits_although_a_side_is_closed() {
    on_every_backend_kind(|kind| async move {
        if !reports_errors().await {
            return;
        }
        let listener = reveille::net::TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (here, _) = listener.accept().await.unwrap();
        drop(there);
        here.shutdown(std::net::Shutdown::Both).unwrap();
        here.readable().await.unwrap();
        let mut calls = 0;
        let call = || {
            calls += 1;
            io::Result::<()>::Err(ErrorKind::WouldBlock.into())
        };
        let never = timeout(10 * MS, here.async_io(Interest::ERROR, call)).await;
        assert!(never.is_err());
        assert!(calls < 10, "{kind}: {calls} calls");
    });
}
