//! Tests of the backend over the fake kernel.

use super::*;
use crate::backend::Event;
use crate::backend::fake::kqueue::{Call, Fake};
use crate::sys::test_fds::{is_readable, reset_on_close};
use std::fs::File;
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// A system like macOS, one like FreeBSD, one like an older OpenBSD.
type Full = Fake<true, true>;
type NoExcept = Fake<true, false>;
type NoUser = Fake<false, true>;

const BOTH: Interest = Interest::READABLE.union(Interest::WRITABLE);
const READ: Filter = Filter::Read;
const WRITE: Filter = Filter::Write;

fn check<S: Sys>() -> crate::conformance::Report {
    crate::conformance::run(&mut || Ok(Box::new(Kqueue::<S>::new(64)?)))
}

#[test]
fn conforms_with_every_filter() {
    let report = check::<Full>();
    println!("{report}");
    report.assert_ok();
}

#[test]
fn conforms_without_out_of_band_data() {
    check::<NoExcept>().assert_ok();
}

#[test]
fn conforms_without_user_events() {
    check::<NoUser>().assert_ok();
}

#[test]
fn runtime_runs_over_kqueue() {
    echo_over(Kqueue::<Full>::new(8).unwrap());
}

/// The runtime uses edges, closes without `remove` and reuses numbers.
pub(super) fn echo_over<S: Sys>(kqueue: Kqueue<S>) {
    use crate::net;
    const SIZE: usize = 300_000;
    let runtime = crate::Builder::new().with_backend(kqueue).build().unwrap();
    runtime.block_on(async {
        let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _server = crate::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                crate::spawn(async move {
                    let mut buffer = vec![0; 20_000];
                    loop {
                        match stream.read(&mut buffer).await.unwrap() {
                            0 => return,
                            read => stream.write_all(&buffer[..read]).await.unwrap(),
                        }
                    }
                });
            }
        });
        for _ in 0..3 {
            let clients: Vec<_> = (0..20_u8)
                .map(|byte| {
                    crate::spawn(async move {
                        let stream = net::TcpStream::connect(address).await.unwrap();
                        let sent = vec![byte; SIZE];
                        let (reading, writing) = stream.into_split();
                        let copy = sent.clone();
                        let writes =
                            crate::spawn(async move { writing.write_all(&copy).await.unwrap() });
                        let mut echoed = vec![0; SIZE];
                        reading.read_exact(&mut echoed).await.unwrap();
                        writes.await.unwrap();
                        assert!(echoed == sent);
                    })
                })
                .collect();
            for client in clients {
                client.await.unwrap();
            }
        }
        let handle = crate::Handle::current();
        let woken = std::thread::spawn(move || handle.spawn(async { 7 }));
        crate::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(woken.join().unwrap().await.unwrap(), 7);
    });
}

fn open() -> Kqueue<Full> {
    let kqueue = Kqueue::new(64).unwrap();
    kernel(&kqueue).take_calls();
    kqueue
}

fn kernel(kqueue: &Kqueue<Full>) -> &Full {
    kqueue.queue.sys()
}

fn token(index: u32) -> Token {
    Token::new(index, 1)
}

fn add(kqueue: &mut Kqueue<Full>, fd: &impl AsFd, interest: Interest, trigger: Trigger) -> RawFd {
    kqueue.add(fd.as_fd(), token(1), interest, trigger).unwrap();
    kernel(kqueue).take_calls();
    fd.as_fd().as_raw_fd()
}

/// Makes one wait that does not block, with that much room.
fn poll_now(kqueue: &mut Kqueue<Full>, room: usize) -> Vec<Event> {
    let mut events = Events::with_capacity(room);
    kqueue.wait(&mut events, Some(Duration::ZERO)).unwrap();
    events.as_slice().to_vec()
}

fn changes(calls: &[Call]) -> Vec<(Filter, u32)> {
    let changes = calls.iter().flat_map(|call| &call.changes);
    changes
        .map(|change| (change.filter, change.flags & !EV_RECEIPT))
        .collect()
}

#[test]
fn add_makes_one_call_for_both_filters_with_receipts() {
    let mut kqueue = open();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    kqueue
        .add(theirs.as_fd(), token(1), BOTH, Trigger::Edge)
        .unwrap();
    let calls = kernel(&kqueue).take_calls();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].changes.len(), calls[0].room), (2, 2));
    let is_asked = |change: &Entry| change.flags & EV_RECEIPT != 0;
    assert!(calls[0].changes.iter().all(is_asked));
}

#[test]
fn failed_add_leaves_no_filter_behind() {
    let mut kqueue = open();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    for filter in [READ, WRITE, Filter::Except] {
        kernel(&kqueue).fail_next_add(filter, libc::ENOMEM);
        let interest = BOTH | Interest::PRIORITY;
        let failed = kqueue.add(theirs.as_fd(), token(1), interest, Trigger::Edge);
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::ENOMEM));
        assert_eq!(kernel(&kqueue).filters(theirs.as_raw_fd()), []);
        let removed = kqueue.remove(theirs.as_raw_fd(), token(1));
        assert_eq!(removed.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
    add(&mut kqueue, &theirs, BOTH, Trigger::Edge);
}

#[test]
fn add_refuses_a_file_that_lacks_a_filter() {
    let mut kqueue = open();
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    let refused = kqueue.add(file.as_fd(), token(1), BOTH, Trigger::Level);
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::Unsupported);
    assert_eq!(kernel(&kqueue).filters(file.as_raw_fd()), []);
    assert_eq!(poll_now(&mut kqueue, 4), []);
}

#[test]
fn remove_of_filters_that_a_close_removed_succeeds() {
    let mut kqueue = open();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let fd = add(&mut kqueue, &theirs, BOTH, Trigger::Edge);
    // Without the backend, as a close does: `ENOENT` for both.
    kqueue.uninstall(fd, filters_of(BOTH));
    kqueue.remove(fd, token(1)).unwrap();
    kqueue
        .submit([change::<Full>(fd, READ, EV_DELETE)])
        .unwrap();
    let enabled = kqueue.submit([change::<Full>(fd, READ, EV_ENABLE)]);
    assert_eq!(enabled.unwrap_err().raw_os_error(), Some(libc::ENOENT));
}

/// The close removes the filters, so `add` need not check for them when the number is used again.
#[test]
fn add_after_forget_makes_one_call() {
    let mut kqueue = open();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let fd = add(&mut kqueue, &theirs, BOTH, Trigger::Edge);
    kqueue.forget(fd, token(1)).unwrap();
    assert_eq!(kernel(&kqueue).take_calls(), []);
    let late = kqueue.forget(fd, token(1));
    assert_eq!(late.unwrap_err().kind(), io::ErrorKind::NotFound);
    let (mut ours, other) = UnixStream::pair().unwrap();
    crate::sys::test_fds::replace(theirs.as_fd(), other.as_fd()).unwrap();
    kqueue
        .add(theirs.as_fd(), token(2), Interest::READABLE, Trigger::Edge)
        .unwrap();
    assert_eq!(kernel(&kqueue).take_calls().len(), 1);
    ours.write_all(b"x").unwrap();
    let events = poll_now(&mut kqueue, 4);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].token, token(2));
}

fn filters_of(interest: Interest) -> Filters {
    Slot::new::<Full>(token(1), interest, Trigger::Edge).filters
}

#[test]
fn modify_changes_only_the_difference() {
    let mut kqueue = open();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let fd = add(&mut kqueue, &theirs, Interest::READABLE, Trigger::Edge);
    for (interest, expected) in [
        (
            BOTH,
            &[
                (READ, EV_DISABLE),
                (READ, EV_ADD | EV_CLEAR | EV_ENABLE),
                (WRITE, EV_ADD | EV_CLEAR | EV_ENABLE),
            ][..],
        ),
        (
            Interest::WRITABLE,
            &[(READ, EV_DELETE), (WRITE, EV_ADD | EV_CLEAR | EV_ENABLE)],
        ),
        (
            Interest::EMPTY,
            &[(WRITE, EV_DELETE), (READ, EV_ADD | EV_CLEAR | EV_DISABLE)],
        ),
    ] {
        kqueue
            .modify(fd, token(1), interest, Trigger::Edge)
            .unwrap();
        let calls = kernel(&kqueue).take_calls();
        assert_eq!(calls.len(), 1);
        assert_eq!(changes(&calls), expected, "{interest:?}");
    }
    assert_eq!(kernel(&kqueue).filters(fd), [(READ, false)]);
}

#[test]
fn failed_modify_keeps_the_registration() {
    let mut kqueue = open();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let fd = add(&mut kqueue, &theirs, Interest::READABLE, Trigger::Level);
    kernel(&kqueue).fail_next_add(WRITE, libc::ENOMEM);
    let failed = kqueue.modify(fd, token(1), BOTH, Trigger::Oneshot);
    assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::ENOMEM));
    assert_eq!(kernel(&kqueue).filters(fd), [(READ, true)]);
    ours.write_all(b"x").unwrap();
    for _ in 0..3 {
        let seen = poll_now(&mut kqueue, 4);
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].readiness, Ready::READABLE);
    }
}

#[test]
fn modify_replaces_the_trigger() {
    let mut kqueue = open();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(b"x").unwrap();
    let fd = add(&mut kqueue, &theirs, Interest::READABLE, Trigger::Level);
    let triggers = [
        (Trigger::Level, 3),
        (Trigger::Edge, 1),
        (Trigger::Level, 3),
        (Trigger::Oneshot, 1),
        (Trigger::Edge, 1),
    ];
    for (trigger, times) in triggers {
        kqueue
            .modify(fd, token(1), Interest::READABLE, trigger)
            .unwrap();
        let seen: Vec<_> = (0..3).flat_map(|_| poll_now(&mut kqueue, 4)).collect();
        assert_eq!(seen.len(), times, "{trigger:?}");
    }
}

/// The number names a file that is not registered: a late call must not affect it.
#[test]
fn late_modify_touches_no_other_file() {
    let mut kqueue = open();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let (_peer, stranger) = UnixStream::pair().unwrap();
    for interest in [Interest::READABLE, Interest::WRITABLE, Interest::EMPTY] {
        let (_end, number) = UnixStream::pair().unwrap();
        let fd = add(&mut kqueue, &number, interest, Trigger::Edge);
        crate::sys::fork::replace(number.as_fd(), stranger.as_fd()).unwrap();
        let late = kqueue.modify(fd, token(1), BOTH, Trigger::Level);
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(kernel(&kqueue).filters(fd), []);
        // It can be registered again.
        add(&mut kqueue, &number, Interest::EMPTY, Trigger::Edge);
        kqueue.remove(fd, token(1)).unwrap();
    }
    add(&mut kqueue, &theirs, Interest::EMPTY, Trigger::Edge);
    let twice = kqueue.add(theirs.as_fd(), token(2), BOTH, Trigger::Edge);
    assert_eq!(twice.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn oneshot_in_one_direction_disables_the_other() {
    let mut kqueue = open();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let fd = add(&mut kqueue, &theirs, BOTH, Trigger::Oneshot);
    assert_eq!(poll_now(&mut kqueue, 4).len(), 1);
    assert_eq!(kernel(&kqueue).filters(fd), [(READ, false), (WRITE, false)]);
    ours.write_all(b"x").unwrap();
    assert_eq!(poll_now(&mut kqueue, 4), []);
    // A second `add` finds it, and does not arm it.
    let twice = kqueue.add(theirs.as_fd(), token(2), BOTH, Trigger::Edge);
    assert_eq!(twice.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(poll_now(&mut kqueue, 4), []);
    kernel(&kqueue).take_calls();
    kqueue.modify(fd, token(1), BOTH, Trigger::Oneshot).unwrap();
    kernel(&kqueue).take_calls();
    assert_eq!(poll_now(&mut kqueue, 4).len(), 1);
    // Both came: nothing is left to be silenced.
    assert_eq!(changes(&kernel(&kqueue).take_calls()), []);
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
    assert_eq!(kernel(&kqueue).filters(fd), [(READ, true), (WRITE, true)]);
    let second = poll_now(&mut kqueue, 1)[0].readiness;
    assert!(second.contains(HANGUP | Ready::READABLE | Ready::WRITABLE));
    // Both stay armed: a level-triggered hang-up repeats.
    assert_eq!(kernel(&kqueue).filters(fd), [(READ, true), (WRITE, true)]);
    for _ in 0..2 {
        let again = poll_now(&mut kqueue, 4);
        assert_eq!(again.len(), 1);
        assert!(again[0].readiness.contains(HANGUP));
    }
}

#[test]
fn wait_merges_both_halves_into_one_event() {
    let mut kqueue = open();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(b"x").unwrap();
    for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
        let fd = add(&mut kqueue, &theirs, BOTH, trigger);
        let seen = poll_now(&mut kqueue, 4);
        let both = Ready::READABLE | Ready::WRITABLE;
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(seen[0].readiness, both);
        kqueue.remove(fd, token(1)).unwrap();
    }
}

#[test]
fn entries_become_readiness() {
    let readiness_of = |filter, flags, fflags| {
        readiness(&Entry {
            ident: 0,
            filter,
            flags,
            fflags,
            data: 0,
        })
    };
    let both = Ready::READABLE | Ready::WRITABLE;
    let (closed, reset) = (Ready::READ_CLOSED, libc::ECONNRESET as u32);
    assert_eq!(readiness_of(READ, EV_CLEAR, 0), Ready::READABLE);
    assert_eq!(readiness_of(READ, EV_EOF, 0), Ready::READABLE | closed);
    assert_eq!(
        readiness_of(READ, EV_EOF, reset),
        both | closed | Ready::ERROR
    );
    // Only with the end of file is it an error's number.
    assert_eq!(readiness_of(READ, 0, 1), Ready::READABLE);
    assert_eq!(readiness_of(WRITE, 0, 0), Ready::WRITABLE);
    let ended = Ready::WRITABLE | Ready::WRITE_CLOSED;
    assert_eq!(readiness_of(WRITE, EV_EOF, 0), ended);
    assert_eq!(
        readiness_of(WRITE, EV_EOF, reset),
        ended | both | Ready::ERROR
    );
    assert_eq!(readiness_of(Filter::Except, 0, 2), Ready::PRIORITY);
}

#[test]
fn wait_cuts_a_long_timeout_and_lasts_as_long() {
    let mut kqueue = open();
    let mut events = Events::with_capacity(4);
    let (longest, timeout) = (Duration::from_millis(2), Duration::from_millis(7));
    kqueue.longest = longest;
    let started = Instant::now();
    kqueue.wait(&mut events, Some(timeout)).unwrap();
    assert!(started.elapsed() >= timeout);
    let calls = kernel(&kqueue).take_calls();
    let timeouts: Vec<_> = calls.iter().filter_map(|call| call.timeout).collect();
    assert_eq!(timeouts.iter().sum::<Duration>(), timeout, "{timeouts:?}");
    assert!(
        timeouts.iter().all(|timeout| *timeout <= longest),
        "{timeouts:?}"
    );
}

#[test]
fn notifier_from_before_two_forks_reaches_the_queue_in_use() {
    let mut kqueue = open();
    let notifier = kqueue.notifier();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let fd = add(&mut kqueue, &theirs, BOTH, Trigger::Edge);
    kqueue.after_fork().unwrap();
    kqueue.after_fork().unwrap();
    let removed = kqueue.remove(fd, token(1));
    assert_eq!(removed.unwrap_err().kind(), io::ErrorKind::NotFound);
    notifier.notify().unwrap();
    let started = Instant::now();
    let mut events = Events::with_capacity(4);
    kqueue
        .wait(&mut events, Some(Duration::from_secs(60)))
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(60));
}

/// A full pipe takes no more notifications, and with edges only, none would be noticed.
#[test]
fn wait_drains_the_notification_pipe() {
    let mut kqueue = Kqueue::<NoUser>::new(4).unwrap();
    let mut events = Events::with_capacity(4);
    kqueue.notifier().notify().unwrap();
    let pipe = kqueue.pipe.as_ref().unwrap().as_fd();
    assert!(is_readable(pipe).unwrap());
    kqueue.wait(&mut events, None).unwrap();
    let pipe = kqueue.pipe.as_ref().unwrap().as_fd();
    assert!(!is_readable(pipe).unwrap());
}

#[test]
fn notify_in_a_child_does_not_reach_its_parent() {
    let mut kqueue = Kqueue::<NoUser>::new(4).unwrap();
    let notifier = kqueue.notifier();
    let pipe = kqueue.pipe.as_ref().unwrap().as_fd();
    let parents = pipe.try_clone_to_owned().unwrap();
    kqueue.after_fork().unwrap();
    notifier.notify().unwrap();
    assert!(!is_readable(parents.as_fd()).unwrap());
}

#[test]
fn error_in_one_direction_sets_both_and_repeats_at_the_level() {
    let mut kqueue = open();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    let fd = add(&mut kqueue, &theirs, Interest::READABLE, Trigger::Level);
    reset_on_close(ours.as_fd()).unwrap();
    drop(ours);
    let mut events = Events::with_capacity(4);
    kqueue
        .wait(&mut events, Some(Duration::from_secs(60)))
        .unwrap();
    let seen = events.as_slice()[0].readiness;
    let both = Ready::READABLE | Ready::WRITABLE;
    assert!(seen.contains(Ready::ERROR | both), "{seen:?}");
    for _ in 0..2 {
        assert_eq!(poll_now(&mut kqueue, 4)[0].readiness, seen);
    }
    kqueue
        .modify(fd, token(1), Interest::READABLE, Trigger::Level)
        .unwrap();
    assert_eq!(poll_now(&mut kqueue, 4).len(), 1);
}

#[test]
fn wait_drops_events_of_unknown_numbers() {
    let mut kqueue = open();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let fd = add(&mut kqueue, &theirs, BOTH, Trigger::Edge);
    kqueue.remove(fd, token(1)).unwrap();
    kqueue.submit([change::<Full>(fd, WRITE, EV_ADD)]).unwrap();
    assert_eq!(poll_now(&mut kqueue, 4), []);
    let reserved = kqueue.add(theirs.as_fd(), NO_OWNER, BOTH, Trigger::Edge);
    assert_eq!(reserved.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

/// A kernel without receipts ignores the flag.
struct Mute(Full);

impl AsFd for Mute {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Sys for Mute {
    type Record = Entry;
    const OOB: Option<u32> = None;

    fn open() -> io::Result<Mute> {
        Full::open().map(Mute)
    }

    fn record(entry: Entry) -> Entry {
        Entry {
            flags: entry.flags & !EV_RECEIPT,
            ..entry
        }
    }

    fn entry(record: &Entry) -> Entry {
        *record
    }

    fn kevent(
        &self,
        changes: &[Entry],
        events: &mut Vec<Entry>,
        room: usize,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        self.0.kevent(changes, events, room, timeout)
    }
}

#[test]
fn open_refuses_a_kernel_without_receipts() {
    let refused = Kqueue::<Mute>::new(4).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    assert!(refused.to_string().contains("EV_RECEIPT"), "{refused}");
}
