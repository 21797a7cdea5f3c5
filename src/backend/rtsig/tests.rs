//! Tests of what the conformance cases do not cover: lost, late and missing signals, and cleaning
//! up.

use super::*;
use crate::backend::Event;
use crate::sys::fork::in_child;
use crate::sys::signalfd::SignalSet;
use crate::sys::syscall::check;
use crate::sys::test_fds;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::spawn;
use std::time::Instant;

const LONG: Option<Duration> = Some(Duration::from_secs(60));

fn token(at: usize) -> Token {
    Token::new(at as u32, 1)
}

fn pair() -> (UnixStream, UnixStream) {
    let pair = UnixStream::pair().unwrap();
    pair.0.set_nonblocking(true).unwrap();
    pair.1.set_nonblocking(true).unwrap();
    pair
}

fn wait(loop_: &mut Rtsig, timeout: Option<Duration>) -> Vec<Event> {
    let mut events = Events::with_capacity(64);
    loop_.wait(&mut events, timeout).unwrap();
    events.as_slice().to_vec()
}

fn poll_now(loop_: &mut Rtsig) -> Vec<Event> {
    wait(loop_, Some(Duration::ZERO))
}

fn tokens(events: &[Event]) -> Vec<Token> {
    events.iter().map(|event| event.token).collect()
}

/// Adds an fd for READABLE with `Edge`.
fn add(loop_: &mut Rtsig, fd: &impl AsFd, at: usize) {
    loop_
        .add(fd.as_fd(), token(at), Interest::READABLE, Trigger::Edge)
        .unwrap();
}

fn is_hinted(loop_: &Rtsig, fd: &impl AsRawFd) -> bool {
    loop_.table.get(fd.as_raw_fd()).unwrap().hints
}

/// Returns the file's flags, owner and signal.
fn signal_settings(fd: &impl AsRawFd) -> (libc::c_int, libc::pid_t, libc::c_int) {
    let fd = fd.as_raw_fd();
    let mut owner = [0; 2];
    // SAFETY: `struct f_owner_ex` is two integers; the fd is open.
    let [flags, signal] = unsafe {
        check(libc::fcntl(fd, 16, owner.as_mut_ptr())).unwrap();
        [libc::fcntl(fd, libc::F_GETFL), libc::fcntl(fd, 11)]
    };
    (flags, owner[1], signal)
}

/// Whether this thread blocks the signal.
fn is_blocked(signal: libc::c_int) -> bool {
    let none = SignalSet::of(&[]).unwrap();
    none.block().unwrap().contains(signal)
}

/// Sets how many signals of this user may be pending, in all processes together. Returns the old
/// limit.
fn allow_pending(most: libc::rlim_t) -> libc::rlim_t {
    // SAFETY: all-zero bytes are a valid limit: integers only.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: the limit outlives the calls.
    unsafe {
        check(libc::getrlimit(libc::RLIMIT_SIGPENDING, &mut limit)).unwrap();
        let before = std::mem::replace(&mut limit.rlim_cur, most);
        check(libc::setrlimit(libc::RLIMIT_SIGPENDING, &limit)).unwrap();
        before
    }
}

/// In a child, because the limit is the process's, and the count of pending signals the user's.
#[test]
fn overflow_loses_no_fd() {
    let result = in_child(|| {
        let usual = allow_pending(8);
        let mut loop_ = Rtsig::new(64).unwrap();
        let mut sockets: Vec<_> = (0..64).map(|_| pair()).collect();
        for (at, (_, theirs)) in sockets.iter().enumerate() {
            add(&mut loop_, theirs, at);
        }
        assert!(poll_now(&mut loop_).is_empty());
        for round in 0..3 {
            let before = overflows();
            for (ours, _) in &mut sockets {
                ours.write_all(b"x").unwrap();
            }
            let mut seen = tokens(&wait(&mut loop_, LONG));
            seen.sort_unstable_by_key(|token| token.to_u64());
            let all: Vec<_> = (0..64).map(token).collect();
            assert_eq!(seen, all, "round {round}");
            assert_ne!(overflows(), before, "there was room for all");
            for (at, (_, theirs)) in sockets.iter_mut().enumerate() {
                theirs.read_exact(&mut [0]).unwrap();
                let fd = theirs.as_raw_fd();
                loop_.rearm(fd, token(at), Interest::READABLE).unwrap();
            }
            assert!(poll_now(&mut loop_).is_empty());
        }
        // With room in the queue it is one signal, and no SIGIO.
        allow_pending(usual);
        let before = overflows();
        sockets[5].0.write_all(b"x").unwrap();
        assert_eq!(tokens(&wait(&mut loop_, LONG)), [token(5)]);
        assert_eq!(overflows(), before);
        Ok(())
    });
    assert_eq!(result.unwrap(), Ok(()));
}

/// In a child as well. One loop reads the SIGIO that both need.
#[test]
fn overflow_is_reported_to_every_loop_of_the_thread() {
    let result = in_child(|| {
        let (mut first, mut second) = (Rtsig::new(4).unwrap(), Rtsig::new(4).unwrap());
        assert_ne!(first.claim.signal, second.claim.signal);
        let ((mut ours, theirs), (mut mine, its)) = (pair(), pair());
        add(&mut first, &theirs, 1);
        add(&mut second, &its, 2);
        assert!(poll_now(&mut first).is_empty() && poll_now(&mut second).is_empty());
        allow_pending(0);
        ours.write_all(b"x").unwrap();
        mine.write_all(b"x").unwrap();
        assert_eq!(tokens(&wait(&mut first, LONG)), [token(1)]);
        assert_eq!(tokens(&wait(&mut second, LONG)), [token(2)]);
        mine.write_all(b"x").unwrap();
        // What a loop reads when it is dropped is not lost either.
        second
            .rearm(its.as_raw_fd(), token(2), Interest::READABLE)
            .unwrap();
        assert_eq!(tokens(&poll_now(&mut second)), [token(2)]);
        (&its).read_exact(&mut [0; 2]).unwrap();
        second
            .rearm(its.as_raw_fd(), token(2), Interest::READABLE)
            .unwrap();
        assert!(poll_now(&mut second).is_empty());
        mine.write_all(b"x").unwrap();
        drop(first);
        assert_eq!(tokens(&wait(&mut second, LONG)), [token(2)]);
        Ok(())
    });
    assert_eq!(result.unwrap(), Ok(()));
}

#[test]
fn late_signal_is_no_event_of_the_next_owner() {
    for removes in [true, false] {
        let mut loop_ = Rtsig::new(4).unwrap();
        let (mut old, number) = pair();
        let (mut ours, file) = pair();
        add(&mut loop_, &number, 1);
        assert!(poll_now(&mut loop_).is_empty());
        old.write_all(b"x").unwrap();
        if removes {
            loop_.remove(number.as_raw_fd(), token(1)).unwrap();
        }
        test_fds::replace(number.as_fd(), file.as_fd()).unwrap();
        drop(file);
        add(&mut loop_, &number, 2);
        assert!(poll_now(&mut loop_).is_empty());
        ours.write_all(b"x").unwrap();
        assert_eq!(tokens(&wait(&mut loop_, LONG)), [token(2)]);
    }
}

#[test]
fn wait_ignores_signals_of_disarmed_fds() {
    let mut loop_ = Rtsig::new(4).unwrap();
    let (mut ours, theirs) = pair();
    add(&mut loop_, &theirs, 1);
    ours.write_all(b"x").unwrap();
    assert_eq!(poll_now(&mut loop_).len(), 1);
    // Delivered and not re-armed: what comes now must not be reported.
    let (over, ended) = mpsc::channel::<()>();
    let writer = spawn(move || {
        while ended.recv_timeout(Duration::from_micros(200)).is_err() {
            let _ = ours.write(b"x");
        }
    });
    let (timeout, started) = (Duration::from_millis(50), Instant::now());
    assert!(wait(&mut loop_, Some(timeout)).is_empty());
    assert!(started.elapsed() >= timeout);
    over.send(()).unwrap();
    writer.join().unwrap();
}

#[test]
fn silent_files_are_polled() {
    let mut loop_ = Rtsig::new(4).unwrap();
    let mut counter = File::from(crate::sys::eventfd::eventfd().unwrap());
    add(&mut loop_, &counter, 1);
    assert!(!is_hinted(&loop_, &counter));
    assert_eq!(signal_settings(&counter).1, 0);
    assert!(poll_now(&mut loop_).is_empty());
    let mut writer = counter.try_clone().unwrap();
    let thread = spawn(move || writer.write_all(&1_u64.to_ne_bytes()).unwrap());
    assert_eq!(tokens(&wait(&mut loop_, LONG)), [token(1)]);
    thread.join().unwrap();
    assert!(poll_now(&mut loop_).is_empty());
    counter.read_exact(&mut [0; 8]).unwrap();
    loop_
        .rearm(counter.as_raw_fd(), token(1), Interest::READABLE)
        .unwrap();
    let (timeout, started) = (Duration::from_millis(2), Instant::now());
    assert!(wait(&mut loop_, Some(timeout)).is_empty());
    assert!(started.elapsed() >= timeout);
}

/// A signal names the first number, even after that was closed.
#[test]
fn duplicates_are_reported_each() {
    let mut loop_ = Rtsig::new(4).unwrap();
    let (mut ours, theirs) = pair();
    let twin = theirs.try_clone().unwrap();
    add(&mut loop_, &theirs, 1);
    add(&mut loop_, &twin, 2);
    assert!(is_hinted(&loop_, &theirs) && !is_hinted(&loop_, &twin));
    assert!(poll_now(&mut loop_).is_empty());
    ours.write_all(b"x").unwrap();
    let mut seen = tokens(&wait(&mut loop_, LONG));
    seen.sort_unstable_by_key(|token| token.to_u64());
    assert_eq!(seen, [token(1), token(2)]);
    loop_.remove(theirs.as_raw_fd(), token(1)).unwrap();
    drop(theirs);
    (&twin).read_exact(&mut [0]).unwrap();
    let fd = twin.as_raw_fd();
    loop_.rearm(fd, token(2), Interest::READABLE).unwrap();
    assert!(poll_now(&mut loop_).is_empty());
    ours.write_all(b"x").unwrap();
    assert_eq!(tokens(&wait(&mut loop_, LONG)), [token(2)]);
}

#[test]
fn loops_of_two_threads_watch_one_file() {
    let mut here = Rtsig::new(4).unwrap();
    let (mut ours, theirs) = pair();
    add(&mut here, &theirs, 1);
    let twin = theirs.try_clone().unwrap();
    let (ready, is_ready) = mpsc::channel();
    let there = spawn(move || {
        let mut there = Rtsig::new(4).unwrap();
        add(&mut there, &twin, 2);
        assert!(!is_hinted(&there, &twin));
        assert!(poll_now(&mut there).is_empty());
        ready.send(there.claim.signal).unwrap();
        tokens(&wait(&mut there, LONG))
    });
    assert_eq!(is_ready.recv().unwrap(), here.claim.signal);
    ours.write_all(b"x").unwrap();
    assert_eq!(tokens(&wait(&mut here, LONG)), [token(1)]);
    assert_eq!(there.join().unwrap(), [token(2)]);
}

/// An AF_UNIX stream has no room long before a write fails, and sends no signal then.
#[test]
fn room_is_reported_although_no_write_has_failed() {
    let mut loop_ = Rtsig::new(4).unwrap();
    let (mut ours, mut theirs) = pair();
    let writable = |fd: RawFd| {
        let seen = crate::backend::poll_now(fd, Interest::WRITABLE).unwrap();
        seen.is_writable()
    };
    while writable(theirs.as_raw_fd()) {
        theirs.write_all(&[0; 1000]).unwrap();
    }
    loop_
        .add(
            theirs.as_fd(),
            token(1),
            Interest::WRITABLE | Interest::READABLE,
            Trigger::Edge,
        )
        .unwrap();
    assert!(poll_now(&mut loop_).is_empty());
    let reader = spawn(move || {
        let mut left = [0; 4096];
        while matches!(ours.read(&mut left), Ok(1..)) {}
        ours
    });
    let events = wait(&mut loop_, LONG);
    assert_eq!(tokens(&events), [token(1)]);
    assert_eq!(events[0].readiness, crate::interest::Ready::WRITABLE);
    reader.join().unwrap();
}

/// The same for datagrams, which wait for room at the peer.
#[test]
fn room_for_datagrams_is_reported() {
    let mut loop_ = Rtsig::new(4).unwrap();
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    while theirs.send(b"x").is_ok() {}
    let (fd, interest) = (theirs.as_fd(), Interest::WRITABLE);
    loop_.add(fd, token(1), interest, Trigger::Edge).unwrap();
    assert!(poll_now(&mut loop_).is_empty());
    ours.set_nonblocking(true).unwrap();
    while ours.recv(&mut [0]).is_ok() {}
    assert_eq!(tokens(&wait(&mut loop_, LONG)), [token(1)]);
}

/// Our own shutdown sends no signal. After `rearm` the event comes.
#[test]
fn rearm_reports_our_own_shutdown() {
    let mut loop_ = Rtsig::new(4).unwrap();
    let (_ours, theirs) = pair();
    add(&mut loop_, &theirs, 1);
    assert!(poll_now(&mut loop_).is_empty());
    theirs.shutdown(std::net::Shutdown::Both).unwrap();
    let fd = theirs.as_raw_fd();
    loop_.rearm(fd, token(1), Interest::READABLE).unwrap();
    assert_eq!(tokens(&poll_now(&mut loop_)), [token(1)]);
}

#[test]
fn remove_restores_the_settings_of_the_file() {
    let mut loop_ = Rtsig::new(4).unwrap();
    let (ours, theirs) = pair();
    let before = signal_settings(&theirs);
    add(&mut loop_, &theirs, 1);
    let claim = &loop_.claim;
    let during = (before.0 | libc::O_ASYNC, claim.thread, claim.signal);
    assert_eq!(signal_settings(&theirs), during);
    // Changes that another process makes meanwhile stay.
    theirs.set_nonblocking(false).unwrap();
    loop_.remove(theirs.as_raw_fd(), token(1)).unwrap();
    let after = (before.0 & !libc::O_NONBLOCK, before.1, before.2);
    assert_eq!(signal_settings(&theirs), after);
    add(&mut loop_, &theirs, 2);
    drop(loop_);
    assert_eq!(signal_settings(&theirs), after);
    drop(ours);
}

/// Opens the same pipe again: another open file with the same inode.
fn open_again(file: &impl AsRawFd) -> File {
    let mut options = File::options();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    options.read(true).open(path).unwrap()
}

/// A number is closed and given to another open file of the same pipe, which has the same inode.
#[test]
fn remove_does_not_touch_another_open_file_of_the_same_pipe() {
    spawn(|| {
        for is_added_again in [false, true] {
            let mut loop_ = Rtsig::new(4).unwrap();
            let signal = loop_.claim.signal;
            let (reader, writer) = crate::sys::pipe::pipe().unwrap();
            let (number, mut writer) = (File::from(reader), File::from(writer));
            add(&mut loop_, &number, 1);
            let duplicate = number.try_clone().unwrap();
            let signals = signal_settings(&duplicate);
            assert_eq!(signals.2, signal);
            // The other open file sends signals of its own, of an ignored kind.
            let again = open_again(&number);
            // SAFETY: the calls take integers, or a pointer to one that outlives the call; the fd
            // is open.
            unsafe {
                check(libc::fcntl(again.as_raw_fd(), 10, libc::SIGURG)).unwrap();
                check(libc::fcntl(
                    again.as_raw_fd(),
                    libc::F_SETOWN,
                    libc::getpid(),
                ))
                .unwrap();
                check(libc::ioctl(
                    again.as_raw_fd(),
                    libc::FIOASYNC,
                    &raw const ON,
                ))
                .unwrap();
            }
            let others = signal_settings(&again);
            assert_ne!(others.0 & libc::O_ASYNC, 0);
            test_fds::replace(number.as_fd(), again.as_fd()).unwrap();
            if is_added_again {
                // The other open file does not count as registered.
                add(&mut loop_, &number, 2);
                assert!(!is_hinted(&loop_, &number));
                writer.write_all(b"x").unwrap();
                assert_eq!(tokens(&wait(&mut loop_, LONG)), [token(2)]);
                loop_.remove(number.as_raw_fd(), token(2)).unwrap();
            } else {
                loop_.remove(number.as_raw_fd(), token(1)).unwrap();
            }
            assert_eq!(signal_settings(&again), others);
            assert_eq!(
                signal_settings(&duplicate),
                signals,
                "only the closed number was ours"
            );
            drop(loop_);
            assert!(is_blocked(signal), "the duplicate signals on");
            writer.write_all(b"x").unwrap();
        }
    })
    .join()
    .unwrap();
}

static ON: libc::c_int = 1;

/// If both loops got the file, one of them would wait for signals forever.
#[test]
fn enable_gives_a_file_to_one_of_two_loops() {
    let barrier = std::sync::Barrier::new(2);
    let (ours, theirs) = pair();
    let hinted = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for file in [theirs.try_clone().unwrap(), theirs.try_clone().unwrap()] {
            let (barrier, hinted) = (&barrier, &hinted);
            scope.spawn(move || {
                let mut loop_ = Rtsig::new(4).unwrap();
                for round in 1..=500 {
                    barrier.wait();
                    add(&mut loop_, &file, 1);
                    hinted.fetch_add(is_hinted(&loop_, &file).into(), Ordering::Relaxed);
                    barrier.wait();
                    assert_eq!(hinted.load(Ordering::Relaxed), round);
                    loop_.remove(file.as_raw_fd(), token(1)).unwrap();
                }
            });
        }
    });
    drop(ours);
}

/// A lock that another thread held at the fork counts as free in the child.
#[test]
fn enable_works_in_a_child_whose_parent_held_the_lock() {
    let result = in_child(|| {
        let other = crate::sys::fork::count().wrapping_add(7);
        sigio::SETUP_LOCK.store(other, Ordering::Relaxed);
        let mut loop_ = Rtsig::new(4).unwrap();
        let (_ours, theirs) = pair();
        add(&mut loop_, &theirs, 1);
        assert!(is_hinted(&loop_, &theirs));
        Ok(())
    });
    assert_eq!(result.unwrap(), Ok(()));
}

#[test]
fn file_with_an_owner_is_polled_and_left_alone() {
    let mut loop_ = Rtsig::new(4).unwrap();
    let (mut ours, theirs) = pair();
    // SAFETY: the call takes an int; the fd is open. It is what a program does that wants SIGURG.
    check(unsafe { libc::fcntl(theirs.as_raw_fd(), libc::F_SETOWN, libc::getpid()) }).unwrap();
    let before = signal_settings(&theirs);
    assert_ne!(before.1, 0);
    add(&mut loop_, &theirs, 1);
    assert_eq!(signal_settings(&theirs), before);
    assert!(poll_now(&mut loop_).is_empty());
    ours.write_all(b"x").unwrap();
    assert_eq!(tokens(&wait(&mut loop_, LONG)), [token(1)]);
    loop_.remove(theirs.as_raw_fd(), token(1)).unwrap();
    assert_eq!(signal_settings(&theirs), before);
}

#[test]
fn drop_of_the_last_loop_restores_the_mask() {
    // On its own thread, because an earlier test may have left signals blocked.
    let thread = spawn(|| {
        assert!(!is_blocked(libc::SIGIO));
        let first = Rtsig::new(4).unwrap();
        let second = Rtsig::new(4).unwrap();
        let signals = [first.claim.signal, second.claim.signal];
        drop(first);
        assert!(!is_blocked(signals[0]));
        assert!(is_blocked(signals[1]) && is_blocked(libc::SIGIO));
        drop(second);
        assert!(!is_blocked(signals[1]) && !is_blocked(libc::SIGIO));
        let io = SignalSet::of(&[libc::SIGIO]).unwrap();
        io.block().unwrap();
        drop(Rtsig::new(4).unwrap());
        assert!(is_blocked(libc::SIGIO));
    });
    thread.join().unwrap();
}

/// Unblocked, a signal or the SIGIO that replaces one would end the process.
#[test]
fn duplicate_that_still_signals_keeps_both_signals_blocked() {
    spawn(|| {
        let (here, _there) = pair();
        let mut first = Rtsig::new(4).unwrap();
        let second = Rtsig::new(4).unwrap();
        let (signal, other) = (first.claim.signal, second.claim.signal);
        add(&mut first, &here, 1);
        let number = here.as_raw_fd();
        let duplicate = here.try_clone().unwrap();
        drop(here);
        // The number no longer names the registered file.
        first.remove(number, token(1)).unwrap();
        drop(first);
        drop(second);
        assert!(is_blocked(signal) && is_blocked(libc::SIGIO));
        assert!(!is_blocked(other));
        drop(duplicate);
    })
    .join()
    .unwrap();
}

#[test]
fn drop_leaves_no_signal_to_deliver() {
    let thread = spawn(|| {
        for closes in [false, true] {
            let mut loop_ = Rtsig::new(4).unwrap();
            let signal = loop_.claim.signal;
            let (mut ours, theirs) = pair();
            let theirs = test_fds::move_up(theirs.into(), None).unwrap();
            add(&mut loop_, &theirs, 1);
            // Queued when the loop ends.
            ours.write_all(b"x").unwrap();
            let twin = theirs.try_clone().unwrap();
            if closes {
                drop(theirs);
            }
            drop(loop_);
            // A duplicate of a file that was closed without `remove` still sends signals, so they
            // have to stay blocked.
            assert_eq!(is_blocked(signal), closes);
            ours.write_all(b"x").unwrap();
            drop(twin);
        }
    });
    thread.join().unwrap();
}

#[test]
fn drop_in_a_child_takes_nothing_from_its_parent() {
    let loop_ = std::cell::RefCell::new(Some(Rtsig::new(4).unwrap()));
    let (mut ours, theirs) = pair();
    add(loop_.borrow_mut().as_mut().unwrap(), &theirs, 1);
    let result = in_child(|| {
        drop(loop_.take());
        Ok(())
    });
    assert_eq!(result.unwrap(), Ok(()));
    let mut loop_ = loop_.take().unwrap();
    assert!(poll_now(&mut loop_).is_empty());
    ours.write_all(b"x").unwrap();
    assert_eq!(tokens(&wait(&mut loop_, LONG)), [token(1)]);
}

/// The child's thread owns what the child adds; what the parent has added is polled.
#[test]
fn after_fork_signals_come_to_the_child() {
    let mut loop_ = Rtsig::new(4).unwrap();
    let (mut ours, theirs) = pair();
    add(&mut loop_, &theirs, 1);
    let result = in_child(|| {
        loop_.after_fork().unwrap();
        let (mut mine, its) = pair();
        add(&mut loop_, &its, 1);
        add(&mut loop_, &theirs, 2);
        assert!(is_hinted(&loop_, &its) && !is_hinted(&loop_, &theirs));
        assert!(poll_now(&mut loop_).is_empty());
        mine.write_all(b"x").unwrap();
        assert_eq!(tokens(&poll_now(&mut loop_)), [token(1)]);
        ours.write_all(b"x").unwrap();
        assert_eq!(tokens(&poll_now(&mut loop_)), [token(2)]);
        Ok(())
    });
    assert_eq!(result.unwrap(), Ok(()));
    assert_eq!(tokens(&wait(&mut loop_, LONG)), [token(1)]);
}

#[test]
fn signal_with_a_handler_is_skipped() {
    let result = in_child(|| {
        let first = Rtsig::new(4).unwrap().claim.signal;
        // SAFETY: all-zero bytes are a valid action, and to ignore a signal runs nothing. The child
        // ends soon.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = libc::SIG_IGN;
            check(libc::sigaction(first, &action, std::ptr::null_mut())).unwrap();
        }
        assert_eq!(Rtsig::new(4).unwrap().claim.signal, first + 1);
        Ok(())
    });
    assert_eq!(result.unwrap(), Ok(()));
}

#[test]
fn conforms_without_eventfd() {
    crate::conformance::run(&mut || Ok(Box::new(Rtsig::build(64, NotifyFd::pipe()?)?))).assert_ok();
}
