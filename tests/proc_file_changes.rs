//! Files of /proc that report changes although they are regular files: futures and handlers notice
//! each change.
//!
//! The only test of its program, because it forks and a child has only this thread. The child has
//! its own host name and mounts, so it may change them.
#![cfg(target_os = "linux")]

mod support;

use reveille::Builder;
use reveille::backend::{BackendKind, Interest, Trigger};
use reveille::event_loop::{self, Cause, EventLoop, Key};
use reveille::io::{AsyncFd, ReadinessOnly};
use reveille::time::timeout;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::time::Duration;
use support::{guarded, poll_once};

/// A file, and a function that makes it report a change.
struct Watched {
    path: &'static str,
    change: fn(usize),
}

const WATCHED: [Watched; 2] = [
    Watched {
        path: "/proc/sys/kernel/hostname",
        change: rename,
    },
    Watched {
        path: "/proc/self/mounts",
        change: mount,
    },
];

fn rename(round: usize) {
    let name = format!("name-{round}");
    // SAFETY: pointer and length are those of the text.
    let renamed = unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
    assert_eq!(renamed, 0, "{}", io::Error::last_os_error());
}

fn mount(_round: usize) {
    // SAFETY: the texts end in a zero byte and outlive the calls; a null type and null data are
    // allowed.
    let (mounted, unmounted) = unsafe {
        let (kind, data) = (std::ptr::null(), std::ptr::null());
        let (from, to) = (c"/proc".as_ptr(), c"/proc".as_ptr());
        let mounted = libc::mount(from, to, kind, libc::MS_BIND | libc::MS_REC, data);
        (mounted, libc::umount2(to, libc::MNT_DETACH))
    };
    let error = io::Error::last_os_error();
    assert_eq!((mounted, unmounted), (0, 0), "{error}");
}

/// Gives the process its own host name and mounts. Returns false where this is not allowed.
fn leave_the_host() -> bool {
    let (names, mounts) = (libc::CLONE_NEWUTS, libc::CLONE_NEWNS);
    // SAFETY: the call takes no pointer.
    let unshare = |flags| unsafe { libc::unshare(flags) == 0 };
    let is_alone = unshare(names | mounts) || unshare(libc::CLONE_NEWUSER | names | mounts);
    // Other processes must not see the mounts made here. SAFETY: the text ends in a zero byte; all
    // other pointers may be null.
    is_alone
        && unsafe {
            let none = std::ptr::null();
            let flags = libc::MS_REC | libc::MS_PRIVATE;
            libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) == 0
        }
}

/// Opens and reads a file, so that it reports changes from now on.
fn open(path: &str) -> File {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let mut file = options.open(path).unwrap();
    read(&mut file);
    file
}

fn read(file: &mut File) {
    file.rewind().unwrap();
    file.read_to_end(&mut Vec::new()).unwrap();
}

fn futures_notice_each_change(kind: BackendKind, watched: &Watched) {
    let runtime = Builder::new().backend(kind).build().unwrap();
    runtime.block_on(async {
        let file = open(watched.path);
        let fd = AsyncFd::with_interest(file, Interest::PRIORITY).unwrap();
        notice_each_change(fd, watched, |file| file).await;
        let file = open(watched.path);
        let fd = AsyncFd::readiness_only(file, Interest::PRIORITY).unwrap();
        notice_each_change(fd, watched, ReadinessOnly::get_mut).await;
    });
}

async fn notice_each_change<T: AsFd>(
    mut fd: AsyncFd<T>,
    watched: &Watched,
    file: fn(&mut T) -> &mut File,
) {
    for round in 0..4 {
        {
            let mut wait = pin!(fd.ready(Interest::PRIORITY));
            assert!(poll_once(&mut wait).await.is_pending(), "round {round}");
            // The first change comes before the loop waits, later ones while it may wait.
            reveille::yield_now().await;
            (watched.change)(round);
            let mut guard = wait.await.unwrap();
            // Another change, before the loop knows that this one was noticed.
            (watched.change)(round + 10);
            guard.clear_ready();
            fd.ready(Interest::PRIORITY).await.unwrap().clear_ready();
        }
        read(file(fd.get_mut()));
    }
}

fn handlers_notice_each_change(kind: BackendKind, watched: &Watched, trigger: Trigger) {
    let builder = event_loop::Builder::new().backend(kind);
    let mut event_loop = builder.build(0).unwrap();
    let file = open(watched.path);
    let change = watched.change;
    let handler = move |event_loop: &mut EventLoop<usize>, key: Key<File>, _: Cause| {
        read(event_loop.get_mut(key).unwrap());
        if trigger == Trigger::Oneshot {
            // Before the next change, because epoll loses a change that its own EPOLL_CTL_MOD is
            // the first to notice.
            event_loop.modify(key, Interest::PRIORITY).unwrap();
        }
        if *event_loop.data() == 0 {
            // Another change, before the loop arms the source again.
            change(10);
        }
        *event_loop.data_mut() += 1;
    };
    let key = event_loop
        .attach(file, Interest::PRIORITY, trigger, handler)
        .unwrap();
    for round in 0..4 {
        (watched.change)(round);
        while *event_loop.data() < 2 {
            event_loop.turn(None).unwrap();
        }
        *event_loop.data_mut() = 0;
        event_loop.modify(key, Interest::PRIORITY).unwrap();
        // Nothing has changed since the read. After the first turn, backends that arm late have
        // armed everything.
        for _ in 0..3 {
            event_loop.turn(Some(Duration::ZERO)).unwrap();
        }
        assert_eq!(*event_loop.data(), 0, "round {round}");
    }
}

/// A batch of one event, and more fds that are ready.
fn futures_notice_a_change_that_does_not_fit(kind: BackendKind, watched: &Watched) {
    let builder = Builder::new().backend(kind).event_capacity(1);
    let runtime = builder.build().unwrap();
    runtime.block_on(async {
        let sockets = [(); 3].map(|()| ready_socket());
        let fds = sockets.each_ref().map(|(here, _)| AsyncFd::new(here));
        let fds = fds.map(Result::unwrap);
        let file = AsyncFd::with_interest(open(watched.path), Interest::PRIORITY).unwrap();
        for round in 0..8 {
            let mut wait = pin!(file.ready(Interest::PRIORITY));
            assert!(poll_once(&mut wait).await.is_pending(), "round {round}");
            for (fd, (_, there)) in fds.iter().zip(&sockets) {
                fd.readable().await.unwrap().clear_ready();
                // Ready again in the next wait, on every mechanism.
                (&*there).write_all(b"x").unwrap();
            }
            (watched.change)(round);
            let waited = timeout(Duration::from_secs(30), wait).await;
            let mut guard = waited.expect("the change is reported").unwrap();
            guard.clear_ready();
        }
    });
}

fn handlers_notice_a_change_that_does_not_fit(
    kind: BackendKind,
    watched: &Watched,
    trigger: Trigger,
) {
    let builder = event_loop::Builder::new().backend(kind).event_capacity(1);
    let mut event_loop = builder.build(0).unwrap();
    let file = open(watched.path);
    let sockets = [(); 3].map(|()| ready_socket());
    for (here, _) in &sockets {
        let (read, level) = (Interest::READABLE, Trigger::Level);
        let here = here.try_clone().unwrap();
        event_loop.attach(here, read, level, |_, _, _| {}).unwrap();
    }
    let handler = |event_loop: &mut EventLoop<usize>, key: Key<File>, cause: Cause| {
        assert!(
            matches!(cause, Cause::Ready(seen) if seen.is_priority()),
            "{cause:?}"
        );
        read(event_loop.get_mut(key).unwrap());
        *event_loop.data_mut() += 1;
    };
    let key = event_loop
        .attach(file, Interest::PRIORITY, trigger, handler)
        .unwrap();
    for round in 0..8 {
        for _ in 0..round {
            event_loop.turn(Some(Duration::ZERO)).unwrap();
        }
        (watched.change)(round);
        // Each turn delivers the event of one fd.
        for _ in 0..16 {
            event_loop.turn(Some(Duration::ZERO)).unwrap();
        }
        assert_eq!(std::mem::take(event_loop.data_mut()), 1, "round {round}");
        event_loop.modify(key, Interest::PRIORITY).unwrap();
    }
}

fn ready_socket() -> (UnixStream, UnixStream) {
    let (here, mut there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    there.write_all(b"x").unwrap();
    (here, there)
}

fn play_child(kind: BackendKind) {
    for watched in &WATCHED {
        futures_notice_a_change_that_does_not_fit(kind, watched);
        for trigger in [Trigger::Level, Trigger::Oneshot, Trigger::Edge] {
            handlers_notice_a_change_that_does_not_fit(kind, watched, trigger);
        }
        futures_notice_each_change(kind, watched);
        for trigger in [Trigger::Level, Trigger::Oneshot, Trigger::Edge] {
            handlers_notice_each_change(kind, watched, trigger);
        }
    }
}

#[test]
fn proc_files_report_each_change() {
    for kind in BackendKind::ALL {
        match Builder::new().backend(kind).build() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Unsupported => continue,
            Err(error) => panic!("{kind}: {error}"),
        }
        guarded(kind.name(), move || {
            // SAFETY: the child has only this thread, and never returns from this block.
            let child = unsafe { libc::fork() };
            assert!(child >= 0, "{}", io::Error::last_os_error());
            if child == 0 {
                // SAFETY: the call takes no pointer. A child that hangs is ended by it.
                unsafe { libc::alarm(120) };
                let code = match leave_the_host() {
                    false => 77,
                    true => catch_unwind(AssertUnwindSafe(|| play_child(kind)))
                        .is_err()
                        .into(),
                };
                // SAFETY: the call takes no pointer.
                unsafe { libc::_exit(code) };
            }
            let mut status = 0;
            // SAFETY: the status outlives the call; the child is ours.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            match libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)) {
                Some(0) => {}
                Some(77) => println!("skipped: no host name and mounts of our own"),
                _ => panic!("{kind}: the child ended with {status:#x}"),
            }
        });
    }
}
