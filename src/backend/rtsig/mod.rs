//! The backend over real-time signals: Linux and Android, only by choice.
//!
//! **What the kernel offers.** A file with `O_ASYNC`, an owner (`F_SETOWN_EX`) and a signal
//! (`F_SETSIG`) queues that signal to its owner whenever its readiness changes, and the signal
//! carries the fd number (fcntl(2)). Registering is done once; interests and armed bits are in our
//! own memory; a wait costs what happens.
//!
//! **Where it is odd** (what is not in fcntl(2) or signal(7) was tried on Linux 6.18).
//! - Nothing is queued for what is ready already, and a signal is sent for every packet, whatever
//!   the interest. The queue is limited per *user* (`RLIMIT_SIGPENDING`). When it is full there is
//!   a plain SIGIO, which names no fd. The kernel has no way to queue one signal per fd, which
//!   would limit the queue by itself (Chandra and Mosberger, 2001).
//! - `si_band` is a guess made when the signal was sent: a pipe whose writer closed is "input".
//!   Signals of a closed fd stay queued, and name whatever file has its number by then. The number
//!   is the one that was armed, whatever duplicates there are, even when it is closed.
//! - Silent files: an eventfd, a timerfd or a regular file accepts `F_SETFL` with `O_ASYNC`, and
//!   ignores the flag. A terminal does not report a hang-up. A socket sends no signal for the
//!   process's *own* `shutdown`, which may make the socket readable. An AF_UNIX stream reports room
//!   only after a write has failed.
//! - Owner, signal and flag belong to the open file: a child of a fork, another loop, or a
//!   duplicate may take them over. Without `F_SETSIG` a file's owner still gets SIGURG for an
//!   out-of-band byte, which is ignored by default.
//! - A signal that reaches a thread that does not block it ends the process.
//!
//! **What we do about it.**
//! - A signal is only a hint. Events come from poll(2), which is called once for all hinted fds and
//!   for those that were added, modified or re-armed since the last wait. See `hint_list.rs`.
//! - The owner is the loop's thread (`F_OWNER_TID`). So a signal is queued for this thread alone,
//!   whatever other threads block, and does not outlive the thread. It and SIGIO are blocked here
//!   from `new` to drop, which first makes every file stop and reads what is queued. A file counts
//!   as the registered one only if its owner and its signal are this loop's. The inode is not
//!   enough, because a FIFO can be opened twice. If a registered number was closed or given to
//!   another file, a duplicate may still send signals: then both signals stay blocked.
//! - Loops of two threads use the same signal and never receive each other's. Two loops of one
//!   thread take two signals, and report a SIGIO to each other (`thread.rs`). Signals with a
//!   handler are skipped. If a process sends this signal or SIGIO to the whole *process*, the loop
//!   may have read it.
//! - Signals are relied on for pipes, TCP, UDP and AF_UNIX only. Every other file, every file with
//!   another owner, and every socket that waits for room is polled in each wait, beside the
//!   signals. So a child of a fork, or a second loop, takes no file away from the first.
//! - After a SIGIO the whole queue is read, and every fd is polled.
//! - After its own `shutdown` the reactor re-arms the socket, so that it is polled. A `shutdown`
//!   that the user makes on another socket (behind an `AsyncFd`, or attached to the callback loop)
//!   is not noticed: it does not wake a task that waits to read there; the next action of the peer
//!   does. Then add or modify the fd again, or choose another backend.
//!
//! Signals are read from a signalfd, many at once, and not by `sigtimedwait`, which reads one at a
//! time and cannot wait for fds. A wait is one `ppoll` if what was re-armed is ready, otherwise
//! `ppoll`, a read, and a second `ppoll` for any number of signals.
//!
//! **What else is affected.** Threads and programs (by `std::process::Command` too) that the loop's
//! thread starts inherit its mask: both signals are blocked there as well. Before a program
//! replaces itself by exec(3) it should drop the loop, or the armed files go on sending signals.
//!
//! lighttpd's version trusted `si_band` and the fd number, read one event per call, applied no
//! interest to signals, overwrote the file's other flags, and owned files by process. None of that
//! is here.
//!
//! **Versions.** `F_SETOWN_EX` is Linux 2.6.32, `signalfd` 2.6.27. 32-bit Android has no room for
//! real-time signals in its sets: `EINVAL`.

use super::identity::{FileTracker, Identity};
use super::{Backend, Capabilities, Events, Interest, Notifier, NotifyFd, Token, Trigger};
use crate::sys::poll::{poll, poll_counting_down};
use crate::sys::signalfd::{Pending, SignalFd};
use crate::sys::syscall::{failure, retry};
use hint_list::{HintList, Slot};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;
#[cfg(feature = "signal")]
pub(crate) use thread::may_use;
use thread::{Claim, note_overflow, overflows};

mod hint_list;
mod sigio;
mod thread;

/// Signals that are read at once. If exactly as many come, a second read follows, which may find
/// nothing.
const BATCH: usize = 100;

/// Batches that are read in a row: enough for a busy turn. The next turn reads the rest.
const BATCHES: usize = 16;

/// Batches after an overflow, when the queue should be empty soon: more than a queue of the usual
/// length.
const FLUSH_BATCHES: usize = 4096;

pub(super) struct Rtsig {
    signals: SignalFd,
    notify: NotifyFd,
    table: HintList,
    files: FileTracker,
    /// The signals of the last read.
    pending: Vec<Pending>,
    /// The value of `overflows` when every fd was last polled.
    overflows: u32,
    /// The last field, so that it is dropped last: signals stay blocked until then.
    claim: Claim,
}

impl Rtsig {
    pub(super) fn new(capacity: usize) -> io::Result<Rtsig> {
        // A sandbox that forbids the call should be noticed before a runtime relies on it.
        retry(|| poll_counting_down(&mut [], &mut Some(Duration::ZERO)))?;
        Rtsig::build(capacity, NotifyFd::new()?)
    }

    /// As `new`, with a given notifier.
    fn build(capacity: usize, notify: NotifyFd) -> io::Result<Rtsig> {
        let claim = Claim::new()?;
        let signals = SignalFd::new(&claim.signals()?)?;
        let [first, second] = [signals.as_fd(), notify.as_fd()].map(|fd| fd.as_raw_fd());
        // Not with `vec!`, which clones the structure in 5 kB of code.
        let mut pending = Vec::new();
        pending.resize_with(BATCH, Pending::none);
        Ok(Rtsig {
            table: HintList::new(first, second, capacity),
            files: FileTracker::default(),
            signals,
            notify,
            pending,
            overflows: overflows(),
            claim,
        })
    }

    /// Makes the file of a forgotten registration stop sending signals.
    fn release(&mut self, slot: &Slot) {
        self.files.forget(slot.number, &slot.file);
        if !slot.hints {
            return;
        }
        // The other file may belong to this loop too, as a duplicate of a file that is registered
        // under another number.
        let is_same = Identity::of(slot.number)
            .is_ok_and(|now| self.files.is_same(slot.number, &slot.file, &now));
        let Claim { signal, thread, .. } = self.claim;
        if !is_same || !sigio::disable(slot.number, signal, thread) {
            // The number was closed, or names another file. A duplicate may be open somewhere, and
            // send signals.
            self.claim.unblocks = false;
        }
    }

    /// Reads the pending signals; each is a hint.
    fn read_signals(&mut self) -> io::Result<()> {
        let (mut batch, mut most) = (0, BATCHES);
        while batch < most {
            let count = self.signals.read(&mut self.pending)?;
            for pending in &self.pending[..count] {
                if pending.signal() == libc::SIGIO {
                    note_overflow();
                    most = FLUSH_BATCHES;
                } else {
                    self.table.hint(pending.fd());
                }
            }
            if count < BATCH {
                break;
            }
            batch += 1;
        }
        self.notice_overflow();
        Ok(())
    }

    /// Polls what signals have hinted at since the last poll, without blocking.
    fn poll_hinted(&mut self) -> io::Result<()> {
        let hinted = self.table.hinted_fds();
        if !hinted.is_empty() {
            retry(|| poll(hinted, Some(Duration::ZERO)))?;
        }
        Ok(())
    }

    /// Polls every fd after a signal was lost, by this loop or another one of this thread.
    fn notice_overflow(&mut self) {
        if self.overflows != overflows() {
            self.overflows = overflows();
            self.table.hint_all();
        }
    }
}

impl Backend for Rtsig {
    fn name(&self) -> &str {
        "rtsig"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edge: true,
            level: true,
            oneshot: true,
            // Signals need no arming, but they do not cover everything that a reader or writer
            // waits for; see the head.
            rearm: true,
            // The kernel's part of a registration ends with the file; the list has to be updated.
            close_removes: false,
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
        let Claim { signal, thread, .. } = self.claim;
        let mut file = Identity::of(fd)?;
        if let Some(known) = self.table.get(fd) {
            let is_same = self.files.is_same(fd, &known.file, &file)
                && (!known.hints || sigio::is_enabled(fd, signal, thread));
            if is_same {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            self.claim.unblocks &= !self.table.forget_number(fd);
        }
        let hints = sigio::sends_signals(fd, file.kind) && sigio::enable(fd, signal, thread);
        if !hints {
            // The owner and the signal identify the file as well.
            self.files.note(fd, &mut file);
        }
        self.table.add((fd, file, hints), token, interest, trigger);
        Ok(())
    }

    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        self.table.modify(fd, token, interest, trigger)
    }

    fn rearm(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.table.rearm(fd, token, interest)
    }

    fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        let slot = self.table.remove(fd, token)?;
        self.release(&slot);
        Ok(())
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        self.notice_overflow();
        let (mut left, mut is_last) = (timeout, false);
        if self.table.is_due() {
            left = Some(Duration::ZERO);
        }
        loop {
            let seen = poll_counting_down(self.table.fds(), &mut left)?;
            let is_signalled = self.table.is_signalled();
            let is_notified = self.table.is_notified();
            let is_ready = self.table.unlist_idle();
            if is_notified {
                self.notify.drain();
            }
            if is_signalled {
                self.read_signals()?;
            }
            if is_ready || is_notified {
                self.poll_hinted()?;
                self.claim.unblocks &= !self.table.deliver(events);
                return Ok(());
            }
            if seen == 0 || is_last {
                return Ok(());
            }
            // There were only signals: poll what they hint at, once more when the time is up.
            // Signals after that are for the next wait.
            is_last = left == Some(Duration::ZERO);
        }
    }

    fn after_fork(&mut self) -> io::Result<()> {
        // The files are left alone: they send signals to the parent.
        self.claim.after_fork();
        self.signals = SignalFd::new(&self.claim.signals()?)?;
        self.table.clear(self.signals.as_fd().as_raw_fd());
        self.files = FileTracker::default();
        self.notify.after_fork()
    }

    fn notifier(&self) -> Notifier {
        self.notify.notifier()
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        Err(failure(
            io::ErrorKind::Unsupported,
            "real-time signals have no kernel object that another loop could watch: use epoll",
        ))
    }
}

impl Drop for Rtsig {
    fn drop(&mut self) {
        // In the child of a fork, what is registered belongs to the parent.
        if !self.claim.is_ours() {
            return;
        }
        let table = std::mem::replace(&mut self.table, HintList::new(-1, -1, 0));
        for slot in table.slots() {
            self.release(slot);
        }
        // Pending signals would end the process when they are unblocked, so they are read first. A
        // SIGIO may be meant for another loop of this thread.
        while let Ok(count @ 1..) = self.signals.read(&mut self.pending) {
            let mut read = self.pending[..count].iter();
            if read.any(|pending| pending.signal() == libc::SIGIO) {
                note_overflow();
            }
        }
    }
}

impl fmt::Debug for Rtsig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rtsig")
            .field("signal", &self.claim.signal)
            .field("thread", &self.claim.thread)
            .field("notify", &self.notify)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
