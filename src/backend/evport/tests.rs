//! Tests of the backend over the fake kernel: the conformance cases, and what they do not cover.

use super::*;
use crate::backend::Ready;
use crate::backend::fake::evport::{Fake, Faults};
use crate::sys::fork::in_child;
use crate::sys::pipe::pipe;
use crate::sys::test_fds;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

const READ: Interest = Interest::READABLE;
const BOTH: Interest = Interest::READABLE.union(Interest::WRITABLE);
const NEVER: Faults = Faults { time: 0, signal: 0 };

/// Returns the file under a number that other tests' threads do not get when it is closed.
fn moved_up(stream: UnixStream) -> UnixStream {
    UnixStream::from(test_fds::move_up(stream.into(), None).unwrap())
}

#[test]
fn conforms() {
    conforms_with(Faults::default());
}

#[test]
fn conforms_when_no_delivery_is_a_success() {
    conforms_with(Faults { time: 2, signal: 1 });
}

fn conforms_with(faults: Faults) {
    let report = crate::conformance::run(&mut || {
        Ok(Box::new(EventPorts::new(64, Fake::with_faults(faults))?))
    });
    println!("{report}");
    report.assert_ok();
}

/// The backend with its kernel, and a socket to watch.
struct Rig {
    ports: EventPorts<Fake>,
    fake: Fake,
    events: Events,
    ours: UnixStream,
    theirs: UnixStream,
}

const TOKEN: Token = Token::new(1, 1);

impl Rig {
    fn new() -> Rig {
        let fake = Fake::with_faults(NEVER);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let theirs = moved_up(theirs);
        theirs.set_nonblocking(true).unwrap();
        Rig {
            ports: EventPorts::new(4, fake.clone()).unwrap(),
            fake,
            events: Events::with_capacity(4),
            ours,
            theirs,
        }
    }

    fn with(interest: Interest, trigger: Trigger) -> Rig {
        let mut rig = Rig::new();
        rig.add(interest, trigger).unwrap();
        rig
    }

    fn add(&mut self, interest: Interest, trigger: Trigger) -> io::Result<()> {
        self.ports
            .add(self.theirs.as_fd(), TOKEN, interest, trigger)
    }

    fn write(&mut self) {
        self.ours.write_all(b"x").unwrap();
    }

    fn read(&mut self) {
        self.theirs.read_exact(&mut [0]).unwrap();
    }

    /// Makes a wait that does not block. Returns what it reports of the socket.
    fn poll_now(&mut self) -> Option<Ready> {
        self.wait(Some(Duration::ZERO)).unwrap()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Option<Ready>> {
        self.ports.wait(&mut self.events, timeout)?;
        let event = |event: &super::super::Event| (event.token == TOKEN).then_some(event.readiness);
        Ok(self.events.as_slice().iter().find_map(event))
    }

    fn rearm(&mut self, interest: Interest) {
        let fd = self.theirs.as_raw_fd();
        self.ports.rearm(fd, TOKEN, interest).unwrap();
    }

    fn remove(&mut self) -> io::Result<()> {
        self.ports.remove(self.theirs.as_raw_fd(), TOKEN)
    }

    /// Returns how many times `f` calls `associate`.
    fn associations(&mut self, f: impl FnOnce(&mut Rig)) -> usize {
        let before = self.fake.associations();
        f(self);
        self.fake.associations() - before
    }

    fn is_readable(&self) -> bool {
        test_fds::is_readable(self.ports.as_fd().unwrap()).unwrap()
    }
}

#[test]
fn wait_disarms_only_what_it_delivers() {
    let mut rig = Rig::with(BOTH, Trigger::Edge);
    assert_eq!(rig.poll_now(), Some(Ready::WRITABLE));
    rig.write();
    assert_eq!(rig.poll_now(), Some(Ready::READABLE));
    assert_eq!(rig.poll_now(), None);
    // Only hang-ups are armed.
    rig.ours.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(rig.poll_now().unwrap().is_write_closed());
    assert_eq!(rig.poll_now(), None);
    rig.rearm(READ);
    assert!(rig.poll_now().is_some());
}

#[test]
fn rearm_of_one_direction_keeps_the_other() {
    let mut rig = Rig::with(BOTH, Trigger::Edge);
    assert_eq!(rig.poll_now(), Some(Ready::WRITABLE));
    rig.rearm(Interest::WRITABLE);
    rig.write();
    let both = Ready::READABLE | Ready::WRITABLE;
    rig.rearm(Interest::WRITABLE);
    assert_eq!(rig.poll_now(), Some(Ready::WRITABLE));
    assert_eq!(rig.poll_now(), Some(Ready::READABLE));
    rig.rearm(BOTH);
    assert_eq!(rig.poll_now(), Some(both));
}

#[test]
fn rearm_in_time_costs_one_call_per_event() {
    let mut rig = Rig::with(READ, Trigger::Edge);
    let calls = rig.associations(|rig| {
        for _ in 0..10 {
            rig.write();
            assert_eq!(rig.poll_now(), Some(Ready::READABLE));
            rig.read();
            rig.rearm(READ);
            rig.rearm(READ);
            assert_eq!(rig.poll_now(), None);
        }
    });
    assert_eq!(calls, 10);
}

#[test]
fn level_registration_costs_one_call_per_event_and_none_when_idle() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    let calls = rig.associations(|rig| {
        for _ in 0..3 {
            assert_eq!(rig.poll_now(), Some(Ready::READABLE));
        }
        rig.read();
        for _ in 0..3 {
            assert_eq!(rig.poll_now(), None);
        }
    });
    assert_eq!(calls, 3);
}

#[test]
fn wait_accepts_a_failure_with_events() {
    for faults in [Faults { time: 1, signal: 0 }, Faults { time: 0, signal: 1 }] {
        let mut rig = Rig::new();
        rig.fake = Fake::with_faults(faults);
        rig.ports = EventPorts::new(4, rig.fake.clone()).unwrap();
        rig.add(READ, Trigger::Oneshot).unwrap();
        rig.write();
        assert_eq!(rig.poll_now(), Some(Ready::READABLE));
    }
}

/// The list still holds the previous event, and the count says that there is one.
#[test]
fn wait_does_not_repeat_the_last_event_after_a_signal() {
    let mut rig = Rig::with(READ, Trigger::Edge);
    rig.write();
    assert_eq!(rig.poll_now(), Some(Ready::READABLE));
    rig.read();
    rig.rearm(READ);
    rig.fake.interrupt();
    let kind = rig.wait(None).unwrap_err().kind();
    assert_eq!(kind, ErrorKind::Interrupted);
    assert!(rig.events.as_slice().is_empty());
    rig.write();
    assert_eq!(rig.poll_now(), Some(Ready::READABLE));
}

#[test]
fn wait_reports_known_events_in_spite_of_a_signal() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    rig.poll_now();
    rig.theirs = UnixStream::pair().unwrap().1;
    rig.fake.interrupt();
    assert!(rig.wait(None).unwrap().unwrap().is_invalid());
}

#[test]
fn wait_is_empty_after_a_timeout_without_events() {
    let mut rig = Rig::with(READ, Trigger::Edge);
    for timeout in [0, 100, 2_000_000] {
        let seen = rig.wait(Some(Duration::from_nanos(timeout))).unwrap();
        assert_eq!(seen, None);
    }
}

#[test]
fn wait_drops_foreign_records() {
    let mut rig = Rig::with(READ, Trigger::Edge);
    let user = rig.ports.last_user;
    let object = rig.theirs.as_raw_fd() as usize;
    let event = PortEvent {
        events: libc::c_int::from(libc::POLLIN),
        source: SOURCE_FD,
        pad: 0,
        object,
        user,
    };
    for stranger in [
        // An event of another registration, of a number that it never had, of no number, of another
        // source.
        PortEvent {
            user: user + 1,
            ..event
        },
        PortEvent {
            object: 100_000,
            ..event
        },
        PortEvent {
            object: usize::MAX,
            ..event
        },
        PortEvent { source: 2, ..event },
    ] {
        rig.fake.inject(stranger);
        assert_eq!(rig.poll_now(), None, "{stranger:?}");
    }
    // Its own event, but already delivered.
    let fd = rig.theirs.as_raw_fd();
    rig.ports.modify(fd, TOKEN, READ, Trigger::Oneshot).unwrap();
    rig.write();
    assert!(rig.poll_now().is_some());
    rig.fake.inject(event);
    assert_eq!(rig.poll_now(), None);
}

#[test]
fn empty_event_is_an_error_and_only_level_associates_again() {
    for (trigger, next) in [
        (Trigger::Level, Some(Ready::READABLE)),
        (Trigger::Edge, None),
    ] {
        let mut rig = Rig::with(READ, trigger);
        rig.fake.inject(PortEvent {
            events: 0,
            source: SOURCE_FD,
            pad: 0,
            object: rig.theirs.as_raw_fd() as usize,
            user: rig.ports.last_user,
        });
        assert!(rig.poll_now().unwrap().is_error());
        rig.write();
        assert_eq!(rig.poll_now(), next, "{trigger:?}");
    }
}

#[test]
fn fd_closed_before_it_is_associated_is_reported_once() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    rig.poll_now();
    let number = rig.theirs.as_raw_fd();
    let (_keep, theirs) = UnixStream::pair().unwrap();
    drop(std::mem::replace(&mut rig.theirs, theirs));
    let seen = rig.wait(None).unwrap();
    assert_eq!(seen.map(Ready::is_invalid), Some(true));
    assert_eq!(rig.poll_now(), None);
    let gone = rig.ports.remove(number, TOKEN).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[test]
fn next_wait_reports_what_does_not_fit() {
    let mut rig = Rig::new();
    rig.events = Events::with_capacity(2);
    let mut sockets = Vec::new();
    for at in 10..15 {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let theirs = moved_up(theirs);
        ours.write_all(b"x").unwrap();
        let token = Token::new(at, 1);
        rig.ports
            .add(theirs.as_fd(), token, READ, Trigger::Level)
            .unwrap();
        sockets.push((ours, theirs));
    }
    for _ in 0..3 {
        rig.events = Events::with_capacity(4);
        rig.poll_now();
    }
    rig.events = Events::with_capacity(2);
    drop(sockets);
    let mut closed = Vec::new();
    for _ in 0..4 {
        rig.poll_now();
        let events = rig.events.as_slice();
        closed.extend(
            events
                .iter()
                .filter(|event| event.readiness.is_invalid())
                .map(|event| event.token),
        );
    }
    closed.sort();
    closed.dedup();
    // One was associated, and its end is silent.
    assert!(closed.len() >= 4, "{closed:?}");
    assert_eq!(rig.poll_now(), None);
    assert!(rig.ports.due.is_empty());
}

#[test]
fn fifo_reported_without_data_loses_nothing() {
    let mut rig = Rig::new();
    let (reader, writer) = pipe().unwrap();
    let (mut reader, mut writer) = (File::from(reader), File::from(writer));
    rig.ports
        .add(reader.as_fd(), TOKEN, READ, Trigger::Edge)
        .unwrap();
    rig.fake.report_fifos();
    assert_eq!(rig.poll_now(), Some(Ready::READABLE));
    let read = reader.read(&mut [0]).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::WouldBlock);
    rig.ports.rearm(reader.as_raw_fd(), TOKEN, READ).unwrap();
    assert_eq!(rig.poll_now(), None);
    writer.write_all(b"x").unwrap();
    assert_eq!(rig.poll_now(), Some(Ready::READABLE));
}

#[test]
fn notify_of_a_full_port_ends_the_wait() {
    let mut rig = Rig::with(READ, Trigger::Edge);
    rig.fake.limit(1);
    let notifier = rig.ports.notifier();
    for _ in 0..3 {
        notifier.notify().unwrap();
        notifier.notify().unwrap();
        assert_eq!(rig.wait(None).unwrap(), None);
        assert_eq!(rig.wait(Some(Duration::from_millis(1))).unwrap(), None);
        // The alert hides the event, which belongs to the same wait.
        notifier.notify().unwrap();
        rig.write();
        assert_eq!(rig.wait(None).unwrap(), Some(Ready::READABLE));
        rig.read();
        rig.rearm(READ);
    }
    let (_ours, other) = UnixStream::pair().unwrap();
    let refused = rig
        .ports
        .add(other.as_fd(), Token::new(2, 1), READ, Trigger::Edge);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::QuotaExceeded);
}

#[test]
fn notifications_do_not_pile_up() {
    let mut rig = Rig::new();
    rig.fake.limit(1);
    let notifier = rig.ports.notifier();
    for _ in 0..100 {
        notifier.notify().unwrap();
    }
    assert_eq!(rig.ports.get(4, Some(Duration::ZERO)).unwrap(), 1);
    assert_eq!(rig.ports.list[0].source, SOURCE_USER);
}

#[test]
fn failed_add_leaves_nothing_behind() {
    let mut rig = Rig::new();
    rig.fake.limit(0);
    rig.add(READ, Trigger::Edge).unwrap_err();
    assert_eq!(rig.remove().unwrap_err().kind(), ErrorKind::NotFound);
    rig.fake.limit(9);
    rig.add(READ, Trigger::Edge).unwrap();
    rig.remove().unwrap();
}

#[test]
fn failed_modify_keeps_the_old_interest() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    rig.poll_now();
    let number = rig.theirs.as_raw_fd();
    let moved = rig.theirs.try_clone().unwrap();
    rig.theirs = moved;
    let failed = rig.ports.modify(number, TOKEN, BOTH, Trigger::Edge);
    assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::EBADF));
    let slot = rig.ports.slot(number).unwrap();
    assert_eq!((slot.interest, slot.trigger), (READ, Trigger::Level));
    assert!(rig.poll_now().unwrap().is_invalid());
}

#[test]
fn remove_drops_the_queued_event() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    assert!(rig.is_readable());
    rig.remove().unwrap();
    assert!(!rig.is_readable());
    rig.add(READ, Trigger::Oneshot).unwrap();
    assert!(rig.poll_now().is_some());
    // It was delivered: there is no queued event.
    rig.remove().unwrap();
}

#[test]
fn remove_of_a_reused_number_is_no_error() {
    let mut rig = Rig::with(READ, Trigger::Edge);
    let (_peer, file) = UnixStream::pair().unwrap();
    test_fds::replace(rig.theirs.as_fd(), file.as_fd()).unwrap();
    rig.remove().unwrap();
}

#[test]
fn add_of_a_reused_number_associates_the_new_file() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    rig.poll_now();
    let (mut peer, file) = UnixStream::pair().unwrap();
    test_fds::replace(rig.theirs.as_fd(), file.as_fd()).unwrap();
    drop(file);
    let new = Token::new(2, 1);
    rig.ports
        .add(rig.theirs.as_fd(), new, READ, Trigger::Edge)
        .unwrap();
    assert_eq!(rig.remove().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(rig.poll_now(), None);
    peer.write_all(b"x").unwrap();
    assert_eq!(rig.poll_now(), None);
    assert_eq!(rig.events.as_slice()[0].token, new);
}

#[test]
fn host_sees_what_a_delivery_has_left_armed() {
    let mut rig = Rig::with(BOTH, Trigger::Edge);
    assert!(rig.is_readable());
    assert_eq!(rig.poll_now(), Some(Ready::WRITABLE));
    assert!(!rig.is_readable());
    rig.write();
    assert!(rig.is_readable());
    assert_eq!(rig.poll_now(), Some(Ready::READABLE));
    assert!(!rig.is_readable());
    rig.rearm(BOTH);
    assert!(rig.is_readable());
}

#[test]
fn host_that_comes_late_is_notified() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    assert!(rig.poll_now().is_some());
    assert!(rig.is_readable());
    assert!(rig.poll_now().is_some());
}

#[test]
fn host_of_a_level_registration_is_woken_until_it_is_served() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    for _ in 0..3 {
        assert!(rig.is_readable());
        assert_eq!(rig.poll_now(), Some(Ready::READABLE));
    }
    rig.read();
    // Once for what was true before it was served; the wait finds out.
    assert!(rig.is_readable());
    assert_eq!(rig.poll_now(), None);
    assert!(!rig.is_readable());
    rig.write();
    assert!(rig.is_readable());
    assert_eq!(rig.poll_now(), Some(Ready::READABLE));
}

#[test]
fn host_is_woken_for_an_fd_closed_before_it_is_associated() {
    let mut rig = Rig::with(READ, Trigger::Level);
    assert!(!rig.is_readable());
    rig.write();
    // Closed while the event is served: here, before the wait is over.
    rig.ports.is_hosted.set(false);
    rig.poll_now();
    rig.ports.is_hosted.set(true);
    rig.theirs = UnixStream::pair().unwrap().1;
    let mut none = Events::with_capacity(1);
    rig.ports.associate_early();
    assert!(rig.is_readable());
    rig.ports.wait(&mut none, Some(Duration::ZERO)).unwrap();
    assert!(none.as_slice()[0].readiness.is_invalid());
}

/// The parent has notified and not yet waited; the child does both.
#[test]
fn child_can_be_notified_whatever_its_parent_was() {
    let mut rig = Rig::new();
    let notifier = rig.ports.notifier();
    notifier.notify().unwrap();
    let seen = in_child(|| {
        rig.ports.after_fork().map_err(|error| error.to_string())?;
        notifier.notify().map_err(|error| error.to_string())?;
        match rig.ports.get(4, Some(Duration::ZERO)) {
            Ok(1) => Ok(()),
            got => Err(format!("{got:?}")),
        }
    });
    assert_eq!(seen.unwrap(), Ok(()));
    assert_eq!(rig.ports.get(4, Some(Duration::ZERO)).unwrap(), 1);
}

#[test]
fn notify_tries_again_after_a_failure() {
    let rig = Rig::new();
    let notifier = rig.ports.notifier();
    // The port is the parent's: it refuses.
    let seen = in_child(|| match (notifier.notify(), notifier.notify()) {
        (Err(_), Err(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(seen.unwrap(), Ok(()));
}

#[test]
fn drop_of_the_last_handle_closes_the_port() {
    let rig = Rig::new();
    let port = rig.ports.port.as_fd().as_raw_fd();
    let notifier = rig.ports.notifier();
    let Rig { ports, .. } = rig;
    drop(ports);
    assert!(FileId::of(port).is_ok());
    notifier.notify().unwrap();
}

/// A runtime on this mechanism: two tasks talk, and wait for data and for room.
#[test]
fn runtime_runs_on_event_ports() {
    use crate::net::{TcpListener, TcpStream};
    const LENGTH: usize = 1 << 20;
    let ports = EventPorts::new(64, Fake::default()).unwrap();
    let runtime = crate::Builder::new().with_backend(ports).build().unwrap();
    let talk = async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let server = crate::spawn(async move {
            let (stream, _) = listener.accept().await?;
            let mut received = vec![0; LENGTH];
            for _ in 0..100 {
                stream.read_exact(&mut received[..1]).await?;
                stream.write_all(&received[..1]).await?;
            }
            stream.read_exact(&mut received).await?;
            io::Result::Ok(received.len())
        });
        let stream = TcpStream::connect(addr).await?;
        for _ in 0..100 {
            stream.write_all(b"x").await?;
            stream.read_exact(&mut [0]).await?;
        }
        stream.write_all(&vec![7; LENGTH]).await?;
        server.await?
    };
    let talk = crate::time::timeout(Duration::from_secs(60), talk);
    let received = runtime.block_on(talk).expect("it is not stuck").unwrap();
    assert_eq!(received, LENGTH);
}
