//! Hang-ups, errors, urgent data, and what a read may leave behind.

use super::syscalls::{pipe, receive_urgent, send_descriptor, send_urgent};
use super::*;

#[test]
fn a_hang_up_ends_every_wait() {
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
        if tells_errors().await {
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
        // What was left unread there resets the connection; what matters is that the call says something.
        let result = guard.get_inner().read(&mut [0; 8]);
        assert!(!result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    });
}

#[test]
fn the_end_of_the_peers_sending_leaves_writing_open() {
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
fn urgent_data_ends_a_wait_of_its_own() {
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
fn a_pipe_without_a_reader_is_an_error() {
    run(async {
        if !tells_errors().await {
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
fn errors_alone_can_be_waited_for() {
    run(async {
        if !tells_errors().await {
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
        assert!(is_ready(&writer, Interest::ERROR).await);
    });
}

#[test]
fn one_error_after_the_other_is_heard_of() {
    for kind in BackendKind::ALL {
        let Ok(runtime) = Builder::new().backend(kind).build() else {
            println!("skipped: {kind}");
            continue;
        };
        let _watched = watchdog();
        runtime.block_on(async {
            if !tells_errors().await {
                return;
            }
            let closed = Refusing::udp();
            let here = UdpSocket::bind("127.0.0.1:0").unwrap();
            here.connect(closed.addr).unwrap();
            here.set_nonblocking(true).unwrap();
            let here = AsyncFd::with_interest(here, Interest::READABLE).unwrap();
            for _ in 0..3 {
                // Refused by the other side's kernel.
                here.get_ref().send(b"anybody there?").unwrap();
                let mut guard = here.ready(Interest::ERROR).await.unwrap();
                assert!(here.get_ref().take_error().unwrap().is_some(), "{kind}");
                guard.clear_ready();
                assert!(!is_ready(&here, Interest::ERROR).await, "{kind}");
            }
        });
    }
}

#[test]
fn a_pipe_without_a_writer_is_readable() {
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
fn a_short_read_loses_no_readiness() {
    run(async {
        let (fd, there) = pair();
        // The read of "abc" stops at the descriptor beside it, with "d" left behind and no event to come.
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
fn datagrams_are_read_one_by_one() {
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

/// A wait that could not end is refused; one that an error ends as readiness is not.
#[test]
fn errors_are_refused_where_they_are_not_told() {
    let Ok(runtime) = Builder::new().backend(BackendKind::Select).build() else {
        return println!("skipped: no select");
    };
    let _watched = watchdog();
    runtime.block_on(async {
        assert!(!tells_errors().await);
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
