//! Makes files send signals (`O_ASYNC`), and stops that.
//!
//! All of it (`O_ASYNC`, the owner, the signal) belongs to the *open file*, which duplicates and
//! other processes share. So a file that has an owner is left alone, and `disable` reverts what
//! `enable` has set.

use crate::sys::fd::FileKind;
use crate::sys::fork;
use crate::sys::socket;
use crate::sys::syscall::check;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

// From Linux's include/uapi/asm-generic/fcntl.h; the libc crate has them for few targets. No
// architecture that Rust runs on has others.
const F_SETSIG: libc::c_int = 10;
const F_GETSIG: libc::c_int = 11;
const F_SETOWN_EX: libc::c_int = 15;
const F_GETOWN_EX: libc::c_int = 16;
const F_OWNER_TID: libc::c_int = 0;

// From Linux's include/uapi/asm/ioctls.h; the libc crate lacks it for two targets.
#[cfg(target_os = "android")]
const FIOASYNC: u32 = 0x5452;
#[cfg(any(target_arch = "sparc", target_arch = "sparc64"))]
const FIOASYNC: u32 = 0x8004_667d;
#[cfg(not(any(target_os = "android", target_arch = "sparc", target_arch = "sparc64")))]
use libc::FIOASYNC;

/// `struct f_owner_ex` of the same header.
#[repr(C)]
struct Owner {
    kind: libc::c_int,
    id: libc::pid_t,
}

/// Whether the file sends a signal for every change of its readiness that its peer makes.
///
/// That is known for pipes, TCP, UDP and AF_UNIX (tried on Linux 6.18). Terminals do not report a
/// hang-up, sockets of some other families do not report their end, and most other files send no
/// signals at all.
pub(super) fn sends_signals(fd: RawFd, kind: FileKind) -> bool {
    match kind {
        FileKind::Pipe => true,
        FileKind::Socket => matches!(
            socket::family(fd),
            Ok(libc::AF_INET | libc::AF_INET6 | libc::AF_UNIX)
        ),
        FileKind::Regular | FileKind::Device | FileKind::Other => false,
    }
}

/// A lock that is held while signals are set up: 0, or [`fork::process`] of the holder. Without it
/// two loops could both find the same file free, and the first one would wait for signals that go
/// to the second.
///
/// In the child of a fork, the holder may be a thread that does not exist there. The number shows
/// this, as in a [`ForkLock`](crate::sys::fork_lock::ForkLock), which a static cannot hold.
pub(super) static SETUP_LOCK: AtomicU32 = AtomicU32::new(0);

fn lock() {
    let own = fork::process();
    let take = |from| SETUP_LOCK.compare_exchange(from, own, Acquire, Relaxed);
    while let Err(holder) = take(0) {
        if holder != own && take(holder).is_ok() {
            return;
        }
        std::thread::yield_now();
    }
}

/// Makes the file send `signal` to the thread. Returns false, and changes nothing, if the file has
/// an owner or refuses.
pub(super) fn enable(fd: RawFd, signal: libc::c_int, thread: libc::pid_t) -> bool {
    lock();
    let enabled = is_free(fd) && {
        let set = set_signal(fd, signal)
            .and_then(|()| set_owner(fd, thread))
            .and_then(|()| set_async(fd, true));
        if set.is_err() {
            clear(fd);
        }
        set.is_ok()
    };
    SETUP_LOCK.store(0, Release);
    enabled
}

/// Whether the file sends no signals: to no other loop or process, through this descriptor or a
/// duplicate, and to no program that waits for SIGURG or SIGIO.
fn is_free(fd: RawFd) -> bool {
    let is_silent = flags(fd).is_ok_and(|flags| flags & libc::O_ASYNC == 0);
    is_silent && matches!(owner(fd), Ok(Owner { id: 0, .. }))
}

/// Stops the signals of a file that sends `signal` to the thread. Once this has returned, no
/// further signal comes from the file. Returns false, and changes nothing, if the number does not
/// name such a file.
///
/// The number may have been closed and given to another file. If that was opened by the same path
/// it has the same inode, so only the owner and the signal show whether the file is this loop's.
pub(super) fn disable(fd: RawFd, signal: libc::c_int, thread: libc::pid_t) -> bool {
    let is_ours = is_enabled(fd, signal, thread);
    if is_ours {
        clear(fd);
    }
    is_ours
}

/// Whether the file sends `signal` to the thread.
pub(super) fn is_enabled(fd: RawFd, signal: libc::c_int, thread: libc::pid_t) -> bool {
    matches!(owner(fd), Ok(Owner { kind: F_OWNER_TID, id }) if id == thread)
        && signal_of(fd).is_ok_and(|sent| sent == signal)
}

/// Clears the settings. The owner is cleared last: until then no other loop takes the file.
fn clear(fd: RawFd) {
    // Errors are ignored: these calls do not fail for an open file, unless a sandbox forbids them,
    // and then `enable` failed.
    let _ = set_async(fd, false);
    let _ = set_signal(fd, 0);
    let _ = set_owner(fd, 0);
}

/// Sets or clears only `O_ASYNC`. With fcntl(2) all flags would be read and written back, and a
/// change by another thread in between, such as to `O_NONBLOCK`, would be lost.
fn set_async(fd: RawFd, is_async: bool) -> io::Result<()> {
    let mut on = libc::c_int::from(is_async);
    // SAFETY: FIOASYNC reads one int, which outlives the call; a number that is not open is an
    // error.
    check(unsafe { libc::ioctl(fd, FIOASYNC as _, &raw mut on) }).map(drop)
}

fn flags(fd: RawFd) -> io::Result<libc::c_int> {
    // SAFETY: F_GETFL takes no pointer; a number that is not open is an error.
    check(unsafe { libc::fcntl(fd, libc::F_GETFL) })
}

/// Sets the signal. 0 is SIGIO, the default.
fn set_signal(fd: RawFd, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: F_SETSIG takes an int; a number that is not open is an error.
    check(unsafe { libc::fcntl(fd, F_SETSIG, signal) }).map(drop)
}

/// Returns the signal that the file sends, 0 for SIGIO.
fn signal_of(fd: RawFd) -> io::Result<libc::c_int> {
    // SAFETY: F_GETSIG takes no pointer; a number that is not open is an error.
    check(unsafe { libc::fcntl(fd, F_GETSIG) })
}

/// Sets the owner. 0 is none.
fn set_owner(fd: RawFd, thread: libc::pid_t) -> io::Result<()> {
    let owner = Owner {
        kind: F_OWNER_TID,
        id: thread,
    };
    // SAFETY: the structure has the kernel's layout and outlives the call, which only reads it.
    check(unsafe { libc::fcntl(fd, F_SETOWN_EX, &raw const owner) }).map(drop)
}

/// Returns the owner; 0 if there is none, or none that is alive and visible here.
fn owner(fd: RawFd) -> io::Result<Owner> {
    let mut owner = Owner { kind: 0, id: 0 };
    // SAFETY: the structure has the kernel's layout and is ours to write.
    check(unsafe { libc::fcntl(fd, F_GETOWN_EX, &raw mut owner) })?;
    Ok(owner)
}
