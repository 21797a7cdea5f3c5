//! Tests of the fake event ports. The numbers in the names are those of the list in the fake's
//! head.

use super::*;
use crate::sys::fork::in_child;
use crate::sys::pipe::pipe;
use crate::sys::test_fds;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

const IN: libc::c_short = libc::POLLIN;
const OUT: libc::c_short = libc::POLLOUT;
const NEVER: Faults = Faults { time: 0, signal: 0 };

struct Rig {
    fake: Fake,
    port: OwnedFd,
}

impl Rig {
    fn new() -> Rig {
        let fake = Fake::with_faults(NEVER);
        let port = fake.create().unwrap();
        Rig { fake, port }
    }

    fn associate(&self, fd: &impl AsRawFd, events: libc::c_short, user: usize) {
        let fd = fd.as_raw_fd();
        self.fake
            .associate(self.port.as_fd(), fd, events, user)
            .unwrap();
    }

    fn dissociate(&self, fd: &impl AsRawFd) -> Option<i32> {
        let done = self.fake.dissociate(self.port.as_fd(), fd.as_raw_fd());
        done.err().map(|error| error.raw_os_error().unwrap())
    }

    /// Makes a `getn` that does not block. Returns the count, the events and the error number.
    fn get(&self, nget: u32, room: usize) -> (u32, Vec<PortEvent>, Option<i32>) {
        self.get_for(nget, room, Some(Duration::ZERO))
    }

    fn get_for(
        &self,
        mut nget: u32,
        room: usize,
        timeout: Option<Duration>,
    ) -> (u32, Vec<PortEvent>, Option<i32>) {
        let mut list = vec![PortEvent::NONE; room];
        let timeout = timeout.map(crate::sys::timeout::timespec);
        let port = self.port.as_fd();
        let got = self.fake.getn(port, &mut list, &mut nget, timeout.as_ref());
        let errno = got.err().map(|error| error.raw_os_error().unwrap());
        list.retain(|event| *event != PortEvent::NONE);
        (nget, list, errno)
    }

    fn one(&self) -> Option<(libc::c_short, usize)> {
        let (_, list, _) = self.get(1, 1);
        let event = list.first()?;
        Some((event.events as libc::c_short, event.user))
    }
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

#[test]
fn association_is_one_event_and_checks_at_once_1_2() {
    let rig = Rig::new();
    let (mut ours, theirs) = pair();
    ours.write_all(b"x").unwrap();
    rig.associate(&theirs, IN, 7);
    assert_eq!(rig.one(), Some((IN, 7)));
    assert_eq!(rig.one(), None);
    rig.associate(&theirs, IN, 8);
    assert_eq!(rig.one(), Some((IN, 8)));
}

#[test]
fn a_queued_event_may_be_out_of_date_unless_it_is_associated_again_3_4() {
    let rig = Rig::new();
    let (mut ours, mut theirs) = pair();
    ours.write_all(b"x").unwrap();
    rig.associate(&theirs, IN, 1);
    theirs.read_exact(&mut [0]).unwrap();
    assert_eq!(rig.one(), Some((IN, 1)));
    ours.write_all(b"x").unwrap();
    rig.associate(&theirs, IN, 2);
    theirs.read_exact(&mut [0]).unwrap();
    rig.associate(&theirs, IN, 3);
    assert_eq!(rig.one(), None);
    rig.associate(&theirs, OUT, 4);
    assert_eq!(rig.one(), Some((OUT, 4)));
}

#[test]
fn hangup_needs_no_bit_5() {
    let rig = Rig::new();
    let (ours, theirs) = pair();
    rig.associate(&theirs, 0, 1);
    assert_eq!(rig.one(), None);
    // A close would do nothing while a child that another test forks has a copy.
    ours.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(rig.one(), Some((libc::POLLHUP, 1)));
}

#[test]
fn close_of_the_number_ends_the_association_and_its_event_6() {
    let rig = Rig::new();
    let (mut ours, theirs) = pair();
    ours.write_all(b"x").unwrap();
    let alive = theirs.try_clone().unwrap();
    rig.associate(&theirs, IN, 1);
    drop(theirs);
    assert_eq!(rig.one(), None);
    rig.associate(&alive, IN, 2);
    assert_eq!(rig.one(), Some((IN, 2)));
}

#[test]
fn dissociate_removes_the_event_or_returns_the_reason_7_8() {
    let rig = Rig::new();
    let (mut ours, theirs) = pair();
    assert_eq!(rig.dissociate(&theirs), Some(libc::ENOENT));
    ours.write_all(b"x").unwrap();
    rig.associate(&theirs, IN, 1);
    assert_eq!(rig.dissociate(&theirs), None);
    assert_eq!(rig.one(), None);
    rig.associate(&theirs, IN, 1);
    rig.one();
    assert_eq!(rig.dissociate(&theirs), Some(libc::ENOENT));
    assert_eq!(rig.dissociate(&test_fds::not_open()), Some(libc::EBADFD));
    let errno = |port| {
        let done = rig.fake.associate(port, theirs.as_raw_fd(), IN, 1);
        done.unwrap_err().raw_os_error()
    };
    assert_eq!(errno(theirs.as_fd()), Some(libc::EBADFD));
    assert_eq!(errno(test_fds::not_open()), Some(libc::EBADF));
}

#[test]
fn a_child_may_not_dissociate_nor_take_events_7() {
    let rig = Rig::new();
    let (_ours, theirs) = pair();
    rig.associate(&theirs, IN, 1);
    let seen = in_child(|| match rig.dissociate(&theirs) {
        Some(libc::EACCES) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(seen.unwrap(), Ok(()));
    let refused = in_child(|| {
        let port = rig.port.as_fd();
        let got = rig.fake.getn(port, &mut [PortEvent::NONE], &mut 1, None);
        got.map_err(|error| error.to_string())
    });
    assert_eq!(refused.unwrap(), Err("the port is the parent's".to_owned()));
}

#[test]
fn getn_waits_for_the_requested_count_9() {
    let rig = Rig::new();
    let (mut ours, theirs) = pair();
    ours.write_all(b"x").unwrap();
    rig.associate(&theirs, IN, 1);
    assert_eq!(rig.get(1, 0), (1, vec![], None));
    assert_eq!(rig.get(3, 2).2, Some(libc::EINVAL));
    rig.associate(&ours, OUT, 2);
    let (count, list, errno) = rig.get(2, 4);
    assert_eq!((count, list.len(), errno), (2, 2, None));
    rig.associate(&ours, OUT, 2);
    let (count, list, errno) = rig.get_for(2, 4, Some(Duration::from_millis(1)));
    assert_eq!((count, list.len(), errno), (1, 1, Some(libc::ETIME)));
}

#[test]
fn timeout_is_checked_and_zero_is_no_failure_10() {
    let rig = Rig::new();
    assert_eq!(rig.get(1, 1), (0, vec![], None));
    let late = rig.get_for(1, 1, Some(Duration::from_millis(1)));
    assert_eq!(late, (0, vec![], Some(libc::ETIME)));
    // SAFETY: all-zero bytes are a valid timespec.
    let mut timeout: libc::timespec = unsafe { std::mem::zeroed() };
    for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000)] {
        (timeout.tv_sec, timeout.tv_nsec) = (seconds, nanos);
        let port = rig.port.as_fd();
        let got = rig
            .fake
            .getn(port, &mut [PortEvent::NONE], &mut 1, Some(&timeout));
        assert_eq!(got.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn failures_come_with_events_and_a_signal_without_11() {
    let fake = Fake::with_faults(Faults { time: 2, signal: 3 });
    let port = fake.create().unwrap();
    let rig = Rig { fake, port };
    let (ours, _theirs) = pair();
    let mut errors = Vec::new();
    for _ in 0..3 {
        rig.associate(&ours, OUT, 1);
        let (count, list, errno) = rig.get(1, 1);
        assert_eq!((count, list.len()), (1, 1));
        errors.push(errno);
    }
    assert_eq!(errors, [None, Some(libc::ETIME), Some(libc::EINTR)]);
    rig.fake.interrupt();
    rig.associate(&ours, OUT, 1);
    assert_eq!(rig.get(1, 1), (1, vec![], Some(libc::EINTR)));
    assert_eq!(rig.one(), Some((OUT, 1)));
}

#[test]
fn associations_and_messages_share_a_limit_12() {
    let rig = Rig::new();
    rig.fake.limit(2);
    let (ours, theirs) = pair();
    let (port, full) = (rig.port.as_fd(), Some(libc::EAGAIN));
    rig.associate(&ours, OUT, 1);
    rig.fake.send(port, 0, 9).unwrap();
    let errno = |done: io::Result<()>| done.err().and_then(|error| error.raw_os_error());
    assert_eq!(errno(rig.fake.send(port, 0, 9)), full);
    let second = rig.fake.associate(port, theirs.as_raw_fd(), OUT, 2);
    assert_eq!(errno(second), full);
    // The delivered one counts until it is dissociated; the message does not.
    assert_eq!(rig.get(1, 4).0, 2);
    rig.associate(&theirs, IN, 2);
    assert_eq!(errno(rig.fake.send(port, 0, 9)), full);
    rig.dissociate(&ours);
    rig.fake.send(port, 0, 9).unwrap();
}

#[test]
fn alert_hides_everything_until_it_is_ended_13() {
    let rig = Rig::new();
    rig.fake.send(rig.port.as_fd(), 1, 2).unwrap();
    rig.fake.alert(rig.port.as_fd(), 5).unwrap();
    for _ in 0..2 {
        let (count, list, errno) = rig.get_for(1, 4, None);
        assert_eq!((count, list[0].source, errno), (1, SOURCE_ALERT, None));
    }
    rig.fake.alert(rig.port.as_fd(), 0).unwrap();
    assert_eq!(rig.get(1, 4).1[0].source, SOURCE_USER);
}

#[test]
fn a_port_can_be_polled_14() {
    let rig = Rig::new();
    let (mut ours, theirs) = pair();
    let is_readable = || test_fds::is_readable(rig.port.as_fd()).unwrap();
    rig.associate(&theirs, IN, 1);
    assert!(!is_readable());
    ours.write_all(b"x").unwrap();
    assert!(is_readable());
    rig.one();
    assert!(!is_readable());
    rig.fake.send(rig.port.as_fd(), 1, 2).unwrap();
    assert!(is_readable());
    rig.one();
    rig.fake.alert(rig.port.as_fd(), 1).unwrap();
    assert!(!is_readable());
}

#[test]
fn fifo_is_reported_without_data_15() {
    let rig = Rig::new();
    let (reader, _writer) = pipe().unwrap();
    rig.associate(&reader, IN, 1);
    assert_eq!(rig.one(), None);
    rig.fake.report_fifos();
    assert_eq!(rig.one(), Some((IN, 1)));
}
