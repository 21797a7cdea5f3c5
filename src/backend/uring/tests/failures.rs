//! Tests of calls and requests that the kernel refuses for a while, or that fail.

use super::*;

/// The kernel is short of memory for a while: no call fails, nothing is lost, and the loop does not
/// spin.
#[test]
fn refused_calls_are_repeated() {
    for code in [libc::EAGAIN, libc::EBUSY] {
        for times in [1, 2, 5] {
            let Some(mut uring) = sized(2, 4) else { return };
            let refuse = |uring: &Uring| uring.ring.refusals.set((times, code));
            let (mut ours, theirs) = unix_pair();
            let fd = theirs.as_raw_fd();
            for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
                refuse(&uring);
                uring
                    .add(theirs.as_fd(), token(1), WRITABLE, trigger)
                    .unwrap();
                assert_eq!(next(&mut uring), Ready::WRITABLE, "{trigger:?}");
                refuse(&uring);
                uring.modify(fd, token(1), READABLE, trigger).unwrap();
                ours.write_all(b"x").unwrap();
                refuse(&uring);
                assert_eq!(next(&mut uring), Ready::READABLE, "{trigger:?}");
                (&theirs).read_exact(&mut [0]).unwrap();
                refuse(&uring);
                uring.remove(fd, token(1)).unwrap();
                refuse(&uring);
                uring.notifier().notify().unwrap();
                let mut events = Events::with_capacity(4);
                uring.wait(&mut events, None).unwrap();
                assert_eq!(events.as_slice(), []);
            }
            // A wait that is refused takes its time all the same.
            let (timeout, started) = (Duration::from_millis(5), Instant::now());
            uring.ring.refusals.set((u32::MAX, code));
            assert_eq!(wait_for(&mut uring, timeout), []);
            assert!(started.elapsed() >= timeout);
            let calls = u32::MAX - uring.ring.refusals.get().0;
            assert!(calls < 100, "{calls} calls");
            uring.ring.refusals.set((0, 0));
        }
    }
}

/// Puts a completion in front of those of the kernel, as if the request of a registration had
/// failed.
fn fail_request(uring: &mut Uring, fd: RawFd, code: i32) {
    let request = std::mem::replace(&mut uring.slots[fd as usize].request, 0);
    uring.end(user_data(fd, request)).unwrap();
    uring.slots[fd as usize].request = request;
    uring.moved.push_back(Completion {
        user_data: user_data(fd, request),
        result: -code,
        flags: 0,
    });
}

#[test]
fn failed_request_is_renewed() {
    let Some(mut uring) = sized(8, 64) else {
        return;
    };
    for code in [libc::ECANCELED, libc::ENOMEM, libc::EAGAIN, libc::EINTR] {
        for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
            let (mut ours, theirs) = unix_pair();
            uring
                .add(theirs.as_fd(), token(1), READABLE, trigger)
                .unwrap();
            fail_request(&mut uring, theirs.as_raw_fd(), code);
            assert_eq!(poll_now(&mut uring), [], "{code}, {trigger:?}");
            ours.write_all(b"x").unwrap();
            assert_eq!(next(&mut uring), Ready::READABLE, "{code}, {trigger:?}");
            uring.remove(theirs.as_raw_fd(), token(1)).unwrap();
        }
    }
}

/// An unknown failure is reported as an error, and later events are reported as well.
#[test]
fn unknown_failure_is_reported_and_the_request_renewed() {
    let Some(mut uring) = sized(8, 64) else {
        return;
    };
    for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
        let (mut ours, theirs) = unix_pair();
        let fd = theirs.as_raw_fd();
        uring
            .add(theirs.as_fd(), token(1), READABLE, trigger)
            .unwrap();
        fail_request(&mut uring, fd, libc::EOPNOTSUPP);
        let both = Ready::READABLE | Ready::WRITABLE;
        assert_eq!(poll_now(&mut uring)[0].readiness, both | Ready::ERROR);
        ours.write_all(b"x").unwrap();
        if trigger == Trigger::Oneshot {
            assert_eq!(poll_now(&mut uring), []);
            uring.modify(fd, token(1), READABLE, trigger).unwrap();
        }
        assert_eq!(next(&mut uring), Ready::READABLE, "{trigger:?}");
        uring.remove(fd, token(1)).unwrap();
    }
}
