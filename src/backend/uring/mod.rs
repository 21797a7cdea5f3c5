//! io_uring(7)'s poll requests: Linux and Android. On request only.
//!
//! **What the kernel offers.** Two rings in shared memory: requests go into one, answers come out of the other, and one
//! system call hands over any number of requests and waits. A poll request answers once, with what is ready when it is
//! armed or as soon as something is; a multishot one answers again at each wake-up of the file's wait queue, and is
//! silent while what it told is left unread. A wait costs what is ready; the rings have an fd that another loop can watch.
//!
//! **Where it is odd** (tried on Linux 6.18, where nothing else is said).
//! - A request holds its file: a closed fd gives the peer no end of file, and its number may be given to another file
//!   while answers under it still come. Requests outlive the rings' last fd for a while, for rings are freed in the
//!   background, and as long as a child of a fork has one.
//! - The kernel ends a multishot request whenever it likes, and says so by the missing `F_MORE`: always when an answer
//!   did not fit into the ring, and at once for files that have no wait queue, such as regular ones. Nothing fits while it
//!   holds other answers that did not, however much room there is: order goes first.
//! - `POLLRDHUP` comes, like `POLLERR` and `POLLHUP`, although nobody asked for it, so that a one-shot request for room
//!   ends when the peer ends its side.
//! - An answer passes on what the wake-up said, without a look at the file. TCP says `POLLIN | POLLPRI` for any data; and
//!   a request for `POLLPRI` alone is not woken at all.
//! - Answers are made by *task work*, which runs when the thread next enters or leaves the kernel, whatever for: there are
//!   answers in the ring that are older than the call that waits for them, and what they tell may be over. A thread that
//!   sleeps in another call is woken for it: poll(2) goes on by itself, `epoll_wait` ends with `EINTR`. A request whose
//!   task work has not run yet cannot be removed: the answer is `EALREADY`, and it may go on.
//! - With `DEFER_TASKRUN` none of this happens, but a host that sleeps on the rings' fd is not woken, and at most 20
//!   answers are made per call (`IO_LOCAL_TW_DEFAULT_MAX`, from Linux 6.13 on).
//! - "Level-triggered" requests (`IORING_POLL_ADD_LEVEL`) with multishot are `EINVAL`.
//! - Rings that a child of a fork inherits are the parent's, memory and all.
//!
//! **What we do about it.** Edge registrations are multishot requests, made anew when one ends. One-shot ones are one-shot
//! requests; level ones too, and they are made anew by the next wait, so that each wait looks at the condition anew. What
//! an answer tells that was in the ring before its wait began, and any `POLLPRI` that may be a guess, is confirmed by
//! poll(2), all of a batch by one call. Each request is numbered, and what comes under a number that is over is
//! dropped. `remove` enters the kernel, again if it was refused, and comes back when the request is over; so does `modify`
//! if there was one; Drop ends all of them. What only the next wait needs is handed over by it; at once, when a host may be
//! watching the fd. `COOP_TASKRUN` is asked for, `DEFER_TASKRUN` is not.
//!
//! Not mended: a wait may end early, without an event, when the peer of a level or one-shot fd that does not wait for data
//! ends its side (once), or when data comes for one that waits for PRIORITY alone.
//!
//! **Versions.** Multishot poll requests are Linux 5.13. `kernel.io_uring_disabled`, containers and sandboxes may forbid all
//! of it (`EPERM`, `ENOSYS`).

mod abi;
mod answers;
mod requests;
mod ring;
#[cfg(test)]
mod tests;

use super::pollset::mask;
use super::{Backend, Capabilities, Events, Interest, Notifier, NotifyFd, Token, Trigger};
use crate::sys;
use abi::{Completion, Entry};
use ring::Ring;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// "Nobody" among the owners of fd numbers: no registration has this token.
const NOBODY: u64 = u64::MAX;

/// What answers to the notifier's request carry.
const NOTIFIER: u64 = u64::MAX;

/// What the answer carries that only makes the rings' fd readable.
const LOOK: u64 = u64::MAX - 1;

/// Added to a request's `user_data`, for the answer to its removal: no fd number has this bit.
const REMOVAL: u64 = 1 << 31;

pub(super) struct Uring {
    ring: Ring,
    notify: NotifyFd,
    /// Answers that had to make room in the ring; they come before those in it.
    moved: VecDeque<Completion>,
    /// By fd number.
    slots: Vec<Slot>,
    /// The number of the last request; never 0.
    last_request: u32,
    /// Whose request the next wait makes anew.
    again: Vec<RawFd>,
    /// Edge registrations whose requests were made anew in this wait.
    renewed: Vec<RawFd>,
    /// What is to be confirmed before it is reported.
    unsure: Vec<libc::pollfd>,
    /// What the answers said, in parallel; only while it is confirmed.
    told: Vec<libc::c_short>,
    /// Multishot requests whose one answer was delivered.
    spent: Vec<u64>,
    /// Somebody else may be watching the fd: nothing may wait for the next `wait` then.
    hosted: Cell<bool>,
    /// The process that made the rings.
    process: u32,
}

/// What is known of one fd number.
#[derive(Clone)]
struct Slot {
    /// The owner, or `NOBODY`.
    token: u64,
    /// The number of the request that is armed, or 0.
    request: u32,
    /// Where in a batch it was reported last.
    place: u32,
    interest: Interest,
    trigger: Trigger,
    /// It stands in `again`.
    is_queued: bool,
    /// A one-shot request would be answered by what nobody asked for: it is a multishot one.
    is_deaf: bool,
    /// Its file has no wait queue: it is ready for ever, and says so once.
    is_constant: bool,
}

const VACANT: Slot = Slot {
    token: NOBODY,
    request: 0,
    place: 0,
    interest: Interest::NONE,
    trigger: Trigger::Edge,
    is_queued: false,
    is_deaf: false,
    is_constant: false,
};

impl Uring {
    pub(super) fn new(capacity: usize) -> io::Result<Uring> {
        let answers = capacity.saturating_mul(4).clamp(128, 4096) as u32;
        let requests = (answers / 4).min(256);
        let ring = Ring::new(requests, answers).map_err(explain)?;
        Uring::build(ring, NotifyFd::new()?)
    }

    /// As `new`, with given rings and a given notifier.
    fn build(ring: Ring, notify: NotifyFd) -> io::Result<Uring> {
        let mut uring = Uring {
            ring,
            notify,
            moved: VecDeque::new(),
            slots: Vec::new(),
            last_request: 0,
            again: Vec::new(),
            renewed: Vec::new(),
            unsure: Vec::new(),
            told: Vec::new(),
            spent: Vec::new(),
            hosted: Cell::new(false),
            process: std::process::id(),
        };
        uring.watch_notifier()?;
        Ok(uring)
    }

    fn watch_notifier(&mut self) -> io::Result<()> {
        let notify = self.notify.as_fd().as_raw_fd();
        let readable = mask(Interest::READABLE);
        self.push(Entry::poll_add(notify, readable, true, NOTIFIER))?;
        self.flush()
    }

    fn find(&self, fd: RawFd, token: Token) -> io::Result<usize> {
        let at = usize::try_from(fd).unwrap_or(usize::MAX);
        match self.slots.get(at) {
            Some(slot) if slot.token != NOBODY && slot.token == token.to_u64() => Ok(at),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Whose answer it is: the number of a registered fd, if its request is not over.
    fn whose(&self, user_data: u64) -> Option<RawFd> {
        let slot = self.slots.get(user_data as u32 as usize)?;
        (slot.request != 0 && slot.request == (user_data >> 32) as u32)
            .then_some(user_data as RawFd)
    }

    fn is_live(&self, answer: Completion) -> bool {
        answer.user_data == NOTIFIER || self.whose(answer.user_data).is_some()
    }
}

impl Backend for Uring {
    fn name(&self) -> &str {
        "io-uring"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edge: true,
            level: true,
            oneshot: true,
            has_fd: true,
            read_closed: true,
            errors: true,
            priority: true,
            unasked: true,
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
        let fd = fd.as_raw_fd();
        if token.to_u64() == NOBODY {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let at = fd as usize;
        if self.slots.get(at).is_some_and(|slot| slot.token != NOBODY) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if at >= self.slots.len() {
            // The number may be no fd at all, and far beyond all others.
            sys::fd::FileId::of(fd)?;
            self.slots.resize(at + 1, VACANT);
        }
        self.slots[at] = Slot {
            token: token.to_u64(),
            interest,
            trigger,
            ..VACANT
        };
        let failed = match self.arm_now(fd) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let request = std::mem::replace(&mut self.slots[at], VACANT).request;
        if request != 0 {
            let _ = self.end(user_data(fd, request));
        }
        Err(failed)
    }

    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        let at = self.find(fd, token)?;
        let fresh = Slot {
            token: token.to_u64(),
            interest,
            trigger,
            ..VACANT
        };
        let before = std::mem::replace(&mut self.slots[at], fresh);
        let ended = match before.request {
            0 => Ok(()),
            request => self.end(user_data(fd, request)),
        };
        let armed = ended.and_then(|()| self.arm(fd));
        if armed.is_err() {
            // As it was: the next wait tries again.
            self.slots[at].interest = before.interest;
            self.slots[at].trigger = before.trigger;
            self.queue(fd);
        }
        armed.and_then(|()| self.show_to_host())
    }

    fn rearm(&mut self, _fd: RawFd, _token: Token, _interest: Interest) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        let at = self.find(fd, token)?;
        match std::mem::replace(&mut self.slots[at], VACANT).request {
            0 => Ok(()),
            request => {
                self.end(user_data(fd, request))?;
                self.show_to_host()
            }
        }
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        loop {
            let old = self.ready();
            let unsubmitted = self.ring.unsubmitted() != 0 || !self.again.is_empty();
            let entered = self.enter(old, timeout);
            let is_empty = self.ready() == 0;
            let mut is_notified = self.deliver(old, events)?;
            // What did not fit into the ring may fit into the batch.
            while self.ring.is_overflown() && events.room() != 0 {
                self.flush()?;
                is_notified |= self.deliver(u32::MAX, events)?;
            }
            self.show_to_host()?;
            if is_notified || !events.as_slice().is_empty() {
                return Ok(());
            }
            match entered {
                Err(error) if error.raw_os_error() == Some(libc::ETIME) => return Ok(()),
                Err(error) => return Err(error),
                Ok(()) => {}
            }
            // What is left: answers that are dropped, and calls that handed something over and so do not say how
            // their wait ended.
            match timeout {
                _ if old != 0 => {}
                None if is_empty && unsubmitted => return Err(io::ErrorKind::Interrupted.into()),
                None => {}
                Some(_) => return Ok(()),
            }
        }
    }

    fn after_fork(&mut self) -> io::Result<()> {
        let (requests, answers) = self.ring.sizes();
        // The parent's are unmapped and closed here, and nothing in them changes.
        self.ring = Ring::new(requests, answers).map_err(explain)?;
        self.process = std::process::id();
        self.moved.clear();
        self.slots.clear();
        self.again.clear();
        self.renewed.clear();
        self.hosted.set(false);
        self.notify.after_fork()?;
        self.watch_notifier()
    }

    fn notifier(&self) -> Notifier {
        self.notify.notifier()
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.hosted.set(true);
        self.show_to_host()?;
        Ok(self.ring.as_fd())
    }
}

impl Drop for Uring {
    /// Ends all requests, for the rings are freed some time after they are closed, and the files with them.
    fn drop(&mut self) {
        // In a child of a fork they are the parent's.
        if self.process != std::process::id() {
            return;
        }
        self.end_all();
    }
}

/// What answers to a request carry: whose it is, and its number.
fn user_data(fd: RawFd, request: u32) -> u64 {
    u64::from(request) << 32 | u64::from(fd as u32)
}

/// Says who refuses the rings.
#[cold]
fn explain(error: io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel has none, or a sandbox hides it",
        Some(libc::EPERM) => {
            "a sandbox forbids it, or the administrator (sysctl kernel.io_uring_disabled)"
        }
        _ => return error,
    };
    let text = format!("io_uring_setup: {error}: {why}");
    io::Error::new(io::ErrorKind::Unsupported, text)
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring")
            .field("ring", &self.ring)
            .field("notify", &self.notify)
            .finish_non_exhaustive()
    }
}
