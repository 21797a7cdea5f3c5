//! Tests of what the conformance cases do not cover: other kernels, full counters, private tables,
//! files that live on.

use super::*;
use std::io::Write;
use std::os::unix::net::UnixStream;

#[test]
fn mask_contains_the_interest() {
    let all = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
    assert_eq!(mask(all, Trigger::Edge), IN | RDHUP | OUT | PRI | EDGE);
    assert_eq!(mask(Interest::READABLE, Trigger::Level), IN | RDHUP);
    assert_eq!(mask(Interest::WRITABLE, Trigger::Oneshot), OUT | ONESHOT);
    assert_eq!(mask(Interest::ERROR, Trigger::Level), 0);
    assert_eq!(mask(Interest::EMPTY, Trigger::Edge), EDGE);
}

#[test]
fn bits_become_readiness() {
    let both = Ready::READABLE | Ready::WRITABLE;
    let hangup = both | Ready::READ_CLOSED | Ready::WRITE_CLOSED;
    assert_eq!(readiness(IN), Ready::READABLE);
    assert_eq!(readiness(OUT), Ready::WRITABLE);
    assert_eq!(readiness(PRI), Ready::PRIORITY);
    assert_eq!(readiness(ERR), both | Ready::ERROR);
    assert_eq!(readiness(HUP), hangup);
    assert_eq!(readiness(IN | RDHUP), Ready::READABLE | Ready::READ_CLOSED);
}

/// As on other kernels and in sandboxes.
#[test]
fn conforms_without_pwait2_and_without_eventfd() {
    crate::conformance::run(&mut || {
        let epoll = Epoll::build(64, NotifyFd::pipe()?, false)?;
        Ok(Box::new(epoll))
    })
    .assert_ok();
}

#[test]
fn notify_with_a_full_counter_ends_the_wait() {
    let notify = NotifyFd::new().unwrap();
    let mut counter = std::fs::File::from(notify.as_fd().try_clone_to_owned().unwrap());
    let mut epoll = Epoll::build(4, notify, true).unwrap();
    let mut events = Events::with_capacity(4);
    counter.write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
    epoll.wait(&mut events, None).unwrap();
    epoll.notifier().notify().unwrap();
    epoll.wait(&mut events, None).unwrap();
}

#[test]
fn remove_of_an_exclusive_registration_leaves_nothing_behind() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut epoll = Epoll::new(4).unwrap();
    let (token, other) = (Token::new(1, 1), Token::new(2, 1));
    epoll.add_exclusive(listener.as_fd(), token).unwrap();
    let modified = epoll.modify(
        listener.as_raw_fd(),
        token,
        Interest::READABLE,
        Trigger::Edge,
    );
    // The error comes from this crate, not from the kernel.
    assert_eq!(modified.unwrap_err().raw_os_error(), None);
    let (_peer, plain) = UnixStream::pair().unwrap();
    epoll
        .add(plain.as_fd(), other, Interest::READABLE, Trigger::Edge)
        .unwrap();
    epoll
        .modify(plain.as_raw_fd(), other, Interest::WRITABLE, Trigger::Edge)
        .unwrap();
    epoll.remove(plain.as_raw_fd(), other).unwrap();
    epoll.remove(listener.as_raw_fd(), token).unwrap();
    assert!(epoll.exclusives.is_empty());
    epoll.add_exclusive(listener.as_fd(), token).unwrap();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    crate::sys::test_fds::replace(listener.as_fd(), theirs.as_fd()).unwrap();
    let fd = listener.as_fd();
    epoll
        .add(fd, other, Interest::READABLE, Trigger::Edge)
        .unwrap();
    assert!(epoll.exclusives.is_empty());
    epoll
        .modify(fd.as_raw_fd(), other, Interest::WRITABLE, Trigger::Edge)
        .unwrap();
    epoll.remove(fd.as_raw_fd(), other).unwrap();
    epoll.add_exclusive(fd, token).unwrap();
    epoll.after_fork().unwrap();
    assert!(epoll.exclusives.is_empty());
}

/// A file lives on in a duplicate. After `remove` nothing is reported. After a mere close the
/// kernel goes on, and reports under the old token; the number's next owner is not affected.
#[test]
fn wait_reports_a_living_duplicate_only_under_the_old_token() {
    for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
        let mut epoll = Epoll::new(4).unwrap();
        let (old, new) = (Token::new(1, 1), Token::new(2, 1));
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let duplicate = theirs.try_clone().unwrap();
        epoll
            .add(theirs.as_fd(), old, Interest::READABLE, trigger)
            .unwrap();
        epoll.remove(theirs.as_raw_fd(), old).unwrap();
        ours.write_all(b"x").unwrap();
        assert_eq!(tokens(&mut epoll), [], "{trigger:?}, removed");

        let (mut other_ours, other) = UnixStream::pair().unwrap();
        epoll
            .add(theirs.as_fd(), old, Interest::READABLE, trigger)
            .unwrap();
        // The number is closed without `remove` and given to another file in one step.
        crate::sys::test_fds::replace(theirs.as_fd(), other.as_fd()).unwrap();
        epoll
            .add(theirs.as_fd(), new, Interest::READABLE, trigger)
            .unwrap();
        ours.write_all(b"x").unwrap();
        let seen = tokens(&mut epoll);
        assert!(seen.iter().all(|token| *token == old), "{seen:?}");
        let late = epoll.remove(theirs.as_raw_fd(), old);
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::NotFound);
        other_ours.write_all(b"x").unwrap();
        assert!(tokens(&mut epoll).contains(&new), "{trigger:?}");
        drop(duplicate);
    }
}

/// A file is closed after `forget`, lives on in a duplicate, and comes back under its old number.
/// The kernel still has it, so the backend has to replace the registration. A file that is
/// registered is still refused, and so is the notifier's.
#[test]
fn add_takes_back_a_file_that_outlived_its_close() {
    let mut epoll = Epoll::new(4).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut last = 0;
    let mut token = || {
        last += 1;
        Token::new(last, 1)
    };
    for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
        let (old, new) = (token(), token());
        let mut add = |token| epoll.add(theirs.as_fd(), token, Interest::WRITABLE, trigger);
        add(old).unwrap();
        assert_eq!(add(new).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        // For the kernel nothing changes if the number is closed and given to a duplicate of the
        // file.
        epoll.forget(theirs.as_raw_fd(), old).unwrap();
        let late = epoll.modify(theirs.as_raw_fd(), old, Interest::WRITABLE, trigger);
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::NotFound);
        for gone in [Epoll::forget, Epoll::remove] {
            let late = gone(&mut epoll, theirs.as_raw_fd(), old);
            assert_eq!(late.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        let mut add = |token| epoll.add(theirs.as_fd(), token, Interest::WRITABLE, trigger);
        add(new).unwrap();
        assert_eq!(tokens(&mut epoll), [new], "{trigger:?}");
        epoll.remove(theirs.as_raw_fd(), new).unwrap();
        assert_eq!(tokens(&mut epoll), []);
    }
    let notifier = epoll.notify.as_fd().as_raw_fd();
    let refused = epoll.add_to_set(&epoll.owners.lock(), notifier, IN, token().to_u64());
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    drop(ours);
}

/// As above, for a listener of several loops: one that was exclusive before, and one that was not.
#[test]
fn add_exclusive_takes_back_a_listener_that_outlived_its_close() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (fd, number) = (listener.as_fd(), listener.as_raw_fd());
    let mut epoll = Epoll::new(4).unwrap();
    let (old, new) = (Token::new(1, 1), Token::new(2, 1));
    epoll.add_exclusive(fd, old).unwrap();
    epoll.forget(number, old).unwrap();
    assert!(epoll.exclusives.is_empty());
    epoll
        .add(fd, new, Interest::READABLE, Trigger::Level)
        .unwrap();
    epoll
        .modify(number, new, Interest::EMPTY, Trigger::Edge)
        .unwrap();
    epoll.forget(number, new).unwrap();
    epoll.add_exclusive(fd, old).unwrap();
    epoll.remove(number, old).unwrap();
}

/// Returns the tokens that a wait without blocking reports.
fn tokens(epoll: &mut Epoll) -> Vec<Token> {
    let mut events = Events::with_capacity(4);
    epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
    events.as_slice().iter().map(|event| event.token).collect()
}

/// A registration is released by another thread while its file lives on in a duplicate. One that
/// has got its number since stays.
#[test]
fn release_removes_only_the_registration_of_its_token() {
    let mut epoll = Epoll::new(4).unwrap();
    let releaser = epoll.releaser().unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let number = theirs.as_raw_fd();
    let (first, second) = (Token::new(1, 1), Token::new(2, 1));
    let mut events = Events::with_capacity(4);
    let mut seen = |epoll: &mut Epoll| {
        epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        let tokens = events.as_slice().iter().map(|event| event.token);
        tokens.collect::<Vec<Token>>()
    };
    let duplicate = theirs.try_clone().unwrap();
    let add = |epoll: &mut Epoll, token| {
        epoll.add(theirs.as_fd(), token, Interest::READABLE, Trigger::Level)
    };
    add(&mut epoll, first).unwrap();
    ours.write_all(b"x").unwrap();
    assert_eq!(seen(&mut epoll), [first]);
    std::thread::scope(|scope| {
        scope.spawn(|| releaser.release(number, first));
    });
    assert_eq!(seen(&mut epoll), []);
    add(&mut epoll, second).unwrap();
    releaser.release(number, first);
    let removed = epoll.remove(number, first).unwrap_err();
    assert_eq!(removed.kind(), io::ErrorKind::NotFound);
    assert_eq!(seen(&mut epoll), [second]);
    let result = crate::sys::fork::in_child(|| {
        releaser.release(number, second);
        Ok(())
    });
    assert_eq!(result.unwrap(), Ok(()));
    assert_eq!(seen(&mut epoll), [second], "its child has removed it");
    drop((epoll, duplicate));
    // The number of the epoll instance may be another file's now.
    releaser.release(number, second);
}
