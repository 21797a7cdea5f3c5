//! Tests of polls above the limit of open files. They fork, because the limit is that of the whole
//! process.

use super::super::poll as any_poll;
use super::*;
use crate::sys::fork::in_child;
use crate::sys::test_fds;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

const IN: libc::c_short = libc::POLLIN;
const OUT: libc::c_short = libc::POLLOUT;
const LONG: Option<Duration> = Some(Duration::from_secs(60));
const NOW: Option<Duration> = Some(Duration::ZERO);

/// Sets how many files this process may have open.
fn allow(limit: usize) {
    let mut value = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the value outlives the calls.
    unsafe {
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &mut value)).unwrap();
        value.rlim_cur = limit as libc::rlim_t;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &value)).unwrap();
    }
}

/// Runs a check in a child, under limits from none at all to one that is enough.
fn under_limits(check: impl Fn(usize)) {
    for limit in [0, 1, 2, 3, 100] {
        let result = in_child(|| {
            allow(limit);
            check(limit);
            Ok(())
        });
        assert_eq!(result.unwrap(), Ok(()), "limit {limit}");
    }
}

fn entry(fd: &impl AsRawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: -1,
    }
}

fn revents(fds: &[libc::pollfd]) -> Vec<libc::c_short> {
    fds.iter().map(|entry| entry.revents).collect()
}

#[test]
fn poll_reports_what_is_ready_at_any_limit() {
    let (mut a, b) = UnixStream::pair().unwrap();
    let high = test_fds::move_up(OwnedFd::from(b.try_clone().unwrap()), HIGHEST).unwrap();
    a.write_all(b"x").unwrap();
    under_limits(|_| {
        for timeout in [NOW, LONG, None] {
            let none = libc::pollfd {
                fd: -1,
                events: IN,
                revents: -1,
            };
            let mut fds = [
                entry(&a, IN),
                entry(&b, IN),
                none,
                entry(&a, IN | OUT),
                entry(&high, IN),
                entry(&b, OUT),
            ];
            assert_eq!(any_poll(&mut fds, timeout).unwrap(), 4);
            assert_eq!(revents(&fds), [0, IN, 0, OUT, IN, OUT]);
        }
    });
}

#[test]
fn poll_ends_with_its_timeout_and_by_another_thread() {
    let (mut a, b) = UnixStream::pair().unwrap();
    under_limits(|_| {
        let mut fds = [entry(&b, IN), entry(&b, IN), entry(&b, IN), entry(&b, IN)];
        let short = Duration::from_millis(3);
        let started = std::time::Instant::now();
        assert_eq!(any_poll(&mut fds, Some(short)).unwrap(), 0);
        assert!(started.elapsed() >= short);
        assert_eq!(revents(&fds), [0; 4]);
    });
    a.write_all(b"x").unwrap();
    under_limits(|_| assert_eq!(any_poll(&mut [entry(&b, IN); 4], None).unwrap(), 4));
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn poll_counting_down_returns_the_rest_of_a_timeout_at_any_limit() {
    let (_a, b) = UnixStream::pair().unwrap();
    under_limits(|_| {
        let mut left = Some(Duration::from_millis(2));
        let mut fds = [entry(&b, IN); 4];
        assert_eq!(
            super::super::poll_counting_down(&mut fds, &mut left).unwrap(),
            0
        );
        assert_eq!(left, NOW);
        let longest = Duration::from_secs(1000);
        left = Some(longest);
        let mut fds = [entry(&b, OUT); 4];
        assert_eq!(
            super::super::poll_counting_down(&mut fds, &mut left).unwrap(),
            4
        );
        assert!(left.unwrap() <= longest && left.unwrap() > longest / 2);
    });
}

/// select(2) cannot report hang-ups, but poll(2) may be called for one fd.
#[test]
fn poll_reports_hangups_if_the_limit_allows_one_fd() {
    let (a, b) = UnixStream::pair().unwrap();
    a.shutdown(Shutdown::Both).unwrap();
    under_limits(|limit| {
        for timeout in [NOW, LONG] {
            let mut fds = [entry(&b, IN), entry(&b, 0), entry(&b, IN), entry(&b, IN)];
            let ready = any_poll(&mut fds, timeout).unwrap();
            let hung_up = IN | libc::POLLHUP;
            match limit {
                0 => assert_eq!((ready, revents(&fds)), (3, vec![IN, 0, IN, IN])),
                _ => {
                    let all = vec![hung_up, libc::POLLHUP, hung_up, hung_up];
                    assert_eq!((ready, revents(&fds)), (4, all));
                }
            }
        }
    });
}

#[test]
fn poll_reports_closed_numbers() {
    let (_a, b) = UnixStream::pair().unwrap();
    let closed = test_fds::move_up(OwnedFd::from(b.try_clone().unwrap()), HIGHEST).unwrap();
    let number = closed.as_raw_fd();
    drop(closed);
    let gone = libc::pollfd {
        fd: number,
        events: IN,
        revents: 0,
    };
    under_limits(|_| {
        for timeout in [NOW, LONG, None] {
            let mut fds = [entry(&b, IN), gone, entry(&b, IN), entry(&b, IN)];
            assert_eq!(any_poll(&mut fds, timeout).unwrap(), 1);
            assert_eq!(revents(&fds), [0, libc::POLLNVAL, 0, 0]);
        }
    });
}
