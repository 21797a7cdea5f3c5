//! The backend over the fake kernel, and what the conformance cases cannot see: how much is written, and when.

use super::*;
use crate::backend::fake::devpoll::{FakeDevPoll, Order};
use crate::sys::lab;
use std::io::Write;
use std::os::unix::net::UnixStream;

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

fn backend() -> DevPoll<FakeDevPoll> {
    DevPoll::new(8).unwrap()
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

fn token(index: u32) -> Token {
    Token::new(index, 1)
}

/// One wait that does not block, with room for `capacity`.
fn look_for(backend: &mut DevPoll<FakeDevPoll>, capacity: usize) -> Vec<(Token, Readiness)> {
    let mut events = Events::with_capacity(capacity);
    backend.wait(&mut events, Some(Duration::ZERO)).unwrap();
    let events = events.as_slice().iter();
    events.map(|event| (event.token, event.readiness)).collect()
}

fn look(backend: &mut DevPoll<FakeDevPoll>) -> Vec<(Token, Readiness)> {
    look_for(backend, 8)
}

#[test]
fn conforms() {
    crate::conformance::run(&mut || Ok(Box::new(DevPoll::<FakeDevPoll>::new(64)?))).assert_ok();
}

/// Writes that take a part, the order of the real kernels, a pipe to be woken by.
#[test]
fn conforms_with_short_writes_and_in_another_order() {
    crate::conformance::run(&mut || {
        let mut backend = DevPoll::<FakeDevPoll>::build(64, NotifyFd::pipe()?)?;
        backend.device.order = Order::Circular;
        backend.device.most_written = 3;
        Ok(Box::new(backend))
    })
    .assert_ok();
}

#[test]
fn less_interest_goes_out_and_in_again() {
    let (mut ours, theirs) = pair();
    let (fd, mut backend) = (theirs.as_raw_fd(), backend());
    ours.write_all(b"x").unwrap();
    backend
        .add(theirs.as_fd(), token(1), BOTH, Trigger::Level)
        .unwrap();
    let both = Readiness::READABLE | Readiness::WRITABLE;
    assert_eq!(look(&mut backend), [(token(1), both)]);
    backend.device.clear_log();
    backend
        .modify(fd, token(1), Interest::WRITABLE, Trigger::Level)
        .unwrap();
    assert_eq!(look(&mut backend), [(token(1), Readiness::WRITABLE)]);
    assert_eq!(
        backend.device.written,
        [(fd, POLLREMOVE), (fd, libc::POLLOUT)]
    );
    assert_eq!(backend.device.writes, 1);
    backend.device.clear_log();
    backend.modify(fd, token(1), BOTH, Trigger::Level).unwrap();
    assert_eq!(look(&mut backend), [(token(1), both)]);
    assert_eq!(backend.device.written, [(fd, mask(BOTH))]);
}

#[test]
fn what_is_armed_again_in_the_same_turn_costs_nothing() {
    let (mut ours, theirs) = pair();
    let (fd, mut backend) = (theirs.as_raw_fd(), backend());
    backend
        .add(theirs.as_fd(), token(1), Interest::READABLE, Trigger::Edge)
        .unwrap();
    ours.write_all(b"x").unwrap();
    assert_eq!(look(&mut backend), [(token(1), Readiness::READABLE)]);
    backend.device.clear_log();
    for _ in 0..3 {
        backend.rearm(fd, token(1), Interest::READABLE).unwrap();
        assert_eq!(look(&mut backend), [(token(1), Readiness::READABLE)]);
    }
    assert_eq!(backend.device.writes, 0);
    assert_eq!(look(&mut backend), []);
    assert_eq!(backend.device.written, [(fd, POLLREMOVE), (fd, 0)]);
}

#[test]
fn only_an_edge_is_armed_again_by_rearm() {
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
    assert_eq!(look(&mut backend), [(token(1), Readiness::WRITABLE)]);
    backend.rearm(fd, token(1), Interest::WRITABLE).unwrap();
    assert_eq!(look(&mut backend), []);
}

#[test]
fn the_changes_of_a_turn_are_one_write() {
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
    assert_eq!(look(&mut backend), []);
    assert_eq!(backend.device.written.len(), CHUNK);
    assert_eq!(backend.device.writes, 1);
}

#[test]
fn a_removed_fd_is_out_before_it_can_be_closed() {
    let (_ours, theirs) = pair();
    let (fd, mut backend) = (theirs.as_raw_fd(), backend());
    backend
        .add(theirs.as_fd(), token(1), Interest::READABLE, Trigger::Edge)
        .unwrap();
    look(&mut backend);
    assert!(backend.device.is_polled(fd).is_some());
    backend.remove(fd, token(1)).unwrap();
    assert_eq!(backend.device.is_polled(fd), None);
    assert_eq!(backend.held, 1);
}

/// The number of a file that was closed while nothing happened on it: the kernel has to be told, though it holds these
/// very events.
#[test]
fn a_reused_number_is_looked_at_under_the_same_interest() {
    let (_ours, number) = pair();
    let (mut other, file) = pair();
    let mut backend = backend();
    backend
        .add(number.as_fd(), token(1), Interest::READABLE, Trigger::Level)
        .unwrap();
    look(&mut backend);
    lab::replace(number.as_fd(), file.as_fd()).unwrap();
    drop(file);
    backend
        .add(number.as_fd(), token(2), Interest::READABLE, Trigger::Level)
        .unwrap();
    assert_eq!(look(&mut backend), []);
    other.write_all(b"x").unwrap();
    assert_eq!(look(&mut backend), [(token(2), Readiness::READABLE)]);
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

/// POLLNVAL: told once, forgotten, and taken out of the kernel's set.
#[test]
fn a_closed_fd_is_told_once_and_taken_out() {
    let (_ours, closed) = pair();
    alone(move || {
        let (fd, mut backend) = (closed.as_raw_fd(), backend());
        backend
            .add(closed.as_fd(), token(1), Interest::READABLE, Trigger::Level)
            .unwrap();
        look(&mut backend);
        drop(closed);
        let told = Readiness::INVALID | Readiness::READABLE | Readiness::WRITABLE;
        same("closed", look(&mut backend), vec![(token(1), told)])?;
        let gone = backend.remove(fd, token(1)).map_err(|e| e.kind());
        same("remove", gone, Err(io::ErrorKind::NotFound))?;
        same("afterwards", look(&mut backend), vec![])?;
        same("in the set", backend.device.is_polled(fd), None)?;
        same("held", backend.held, 1)
    });
}

/// The number of a closed fd names another file: it is not looked at under the old events any more.
#[test]
fn a_reused_number_has_its_own_interest() {
    let (_ours, number) = pair();
    let (mut other, file) = pair();
    let (fd, mut backend) = (number.as_raw_fd(), backend());
    backend
        .add(number.as_fd(), token(1), Interest::READABLE, Trigger::Level)
        .unwrap();
    look(&mut backend);
    lab::replace(number.as_fd(), file.as_fd()).unwrap();
    drop(file);
    backend
        .add(number.as_fd(), token(2), Interest::WRITABLE, Trigger::Level)
        .unwrap();
    other.write_all(b"x").unwrap();
    assert_eq!(look(&mut backend), [(token(2), Readiness::WRITABLE)]);
    assert_eq!(backend.device.is_polled(fd), Some(libc::POLLOUT));
}

/// Closed between `add` and the wait: the kernel says nothing, and adds the old events to those of the next file.
#[test]
fn events_of_a_closed_number_are_put_right() {
    let (_ours, closed) = pair();
    let (_other, next) = pair();
    alone(move || {
        let (fd, mut backend) = (closed.as_raw_fd(), backend());
        backend
            .add(closed.as_fd(), token(1), Interest::WRITABLE, Trigger::Level)
            .unwrap();
        drop(closed);
        same("closed", look(&mut backend), vec![])?;
        backend.remove(fd, token(1)).unwrap();
        let mut clones = Vec::new();
        while clones.last().map(AsRawFd::as_raw_fd) != Some(fd) {
            clones.push(next.try_clone().unwrap());
        }
        let next = clones.pop().unwrap();
        backend
            .add(next.as_fd(), token(2), Interest::READABLE, Trigger::Level)
            .unwrap();
        same("idle", look(&mut backend), vec![])?;
        same("idle", look(&mut backend), vec![])?;
        let held = backend.device.is_polled(fd);
        same("in the set", held, Some(mask(Interest::READABLE)))
    });
}

/// A wait without limit is not ended by reports that are nobody's.
#[test]
fn a_wait_goes_on_after_reports_of_what_is_not_armed() {
    let (_ours, theirs) = pair();
    let fd = theirs.as_raw_fd();
    // One report at a time, the lowest number first: what is not armed comes before the notification.
    let mut others = Vec::new();
    let mut backend = loop {
        let backend = backend();
        if backend.notifier_number() > fd {
            break backend;
        }
        others.push(backend);
    };
    backend.most = 1;
    backend
        .add(theirs.as_fd(), token(1), Interest::READABLE, Trigger::Level)
        .unwrap();
    look(&mut backend);
    let stray = record(fd, libc::POLLOUT);
    backend.device.write_all(&[stray]).unwrap();
    backend.device.clear_log();
    backend.notifier().notify().unwrap();
    let mut events = Events::with_capacity(8);
    backend.wait(&mut events, None).unwrap();
    assert!(events.as_slice().is_empty());
    assert_eq!((backend.device.writes, backend.device.polls), (1, 2));
    assert_eq!(look(&mut backend), []);
    assert_eq!(backend.device.writes, 1, "the notification was not seen");
}

/// `OPEN_MAX` was lowered, or is lower than a chunk.
#[test]
fn too_many_for_one_call_are_done_in_parts() {
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
    let mut told = 0;
    for _ in 0..100 {
        told += look_for(&mut backend, 64).len();
    }
    assert_eq!(told, 100);
}

/// What a driver refuses comes out at the write, long after `add`: it is told as an error, and the others live.
#[test]
fn an_fd_that_its_driver_refuses_is_told_as_an_error() {
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
    let told = readiness(libc::POLLERR);
    backend.device.clear_log();
    assert_eq!(look(&mut backend), [(token(1), told)]);
    assert_eq!(backend.device.polls, 0, "it waits with an event at hand");
    assert_eq!(look(&mut backend), []);
    ours.write_all(b"x").unwrap();
    assert_eq!(look(&mut backend), [(token(2), Readiness::READABLE)]);
    backend.device.refused.clear();
    other.write_all(b"x").unwrap();
    backend
        .modify(fd, token(1), Interest::READABLE, Trigger::Edge)
        .unwrap();
    assert_eq!(look(&mut backend), [(token(1), Readiness::READABLE)]);
    backend.remove(fd, token(1)).unwrap();
}

/// A driver that changes its mind, about an fd that is in the set.
#[test]
fn a_refused_fd_does_not_fail_the_waits_that_follow() {
    let (_ours, theirs) = pair();
    let (fd, mut backend) = (theirs.as_raw_fd(), backend());
    backend
        .add(theirs.as_fd(), token(1), Interest::READABLE, Trigger::Level)
        .unwrap();
    look(&mut backend);
    backend.device.refused.push(fd);
    backend.modify(fd, token(1), BOTH, Trigger::Level).unwrap();
    assert_eq!(look(&mut backend), [(token(1), readiness(libc::POLLERR))]);
    assert_eq!(look(&mut backend), []);
    assert_eq!(backend.held, 1);
}

/// Told to nobody when the fd is gone by then.
#[test]
fn a_refusal_is_not_told_to_the_next_owner() {
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
    let told = look_for(&mut backend, 1);
    let (left, socket) = match told[0].0 == token(1) {
        true => (token(2), &second),
        false => (token(1), &first),
    };
    backend.device.refused.clear();
    backend.remove(socket.as_raw_fd(), left).unwrap();
    backend
        .add(socket.as_fd(), token(3), Interest::READABLE, Trigger::Edge)
        .unwrap();
    assert_eq!(look(&mut backend), []);
}

/// Hosts without the device say so, and the choice goes on to the next mechanism.
#[test]
fn a_host_without_the_device_says_so() {
    if let Err(error) = DevPoll::<Device>::new(1) {
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
