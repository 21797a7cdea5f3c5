//! Tests of what the conformance cases cannot force: full rings, requests that the kernel ends,
//! completions that are late or guesses.

mod failures;
mod removal;

use super::*;
use crate::backend::{Event, Ready};
use crate::sys::{self, test_fds};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const READABLE: Interest = Interest::READABLE;
const WRITABLE: Interest = Interest::WRITABLE;
/// A timeout for what comes soon, on a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(60);

fn build(flags: &[u32], requests: u32, completions: u32, notify: NotifyFd) -> io::Result<Uring> {
    Uring::build(Ring::with_flags(flags, requests, completions)?, notify)
}

/// Makes rings of a size. Returns `None` if io_uring is unavailable.
fn sized(requests: u32, completions: u32) -> Option<Uring> {
    let notify = NotifyFd::new().unwrap();
    match build(&[0], requests, completions, notify) {
        Ok(uring) => Some(uring),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

fn token(index: usize) -> Token {
    Token::new(index as u32, 7)
}

fn unix_pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

fn wait_for(uring: &mut Uring, timeout: Duration) -> Vec<Event> {
    let mut events = Events::with_capacity(64);
    uring.wait(&mut events, Some(timeout)).unwrap();
    events.as_slice().to_vec()
}

fn poll_now(uring: &mut Uring) -> Vec<Event> {
    wait_for(uring, Duration::ZERO)
}

/// Makes a wait that may take long. Returns what it reports of the only fd.
fn next(uring: &mut Uring) -> Ready {
    let events = wait_for(uring, LONG);
    assert_eq!(events.len(), 1, "{events:?}");
    events[0].readiness
}

fn conforms(make: impl Fn() -> io::Result<Uring>) {
    if sized(1, 2).is_some() {
        crate::conformance::run(&mut || Ok(Box::new(make()?))).assert_ok();
    }
}

/// Every queue is full at once, requests end all the time, and the notifier is a pipe.
#[test]
fn conforms_in_tiny_rings_and_without_eventfd() {
    conforms(|| build(&[abi::SETUP_COOP_TASKRUN, 0], 1, 2, NotifyFd::pipe()?));
}

/// As on the first kernel that has what is needed.
#[test]
fn conforms_without_later_flags() {
    conforms(|| build(&[0], 8, 64, NotifyFd::new()?));
}

#[test]
fn multishot_request_that_the_kernel_ends_is_renewed() {
    let Some(mut uring) = sized(4, 4) else { return };
    let pairs: Vec<_> = (0..32).map(|_| unix_pair()).collect();
    for (at, (_, theirs)) in pairs.iter().enumerate() {
        uring
            .add(theirs.as_fd(), token(at), READABLE, Trigger::Edge)
            .unwrap();
    }
    for round in 0..3 {
        // More at once than there is room for, so that most requests end.
        for (ours, _) in &pairs {
            (&*ours).write_all(b"x").unwrap();
        }
        let mut missing: Vec<Token> = (0..pairs.len()).map(token).collect();
        for _ in 0..pairs.len() {
            for event in poll_now(&mut uring) {
                missing.retain(|token| *token != event.token);
            }
        }
        assert!(missing.is_empty(), "round {round}: {missing:?}");
        for (_, theirs) in &pairs {
            assert_eq!((&*theirs).read(&mut [0; 9]).unwrap(), 1);
        }
        // Renewed, and silent.
        let late = poll_now(&mut uring);
        assert!(late.len() <= pairs.len());
        assert!(poll_now(&mut uring).is_empty(), "round {round}");
    }
}

/// It ends like that of a file that is always ready, and in the same call, because the kernel keeps
/// the order.
#[test]
fn request_whose_completion_waits_behind_others_is_renewed() {
    let Some(mut uring) = sized(4, 4) else { return };
    let pairs: Vec<_> = (0..6).map(|_| unix_pair()).collect();
    let (last, others) = pairs.split_last().unwrap();
    for (at, (_, theirs)) in others.iter().enumerate() {
        uring
            .add(theirs.as_fd(), token(at), READABLE, Trigger::Edge)
            .unwrap();
    }
    // One more than there is room for. When two are taken there is room for it and another one.
    for (ours, _) in &pairs {
        (&*ours).write_all(b"x").unwrap();
    }
    let mut two = Events::with_capacity(2);
    uring.wait(&mut two, Some(Duration::ZERO)).unwrap();
    assert_eq!(two.as_slice().len(), 2);
    assert!(uring.ring.has_overflow());
    uring
        .add(last.1.as_fd(), token(5), READABLE, Trigger::Edge)
        .unwrap();
    for round in 0..3 {
        let seen = (0..6).flat_map(|_| poll_now(&mut uring));
        let seen = seen.filter(|event| event.token == token(5)).count();
        assert_ne!(seen, 0, "round {round}");
        assert_eq!((&last.1).read(&mut [0; 9]).unwrap(), 1);
        (&last.0).write_all(b"x").unwrap();
    }
}

#[test]
fn remove_finds_its_completion_behind_more_than_fit() {
    let Some(mut uring) = sized(2, 2) else { return };
    let pairs: Vec<_> = (0..40).map(|_| unix_pair()).collect();
    for (at, (ours, theirs)) in pairs.iter().enumerate() {
        (&*ours).write_all(b"x").unwrap();
        uring
            .add(theirs.as_fd(), token(at), READABLE, Trigger::Edge)
            .unwrap();
    }
    for at in (1..pairs.len()).step_by(2) {
        uring.remove(pairs[at].1.as_raw_fd(), token(at)).unwrap();
    }
    let mut seen: Vec<u32> = poll_now(&mut uring)
        .iter()
        .map(|e| e.token.index())
        .collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq((0..40).step_by(2)));
}

#[test]
fn wait_drops_completions_of_removed_registrations() {
    let Some(mut uring) = sized(8, 64) else {
        return;
    };
    for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
        // The first completion stays where it is, and so do those behind it.
        let (mut first_ours, first) = unix_pair();
        uring
            .add(first.as_fd(), token(9), READABLE, Trigger::Edge)
            .unwrap();
        first_ours.write_all(b"x").unwrap();
        let (mut ours, number) = unix_pair();
        let (mut other_ours, file) = unix_pair();
        uring
            .add(number.as_fd(), token(1), READABLE, trigger)
            .unwrap();
        ours.write_all(b"x").unwrap();
        assert_eq!(uring.ready(), 2, "{trigger:?}: both completions are there");
        uring.remove(number.as_raw_fd(), token(1)).unwrap();
        assert!(
            uring.ready() >= 2,
            "{trigger:?}: both completions are there"
        );
        test_fds::replace(number.as_fd(), file.as_fd()).unwrap();
        uring
            .add(number.as_fd(), token(2), READABLE, trigger)
            .unwrap();
        let events = poll_now(&mut uring);
        assert_eq!(events.len(), 1, "{trigger:?}: {events:?}");
        assert_eq!(events[0].token, token(9), "{trigger:?}");
        other_ours.write_all(b"x").unwrap();
        assert_eq!(poll_now(&mut uring)[0].token, token(2));
        uring.remove(number.as_raw_fd(), token(2)).unwrap();
        uring.remove(first.as_raw_fd(), token(9)).unwrap();
        assert_eq!(poll_now(&mut uring), []);
        assert_eq!(uring.ready(), 0);
    }
}

/// With no wait in between.
#[test]
fn remove_releases_the_file_at_once() {
    let Some(mut uring) = sized(8, 64) else {
        return;
    };
    for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
        let (ours, theirs) = tcp_pair();
        uring
            .add(theirs.as_fd(), token(1), READABLE, trigger)
            .unwrap();
        uring
            .modify(theirs.as_raw_fd(), token(1), Interest::EMPTY, trigger)
            .unwrap();
        uring.remove(theirs.as_raw_fd(), token(1)).unwrap();
        drop(theirs);
        ends(ours);
    }
}

/// Another thread writes to the next of `peers` each time `run` calls its argument, which makes no
/// system call meanwhile: that would run the task work of the wake-up.
fn while_another_writes(peers: &[&UnixStream], run: impl FnOnce(&dyn Fn())) {
    struct Enough<'a>(&'a AtomicUsize);
    impl Drop for Enough<'_> {
        fn drop(&mut self) {
            self.0.store(usize::MAX, Ordering::Release);
        }
    }
    // After so many spins the other thread is held up and needs the processor. By then this thread
    // has probably been interrupted, which runs the task work as well.
    fn until(counter: &AtomicUsize, least: usize, mut spins: u32) {
        while counter.load(Ordering::Acquire) < least {
            if spins > 0 {
                spins -= 1;
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
    let (asked, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (peer, round) in peers.iter().zip(1..) {
                until(&asked, round, 0);
                let mut peer: &UnixStream = peer;
                let _ = peer.write(b"x");
                done.store(round, Ordering::Release);
            }
        });
        let _enough = Enough(&asked);
        run(&|| {
            let round = asked.fetch_add(1, Ordering::Release) + 1;
            until(&done, round, 50_000);
        });
    });
}

/// A wake-up whose task work has not run yet owns the request, and the kernel refuses to remove it.
#[test]
fn remove_ends_a_request_in_spite_of_a_wake_up() {
    let mut uring = match Uring::new(8) {
        Ok(uring) => uring,
        Err(error) => return println!("skipped: {error}"),
    };
    for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
        let (ours, mut theirs) = unix_pair();
        while_another_writes(&[&ours; 300], |write| {
            for _ in 0..300 {
                uring
                    .add(theirs.as_fd(), token(1), READABLE, trigger)
                    .unwrap();
                write();
                uring.remove(theirs.as_raw_fd(), token(1)).unwrap();
                theirs.read_exact(&mut [0]).unwrap();
            }
        });
        drop(theirs);
        ends(ours);
    }
}

#[test]
fn wait_does_not_report_what_was_read_before_it() {
    let Some(mut uring) = sized(8, 64) else {
        return;
    };
    for trigger in [Trigger::Level, Trigger::Oneshot] {
        let (mut ours, mut theirs) = unix_pair();
        uring
            .add(theirs.as_fd(), token(1), READABLE, trigger)
            .unwrap();
        ours.write_all(b"x").unwrap();
        assert_ne!(uring.ready(), 0, "{trigger:?}");
        theirs.read_exact(&mut [0]).unwrap();
        assert_eq!(poll_now(&mut uring), [], "{trigger:?}");
        // It is waited for again.
        ours.write_all(b"x").unwrap();
        assert_eq!(next(&mut uring), Ready::READABLE, "{trigger:?}");
        uring.remove(theirs.as_raw_fd(), token(1)).unwrap();
    }
}

#[test]
fn priority_is_an_out_of_band_byte_and_not_data() {
    let Some(mut uring) = sized(8, 64) else {
        return;
    };
    for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
        for interest in [READABLE | Interest::PRIORITY, Interest::PRIORITY] {
            let (mut ours, mut theirs) = tcp_pair();
            let fd = theirs.as_raw_fd();
            uring
                .add(theirs.as_fd(), token(1), interest, trigger)
                .unwrap();
            for _ in 0..10 {
                ours.write_all(b"x").unwrap();
                // While it is on its way, it would replace what is requested below.
                theirs.set_nonblocking(false).unwrap();
                assert_eq!(theirs.peek(&mut [0]).unwrap(), 1);
                theirs.set_nonblocking(true).unwrap();
                for event in wait_for(&mut uring, Duration::from_millis(1)) {
                    assert_eq!(event.readiness, Ready::READABLE, "{trigger:?}");
                    assert!(interest.is_readable(), "{trigger:?}");
                }
                while theirs.read(&mut [0; 9]).is_ok() {}
                uring.modify(fd, token(1), interest, trigger).unwrap();
            }
            test_fds::send_oob(ours.as_fd()).unwrap();
            let started = Instant::now();
            let mut seen = Ready::EMPTY;
            while !seen.is_priority() {
                assert!(started.elapsed() < LONG, "{trigger:?}");
                for event in wait_for(&mut uring, LONG) {
                    seen |= event.readiness;
                }
            }
            assert_eq!(seen - Ready::READABLE, Ready::PRIORITY);
            uring.remove(fd, token(1)).unwrap();
        }
    }
}

/// The kernel reports the end of the peer's side without being asked to.
#[test]
fn wait_for_room_does_not_spin_at_the_end_of_the_peer() {
    let Some(mut uring) = sized(8, 64) else {
        return;
    };
    for trigger in [Trigger::Level, Trigger::Oneshot] {
        // TCP gets room bit by bit, as data on its way arrives.
        let (mut ours, mut theirs) = unix_pair();
        while theirs.write(&[0; 4096]).is_ok() {}
        uring
            .add(theirs.as_fd(), token(1), WRITABLE, trigger)
            .unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let timeout = Duration::from_millis(3);
        let early = (0..20).filter(|_| {
            let started = Instant::now();
            assert_eq!(wait_for(&mut uring, timeout), [], "{trigger:?}");
            started.elapsed() < timeout
        });
        assert!(early.count() <= 2, "{trigger:?}: it spins");
        let (mut read, started) = (0, Instant::now());
        let events = loop {
            read += ours.read(&mut [0; 65536]).unwrap_or(0);
            let events = poll_now(&mut uring);
            if !events.is_empty() {
                break events;
            }
            assert!(started.elapsed() < LONG, "{read} read");
        };
        assert!(events[0].readiness.is_writable(), "{trigger:?}: {events:?}");
        let again = poll_now(&mut uring);
        assert_eq!(again.len(), usize::from(trigger == Trigger::Level));
        for event in events.iter().chain(&again) {
            assert!(!event.readiness.is_readable(), "{trigger:?}: {event:?}");
        }
        uring.remove(theirs.as_raw_fd(), token(1)).unwrap();
        drop(theirs);
        ends(ours);
    }
}

/// Reads to the end of file, which comes as soon as no child that another test forks has a copy of
/// the other side.
fn ends(peer: impl Into<OwnedFd>) {
    // The calls are those of any socket.
    let mut peer = UnixStream::from(peer.into());
    peer.set_nonblocking(false).unwrap();
    peer.set_read_timeout(Some(LONG)).unwrap();
    while peer.read(&mut [0; 65536]).unwrap() != 0 {}
}

#[test]
fn end_of_the_peer_is_readable_with_readable_in_the_interest() {
    let Some(mut uring) = sized(8, 64) else {
        return;
    };
    let (ours, theirs) = tcp_pair();
    ours.shutdown(Shutdown::Write).unwrap();
    theirs.set_nonblocking(false).unwrap();
    assert_eq!(theirs.peek(&mut [0]).unwrap(), 0, "it has arrived");
    let ended = Ready::WRITABLE | Ready::READ_CLOSED;
    for (interest, expected) in [
        (WRITABLE, ended),
        (WRITABLE | READABLE, ended | Ready::READABLE),
        (Interest::EMPTY, Ready::READ_CLOSED),
    ] {
        uring
            .add(theirs.as_fd(), token(1), interest, Trigger::Edge)
            .unwrap();
        assert_eq!(next(&mut uring), expected);
        uring.remove(theirs.as_raw_fd(), token(1)).unwrap();
    }
}

#[test]
fn notifier_goes_on_after_completions_that_did_not_fit() {
    for notify in [NotifyFd::new().unwrap(), NotifyFd::pipe().unwrap()] {
        let Ok(mut uring) = build(&[0], 2, 4, notify) else {
            return;
        };
        for _ in 0..5 {
            for _ in 0..10 {
                uring.notifier().notify().unwrap();
            }
            let started = Instant::now();
            assert_eq!(wait_for(&mut uring, LONG), []);
            assert!(started.elapsed() < LONG, "it is lost");
            assert_eq!(uring.ready(), 0, "consumed");
            // Otherwise it would be full one day, and then silent.
            let is_left = test_fds::is_readable(uring.notify.as_fd()).unwrap();
            assert!(uring.notify.edge_repeats() || !is_left);
        }
    }
}

#[test]
fn file_without_a_wait_queue_is_ready_once_for_an_edge() {
    let Some(mut uring) = sized(8, 64) else {
        return;
    };
    let file = File::open("/dev/null").unwrap();
    uring
        .add(file.as_fd(), token(1), READABLE, Trigger::Edge)
        .unwrap();
    assert_eq!(next(&mut uring), Ready::READABLE);
    assert_eq!(poll_now(&mut uring), [], "it would be ready forever");
    let modified = uring.modify(file.as_raw_fd(), token(1), READABLE, Trigger::Level);
    modified.unwrap();
    for _ in 0..3 {
        assert_eq!(next(&mut uring), Ready::READABLE);
    }
    uring.remove(file.as_raw_fd(), token(1)).unwrap();
    // Nothing can be reported until the interest changes, as for a file of /proc that is first
    // watched for room.
    for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
        uring
            .add(file.as_fd(), token(1), Interest::EMPTY, trigger)
            .unwrap();
        assert_eq!(poll_now(&mut uring), [], "{trigger:?}");
        let modified = uring.modify(file.as_raw_fd(), token(1), WRITABLE, trigger);
        modified.unwrap();
        assert_eq!(next(&mut uring), Ready::WRITABLE, "{trigger:?}");
        uring.remove(file.as_raw_fd(), token(1)).unwrap();
    }
}

/// The interest is never ready, and each request ends at once.
#[test]
fn file_without_a_wait_queue_and_priority_lets_the_loop_sleep() {
    let Some(mut uring) = sized(8, 64) else {
        return;
    };
    let file = File::open("/dev/null").unwrap();
    for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
        uring
            .add(file.as_fd(), token(1), Interest::PRIORITY, trigger)
            .unwrap();
        let timeout = Duration::from_millis(3);
        let early = (0..10).filter(|_| {
            let started = Instant::now();
            assert_eq!(wait_for(&mut uring, timeout), [], "{trigger:?}");
            started.elapsed() < timeout
        });
        assert!(early.count() <= 2, "{trigger:?}: it spins");
        uring.remove(file.as_raw_fd(), token(1)).unwrap();
    }
}

/// A number is closed without `remove` and given to another file, while the request holds the first
/// file.
#[test]
fn add_of_a_reused_number_ends_the_old_request() {
    let Some(mut uring) = sized(8, 64) else {
        return;
    };
    for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
        let (number, peer) = unix_pair();
        let (mut ours, file) = unix_pair();
        uring
            .add(number.as_fd(), token(1), READABLE, trigger)
            .unwrap();
        assert_eq!(poll_now(&mut uring), []);
        let again = uring.add(number.as_fd(), token(2), READABLE, trigger);
        assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
        test_fds::replace(number.as_fd(), file.as_fd()).unwrap();
        uring
            .add(number.as_fd(), token(3), READABLE, trigger)
            .unwrap();
        // The kernel no longer holds the first file.
        drop(file);
        ends(peer);
        assert_eq!(poll_now(&mut uring), [], "{trigger:?}");
        ours.write_all(b"x").unwrap();
        assert_eq!(wait_for(&mut uring, LONG)[0].token, token(3), "{trigger:?}");
        let gone = uring.remove(number.as_raw_fd(), token(1)).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        uring.remove(number.as_raw_fd(), token(3)).unwrap();
    }
}

/// The rings belong to the parent: requests that a child submits would be made for the parent.
#[test]
fn as_fd_in_a_child_does_not_enter_its_parents_rings() {
    let Some(mut uring) = sized(8, 64) else {
        return;
    };
    let (mut ours, theirs) = unix_pair();
    uring
        .add(theirs.as_fd(), token(1), READABLE, Trigger::Level)
        .unwrap();
    ours.write_all(b"x").unwrap();
    assert_eq!(next(&mut uring), Ready::READABLE);
    assert!(!uring.to_renew.is_empty(), "there is something to submit");
    let result = sys::fork::in_child(|| match uring.as_fd() {
        Ok(_) => Err("the child got it".to_owned()),
        Err(_) if uring.ring.unsubmitted() != 0 => Err("a request was made".to_owned()),
        Err(_) => Ok(()),
    });
    assert_eq!(result.unwrap(), Ok(()));
    assert!(uring.as_fd().is_ok());
}

/// A file that another thread took back is released, and its other registrations go on.
#[test]
fn release_keeps_the_other_registrations_of_the_file() {
    let Some(mut uring) = sized(8, 64) else {
        return;
    };
    for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
        let (mut ours, theirs) = unix_pair();
        let twin = theirs.try_clone().unwrap();
        uring
            .add(theirs.as_fd(), token(1), READABLE, trigger)
            .unwrap();
        uring
            .add(twin.as_fd(), token(2), READABLE, trigger)
            .unwrap();
        let releaser = uring.releaser().unwrap();
        let number = theirs.as_raw_fd();
        let other = std::thread::spawn(move || releaser.release(number, token(1)));
        other.join().unwrap();
        uring.remove(number, token(1)).unwrap();
        assert_eq!(poll_now(&mut uring), [], "{trigger:?}");
        ours.write_all(b"x").unwrap();
        let events = wait_for(&mut uring, LONG);
        assert_eq!(events.len(), 1, "{trigger:?}: {events:?}");
        assert_eq!(events[0].token, token(2));
        uring.remove(twin.as_raw_fd(), token(2)).unwrap();
    }
}

#[test]
fn release_in_a_child_does_nothing() {
    let Some(mut uring) = sized(8, 64) else {
        return;
    };
    let (_ours, theirs) = unix_pair();
    uring
        .add(theirs.as_fd(), token(1), READABLE, Trigger::Edge)
        .unwrap();
    let releaser = uring.releaser().unwrap();
    let result = sys::fork::in_child(|| {
        releaser.release(theirs.as_raw_fd(), token(1));
        Ok(())
    });
    assert_eq!(result.unwrap(), Ok(()));
    uring.flush().unwrap();
    assert_eq!(uring.ready(), 0, "a request was cancelled");
    releaser.release(theirs.as_raw_fd(), token(1));
    uring.flush().unwrap();
    // From Linux 6.0 on; afterwards the rings are closed, and the number may be another file's.
    assert!(uring.ready() <= 1);
    drop(uring);
    releaser.release(theirs.as_raw_fd(), token(1));
}

/// The fd must show what only the next wait does, or the host never makes that wait.
#[test]
fn host_sees_what_the_next_wait_would_report() {
    let Some(mut uring) = sized(8, 64) else {
        return;
    };
    let (mut ours, theirs) = unix_pair();
    let fd = theirs.as_raw_fd();
    uring
        .add(theirs.as_fd(), token(1), READABLE, Trigger::Level)
        .unwrap();
    let is_readable = |uring: &Uring| test_fds::is_readable(uring.as_fd().unwrap()).unwrap();
    ours.write_all(b"x").unwrap();
    for _ in 0..3 {
        assert!(is_readable(&uring), "there is unread data");
        assert_eq!(poll_now(&mut uring).len(), 1);
    }
    (&theirs).read_exact(&mut [0]).unwrap();
    // What made the fd readable is no event.
    let (timeout, started) = (Duration::from_millis(3), Instant::now());
    assert_eq!(wait_for(&mut uring, timeout), []);
    assert!(started.elapsed() >= timeout);
    assert!(!is_readable(&uring), "there is nothing any more");
    // Armed by `modify` alone.
    uring
        .modify(fd, token(1), READABLE, Trigger::Oneshot)
        .unwrap();
    ours.write_all(b"x").unwrap();
    assert!(is_readable(&uring), "it was armed again");
    assert_eq!(poll_now(&mut uring).len(), 1);
    assert!(!is_readable(&uring), "it was reported once");
    uring
        .modify(fd, token(1), READABLE, Trigger::Oneshot)
        .unwrap();
    assert!(is_readable(&uring), "it was armed again");
}

/// The rings live on in a duplicate of their fd, so only the drop ends the requests.
#[test]
fn drop_releases_all_files() {
    let Some(mut uring) = sized(2, 4) else { return };
    let kept = uring.as_fd().unwrap().try_clone_to_owned().unwrap();
    let pairs: Vec<_> = (0..20).map(|_| tcp_pair()).collect();
    let mut peers = Vec::new();
    for (at, (ours, theirs)) in pairs.into_iter().enumerate() {
        let trigger = [Trigger::Edge, Trigger::Level, Trigger::Oneshot][at % 3];
        uring
            .add(theirs.as_fd(), token(at), READABLE, trigger)
            .unwrap();
        peers.push(ours);
    }
    for peer in &mut peers {
        let held = peer.read(&mut [0]).unwrap_err();
        assert_eq!(held.kind(), ErrorKind::WouldBlock, "the kernel holds it");
    }
    drop(uring);
    peers.into_iter().for_each(ends);
    drop(kept);
}

/// As the drop does, which first lets the kernel run, and so meets no earlier wake-up.
#[test]
fn end_of_all_requests_releases_the_file_in_spite_of_a_wake_up() {
    let mut uring = match Uring::new(8) {
        Ok(uring) => uring,
        Err(error) => return println!("skipped: {error}"),
    };
    // Not all at once, because other tests need descriptors too.
    for _ in 0..15 {
        let (ours, theirs): (Vec<_>, Vec<_>) = (0..20).map(|_| unix_pair()).unzip();
        let peers: Vec<_> = ours.iter().collect();
        while_another_writes(&peers, |write| {
            for mut theirs in theirs {
                let fd = theirs.as_raw_fd();
                uring
                    .add(theirs.as_fd(), token(1), READABLE, Trigger::Edge)
                    .unwrap();
                write();
                uring.end_all();
                uring.slots[fd as usize] = VACANT;
                theirs.read_exact(&mut [0]).unwrap();
            }
        });
        ours.into_iter().for_each(ends);
    }
}

#[test]
fn drop_in_a_child_takes_nothing_from_the_parent() {
    let Some(uring) = sized(2, 4) else { return };
    let mut held = Some(uring);
    let (mut ours, theirs) = unix_pair();
    let parents = held.as_mut().unwrap();
    parents
        .add(theirs.as_fd(), token(1), READABLE, Trigger::Edge)
        .unwrap();
    let result = sys::fork::in_child(|| {
        drop(held.take());
        Ok(())
    });
    result.unwrap().unwrap();
    let parents = held.as_mut().unwrap();
    ours.write_all(b"x").unwrap();
    assert_eq!(next(parents), Ready::READABLE);
    assert_eq!(parents.ring.unsubmitted(), 0);
}

#[test]
fn after_fork_the_child_has_its_own_rings() {
    let Some(mut uring) = sized(2, 4) else { return };
    let (mut ours, theirs) = unix_pair();
    uring
        .add(theirs.as_fd(), token(1), READABLE, Trigger::Edge)
        .unwrap();
    let result = sys::fork::in_child(|| {
        let (mut childs, number) = unix_pair();
        childs.write_all(b"x").unwrap();
        uring.after_fork().unwrap();
        let added = uring.add(number.as_fd(), token(1), READABLE, Trigger::Level);
        added.unwrap();
        match uring.ready() {
            1 => Ok(()),
            ready => Err(format!("{ready} completions")),
        }
    });
    result.unwrap().unwrap();
    assert_eq!(uring.ready(), 0, "the child's completion");
    ours.write_all(b"x").unwrap();
    assert_eq!(next(&mut uring), Ready::READABLE);
}

#[test]
fn open_error_names_what_may_have_refused() {
    for (code, word) in [(libc::EPERM, "sysctl"), (libc::ENOSYS, "kernel")] {
        let error = explain(io::Error::from_raw_os_error(code));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(word), "{error}");
    }
    let error = explain(io::Error::from_raw_os_error(libc::EMFILE));
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
}
