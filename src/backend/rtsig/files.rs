//! Which files send signals, how one is asked to, and how that is taken back.
//!
//! All of it (`O_ASYNC`, the owner, the signal) belongs to the *open file*, which duplicates and other processes share:
//! who has asked first is left alone, and what is asked here is taken back by `release`.

use crate::sys::fd::FileKind;
use crate::sys::socket;
use crate::sys::syscall::check;
use std::io;
use std::os::fd::RawFd;

// From Linux's include/uapi/asm-generic/fcntl.h; the libc crate has them for few targets. No architecture that Rust
// runs on has others.
const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;
const F_GETOWN_EX: libc::c_int = 16;
const F_OWNER_TID: libc::c_int = 0;

/// `struct f_owner_ex` of the same header.
#[repr(C)]
struct Owner {
    kind: libc::c_int,
    id: libc::pid_t,
}

/// Whether every change of the file's readiness that its peer makes is told by a signal.
///
/// Known of pipes, TCP, UDP and AF_UNIX (tried on Linux 6.18). Not of terminals, which say nothing of a hang-up, nor of
/// sockets of other families, some of which end without a word, and most other files send none at all.
pub(super) fn tells(fd: RawFd, kind: FileKind) -> bool {
    match kind {
        FileKind::Pipe => true,
        FileKind::Socket => matches!(
            socket::family(fd),
            Ok(libc::AF_INET | libc::AF_INET6 | libc::AF_UNIX)
        ),
        FileKind::Regular | FileKind::Device | FileKind::Other => false,
    }
}

/// Asks the file to send `signal` to the thread. False: it has an owner already, or refuses; then nothing was changed.
pub(super) fn ask(fd: RawFd, signal: libc::c_int, thread: libc::pid_t) -> bool {
    let Ok(flags) = flags(fd) else { return false };
    // Another loop's or another process's, of this file or a duplicate; or somebody wants his SIGURG or SIGIO.
    if flags & libc::O_ASYNC != 0 || !matches!(owner(fd), Ok(Owner { id: 0, .. })) {
        return false;
    }
    let asked = set_signal(fd, signal)
        .and_then(|()| set_owner(fd, thread))
        .and_then(|()| set_flags(fd, flags | libc::O_ASYNC));
    if asked.is_err() {
        release(fd);
    }
    asked.is_ok()
}

/// Takes it back. Once it has returned, no further signal comes from this file.
pub(super) fn release(fd: RawFd) {
    // Errors: of an open file none of these calls fails, unless a sandbox forbids them, and then `ask` was forbidden.
    if let Ok(flags) = flags(fd) {
        let _ = set_flags(fd, flags & !libc::O_ASYNC);
    }
    let _ = set_owner(fd, 0);
    let _ = set_signal(fd, 0);
}

fn flags(fd: RawFd) -> io::Result<libc::c_int> {
    // SAFETY: F_GETFL takes no pointer; a number that is not open is an error.
    check(unsafe { libc::fcntl(fd, libc::F_GETFL) })
}

fn set_flags(fd: RawFd, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: F_SETFL takes an int; a number that is not open is an error.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) }).map(drop)
}

/// 0 stands for SIGIO, which is what a file begins with.
fn set_signal(fd: RawFd, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: F_SETSIG takes an int; a number that is not open is an error.
    check(unsafe { libc::fcntl(fd, F_SETSIG, signal) }).map(drop)
}

/// 0 stands for nobody.
fn set_owner(fd: RawFd, thread: libc::pid_t) -> io::Result<()> {
    let owner = Owner {
        kind: F_OWNER_TID,
        id: thread,
    };
    // SAFETY: the structure has the kernel's layout and outlives the call, which only reads it.
    check(unsafe { libc::fcntl(fd, F_SETOWN_EX, &raw const owner) }).map(drop)
}

/// The owner; 0 when there is none, or none that is alive and can be seen from here.
fn owner(fd: RawFd) -> io::Result<Owner> {
    let mut owner = Owner { kind: 0, id: 0 };
    // SAFETY: the structure has the kernel's layout and is ours to write.
    check(unsafe { libc::fcntl(fd, F_GETOWN_EX, &raw mut owner) })?;
    Ok(owner)
}
