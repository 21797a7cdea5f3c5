//! Files that can be waited for: those that the kernel can poll, independent of their type.
#![cfg(target_os = "linux")]

mod support;

use reveille::backend::{Interest, Trigger};
use reveille::event_loop::EventLoop;
use reveille::io::AsyncFd;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;
use support::loops::MS;
use support::{on_every_backend, on_every_trigger};

/// Files on a disk, directories, devices, and files of /proc, /sys and cgroups. Missing ones are
/// skipped.
const PATHS: &[&str] = &[
    concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    env!("CARGO_MANIFEST_DIR"),
    "/",
    "/proc",
    "/sys",
    "/dev/null",
    "/dev/zero",
    "/dev/kmsg",
    "/dev/tty",
    "/proc/self/mounts",
    "/proc/mounts",
    "/proc/self/mountinfo",
    "/proc/self/status",
    "/proc/self/maps",
    "/proc/self/ns/net",
    "/proc/stat",
    "/proc/kmsg",
    "/proc/swaps",
    "/proc/pressure/cpu",
    "/proc/pressure/memory",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/pid_max",
    "/sys/kernel/uevent_seqnum",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/cgroup.events",
    "/sys/fs/cgroup/memory.pressure",
];

fn open(path: &str, flags: libc::c_int) -> Option<File> {
    let mut options = OpenOptions::new();
    match options.read(true).custom_flags(flags).open(path) {
        Ok(file) => Some(file),
        Err(error) => {
            println!("    skipped: {path}: {error}");
            None
        }
    }
}

/// Whether epoll accepts the file.
fn is_pollable(file: &File) -> bool {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: the event outlives the call; the instance is closed before the function returns.
    unsafe {
        let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        let added = libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, file.as_raw_fd(), &mut event);
        let refused = io::Error::last_os_error().raw_os_error();
        libc::close(epoll);
        assert!(added == 0 || refused == Some(libc::EPERM), "{refused:?}");
        added == 0
    }
}

#[test]
fn async_fd_accepts_what_the_kernel_can_poll_and_nothing_else() {
    on_every_backend(|runtime| {
        let (mut accepted, mut refused) = (0, 0);
        for path in PATHS {
            for interest in [Interest::READABLE, Interest::PRIORITY, Interest::WRITABLE] {
                let Some(file) = open(path, libc::O_NONBLOCK) else {
                    break;
                };
                let is_pollable = is_pollable(&file);
                match runtime.enter(|| AsyncFd::with_interest(file, interest)) {
                    Ok(_) => {
                        assert!(is_pollable, "{path} was accepted");
                        accepted += 1;
                    }
                    Err(error) => {
                        assert!(!is_pollable, "{path} for {interest:?}: {error}");
                        assert_eq!(error.kind(), ErrorKind::Unsupported, "{path}: {error}");
                        assert!(error.to_string().contains("/dev/null"), "{path}: {error}");
                        refused += 1;
                    }
                }
            }
        }
        // Every Linux has some of both.
        assert!(accepted > 0 && refused > 0);
    });
}

/// `O_NONBLOCK` would not help where the kernel cannot wait.
#[test]
fn async_fd_says_not_pollable_before_it_says_blocking() {
    on_every_backend(|runtime| {
        for path in PATHS {
            let Some(file) = open(path, 0) else { continue };
            let expected = match is_pollable(&file) {
                true => ErrorKind::InvalidInput,
                false => ErrorKind::Unsupported,
            };
            let error = runtime.enter(|| AsyncFd::with_interest(file, Interest::READABLE));
            assert_eq!(error.unwrap_err().kind(), expected, "{path}");
        }
    });
}

/// An idle pollable file keeps no loop awake, and a file that is not pollable has no priority data.
#[test]
fn async_fd_sleeps_over_files_that_do_not_change() {
    on_every_trigger(|loops, trigger| {
        for path in PATHS {
            // Other programs write to both.
            if path.ends_with("kmsg") || path.contains("pressure") {
                continue;
            }
            let Some(mut file) = open(path, libc::O_NONBLOCK) else {
                continue;
            };
            // A file of /sys that was never read counts as changed.
            let _ = file.read(&mut [0; 64]);
            let mut event_loop = loops.make(());
            let watched = event_loop.attach(file, Interest::PRIORITY, trigger, |_, _, _| {});
            watched.unwrap_or_else(|error| panic!("{path}: {error:?}"));
            // A change from before the file was opened may be reported.
            event_loop.turn(Some(MS)).unwrap();
            // io_uring may end two waits early: a request for a file that is readable ends at once.
            // Another program may change the name of its host, which the kernel reports in all
            // namespaces.
            let mut events = 0;
            let early = (0..12).filter(|_| {
                let started = Instant::now();
                events += event_loop.turn(Some(5 * MS)).unwrap();
                started.elapsed() < 5 * MS
            });
            assert!(early.count() <= 4, "{path}: it spins");
            assert!(events <= 4, "{path}: {events} events");
        }
    });
}

/// poll(2) reports every file as readable.
#[test]
fn async_fd_reports_readable_only_when_the_file_is() {
    on_every_trigger(|loops, trigger| {
        for path in PATHS {
            if path.ends_with("kmsg") || path.ends_with("tty") {
                continue;
            }
            let Some(file) = open(path, libc::O_NONBLOCK) else {
                continue;
            };
            if !is_readable(&file) {
                continue;
            }
            let mut event_loop: EventLoop<usize> = loops.make(0);
            event_loop
                .attach(file, Interest::READABLE, trigger, |event_loop, _, cause| {
                    assert!(cause.is_readable());
                    *event_loop.data_mut() += 1;
                })
                .unwrap_or_else(|error| panic!("{path}: {error:?}"));
            event_loop.turn(None).unwrap();
            assert_eq!(*event_loop.data(), 1, "{path}");
            event_loop.turn(Some(MS)).unwrap();
            let calls = *event_loop.data();
            match trigger {
                Trigger::Level => assert_eq!(calls, 2, "{path}"),
                Trigger::Oneshot => assert_eq!(calls, 1, "{path}"),
                // A backend without edges reports unread data again.
                Trigger::Edge => assert!((1..=2).contains(&calls), "{path}"),
            }
        }
    });
}

fn is_readable(file: &File) -> bool {
    let mut entry = libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry, alive during the call.
    unsafe { libc::poll(&mut entry, 1, 0) };
    entry.revents == libc::POLLIN
}
