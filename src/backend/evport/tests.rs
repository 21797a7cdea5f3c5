//! The backend against the fake kernel: the conformance cases, and what they do not see.

use super::*;
use crate::backend::Readiness;
use crate::backend::fake::evport::{Fake, Faults};
use crate::sys::fork::in_child;
use crate::sys::lab;
use crate::sys::pipe::pipe;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

const READ: Interest = Interest::READABLE;
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);
const NEVER: Faults = Faults { time: 0, signal: 0 };

/// The same file under a number that other threads' tests do not get when it is closed.
fn moved_up(stream: UnixStream) -> UnixStream {
    UnixStream::from(lab::move_up(stream.into(), None).unwrap())
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

    /// What a wait that does not block says of the socket.
    fn look(&mut self) -> Option<Readiness> {
        self.wait(Some(Duration::ZERO)).unwrap()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Option<Readiness>> {
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

    /// How many times `associate` is called by `f`.
    fn associations(&mut self, f: impl FnOnce(&mut Rig)) -> usize {
        let before = self.fake.associations();
        f(self);
        self.fake.associations() - before
    }

    fn is_readable(&self) -> bool {
        lab::is_readable(self.ports.as_fd().unwrap()).unwrap()
    }
}

#[test]
fn what_was_not_delivered_stays_armed_and_what_was_does_not() {
    let mut rig = Rig::with(BOTH, Trigger::Edge);
    assert_eq!(rig.look(), Some(Readiness::WRITABLE));
    rig.write();
    assert_eq!(rig.look(), Some(Readiness::READABLE));
    assert_eq!(rig.look(), None);
    // Nothing is armed but hang-ups.
    // By no close, which does nothing while a child that another test forks has a copy.
    rig.ours.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(rig.look().unwrap().is_write_closed());
    assert_eq!(rig.look(), None);
    rig.rearm(READ);
    assert!(rig.look().is_some());
}

#[test]
fn rearming_one_direction_keeps_the_other() {
    let mut rig = Rig::with(BOTH, Trigger::Edge);
    assert_eq!(rig.look(), Some(Readiness::WRITABLE));
    rig.rearm(Interest::WRITABLE);
    rig.write();
    let both = Readiness::READABLE | Readiness::WRITABLE;
    rig.rearm(Interest::WRITABLE);
    assert_eq!(rig.look(), Some(Readiness::WRITABLE));
    assert_eq!(rig.look(), Some(Readiness::READABLE));
    rig.rearm(BOTH);
    assert_eq!(rig.look(), Some(both));
}

#[test]
fn a_reader_that_rearms_in_time_costs_one_call_an_event() {
    let mut rig = Rig::with(READ, Trigger::Edge);
    let calls = rig.associations(|rig| {
        for _ in 0..10 {
            rig.write();
            assert_eq!(rig.look(), Some(Readiness::READABLE));
            rig.read();
            rig.rearm(READ);
            rig.rearm(READ);
            assert_eq!(rig.look(), None);
        }
    });
    assert_eq!(calls, 10);
}

#[test]
fn a_level_registration_costs_one_call_an_event_and_none_when_idle() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    let calls = rig.associations(|rig| {
        for _ in 0..3 {
            assert_eq!(rig.look(), Some(Readiness::READABLE));
        }
        rig.read();
        for _ in 0..3 {
            assert_eq!(rig.look(), None);
        }
    });
    assert_eq!(calls, 3);
}

#[test]
fn a_failure_that_brings_events_is_none() {
    for faults in [Faults { time: 1, signal: 0 }, Faults { time: 0, signal: 1 }] {
        let mut rig = Rig::new();
        rig.fake = Fake::with_faults(faults);
        rig.ports = EventPorts::new(4, rig.fake.clone()).unwrap();
        rig.add(READ, Trigger::Oneshot).unwrap();
        rig.write();
        assert_eq!(rig.look(), Some(Readiness::READABLE));
    }
}

/// The list still holds the event before, and the count says that there is one.
#[test]
fn a_signal_is_not_taken_for_the_last_event() {
    let mut rig = Rig::with(READ, Trigger::Edge);
    rig.write();
    assert_eq!(rig.look(), Some(Readiness::READABLE));
    rig.read();
    rig.rearm(READ);
    rig.fake.interrupt();
    let kind = rig.wait(None).unwrap_err().kind();
    assert_eq!(kind, ErrorKind::Interrupted);
    assert!(rig.events.as_slice().is_empty());
    rig.write();
    assert_eq!(rig.look(), Some(Readiness::READABLE));
}

#[test]
fn a_signal_does_not_hide_what_is_known_already() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    rig.look();
    rig.theirs = UnixStream::pair().unwrap().1;
    rig.fake.interrupt();
    assert!(rig.wait(None).unwrap().unwrap().is_invalid());
}

#[test]
fn a_timeout_without_events_is_an_empty_wait() {
    let mut rig = Rig::with(READ, Trigger::Edge);
    for timeout in [0, 100, 2_000_000] {
        let seen = rig.wait(Some(Duration::from_nanos(timeout))).unwrap();
        assert_eq!(seen, None);
    }
}

#[test]
fn records_that_are_not_its_own_are_dropped() {
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
        // Another registration's, of a number that it never had, of no number, of another source.
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
        assert_eq!(rig.look(), None, "{stranger:?}");
    }
    // Its own, but delivered already.
    let fd = rig.theirs.as_raw_fd();
    rig.ports.modify(fd, TOKEN, READ, Trigger::Oneshot).unwrap();
    rig.write();
    assert!(rig.look().is_some());
    rig.fake.inject(event);
    assert_eq!(rig.look(), None);
}

#[test]
fn an_event_that_says_nothing_is_an_error_and_does_not_come_again() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.fake.inject(PortEvent {
        events: 0,
        source: SOURCE_FD,
        pad: 0,
        object: rig.theirs.as_raw_fd() as usize,
        user: rig.ports.last_user,
    });
    assert!(rig.look().unwrap().is_error());
    rig.write();
    assert_eq!(rig.look(), None);
}

#[test]
fn what_was_closed_while_it_was_due_is_told_once() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    rig.look();
    let number = rig.theirs.as_raw_fd();
    let (_keep, theirs) = UnixStream::pair().unwrap();
    drop(std::mem::replace(&mut rig.theirs, theirs));
    let seen = rig.wait(None).unwrap();
    assert_eq!(seen.map(Readiness::is_invalid), Some(true));
    assert_eq!(rig.look(), None);
    let gone = rig.ports.remove(number, TOKEN).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[test]
fn what_does_not_fit_is_told_by_the_next_wait() {
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
        rig.look();
    }
    rig.events = Events::with_capacity(2);
    drop(sockets);
    let mut told = Vec::new();
    for _ in 0..4 {
        rig.look();
        let events = rig.events.as_slice();
        told.extend(
            events
                .iter()
                .filter(|event| event.readiness.is_invalid())
                .map(|event| event.token),
        );
    }
    told.sort();
    told.dedup();
    // One was associated, and its end is silent.
    assert!(told.len() >= 4, "{told:?}");
    assert_eq!(rig.look(), None);
    assert!(rig.ports.due.is_empty());
}

#[test]
fn a_fifo_that_is_reported_for_nothing_loses_nothing() {
    let mut rig = Rig::new();
    let (reader, writer) = pipe().unwrap();
    let (mut reader, mut writer) = (File::from(reader), File::from(writer));
    rig.ports
        .add(reader.as_fd(), TOKEN, READ, Trigger::Edge)
        .unwrap();
    rig.fake.report_fifos();
    assert_eq!(rig.look(), Some(Readiness::READABLE));
    let read = reader.read(&mut [0]).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::WouldBlock);
    rig.ports.rearm(reader.as_raw_fd(), TOKEN, READ).unwrap();
    assert_eq!(rig.look(), None);
    writer.write_all(b"x").unwrap();
    assert_eq!(rig.look(), Some(Readiness::READABLE));
}

#[test]
fn a_full_port_is_notified_all_the_same() {
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
        assert_eq!(rig.wait(None).unwrap(), Some(Readiness::READABLE));
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
fn a_failed_add_leaves_nothing_behind() {
    let mut rig = Rig::new();
    rig.fake.limit(0);
    rig.add(READ, Trigger::Edge).unwrap_err();
    assert_eq!(rig.remove().unwrap_err().kind(), ErrorKind::NotFound);
    rig.fake.limit(9);
    rig.add(READ, Trigger::Edge).unwrap();
    rig.remove().unwrap();
}

#[test]
fn a_failed_modify_keeps_the_old_interest() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    rig.look();
    let number = rig.theirs.as_raw_fd();
    let moved = rig.theirs.try_clone().unwrap();
    rig.theirs = moved;
    let failed = rig.ports.modify(number, TOKEN, BOTH, Trigger::Edge);
    assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::EBADF));
    let slot = rig.ports.slot(number).unwrap();
    assert_eq!((slot.interest, slot.trigger), (READ, Trigger::Level));
    assert!(rig.look().unwrap().is_invalid());
}

#[test]
fn removing_takes_the_queued_event_back() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    assert!(rig.is_readable());
    rig.remove().unwrap();
    assert!(!rig.is_readable());
    rig.add(READ, Trigger::Oneshot).unwrap();
    assert!(rig.look().is_some());
    // Delivered: there is nothing to take back.
    rig.remove().unwrap();
}

#[test]
fn removing_a_number_that_has_another_file_is_no_error() {
    let mut rig = Rig::with(READ, Trigger::Edge);
    let (_peer, file) = UnixStream::pair().unwrap();
    lab::replace(rig.theirs.as_fd(), file.as_fd()).unwrap();
    rig.remove().unwrap();
}

#[test]
fn a_number_with_another_file_is_added_anew() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    rig.look();
    let (mut peer, file) = UnixStream::pair().unwrap();
    lab::replace(rig.theirs.as_fd(), file.as_fd()).unwrap();
    drop(file);
    let new = Token::new(2, 1);
    rig.ports
        .add(rig.theirs.as_fd(), new, READ, Trigger::Edge)
        .unwrap();
    assert_eq!(rig.remove().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(rig.look(), None);
    peer.write_all(b"x").unwrap();
    assert_eq!(rig.look(), None);
    assert_eq!(rig.events.as_slice()[0].token, new);
}

#[test]
fn a_host_sees_what_a_delivery_has_left_armed() {
    let mut rig = Rig::with(BOTH, Trigger::Edge);
    assert!(rig.is_readable());
    assert_eq!(rig.look(), Some(Readiness::WRITABLE));
    assert!(!rig.is_readable());
    rig.write();
    assert!(rig.is_readable());
    assert_eq!(rig.look(), Some(Readiness::READABLE));
    assert!(!rig.is_readable());
    rig.rearm(BOTH);
    assert!(rig.is_readable());
}

#[test]
fn a_host_that_comes_late_is_told_to_look() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    assert!(rig.look().is_some());
    assert!(rig.is_readable());
    assert!(rig.look().is_some());
}

#[test]
fn a_host_of_a_level_registration_is_woken_until_it_is_served() {
    let mut rig = Rig::with(READ, Trigger::Level);
    rig.write();
    for _ in 0..3 {
        assert!(rig.is_readable());
        assert_eq!(rig.look(), Some(Readiness::READABLE));
    }
    rig.read();
    // Once for what was true before it was served, and the wait knows better.
    assert!(rig.is_readable());
    assert_eq!(rig.look(), None);
    assert!(!rig.is_readable());
    rig.write();
    assert!(rig.is_readable());
    assert_eq!(rig.look(), Some(Readiness::READABLE));
}

#[test]
fn a_host_is_told_of_what_was_closed_while_it_was_due() {
    let mut rig = Rig::with(READ, Trigger::Level);
    assert!(!rig.is_readable());
    rig.write();
    // Closed by whoever serves the event: here, before the wait is over.
    rig.ports.is_hosted.set(false);
    rig.look();
    rig.ports.is_hosted.set(true);
    rig.theirs = UnixStream::pair().unwrap().1;
    let mut none = Events::with_capacity(1);
    rig.ports.associate_early();
    assert!(rig.is_readable());
    rig.ports.wait(&mut none, Some(Duration::ZERO)).unwrap();
    assert!(none.as_slice()[0].readiness.is_invalid());
}

/// The parent has notified and not yet waited, and the child does both.
#[test]
fn a_child_can_be_notified_whatever_its_parent_was() {
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
fn a_notification_that_failed_is_tried_again_by_the_next() {
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
fn the_last_handle_closes_the_port() {
    let rig = Rig::new();
    let port = rig.ports.door.port().as_raw_fd();
    let notifier = rig.ports.notifier();
    let Rig { ports, .. } = rig;
    drop(ports);
    assert!(FileId::of(port).is_ok());
    notifier.notify().unwrap();
}

/// The layers above, on this mechanism: two tasks talk, and wait for data and for room.
#[test]
fn a_runtime_runs_on_it() {
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
