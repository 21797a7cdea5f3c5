//! epoll(7): Linux and Android.
//!
//! **What the kernel offers.** A set of (file, fd number) pairs kept in the kernel, each with a mask and 64 bits of
//! ours; a wait costs what is ready, not what is registered. Level, edge (`EPOLLET`) and one-shot (`EPOLLONESHOT`)
//! triggers, an fd of its own that another loop can watch.
//!
//! **Where it is odd.**
//! - `EPOLLERR` and `EPOLLHUP` cannot be masked: with a level trigger they make every wait return at once. A fired
//!   one-shot registration reports not even these until it is modified.
//! - A registration goes when the last duplicate of the *file* is closed, not when its number is. With a duplicate
//!   alive events go on under the old token, and nobody can remove them by the closed number (`EBADF`, or the number
//!   of another file by then).
//! - Regular files are refused with `EPERM`.
//! - `EPOLLEXCLUSIVE` wakes one of the sets that a file is in, the first of those that somebody waits for; it goes with
//!   `EPOLLIN`, `EPOLLOUT` and `EPOLLET` only (not `EPOLLRDHUP`), and cannot be modified: all `EINVAL` (epoll_ctl(2)).
//! - `epoll_wait` counts milliseconds; `epoll_pwait2` counts nanoseconds but is missing in old kernels, and some
//!   sandboxes answer `EPERM` for calls they do not know.
//!
//! **What we do about it.** A level registration that delivered a hang-up or an error is taken out of the kernel and
//! put back by the next `modify`: only these are kept in a table. Tokens are noted by number, so that a late call for a
//! number that has a new owner is `NotFound` and not an accident. Events of a file that lives on in a duplicate are the
//! reactor's to drop, by their generation. Exclusive registrations are noted, so that `modify` refuses them by a text
//! rather than by the kernel's number. The notifier is registered edge-triggered, so that an eventfd
//! is never read: every write is an edge. What `epoll_pwait2` refuses once is never asked again.
//!
//! **Versions.** `EPOLLRDHUP` and `epoll_create1` are older than any Linux that Rust runs on; `epoll_pwait2` is Linux
//! 5.11. `EPOLLEXCLUSIVE` is Linux 4.5; older ones ignore it, and every loop is woken.

use super::notifier::{NotifyFd, is_refused};
use super::{Backend, Capabilities, Event, Events, Interest, Notifier, Readiness, Token, Trigger};
use crate::sys::fd::FileId;
use crate::sys::syscall::{check, failure};
use crate::sys::timeout::{KernelTimespec, millis};
use crate::token::BuildKeyHasher;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

/// The notifier's token, and "nobody" among the owners: the reactor's slab never gets that far.
const NOBODY: u64 = u64::MAX;

/// More events than that at once the kernel refuses (`EP_MAX_EVENTS`).
const MOST_EVENTS: usize = i32::MAX as usize / size_of::<libc::epoll_event>();

const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const PRI: u32 = libc::EPOLLPRI as u32;
const ERR: u32 = libc::EPOLLERR as u32;
const HUP: u32 = libc::EPOLLHUP as u32;
const RDHUP: u32 = libc::EPOLLRDHUP as u32;

pub(super) struct Epoll {
    epoll: OwnedFd,
    notify: NotifyFd,
    /// What the kernel writes into; its length is that of the last wait.
    buffer: Vec<libc::epoll_event>,
    /// By fd number: the token that was added under it last, or `NOBODY`. Stale where an fd was closed without
    /// `remove`, until the number is added again. Never looked at by `wait`.
    owners: Vec<u64>,
    /// The level-triggered registrations, by token: only these need to be found again by `wait`.
    levels: HashMap<u64, LevelFd, BuildKeyHasher>,
    /// The tokens of the registrations that cannot be modified: a few listeners at most.
    exclusives: Vec<u64>,
    /// `epoll_pwait2` has not been refused yet.
    nanoseconds: bool,
}

struct LevelFd {
    number: RawFd,
    /// The file, when a hang-up or an error was delivered and the registration is not in the kernel.
    disarmed: Option<FileId>,
}

impl Epoll {
    pub(super) fn new(capacity: usize) -> io::Result<Epoll> {
        Epoll::build(capacity, NotifyFd::new()?, true)
    }

    /// As `new`, with a given notifier and, if `nanoseconds` is false, as on a kernel without `epoll_pwait2`.
    fn build(capacity: usize, notify: NotifyFd, nanoseconds: bool) -> io::Result<Epoll> {
        let epoll = Epoll {
            epoll: create()?,
            notify,
            buffer: Vec::with_capacity(capacity.min(MOST_EVENTS)),
            owners: Vec::new(),
            levels: HashMap::default(),
            exclusives: Vec::new(),
            nanoseconds,
        };
        epoll.watch_notifier()?;
        Ok(epoll)
    }

    fn watch_notifier(&self) -> io::Result<()> {
        let notify = self.notify.as_fd().as_raw_fd();
        self.control(libc::EPOLL_CTL_ADD, notify, IN | EDGE, NOBODY)
    }

    fn control(&self, what: libc::c_int, fd: RawFd, mask: u32, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: mask,
            u64: data,
        };
        // SAFETY: the event outlives the call, which keeps no pointer to it; a number that is not open is an error, not
        // an access.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, fd, &mut event) })?;
        Ok(())
    }

    /// Notes that the number is `owner`'s now.
    #[inline(never)]
    fn own(&mut self, fd: RawFd, owner: u64) {
        let at = fd as usize;
        if at >= self.owners.len() {
            self.owners.resize(at + 1, NOBODY);
        }
        let before = std::mem::replace(&mut self.owners[at], owner);
        if before != NOBODY && !self.levels.is_empty() {
            // Closed without `remove`, which is allowed here.
            self.forget_level(before);
        }
        if before != NOBODY && !self.exclusives.is_empty() {
            self.exclusives.retain(|&known| known != before);
        }
    }

    #[inline(never)]
    fn note_level(&mut self, owner: u64, fd: RawFd) {
        self.levels.insert(owner, LevelFd::armed(fd));
    }

    #[inline(never)]
    fn forget_level(&mut self, owner: u64) -> Option<LevelFd> {
        self.levels.remove(&owner)
    }

    fn owner(&self, fd: RawFd) -> u64 {
        let at = usize::try_from(fd).unwrap_or(usize::MAX);
        self.owners.get(at).copied().unwrap_or(NOBODY)
    }

    fn check_owner(&self, fd: RawFd, token: Token) -> io::Result<()> {
        let owner = self.owner(fd);
        if owner == NOBODY || owner != token.to_u64() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(())
    }

    /// Whether the number names a file that is registered, though the kernel was told to forget it for now.
    #[inline(never)]
    fn is_disarmed(&self, fd: RawFd) -> bool {
        if self.levels.is_empty() {
            return false;
        }
        let level = self.levels.get(&self.owner(fd));
        level.is_some_and(|level| level.disarmed.is_some() && level.disarmed == FileId::of(fd).ok())
    }

    /// Disarms what the last wait has reported a hang-up or an error of.
    #[cold]
    fn disarm_the_ended(&mut self) {
        for at in 0..self.buffer.len() {
            let libc::epoll_event {
                events: bits,
                u64: data,
            } = self.buffer[at];
            if data != NOBODY && bits & (ERR | HUP) != 0 {
                self.disarm(data);
            }
        }
    }

    /// After a hang-up or an error: silence until `modify`, if the registration is a level-triggered one.
    fn disarm(&mut self, owner: u64) {
        let Some(number) = self.levels.get(&owner).map(|level| level.number) else {
            return;
        };
        if self.owner(number) != owner {
            return;
        }
        // Errors: the number was closed meanwhile, so there is nothing left to take out.
        let file = FileId::of(number);
        if self.control(libc::EPOLL_CTL_DEL, number, 0, 0).is_ok() {
            if let (Some(level), Ok(file)) = (self.levels.get_mut(&owner), file) {
                level.disarmed = Some(file);
            }
        }
    }

    /// Waits, leaves what the kernel wrote in the buffer.
    fn wait_for_kernel(&mut self, capacity: usize, timeout: Option<Duration>) -> io::Result<()> {
        let capacity = capacity.min(MOST_EVENTS);
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
        // SAFETY: the buffer has room for `capacity` events; the timespec has the kernel's layout and outlives the
        // call; a null signal mask leaves the mask alone.
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

/// Whether epoll refuses a file, which it does when the file's driver has no notion of being ready.
pub(super) fn refuses(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let probe = Epoll::new(1)?;
    match probe.control(libc::EPOLL_CTL_ADD, fd.as_raw_fd(), IN, 0) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(true),
        added => added.map(|()| false),
    }
}

fn create() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointer.
    let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the call has just made this fd, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
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
        let (fd, data) = (fd.as_raw_fd(), token.to_u64());
        if data == NOBODY {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if self.is_disarmed(fd) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.control(libc::EPOLL_CTL_ADD, fd, mask(interest, trigger), data)?;
        self.own(fd, data);
        if trigger == Trigger::Level {
            self.note_level(data, fd);
        }
        Ok(())
    }

    fn add_exclusive(&mut self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let (fd, data) = (fd.as_raw_fd(), token.to_u64());
        if data == NOBODY {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if self.is_disarmed(fd) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.control(libc::EPOLL_CTL_ADD, fd, IN | EDGE | EXCLUSIVE, data)?;
        self.own(fd, data);
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
        self.check_owner(fd, token)?;
        let data = token.to_u64();
        if self.exclusives.contains(&data) {
            return Err(failure(
                io::ErrorKind::InvalidInput,
                "an exclusive registration cannot be modified: remove it, and add the fd anew",
            ));
        }
        // The empty table is asked first: most loops have no such registration.
        let level = match self.levels.is_empty() {
            true => None,
            false => self.levels.get(&data),
        };
        let was_level = level.is_some();
        let what = if level.is_some_and(|level| level.disarmed.is_some()) {
            libc::EPOLL_CTL_ADD
        } else {
            libc::EPOLL_CTL_MOD
        };
        self.control(what, fd, mask(interest, trigger), data)?;
        if trigger == Trigger::Level {
            self.note_level(data, fd);
        } else if was_level {
            self.forget_level(data);
        }
        Ok(())
    }

    fn rearm(&mut self, _fd: RawFd, _token: Token, _interest: Interest) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.check_owner(fd, token)?;
        self.owners[fd as usize] = NOBODY;
        if !self.levels.is_empty() {
            let level = self.forget_level(token.to_u64());
            if level.is_some_and(|level| level.disarmed.is_some()) {
                return Ok(());
            }
        }
        if !self.exclusives.is_empty() {
            self.exclusives.retain(|&known| known != token.to_u64());
        }
        match self.control(libc::EPOLL_CTL_DEL, fd, 0, 0) {
            // The number was closed, and may have been given to another file since.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOENT)) => {
                Ok(())
            }
            removed => removed,
        }
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        self.wait_for_kernel(events.capacity(), timeout)?;
        let (mut all, mut notified) = (0, false);
        // All of them, for there are no more than fit: a push would look at the room for each.
        debug_assert!(self.buffer.len() <= events.room());
        events.list.extend(self.buffer.iter().map(|event| {
            let libc::epoll_event {
                events: bits,
                u64: data,
            } = *event;
            all |= bits;
            notified |= data == NOBODY;
            Event {
                token: Token::from_u64(data),
                readiness: readiness(bits),
            }
        }));
        if notified {
            events.list.retain(|event| event.token.to_u64() != NOBODY);
            if !self.notify.edge_repeats() {
                self.notify.drain();
            }
        }
        if all & (ERR | HUP) != 0 && !self.levels.is_empty() {
            self.disarm_the_ended();
        }
        Ok(())
    }

    fn after_fork(&mut self) -> io::Result<()> {
        // The parent's object is only closed here: what is registered with it is the parent's.
        self.epoll = create()?;
        self.owners.clear();
        self.levels.clear();
        self.exclusives.clear();
        self.notify.after_fork()?;
        self.watch_notifier()
    }

    fn notifier(&self) -> Notifier {
        self.notify.notifier()
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.epoll.as_fd())
    }
}

impl LevelFd {
    fn armed(number: RawFd) -> LevelFd {
        LevelFd {
            number,
            disarmed: None,
        }
    }
}

const EDGE: u32 = libc::EPOLLET as u32;
const ONESHOT: u32 = libc::EPOLLONESHOT as u32;
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;

/// The kernel's mask for an interest. The kernel adds `ERR | HUP` to every one.
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

/// What the kernel's bits say: one load from a table, for this is done for every event.
#[inline]
fn readiness(bits: u32) -> Readiness {
    const TABLE: [Readiness; 64] = {
        let mut table = [Readiness::EMPTY; 64];
        let mut packed = 0;
        while packed < table.len() {
            table[packed] = unpacked(packed as u32);
            packed += 1;
        }
        table
    };
    TABLE[(bits | bits >> RDHUP_SHIFT) as usize & 63]
}

/// Brings RDHUP beside the others, which are the five lowest bits. Nothing else is there: the kernel reports what is in the
/// mask (`ep_item_poll` in its fs/eventpoll.c), to which it adds ERR and HUP.
const RDHUP_SHIFT: u32 = RDHUP.trailing_zeros() - 5;
const _: () = {
    let asked = IN | PRI | OUT | ERR | HUP | RDHUP;
    assert!((asked | asked >> RDHUP_SHIFT) & 63 == 63 && asked & !RDHUP == 31);
    assert!(asked >> RDHUP_SHIFT == 32);
};

/// `ERR` closes no side: a datagram socket goes on after it.
const fn unpacked(packed: u32) -> Readiness {
    let rdhup = packed & 32 != 0;
    let mut readiness = Readiness::EMPTY;
    if packed & (IN | HUP | ERR) != 0 || rdhup {
        readiness = readiness.or(Readiness::READABLE);
    }
    if packed & (OUT | HUP | ERR) != 0 {
        readiness = readiness.or(Readiness::WRITABLE);
    }
    if packed & PRI != 0 {
        readiness = readiness.or(Readiness::PRIORITY);
    }
    if packed & ERR != 0 {
        readiness = readiness.or(Readiness::ERROR);
    }
    if packed & HUP != 0 || rdhup {
        readiness = readiness.or(Readiness::READ_CLOSED);
    }
    if packed & HUP != 0 {
        readiness = readiness.or(Readiness::WRITE_CLOSED);
    }
    readiness
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
