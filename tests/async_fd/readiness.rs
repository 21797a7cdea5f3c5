//! Cached readiness: what sets it and what clears it.

use super::*;

#[test]
fn new_socket_is_writable_and_not_readable() {
    run(async {
        let (fd, _there) = pair();
        let guard = fd.writable().await.unwrap();
        assert!(guard.ready().is_writable());
        assert!(!is_ready(&fd, Interest::READABLE).await);
    });
}

#[test]
fn ready_returns_at_once_until_a_call_would_block() {
    run(async {
        let (fd, mut there) = pair();
        there.write_all(b"0123").unwrap();
        fd.readable().await.unwrap().retain_ready();
        fd.readable().await.unwrap().retain_ready();
        assert!(poll_read(&fd).is_ready());
        assert_eq!(drain(&mut fd.readable().await.unwrap()), 4);
        assert!(poll_read(&fd).is_pending());
        assert!(!is_ready(&fd, Interest::READABLE).await);
        there.write_all(b"4").unwrap();
        assert_eq!(drain(&mut fd.readable().await.unwrap()), 1);
    });
}

#[test]
fn writable_waits_until_the_peer_reads() {
    run(async {
        let (fd, mut there) = pair();
        let mut guard = fd.writable().await.unwrap();
        fill(guard.get_inner());
        let _would_block = guard.try_io(|fd| fd.get_ref().write(b"x")).unwrap_err();
        assert!(!is_ready(&fd, Interest::WRITABLE).await);
        let mut buf = vec![0; 1 << 20];
        while there.read(&mut buf).is_ok_and(|len| len > 0) {}
        assert!(fd.writable().await.unwrap().ready().is_writable());
        assert_eq!(
            fd.async_io(Interest::WRITABLE, |mut s| s.write(b"x"))
                .await
                .unwrap(),
            1
        );
    });
}

#[test]
fn readable_is_woken_by_data() {
    run(async {
        let (fd, mut there) = pair();
        let fd = Rc::new(fd);
        let task = spawn({
            let fd = fd.clone();
            async move { drain(&mut fd.readable().await.unwrap()) }
        });
        yield_now().await;
        sleep(MS).await;
        assert!(!task.is_finished());
        there.write_all(b"xy").unwrap();
        assert_eq!(task.await.unwrap(), 2);
    });
}

#[test]
fn guard_clears_the_given_bits() {
    run(async {
        let (fd, mut there) = pair();
        there.write_all(b"x").unwrap();
        fd.writable().await.unwrap().retain_ready();
        fd.readable().await.unwrap().retain_ready();
        let both = Interest::READABLE | Interest::WRITABLE;
        let mut guard = fd.ready(both).await.unwrap();
        assert_eq!(guard.ready(), Ready::READABLE | Ready::WRITABLE);
        assert!(guard.get_inner().read(&mut [0; 8]).is_ok());
        guard.clear_ready_matching(Ready::READABLE);
        assert_eq!(guard.ready(), Ready::WRITABLE);
        assert!(poll_read(&fd).is_pending());
        assert!(is_ready(&fd, both).await);
        guard.clear_ready();
        assert_eq!(guard.ready(), Ready::EMPTY);
    });
}

#[test]
fn guard_of_one_direction_does_not_clear_the_other() {
    run(async {
        let (fd, mut there) = pair();
        there.write_all(b"x").unwrap();
        fd.writable().await.unwrap().retain_ready();
        assert_eq!(drain(&mut fd.readable().await.unwrap()), 1);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(fd.poll_write_ready(&mut cx).is_ready());
    });
}

#[test]
fn guard_does_not_clear_later_readiness() {
    run(async {
        let (fd, mut there) = pair();
        there.write_all(b"x").unwrap();
        let mut guard = fd.readable().await.unwrap();
        assert_eq!(guard.get_inner().read(&mut [0; 8]).unwrap(), 1);
        there.write_all(b"y").unwrap();
        // This turn merges the second event. The guard is from an earlier round.
        let (other, mut peer) = pair();
        peer.write_all(b"z").unwrap();
        other.readable().await.unwrap().retain_ready();
        guard.clear_ready();
        assert!(is_ready(&fd, Interest::READABLE).await);
    });
}

#[test]
fn guard_try_io_returns_every_other_result() {
    run(async {
        let (fd, mut there) = pair();
        there.write_all(b"x").unwrap();
        let mut guard = fd.readable().await.unwrap();
        let error = guard
            .try_io(|_| Err::<(), _>(io::Error::from(ErrorKind::InvalidData)))
            .unwrap()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert_eq!(guard.try_io(|_| Ok(7)).unwrap().unwrap(), 7);
        assert!(poll_read(&fd).is_ready());
        guard
            .try_io(|_| Err::<(), _>(ErrorKind::WouldBlock.into()))
            .unwrap_err();
        assert!(poll_read(&fd).is_pending());
    });
}

#[test]
fn try_io_calls_and_clears_on_would_block() {
    run(async {
        let (mut fd, mut there) = pair();
        assert!(poll_read(&fd).is_pending());
        there.write_all(b"x").unwrap();
        // It calls the closure although no readiness is cached.
        assert_eq!(
            fd.try_io(Interest::READABLE, |mut s| s.read(&mut [0; 8]))
                .unwrap(),
            1
        );
        there.write_all(b"y").unwrap();
        fd.readable().await.unwrap().retain_ready();
        assert_eq!(
            fd.try_io_mut(Interest::READABLE, |s| s.read(&mut [0; 8]))
                .unwrap(),
            1
        );
        assert!(poll_read(&fd).is_ready());
        let error = fd
            .try_io(Interest::READABLE, |mut s| s.read(&mut [0; 8]))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(poll_read(&fd).is_pending());
        there.write_all(b"z").unwrap();
        assert_eq!(
            fd.async_io_mut(Interest::READABLE, |s| s.read(&mut [0; 8]))
                .await
                .unwrap(),
            1
        );
    });
}

#[test]
fn ready_mut_guard_reads_writes_and_clears() {
    run(async {
        let (mut fd, mut there) = pair();
        there.write_all(b"x").unwrap();
        let mut guard = fd.readable_mut().await.unwrap();
        assert!(guard.ready().is_readable());
        assert_eq!(
            guard
                .try_io(|fd| fd.get_mut().read(&mut [0; 8]))
                .unwrap()
                .unwrap(),
            1
        );
        guard
            .try_io(|fd| fd.get_mut().read(&mut [0; 8]))
            .unwrap_err();
        assert_eq!(guard.ready(), Ready::EMPTY);
        assert_eq!(guard.get_inner_mut().write(b"y").unwrap(), 1);
        guard.retain_ready();
        assert!(poll_read(&fd).is_pending());
        fd.writable_mut().await.unwrap().retain_ready();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(fd.poll_read_ready_mut(&mut cx).is_pending());
        let both = Interest::READABLE | Interest::WRITABLE;
        let mut guard = fd.ready_mut(both).await.unwrap();
        guard.clear_ready_matching(Ready::READABLE);
        assert!(guard.get_ref().get_ref().peer_addr().is_ok());
        poll_fn(|cx| fd.poll_write_ready_mut(cx).map_ok(|_| ()))
            .await
            .unwrap();
    });
}
