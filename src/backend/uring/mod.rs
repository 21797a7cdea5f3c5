//! The backend over io_uring(7)'s poll requests: Linux and Android, only by choice.
//!
//! **What the kernel offers.** Two rings in shared memory: requests go into one, completions come
//! out of the other, and one system call submits any number of requests and waits. A poll request
//! completes once, with what is ready when it is armed or as soon as something is. A multishot one
//! completes again at each wake-up of the file's wait queue, and is silent while what it reported
//! is left unread. A wait costs what is ready, and another loop can watch the rings' fd.
//!
//! **Where it is odd** (tried on Linux 6.18, unless something else is said).
//! - A request holds its file: a closed fd gives the peer no end of file, and its number may be
//!   given to another file while completions under it still come. Requests outlive the rings' last
//!   fd for a while, because rings are freed in the background, and as long as a child of a fork
//!   has one.
//! - The kernel may end a multishot request at any time, which the missing `F_MORE` shows: always
//!   when a completion did not fit into the ring, and at once for files that have no wait queue,
//!   such as regular ones. While the kernel holds completions that did not fit, no later one fits,
//!   however much room there is, because it keeps their order.
//! - `POLLRDHUP` is reported like `POLLERR` and `POLLHUP` without being requested, so a one-shot
//!   request for room ends when the peer ends its side.
//! - A completion passes on the bits of the wake-up, without a check of the file. TCP wakes with
//!   `POLLIN | POLLPRI` for any data, and a request for `POLLPRI` alone is not woken at all.
//! - Completions are made by *task work*, which runs when the thread next enters or leaves the
//!   kernel for any reason. So the ring has completions that are older than the call that waits for
//!   them, and what they report may be over. A thread that sleeps in another call is woken for it:
//!   poll(2) goes on by itself, `epoll_wait` ends with `EINTR`. A request whose task work has not
//!   run yet cannot be removed: the result is `EALREADY`, and it may go on. While another thread
//!   writes without a pause, every try may meet such a wake-up. It can be cancelled, however.
//! - With `DEFER_TASKRUN` none of this happens, but a host that sleeps on the rings' fd is not
//!   woken, and at most 20 completions are made per call (`IO_LOCAL_TW_DEFAULT_MAX`, from Linux
//!   6.13 on).
//! - "Level-triggered" requests (`IORING_POLL_ADD_LEVEL`) with multishot are `EINVAL`.
//! - Rings that a child of a fork inherits belong to the parent, including their memory.
//!
//! **What we do about it.** Edge registrations are multishot requests, which are renewed when they
//! end. One-shot registrations are one-shot requests. So are level ones, and the next wait renews
//! them, so that each wait checks the condition again. Whatever a completion reports that was in
//! the ring before its wait began, and any `POLLPRI` that may be a guess, is confirmed by poll(2),
//! one call for the whole batch. Each request has a number, and completions of an ended request are
//! dropped. `remove` enters the kernel, cancels the request if the removal was refused, and returns
//! when the request is over; so does `modify` if there was one. Drop ends all requests. A request
//! that only the next wait needs is submitted by that wait, or at once if a host may be watching
//! the fd.
//! `COOP_TASKRUN` is set, `DEFER_TASKRUN` is not.
//!
//! When another thread takes a file back, that thread cancels its request (`remote_cancel.rs`). A
//! number that was closed without `remove` may be given to another file: `add` compares the two,
//! and ends the old request (`../identity.rs`). If the kernel is short of memory (`EAGAIN`,
//! `EBUSY`, `ENOMEM`), the call or request is repeated after a pause of a millisecond. A request
//! that another thread or process cancelled is renewed. An unknown failure is reported as an error,
//! and the request is renewed as well.
//!
//! **Known limitation.** A wait may return early without an event in two cases: if the peer of a
//! level or one-shot fd that does not wait for data ends its side (once), and if data comes for one
//! that waits for PRIORITY alone.
//!
//! **Versions.** Multishot poll requests are Linux 5.13. `kernel.io_uring_disabled`, containers and
//! sandboxes may forbid io_uring altogether (`EPERM`, `ENOSYS`).

mod abi;
mod completions;
mod remote_cancel;
mod requests;
mod ring;

use super::identity::{FileTracker, Identity};
use super::pollset::mask;
use super::{
    Backend, Capabilities, Events, Interest, Notifier, NotifyFd, Releaser, Token, Trigger,
};
use crate::sys::fork::Process;
use crate::sys::syscall::failure;
use abi::{Completion, Entry};
use remote_cancel::RemoteCancel;
use ring::Ring;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// The token of a free slot: no registration has it.
const NO_OWNER: u64 = u64::MAX;

/// The `user_data` of the notifier's request.
const NOTIFIER: u64 = u64::MAX;

/// The `user_data` of a request that only makes the rings' fd readable.
const WAKE_HOST: u64 = u64::MAX - 1;

/// Added to a request's `user_data` for the completion of its removal: no fd number has this bit.
const REMOVAL: u64 = 1 << 31;

pub(super) struct Uring {
    ring: Ring,
    notify: NotifyFd,
    /// Completions that were moved out of the ring to make room. They come before those in the
    /// ring.
    moved: VecDeque<Completion>,
    /// By fd number.
    slots: Vec<Slot>,
    files: FileTracker,
    remote_cancel: Arc<RemoteCancel>,
    /// The number of the last request; never 0.
    last_request: u32,
    /// The numbers whose requests the next wait renews.
    to_renew: Vec<RawFd>,
    /// The registrations whose multishot requests were renewed in this wait.
    renewed: Vec<RawFd>,
    /// Entries that poll(2) has to confirm before they are reported.
    unsure: Vec<libc::pollfd>,
    /// The bits of the completions in `unsure`, while these are confirmed.
    unsure_bits: Vec<libc::c_short>,
    /// Multishot requests of one-shot registrations whose completion was delivered.
    spent: Vec<u64>,
    /// Whether the kernel has refused something in this wait for lack of memory or room.
    needs_pause: bool,
    /// Whether the notifier's request has ended.
    notifier_ended: bool,
    /// Whether a host may be watching the fd. Then nothing may be left for the next `wait`.
    hosted: Cell<bool>,
    /// The process that made the rings.
    process: Process,
}

/// The registration of one fd number.
#[derive(Clone)]
struct Slot {
    /// The owner, or `NO_OWNER`.
    token: u64,
    /// The number of the request that is armed, or 0.
    request: u32,
    /// The place of its event in a batch.
    place: u32,
    interest: Interest,
    trigger: Trigger,
    /// The identity of the file that the number named when it was added.
    file: Option<Identity>,
    /// Whether the number is in `to_renew`.
    is_queued: bool,
    /// Whether it has a multishot request, because a one-shot request would end for bits outside
    /// the interest.
    uses_multishot: bool,
    /// Whether the file has no wait queue, so that its first completion stays true.
    has_no_wait_queue: bool,
}

const VACANT: Slot = Slot {
    token: NO_OWNER,
    request: 0,
    place: 0,
    interest: Interest::EMPTY,
    trigger: Trigger::Edge,
    file: None,
    is_queued: false,
    uses_multishot: false,
    has_no_wait_queue: false,
};

impl Uring {
    pub(super) fn new(capacity: usize) -> io::Result<Uring> {
        let completions = capacity.saturating_mul(4).clamp(128, 4096) as u32;
        let requests = (completions / 4).min(256);
        let ring = Ring::new(requests, completions).map_err(explain)?;
        Uring::build(ring, NotifyFd::new()?)
    }

    /// As `new`, with given rings and a given notifier.
    fn build(ring: Ring, notify: NotifyFd) -> io::Result<Uring> {
        let mut uring = Uring {
            remote_cancel: RemoteCancel::new(ring.as_fd().as_raw_fd()),
            ring,
            notify,
            moved: VecDeque::new(),
            slots: Vec::new(),
            files: FileTracker::default(),
            last_request: 0,
            to_renew: Vec::new(),
            renewed: Vec::new(),
            unsure: Vec::new(),
            unsure_bits: Vec::new(),
            spent: Vec::new(),
            needs_pause: false,
            notifier_ended: false,
            hosted: Cell::new(false),
            process: Process::this(),
        };
        uring.watch_notifier()?;
        Ok(uring)
    }

    fn watch_notifier(&mut self) -> io::Result<()> {
        self.push_notifier()?;
        self.flush()
    }

    fn push_notifier(&self) -> io::Result<()> {
        let notify = self.notify.as_fd().as_raw_fd();
        let readable = mask(Interest::READABLE);
        self.push(Entry::poll_add(notify, readable, true, NOTIFIER))
    }

    /// Renews the notifier's request if it has ended.
    fn renew_notifier(&mut self) -> io::Result<()> {
        if self.notifier_ended {
            let pushed = self.push_notifier();
            self.notifier_ended = pushed.is_err();
            let flushed = pushed.and_then(|()| self.flush());
            self.tolerate(flushed)?;
        }
        Ok(())
    }

    fn find(&self, fd: RawFd, token: Token) -> io::Result<usize> {
        let at = usize::try_from(fd).unwrap_or(usize::MAX);
        match self.slots.get(at) {
            Some(slot) if slot.token != NO_OWNER && slot.token == token.to_u64() => Ok(at),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Forgets a registration, and ends its request.
    fn vacate(&mut self, fd: RawFd) -> io::Result<()> {
        let gone = std::mem::replace(&mut self.slots[fd as usize], VACANT);
        if let Some(file) = &gone.file {
            self.files.forget(fd, file);
        }
        match gone.request {
            0 => Ok(()),
            request => self.end(user_data(fd, request)),
        }
    }

    /// Returns the fd number of a completion, if the fd is registered and its request is not over.
    fn fd_of(&self, user_data: u64) -> Option<RawFd> {
        let slot = self.slots.get(user_data as u32 as usize)?;
        (slot.request != 0 && slot.request == (user_data >> 32) as u32)
            .then_some(user_data as RawFd)
    }

    fn is_live(&self, completion: Completion) -> bool {
        completion.user_data == NOTIFIER || self.fd_of(completion.user_data).is_some()
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
        if token.to_u64() == NO_OWNER {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let at = fd as usize;
        let mut file = Identity::of(fd)?;
        if at >= self.slots.len() {
            self.slots.resize(at + 1, VACANT);
        }
        if self.slots[at].token != NO_OWNER {
            let is_same = |known| self.files.is_same(fd, known, &file);
            if self.slots[at].file.as_ref().is_none_or(is_same) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            // The number was closed without `remove`. The request does not notice that, because it
            // holds the old file.
            let _ = self.vacate(fd);
        }
        self.files.note(fd, &mut file);
        self.slots[at] = Slot {
            token: token.to_u64(),
            interest,
            trigger,
            file: Some(file),
            ..VACANT
        };
        let failed = match self.arm_now(fd) {
            Ok(()) => return Ok(()),
            // The next wait makes the request or submits it.
            Err(error) if is_temporary(&error) => {
                self.queue(fd);
                return Ok(());
            }
            Err(error) => error,
        };
        let _ = self.vacate(fd);
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
            file: self.slots[at].file,
            ..VACANT
        };
        let before = std::mem::replace(&mut self.slots[at], fresh);
        let ended = match before.request {
            0 => Ok(()),
            request => self.end(user_data(fd, request)),
        };
        let armed = ended.and_then(|()| self.arm(fd));
        if armed.is_err() {
            // The registration is unchanged: the next wait tries again.
            self.slots[at].interest = before.interest;
            self.slots[at].trigger = before.trigger;
            self.queue(fd);
        }
        match armed {
            Err(error) if is_temporary(&error) => {
                self.slots[at].interest = interest;
                self.slots[at].trigger = trigger;
                Ok(())
            }
            armed => armed.and_then(|()| self.show_to_host()),
        }
    }

    fn rearm(&mut self, _fd: RawFd, _token: Token, _interest: Interest) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.find(fd, token)?;
        self.vacate(fd)?;
        self.show_to_host()
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let mut timeout = timeout;
        loop {
            let old = self.ready();
            let unsubmitted = self.ring.unsubmitted() != 0 || !self.to_renew.is_empty();
            let entered = self.enter(old, timeout);
            let is_empty = self.ready() == 0;
            let mut is_notified = self.deliver(old, events)?;
            // What did not fit into the ring may fit into the batch.
            while self.ring.has_overflow() && events.room() != 0 && !self.needs_pause {
                let flushed = self.flush();
                self.tolerate(flushed)?;
                is_notified |= self.deliver(u32::MAX, events)?;
            }
            let shown = self.show_to_host();
            self.tolerate(shown)?;
            let needs_pause = std::mem::take(&mut self.needs_pause);
            if is_notified || !events.as_slice().is_empty() {
                return Ok(());
            }
            if needs_pause && timeout != Some(Duration::ZERO) {
                self.pause(&mut timeout)?;
                continue;
            }
            match entered {
                Err(error) if error.raw_os_error() == Some(libc::ETIME) => return Ok(()),
                Err(error) => return Err(error),
                Ok(()) => {}
            }
            // The rest: completions that are dropped, and calls that submitted something and so do
            // not report how their wait ended.
            match timeout {
                _ if old != 0 => {}
                None if is_empty && unsubmitted => return Err(io::ErrorKind::Interrupted.into()),
                None => {}
                Some(_) => return Ok(()),
            }
        }
    }

    fn after_fork(&mut self) -> io::Result<()> {
        let (requests, completions) = self.ring.sizes();
        // This unmaps and closes the parent's rings, which does not change them.
        self.ring = Ring::new(requests, completions).map_err(explain)?;
        self.remote_cancel = RemoteCancel::new(self.ring.as_fd().as_raw_fd());
        self.process = Process::this();
        self.moved.clear();
        self.slots.clear();
        self.files = FileTracker::default();
        self.to_renew.clear();
        self.renewed.clear();
        (self.needs_pause, self.notifier_ended) = (false, false);
        self.hosted.set(false);
        self.notify.after_fork()?;
        self.watch_notifier()
    }

    fn notifier(&self) -> Notifier {
        self.notify.notifier()
    }

    fn releaser(&self) -> Option<Releaser> {
        Some(Releaser::new(self.remote_cancel.clone()))
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        if !self.process.is_this() {
            return Err(failure(
                io::ErrorKind::Other,
                "these rings belong to the parent process: call `after_fork` first",
            ));
        }
        self.hosted.set(true);
        self.show_to_host()?;
        Ok(self.ring.as_fd())
    }
}

/// Whether the kernel refused for lack of memory, or of room for completions: the same call may
/// succeed later.
fn is_temporary(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY))
}

/// Returns the `user_data` of a request: the fd number and the number of the request.
fn user_data(fd: RawFd, request: u32) -> u64 {
    u64::from(request) << 32 | u64::from(fd as u32)
}

/// Explains why the rings were refused.
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

impl Drop for Uring {
    /// Ends all requests, because the rings are freed some time after they are closed, and the
    /// files with them.
    fn drop(&mut self) {
        // In a child of a fork they belong to the parent.
        if !self.process.is_this() {
            return;
        }
        self.remote_cancel.close();
        self.end_all();
    }
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring")
            .field("ring", &self.ring)
            .field("notify", &self.notify)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
