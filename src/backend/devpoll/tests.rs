//! Tests of the backend over the fake kernel, of what the conformance cases do not cover: how much
//! is written, and when.

use super::*;
use crate::backend::fake::devpoll::{FakeDevPoll, Order};
use crate::sys::test_fds;
use std::io::Write;
use std::os::unix::net::UnixStream;

const BOTH: Interest = Interest::READABLE.union(Interest::WRITABLE);

fn backend() -> DevPoll<FakeDevPoll> {
    DevPoll::new(8).unwrap()
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

fn token(index: u32) -> Token {
    Token::new(index, 1)
}

/// Makes one wait that does not block, with room for `capacity`.
fn poll_with_room(backend: &mut DevPoll<FakeDevPoll>, capacity: usize) -> Vec<(Token, Ready)> {
    let mut events = Events::with_capacity(capacity);
    backend.wait(&mut events, Some(Duration::ZERO)).unwrap();
    let events = events.as_slice().iter();
    events.map(|event| (event.token, event.readiness)).collect()
}

fn poll_now(backend: &mut DevPoll<FakeDevPoll>) -> Vec<(Token, Ready)> {
    poll_with_room(backend, 8)
}

#[test]
fn conforms() {
    crate::conformance::run(&mut || Ok(Box::new(DevPoll::<FakeDevPoll>::new(64)?))).assert_ok();
}

/// Short writes, the order of the real kernels, and a pipe as notifier.
#[test]
fn conforms_with_short_writes_and_in_another_order() {
    crate::conformance::run(&mut || {
        let mut backend = DevPoll::<FakeDevPoll>::build(64, NotifyFd::pipe()?)?;
        backend.device.order = Order::Circular;
        backend.device.max_written = 3;
        Ok(Box::new(backend))
    })
    .assert_ok();
}

#[test]
fn modify_to_less_removes_and_adds_again() {
    let (mut ours, theirs) = pair();
    let (fd, mut backend) = (theirs.as_raw_fd(), backend());
    ours.write_all(b"x").unwrap();
    backend
        .add(theirs.as_fd(), token(1), BOTH, Trigger::Level)
        .unwrap();
    let both = Ready::READABLE | Ready::WRITABLE;
    assert_eq!(poll_now(&mut backend), [(token(1), both)]);
    backend.device.clear_log();
    backend
        .modify(fd, token(1), Interest::WRITABLE, Trigger::Level)
        .unwrap();
    assert_eq!(poll_now(&mut backend), [(token(1), Ready::WRITABLE)]);
    assert_eq!(
        backend.device.written,
        [(fd, POLLREMOVE), (fd, libc::POLLOUT)]
    );
    assert_eq!(backend.device.writes, 1);
    backend.device.clear_log();
    backend.modify(fd, token(1), BOTH, Trigger::Level).unwrap();
    assert_eq!(poll_now(&mut backend), [(token(1), both)]);
    assert_eq!(backend.device.written, [(fd, mask(BOTH))]);
}

#[test]
fn rearm_in_the_same_turn_writes_nothing() {
    let (mut ours, theirs) = pair();
    let (fd, mut backend) = (theirs.as_raw_fd(), backend());
    backend
        .add(theirs.as_fd(), token(1), Interest::READABLE, Trigger::Edge)
        .unwrap();
    ours.write_all(b"x").unwrap();
    assert_eq!(poll_now(&mut backend), [(token(1), Ready::READABLE)]);
    backend.device.clear_log();
    for _ in 0..3 {
        backend.rearm(fd, token(1), Interest::READABLE).unwrap();
        assert_eq!(poll_now(&mut backend), [(token(1), Ready::READABLE)]);
    }
    assert_eq!(backend.device.writes, 0);
    assert_eq!(poll_now(&mut backend), []);
    // The end of the stream stays armed.
    let rest = mask(Interest::READABLE) & !libc::POLLIN;
    assert_eq!(backend.device.written, [(fd, POLLREMOVE), (fd, rest)]);
}

#[test]
fn rearm_arms_only_edges() {
    let (_ours, theirs) = pair();
    let (fd, mut backend) = (theirs.as_raw_fd(), backend());
    backend
        .add(
            theirs.as_fd(),
            token(1),
            Interest::WRITABLE,
            Trigger::Oneshot,
        )
        .unwrap();
    assert_eq!(poll_now(&mut backend), [(token(1), Ready::WRITABLE)]);
    backend.rearm(fd, token(1), Interest::WRITABLE).unwrap();
    assert_eq!(poll_now(&mut backend), []);
}

#[test]
fn wait_writes_the_changes_of_a_turn_at_once() {
    let mut backend = backend();
    let sockets: Vec<_> = (0..CHUNK as u32).map(|index| (index, pair())).collect();
    backend.device.clear_log();
    for (index, (_, theirs)) in &sockets {
        backend
            .add(
                theirs.as_fd(),
                token(*index),
                Interest::READABLE,
                Trigger::Edge,
            )
            .unwrap();
    }
    assert_eq!(poll_now(&mut backend), []);
    assert_eq!(backend.device.written.len(), CHUNK);
    assert_eq!(backend.device.writes, 1);
}

#[test]
fn remove_writes_at_once() {
    let (_ours, theirs) = pair();
    let (fd, mut backend) = (theirs.as_raw_fd(), backend());
    backend
        .add(theirs.as_fd(), token(1), Interest::READABLE, Trigger::Edge)
        .unwrap();
    poll_now(&mut backend);
    assert!(backend.device.is_polled(fd).is_some());
    backend.remove(fd, token(1)).unwrap();
    assert_eq!(backend.device.is_polled(fd), None);
    assert_eq!(backend.held, 1);
}

/// The number of a file that was closed while nothing happened on it: the kernel has to be updated,
/// though it holds these very events.
#[test]
fn add_of_a_reused_number_writes_the_same_interest() {
    let (_ours, number) = pair();
    let (mut other, file) = pair();
    let mut backend = backend();
    backend
        .add(number.as_fd(), token(1), Interest::READABLE, Trigger::Level)
        .unwrap();
    poll_now(&mut backend);
    test_fds::replace(number.as_fd(), file.as_fd()).unwrap();
    drop(file);
    backend
        .add(number.as_fd(), token(2), Interest::READABLE, Trigger::Level)
        .unwrap();
    assert_eq!(poll_now(&mut backend), []);
    other.write_all(b"x").unwrap();
    assert_eq!(poll_now(&mut backend), [(token(2), Ready::READABLE)]);
}

/// Runs `f` in a child, where no other test takes a number that was closed.
fn alone(f: impl FnOnce() -> Result<(), String>) {
    assert_eq!(crate::sys::fork::in_child(f).unwrap(), Ok(()));
}

fn same<T: PartialEq + fmt::Debug>(what: &str, seen: T, expected: T) -> Result<(), String> {
    match seen == expected {
        true => Ok(()),
        false => Err(format!("{what}: {seen:?} instead of {expected:?}")),
    }
}

/// `POLLNVAL` is reported once; the fd is forgotten, and removed from the kernel's set.
#[test]
fn wait_reports_a_closed_fd_once_and_removes_it() {
    let (_ours, closed) = pair();
    alone(move || {
        let (fd, mut backend) = (closed.as_raw_fd(), backend());
        backend
            .add(closed.as_fd(), token(1), Interest::READABLE, Trigger::Level)
            .unwrap();
        poll_now(&mut backend);
        drop(closed);
        let bits = Ready::INVALID | Ready::READABLE | Ready::WRITABLE;
        same("closed", poll_now(&mut backend), vec![(token(1), bits)])?;
        let gone = backend.remove(fd, token(1)).map_err(|e| e.kind());
        same("remove", gone, Err(io::ErrorKind::NotFound))?;
        same("afterwards", poll_now(&mut backend), vec![])?;
        same("in the set", backend.device.is_polled(fd), None)?;
        same("held", backend.held, 1)
    });
}

/// The number of a closed fd names another file: it is not checked for the old events.
#[test]
fn add_of_a_reused_number_drops_the_old_events() {
    let (_ours, number) = pair();
    let (mut other, file) = pair();
    let (fd, mut backend) = (number.as_raw_fd(), backend());
    backend
        .add(number.as_fd(), token(1), Interest::READABLE, Trigger::Level)
        .unwrap();
    poll_now(&mut backend);
    test_fds::replace(number.as_fd(), file.as_fd()).unwrap();
    drop(file);
    backend
        .add(number.as_fd(), token(2), Interest::WRITABLE, Trigger::Level)
        .unwrap();
    other.write_all(b"x").unwrap();
    assert_eq!(poll_now(&mut backend), [(token(2), Ready::WRITABLE)]);
    assert_eq!(backend.device.is_polled(fd), Some(libc::POLLOUT));
}

/// Closed between `add` and the wait: the kernel reports nothing, and adds the old events to those
/// of the next file.
#[test]
fn wait_corrects_events_of_a_closed_number() {
    let (_ours, closed) = pair();
    let (_other, next) = pair();
    alone(move || {
        let (fd, mut backend) = (closed.as_raw_fd(), backend());
        backend
            .add(closed.as_fd(), token(1), Interest::WRITABLE, Trigger::Level)
            .unwrap();
        drop(closed);
        same("closed", poll_now(&mut backend), vec![])?;
        backend.remove(fd, token(1)).unwrap();
        let mut clones = Vec::new();
        while clones.last().map(AsRawFd::as_raw_fd) != Some(fd) {
            clones.push(next.try_clone().unwrap());
        }
        let next = clones.pop().unwrap();
        backend
            .add(next.as_fd(), token(2), Interest::READABLE, Trigger::Level)
            .unwrap();
        same("idle", poll_now(&mut backend), vec![])?;
        same("idle", poll_now(&mut backend), vec![])?;
        let held = backend.device.is_polled(fd);
        same("in the set", held, Some(mask(Interest::READABLE)))
    });
}

/// A wait without limit is not ended by reports that are dropped.
#[test]
fn wait_goes_on_after_reports_of_what_is_not_armed() {
    let (_ours, theirs) = pair();
    let fd = theirs.as_raw_fd();
    // One report at a time, the lowest number first: what is not armed comes before the
    // notification.
    let mut others = Vec::new();
    let mut backend = loop {
        let backend = backend();
        if backend.notifier_number() > fd {
            break backend;
        }
        others.push(backend);
    };
    backend.max_room = 1;
    backend
        .add(theirs.as_fd(), token(1), Interest::READABLE, Trigger::Level)
        .unwrap();
    poll_now(&mut backend);
    let stray = record(fd, libc::POLLOUT);
    backend.device.write_all(&[stray]).unwrap();
    backend.device.clear_log();
    backend.notifier().notify().unwrap();
    let mut events = Events::with_capacity(8);
    backend.wait(&mut events, None).unwrap();
    assert!(events.as_slice().is_empty());
    assert_eq!((backend.device.writes, backend.device.polls), (1, 2));
    assert_eq!(poll_now(&mut backend), []);
    assert_eq!(backend.device.writes, 1, "the notification was not seen");
}

/// `OPEN_MAX` was lowered, or is lower than a chunk.
#[test]
fn wait_splits_too_many_records() {
    let (mut ours, theirs) = pair();
    ours.write_all(b"x").unwrap();
    let mut backend = backend();
    backend.device.open_max = 16;
    backend.device.order = Order::Circular;
    let clones: Vec<_> = (0..100).map(|_| theirs.try_clone().unwrap()).collect();
    for (index, clone) in clones.iter().enumerate() {
        let token = token(index as u32);
        backend
            .add(clone.as_fd(), token, Interest::READABLE, Trigger::Oneshot)
            .unwrap();
    }
    let mut count = 0;
    for _ in 0..100 {
        count += poll_with_room(&mut backend, 64).len();
    }
    assert_eq!(count, 100);
}

/// What a driver refuses is noticed at the write, long after `add`: it is reported as an error, and
/// other fds still work.
#[test]
fn wait_reports_an_fd_that_its_driver_refuses_as_an_error() {
    let (mut ours, theirs) = pair();
    let (mut other, refused) = pair();
    let (fd, mut backend) = (refused.as_raw_fd(), backend());
    backend.device.refused.push(fd);
    for (index, socket) in [(1, &refused), (2, &theirs)] {
        backend
            .add(
                socket.as_fd(),
                token(index),
                Interest::READABLE,
                Trigger::Edge,
            )
            .unwrap();
    }
    let bits = readiness(libc::POLLERR);
    backend.device.clear_log();
    assert_eq!(poll_now(&mut backend), [(token(1), bits)]);
    assert_eq!(backend.device.polls, 0, "it waits with an event at hand");
    assert_eq!(poll_now(&mut backend), []);
    ours.write_all(b"x").unwrap();
    assert_eq!(poll_now(&mut backend), [(token(2), Ready::READABLE)]);
    backend.device.refused.clear();
    other.write_all(b"x").unwrap();
    backend
        .modify(fd, token(1), Interest::READABLE, Trigger::Edge)
        .unwrap();
    assert_eq!(poll_now(&mut backend), [(token(1), Ready::READABLE)]);
    backend.remove(fd, token(1)).unwrap();
}

/// A driver that begins to refuse an fd that is in the set.
#[test]
fn refused_fd_does_not_fail_later_waits() {
    let (_ours, theirs) = pair();
    let (fd, mut backend) = (theirs.as_raw_fd(), backend());
    backend
        .add(theirs.as_fd(), token(1), Interest::READABLE, Trigger::Level)
        .unwrap();
    poll_now(&mut backend);
    backend.device.refused.push(fd);
    backend.modify(fd, token(1), BOTH, Trigger::Level).unwrap();
    assert_eq!(
        poll_now(&mut backend),
        [(token(1), readiness(libc::POLLERR))]
    );
    assert_eq!(poll_now(&mut backend), []);
    assert_eq!(backend.held, 1);
}

/// Not reported if the fd is gone by then.
#[test]
fn refusal_is_not_reported_to_the_next_owner() {
    let (_one, first) = pair();
    let (_two, second) = pair();
    let mut backend = backend();
    for (index, socket) in [(1, &first), (2, &second)] {
        backend.device.refused.push(socket.as_raw_fd());
        backend
            .add(
                socket.as_fd(),
                token(index),
                Interest::READABLE,
                Trigger::Edge,
            )
            .unwrap();
    }
    let events = poll_with_room(&mut backend, 1);
    let (left, socket) = match events[0].0 == token(1) {
        true => (token(2), &second),
        false => (token(1), &first),
    };
    backend.device.refused.clear();
    backend.remove(socket.as_raw_fd(), left).unwrap();
    backend
        .add(socket.as_fd(), token(3), Interest::READABLE, Trigger::Edge)
        .unwrap();
    assert_eq!(poll_now(&mut backend), []);
}

/// On hosts without the device, opening fails, and the choice goes on to the next mechanism.
#[test]
fn open_without_the_device_fails() {
    if let Err(error) = DevPoll::<Device>::new(1) {
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
