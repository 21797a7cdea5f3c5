//! What is ready, how that is cleared, and by whom.

use super::*;

#[test]
fn a_fresh_socket_is_writable_and_not_readable() {
    run(async {
        let (fd, _there) = pair();
        let guard = fd.writable().await.unwrap();
        assert!(guard.ready().is_writable());
        assert!(!is_ready(&fd, Interest::READABLE).await);
    });
}

#[test]
fn readiness_stays_until_a_call_would_block() {
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
fn a_full_buffer_is_writable_again_once_the_peer_reads() {
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
fn data_wakes_the_one_who_waits() {
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
fn a_guard_clears_what_it_is_told_to() {
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
fn a_guard_of_one_direction_leaves_the_other_alone() {
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
fn a_guard_does_not_clear_what_came_after_it() {
    run(async {
        let (fd, mut there) = pair();
        there.write_all(b"x").unwrap();
        let mut guard = fd.readable().await.unwrap();
        assert_eq!(guard.get_inner().read(&mut [0; 8]).unwrap(), 1);
        there.write_all(b"y").unwrap();
        // A turn that merges the second event; the guard is of an earlier round.
        let (other, mut peer) = pair();
        peer.write_all(b"z").unwrap();
        other.readable().await.unwrap().retain_ready();
        guard.clear_ready();
        assert!(is_ready(&fd, Interest::READABLE).await);
    });
}

#[test]
fn a_guard_hands_every_other_result_back() {
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
fn try_io_makes_its_call_and_clears_on_would_block() {
    run(async {
        let (mut fd, mut there) = pair();
        assert!(poll_read(&fd).is_pending());
        there.write_all(b"x").unwrap();
        // Not known to be ready yet, and tried all the same.
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
fn mutable_guards_do_the_same() {
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
