//! What the conformance cases do not see: other kernels, full counters, what is kept in tables, files that live on.

use super::*;
use std::io::Write;
use std::os::unix::net::UnixStream;

#[test]
fn an_interest_becomes_its_mask() {
    let all = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
    assert_eq!(mask(all, Trigger::Edge), IN | RDHUP | OUT | PRI | EDGE);
    assert_eq!(mask(Interest::READABLE, Trigger::Level), IN | RDHUP);
    assert_eq!(mask(Interest::WRITABLE, Trigger::Oneshot), OUT | ONESHOT);
    assert_eq!(mask(Interest::ERROR, Trigger::Level), 0);
    assert_eq!(mask(Interest::NONE, Trigger::Edge), EDGE);
}

#[test]
fn bits_become_readiness() {
    let both = Readiness::READABLE | Readiness::WRITABLE;
    let hangup = both | Readiness::READ_CLOSED | Readiness::WRITE_CLOSED;
    assert_eq!(readiness(IN), Readiness::READABLE);
    assert_eq!(readiness(OUT), Readiness::WRITABLE);
    assert_eq!(readiness(PRI), Readiness::PRIORITY);
    assert_eq!(readiness(ERR), both | Readiness::ERROR);
    assert_eq!(readiness(HUP), hangup);
    assert_eq!(
        readiness(IN | RDHUP),
        Readiness::READABLE | Readiness::READ_CLOSED
    );
}

/// The kernels and sandboxes that this one is not.
#[test]
fn conforms_without_pwait2_and_without_eventfd() {
    crate::conformance::run(&mut || {
        let epoll = Epoll::build(64, NotifyFd::pipe()?, false)?;
        Ok(Box::new(epoll))
    })
    .assert_ok();
}

#[test]
fn is_notified_when_the_counter_is_full() {
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
fn a_disarmed_level_registration_still_exists() {
    let mut epoll = Epoll::new(4).unwrap();
    let mut events = Events::with_capacity(4);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (token, other) = (Token::new(1, 1), Token::new(2, 1));
    epoll
        .add(theirs.as_fd(), token, Interest::READABLE, Trigger::Level)
        .unwrap();
    // A close would do nothing while a child that another test forks has a copy.
    ours.shutdown(std::net::Shutdown::Both).unwrap();
    epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
    assert_eq!(events.as_slice().len(), 1);
    let twice = epoll.add(theirs.as_fd(), other, Interest::READABLE, Trigger::Level);
    assert_eq!(twice.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    epoll.remove(theirs.as_raw_fd(), token).unwrap();
    assert!(epoll.levels.is_empty());
}

#[test]
fn an_exclusive_registration_leaves_nothing_behind() {
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
    // Said here, not by the kernel.
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
    crate::sys::lab::replace(listener.as_fd(), theirs.as_fd()).unwrap();
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

/// A file that lives on in a duplicate: after `remove` nothing comes, whoever holds it. After a mere close the kernel goes
/// on; what it says comes under the token that is over, and the number's next owner is left alone.
#[test]
fn a_duplicate_kept_alive_is_told_of_under_the_old_token_at_most() {
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
        // Closed without `remove`, and the number given to another file, at one stroke.
        crate::sys::lab::replace(theirs.as_fd(), other.as_fd()).unwrap();
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

/// Whom a wait that does not block tells of.
fn tokens(epoll: &mut Epoll) -> Vec<Token> {
    let mut events = Events::with_capacity(4);
    epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
    events.as_slice().iter().map(|event| event.token).collect()
}
