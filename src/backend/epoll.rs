//! The backend over epoll(7): Linux and Android.
//!
//! **What the kernel offers.** A set of pairs of file and fd number, kept in the kernel, each with
//! a mask and 64 bits of user data. A wait costs what is ready, not what is registered. Level, edge
//! (`EPOLLET`) and one-shot (`EPOLLONESHOT`) triggers, and an fd that another loop can watch.
//!
//! **Where it is odd.**
//! - `EPOLLERR` and `EPOLLHUP` cannot be masked: with a level trigger they make every wait return
//!   at once. After a one-shot registration has fired, it does not report even these until it is
//!   modified.
//! - A registration ends when the last duplicate of the *file* is closed, not when its number is.
//!   While a duplicate is open, events continue under the old token, and the closed number cannot
//!   remove them (`EBADF`, or the number names another file by then). If the file comes back under
//!   its old number, `EPOLL_CTL_ADD` fails with `EEXIST`.
//! - Regular files are refused with `EPERM`.
//! - `EPOLLEXCLUSIVE` wakes one of the sets that a file is in: the first of those with a waiting
//!   thread. It may be combined only with `EPOLLIN`, `EPOLLOUT` and `EPOLLET` (not `EPOLLRDHUP`),
//!   and cannot be modified; everything else is `EINVAL` (epoll_ctl(2)).
//! - `epoll_wait` counts milliseconds. `epoll_pwait2` counts nanoseconds, but old kernels lack it,
//!   and some sandboxes return `EPERM` for calls that they do not know.
//!
//! **What we do about it.** Tokens are stored by number, so that a late call for a number with a
//! new owner returns `NotFound` and touches nothing. If `EEXIST` comes for a number without an
//! owner, a registration has outlived its close: `add` deletes it and adds the file again. A
//! registration that ends on another thread is removed there, while its number is open
//! (`epoll/owners.rs`). Events of a file that lives on in a duplicate are dropped by the reactor,
//! because of their generation. Exclusive registrations are noted, so that `modify` can explain why
//! it refuses them. The notifier is registered edge-triggered, so that an eventfd is never read:
//! every write is an edge. Once `epoll_pwait2` was refused, it is not tried again.
//!
//! **Versions.** `EPOLLRDHUP` and `epoll_create1` are older than any Linux that Rust runs on.
//! `epoll_pwait2` is Linux 5.11. `EPOLLEXCLUSIVE` is Linux 4.5; older kernels ignore it, and every
//! loop is woken.

use super::notifier::{NotifyFd, is_refused};
use super::{
    Backend, Capabilities, Event, Events, Interest, Notifier, Ready, Releaser, Token, Trigger,
};
use crate::sys::syscall::{check, failure};
use crate::sys::timeout::{KernelTimespec, millis};
use owners::{NO_OWNER, Owners, Table};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

mod owners;

/// The kernel refuses to report more events at once (`EP_MAX_EVENTS`).
const MAX_EVENTS: usize = i32::MAX as usize / size_of::<libc::epoll_event>();

const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const PRI: u32 = libc::EPOLLPRI as u32;
const ERR: u32 = libc::EPOLLERR as u32;
const HUP: u32 = libc::EPOLLHUP as u32;
const RDHUP: u32 = libc::EPOLLRDHUP as u32;
const EDGE: u32 = libc::EPOLLET as u32;
const ONESHOT: u32 = libc::EPOLLONESHOT as u32;
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;

pub(super) struct Epoll {
    epoll: OwnedFd,
    notify: NotifyFd,
    /// The kernel writes into this. Its length is that of the last wait.
    buffer: Vec<libc::epoll_event>,
    /// The tokens by fd number. Never used by `wait`.
    owners: Arc<Owners>,
    /// The tokens of the exclusive registrations, which cannot be modified. Few: only listeners.
    exclusives: Vec<u64>,
    /// Whether `epoll_pwait2` has not been refused so far.
    nanoseconds: bool,
}

impl Epoll {
    pub(super) fn new(capacity: usize) -> io::Result<Epoll> {
        Epoll::build(capacity, NotifyFd::new()?, true)
    }

    /// As `new`, with a given notifier. If `nanoseconds` is false, never tries `epoll_pwait2`.
    fn build(capacity: usize, notify: NotifyFd, nanoseconds: bool) -> io::Result<Epoll> {
        let epoll = create()?;
        let owners = Owners::new(epoll.as_raw_fd());
        let epoll = Epoll {
            epoll,
            notify,
            buffer: Vec::with_capacity(capacity.min(MAX_EVENTS)),
            owners,
            exclusives: Vec::new(),
            nanoseconds,
        };
        epoll.watch_notifier()?;
        Ok(epoll)
    }

    fn watch_notifier(&self) -> io::Result<()> {
        let notify = self.notify.as_fd().as_raw_fd();
        self.control(libc::EPOLL_CTL_ADD, notify, IN | EDGE, NO_OWNER)
    }

    fn control(&self, what: libc::c_int, fd: RawFd, mask: u32, data: u64) -> io::Result<()> {
        control(self.epoll.as_fd(), what, fd, mask, data)
    }

    /// Puts an fd into the kernel's set and notes its owner.
    #[inline]
    fn add_owned(&mut self, fd: RawFd, mask: u32, data: u64) -> io::Result<()> {
        if data == NO_OWNER {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut owners = self.owners.lock();
        self.add_to_set(&owners, fd, mask, data)?;
        let before = owners.set(fd, data);
        drop(owners);
        if before != NO_OWNER && !self.exclusives.is_empty() {
            // The old fd was closed without `remove`, which is allowed here.
            self.exclusives.retain(|&known| known != before);
        }
        Ok(())
    }

    fn forget_exclusive(&mut self, token: Token) {
        if !self.exclusives.is_empty() {
            self.exclusives.retain(|&known| known != token.to_u64());
        }
    }

    /// Adds an fd to the kernel's set.
    #[inline]
    fn add_to_set(&self, owners: &Table, fd: RawFd, mask: u32, data: u64) -> io::Result<()> {
        match self.control(libc::EPOLL_CTL_ADD, fd, mask, data) {
            Ok(()) => Ok(()),
            Err(error) => self.add_again(owners, error, fd, mask, data),
        }
    }

    /// Deletes a registration that outlived its close, and adds the fd again.
    ///
    /// The number has no owner here, but the kernel has the file under it: the file lived on in a
    /// duplicate when the number was closed, and has come back under that number.
    #[cold]
    fn add_again(
        &self,
        owners: &Table,
        error: io::Error,
        fd: RawFd,
        mask: u32,
        data: u64,
    ) -> io::Result<()> {
        let is_free = owners.owner(fd) == NO_OWNER && fd != self.notify.as_fd().as_raw_fd();
        if error.kind() != io::ErrorKind::AlreadyExists || !is_free {
            return Err(error);
        }
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)?;
        self.control(libc::EPOLL_CTL_ADD, fd, mask, data)
    }

    /// Waits. The kernel's events are in the buffer afterwards.
    fn wait_for_kernel(&mut self, capacity: usize, timeout: Option<Duration>) -> io::Result<()> {
        let capacity = capacity.min(MAX_EVENTS);
        self.buffer.clear();
        self.buffer.reserve(capacity);
        let count = match timeout {
            Some(timeout) if self.nanoseconds && !timeout.is_zero() => {
                match self.pwait2(capacity, timeout) {
                    Err(error) if is_refused(&error) => {
                        self.nanoseconds = false;
                        self.wait_millis(capacity, millis(Some(timeout)))?
                    }
                    waited => waited?,
                }
            }
            _ => self.wait_millis(capacity, millis(timeout))?,
        };
        // SAFETY: the kernel filled the first `count` of the `capacity` events that were reserved.
        unsafe { self.buffer.set_len(count) };
        Ok(())
    }

    fn wait_millis(&mut self, capacity: usize, timeout: libc::c_int) -> io::Result<usize> {
        let buffer = self.buffer.as_mut_ptr();
        let epoll = self.epoll.as_raw_fd();
        // SAFETY: the buffer has room for `capacity` events.
        let count = unsafe { libc::epoll_wait(epoll, buffer, capacity as libc::c_int, timeout) };
        check(count).map(|count| count as usize)
    }

    fn pwait2(&mut self, capacity: usize, timeout: Duration) -> io::Result<usize> {
        let timeout = KernelTimespec::new(timeout);
        // SAFETY: the buffer has room for `capacity` events; the timespec has the kernel's layout
        // and outlives the call; a null signal mask leaves the mask alone.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.buffer.as_mut_ptr(),
                capacity as libc::c_int,
                ptr::from_ref(&timeout),
                ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        check(count as libc::c_int).map(|count| count as usize)
    }
}

impl Backend for Epoll {
    fn name(&self) -> &str {
        "epoll"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edge: true,
            level: true,
            oneshot: true,
            close_removes: true,
            has_fd: true,
            read_closed: true,
            errors: true,
            priority: true,
            unasked: true,
            exclusive: true,
            refuses_files: true,
            cheap_level: true,
            ..Capabilities::none()
        }
    }

    fn add(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        self.add_owned(fd.as_raw_fd(), mask(interest, trigger), token.to_u64())
    }

    fn add_exclusive(&mut self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let data = token.to_u64();
        self.add_owned(fd.as_raw_fd(), IN | EDGE | EXCLUSIVE, data)?;
        self.exclusives.push(data);
        Ok(())
    }

    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        // Locked during the call, so that no other thread ends the registration and closes the fd.
        let owners = self.owners.lock();
        let (owner, data) = (owners.owner(fd), token.to_u64());
        if owner == NO_OWNER || owner != data {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.exclusives.contains(&data) {
            return Err(failure(
                io::ErrorKind::InvalidInput,
                "an exclusive registration cannot be modified: remove it, and add the fd again",
            ));
        }
        self.control(libc::EPOLL_CTL_MOD, fd, mask(interest, trigger), data)
    }

    fn rearm(&mut self, _fd: RawFd, _token: Token, _interest: Interest) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.forget_exclusive(token);
        self.owners.lock().remove(self.epoll.as_fd(), fd, token)
    }

    fn forget(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.forget_exclusive(token);
        self.owners.lock().forget(fd, token)
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        self.wait_for_kernel(events.capacity(), timeout)?;
        let mut notified = false;
        // Extend the list in one call, because all events fit: `push` would check the room for
        // each.
        debug_assert!(self.buffer.len() <= events.room());
        events.list.extend(self.buffer.iter().map(|event| {
            let libc::epoll_event {
                events: bits,
                u64: data,
            } = *event;
            notified |= data == NO_OWNER;
            Event {
                token: Token::from_u64(data),
                readiness: readiness(bits),
            }
        }));
        if notified {
            events.list.retain(|event| event.token.to_u64() != NO_OWNER);
            if !self.notify.edge_repeats() {
                self.notify.drain();
            }
        }
        Ok(())
    }

    fn after_fork(&mut self) -> io::Result<()> {
        self.owners.close();
        // This closes the child's copy of the number. What is registered belongs to the parent.
        self.epoll = create()?;
        self.owners = Owners::new(self.epoll.as_raw_fd());
        self.exclusives.clear();
        self.notify.after_fork()?;
        self.watch_notifier()
    }

    fn notifier(&self) -> Notifier {
        self.notify.notifier()
    }

    fn releaser(&self) -> Option<Releaser> {
        Some(Releaser::new(self.owners.clone()))
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.epoll.as_fd())
    }
}

/// Returns the kernel's mask for an interest. The kernel adds `ERR | HUP` to each.
fn mask(interest: Interest, trigger: Trigger) -> u32 {
    let mut mask = match trigger {
        Trigger::Edge => EDGE,
        Trigger::Level => 0,
        Trigger::Oneshot => ONESHOT,
    };
    if interest.is_readable() {
        mask |= IN | RDHUP;
    }
    if interest.is_writable() {
        mask |= OUT;
    }
    if interest.is_priority() {
        mask |= PRI;
    }
    mask
}

/// Translates the kernel's bits. Nearly all events have `IN` and `OUT` alone.
#[inline]
fn readiness(bits: u32) -> Ready {
    const BOTH: u32 = IN | OUT;
    match bits {
        BOTH => Ready::READABLE | Ready::WRITABLE,
        IN => Ready::READABLE,
        OUT => Ready::WRITABLE,
        bits => rare_readiness(bits),
    }
}

/// As `readiness`, for all bits. `ERR` closes no side: a datagram socket goes on after it.
#[cold]
fn rare_readiness(bits: u32) -> Ready {
    let mut readiness = Ready::EMPTY;
    if bits & (IN | RDHUP | HUP | ERR) != 0 {
        readiness |= Ready::READABLE;
    }
    if bits & (OUT | HUP | ERR) != 0 {
        readiness |= Ready::WRITABLE;
    }
    if bits & PRI != 0 {
        readiness |= Ready::PRIORITY;
    }
    if bits & ERR != 0 {
        readiness |= Ready::ERROR;
    }
    if bits & (RDHUP | HUP) != 0 {
        readiness |= Ready::READ_CLOSED;
    }
    if bits & HUP != 0 {
        readiness |= Ready::WRITE_CLOSED;
    }
    readiness
}

/// Creates an epoll instance.
pub(super) fn create() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointer.
    let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the call has just made this fd, and no other code has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Changes what an epoll instance watches.
fn control(
    epoll: BorrowedFd<'_>,
    what: libc::c_int,
    fd: RawFd,
    mask: u32,
    data: u64,
) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: mask,
        u64: data,
    };
    // SAFETY: the event outlives the call, and the kernel keeps no pointer to it; a number that is
    // not open is an error, not an access.
    check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), what, fd, &mut event) })?;
    Ok(())
}

impl Drop for Epoll {
    fn drop(&mut self) {
        self.owners.close();
    }
}

impl fmt::Debug for Epoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoll")
            .field("fd", &self.epoll.as_raw_fd())
            .field("notify", &self.notify)
            .field("nanoseconds", &self.nanoseconds)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
