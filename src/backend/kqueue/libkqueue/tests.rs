//! Tests of the backend over libkqueue: the cases that the library supports, and tests of this
//! backend for the rest.

use super::super::tests::echo_over;
use super::super::{HANGUP, Kqueue, change};
use super::{EV_ADD, EV_DELETE, EV_ENABLE, Filter, Libkqueue, whole_millis};
use crate::backend::{Backend, Event, Events, Interest, Ready, Token, Trigger};
use crate::sys::test_fds;
use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const BOTH: Interest = Interest::READABLE.union(Interest::WRITABLE);

/// The cases that cannot run, and the reason in libkqueue 2.3.1.
const LACKS: &[(&str, &str)] = &[
    // The child has no helper thread, and reports to its parent's that a queue was closed.
    ("B10", "libkqueue: no forks"),
    // `evfilt_write_copyout`: getsockopt(SO_ERROR).
    ("C20", "libkqueue: takes SO_ERROR"),
    ("C21", "libkqueue: takes SO_ERROR"),
    // `evfilt_read_copyout`: nothing before the out-of-band byte, hence EV_EOF.
    ("C22", "libkqueue: out-of-band is EOF"),
    // The writing end of a pipe that is not written to.
    ("C31", "libkqueue: has no fd to poll"),
    // The layer between it and the backend removes them, so the case would not test libkqueue.
    ("C32", "libkqueue: close keeps filters"),
    // `evfilt_write_copyout`: EPOLLERR is `fflags` without EV_EOF.
    ("C35", "libkqueue: no EOF on a pipe"),
    // As C32.
    ("C39", "libkqueue: close keeps filters"),
];

#[test]
fn conforms_except_for_what_libkqueue_lacks() {
    let except = |id: &str| {
        let lack = LACKS.iter().find(|lack| lack.0 == id);
        lack.map(|&(_, reason)| reason)
    };
    let mut make = || -> io::Result<Box<dyn Backend>> { Ok(Box::new(open())) };
    let report = crate::conformance::run_except(&mut make, &except);
    println!("{report}");
    report.assert_ok();
}

#[test]
fn runtime_runs_over_kqueue() {
    echo_over(open());
}

fn open() -> Kqueue<Libkqueue> {
    Kqueue::new(64).unwrap()
}

fn token(index: u32) -> Token {
    Token::new(index, 1)
}

fn add(
    kqueue: &mut Kqueue<Libkqueue>,
    fd: &impl AsFd,
    interest: Interest,
    trigger: Trigger,
) -> RawFd {
    kqueue.add(fd.as_fd(), token(1), interest, trigger).unwrap();
    fd.as_fd().as_raw_fd()
}

/// Makes one wait that does not block, with that much room.
fn poll_now(kqueue: &mut Kqueue<Libkqueue>, room: usize) -> Vec<Event> {
    let mut events = Events::with_capacity(room);
    kqueue.wait(&mut events, Some(Duration::ZERO)).unwrap();
    events.as_slice().to_vec()
}

/// Waits until all of `wanted` was reported. Returns everything that was.
fn until(kqueue: &mut Kqueue<Libkqueue>, wanted: Ready) -> Ready {
    let mut seen = Ready::EMPTY;
    let mut events = Events::with_capacity(4);
    let (started, limit) = (Instant::now(), Duration::from_secs(60));
    while started.elapsed() < limit {
        kqueue.wait(&mut events, Some(limit)).unwrap();
        for event in events.as_slice() {
            seen |= event.readiness;
        }
        if seen.contains(wanted) {
            return seen;
        }
    }
    panic!("only {seen:?} of {wanted:?}");
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (ours, listener.accept().unwrap().0)
}

/// All of these results come from the library.
#[test]
fn missing_filters_are_enoent_and_need_no_deletion() {
    let mut kqueue = open();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let fd = theirs.as_raw_fd();
    let read = |flags| [change::<Libkqueue>(fd, Filter::Read, flags)];
    let is_enoent = |done: io::Result<()>| {
        let number = done.map_err(|error| error.raw_os_error());
        assert_eq!(number, Err(Some(libc::ENOENT)));
    };
    is_enoent(kqueue.submit(read(EV_ENABLE)));
    is_enoent(kqueue.submit_until_error(read(EV_DELETE)));
    kqueue.submit(read(EV_DELETE)).unwrap();
    kqueue.submit(read(EV_ADD)).unwrap();
    kqueue.submit_until_error(read(EV_DELETE)).unwrap();
    is_enoent(kqueue.submit_until_error(read(EV_DELETE)));
}

#[test]
fn modify_replaces_the_trigger() {
    let mut kqueue = open();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(b"x").unwrap();
    let fd = add(&mut kqueue, &theirs, Interest::READABLE, Trigger::Level);
    for (trigger, times) in [
        (Trigger::Level, 3),
        (Trigger::Edge, 1),
        (Trigger::Level, 3),
        (Trigger::Oneshot, 1),
        (Trigger::Edge, 1),
    ] {
        kqueue
            .modify(fd, token(1), Interest::READABLE, trigger)
            .unwrap();
        let seen: Vec<_> = (0..3).flat_map(|_| poll_now(&mut kqueue, 4)).collect();
        assert_eq!(seen.len(), times, "{trigger:?}");
    }
}

#[test]
fn oneshot_in_one_direction_disables_the_other() {
    let mut kqueue = open();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let fd = add(&mut kqueue, &theirs, BOTH, Trigger::Oneshot);
    assert_eq!(poll_now(&mut kqueue, 4)[0].readiness, Ready::WRITABLE);
    ours.write_all(b"x").unwrap();
    assert_eq!(poll_now(&mut kqueue, 4), []);
    kqueue.modify(fd, token(1), BOTH, Trigger::Oneshot).unwrap();
    let seen = poll_now(&mut kqueue, 4);
    assert_eq!(seen.len(), 1, "{seen:?}");
    let both = Ready::READABLE | Ready::WRITABLE;
    assert_eq!(seen[0].readiness, both);
}

#[test]
fn half_close_is_no_hangup_and_close_is() {
    for trigger in [Trigger::Edge, Trigger::Level] {
        let mut kqueue = open();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let fd = add(&mut kqueue, &theirs, BOTH, trigger);
        ours.shutdown(Shutdown::Write).unwrap();
        let seen = until(&mut kqueue, Ready::READ_CLOSED);
        assert!(!seen.contains(Ready::WRITE_CLOSED), "{seen:?}");
        ours.shutdown(Shutdown::Read).unwrap();
        until(&mut kqueue, HANGUP);
        let again = usize::from(trigger == Trigger::Level);
        assert_eq!(poll_now(&mut kqueue, 4).len(), again, "{trigger:?}");
        kqueue.modify(fd, token(1), BOTH, trigger).unwrap();
        assert!(poll_now(&mut kqueue, 4)[0].readiness.contains(HANGUP));
    }
}

#[test]
fn hangup_in_two_batches_is_one() {
    let mut kqueue = open();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let fd = add(&mut kqueue, &theirs, BOTH, Trigger::Level);
    // A close would do nothing while a child that another test forks has a copy.
    ours.shutdown(Shutdown::Both).unwrap();
    let first = poll_now(&mut kqueue, 1)[0].readiness;
    assert!(!first.contains(HANGUP), "{first:?}");
    let second = poll_now(&mut kqueue, 1)[0].readiness;
    assert!(second.contains(HANGUP | Ready::READABLE | Ready::WRITABLE));
    assert_eq!(poll_now(&mut kqueue, 4).len(), 1);
    kqueue.modify(fd, token(1), BOTH, Trigger::Level).unwrap();
    assert_eq!(poll_now(&mut kqueue, 4).len(), 1);
}

/// A reset is reported as an error until a call returns the socket's error; the hang-up repeats at
/// the level.
#[test]
fn reset_is_an_error() {
    for interest in [Interest::READABLE, Interest::WRITABLE, BOTH] {
        let mut kqueue = open();
        let (ours, theirs) = tcp_pair();
        add(&mut kqueue, &theirs, interest, Trigger::Level);
        test_fds::reset_on_close(ours.as_fd()).unwrap();
        drop(ours);
        let both = Ready::READABLE | Ready::WRITABLE;
        until(&mut kqueue, Ready::ERROR | both);
        assert_eq!(poll_now(&mut kqueue, 4).len(), 1, "{interest:?}");
    }
}

#[test]
fn refused_connection_is_an_error() {
    let (_bound, address) = test_fds::refusing().unwrap();
    let socket = test_fds::connect(address).unwrap();
    let mut kqueue = open();
    add(&mut kqueue, &socket, Interest::WRITABLE, Trigger::Edge);
    until(&mut kqueue, Ready::ERROR | Ready::WRITABLE);
}

#[test]
fn wait_rounds_timeouts_up() {
    let cases = [(0, 0), (999, 999), (1_000, 1_000), (1_001, 2_000)];
    for (micros, expected) in cases {
        let rounded = whole_millis(Duration::from_micros(micros));
        assert_eq!(rounded, Duration::from_micros(expected));
    }
}
