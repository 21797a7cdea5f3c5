//! Real-time signals: Linux and Android, on request only.
//!
//! **What the kernel offers.** A file with `O_ASYNC`, an owner (`F_SETOWN_EX`) and a signal (`F_SETSIG`) queues that
//! signal to its owner whenever its readiness changes, and the signal carries the fd number (fcntl(2)). Registering is
//! done once, interests and arming are our own memory, a wait costs what happens.
//!
//! **Where it is odd** (what is not in fcntl(2) or signal(7) was tried on Linux 6.18).
//! - Nothing is queued for what is ready already, and a signal is sent for every packet, whatever is asked for. The queue
//!   is bounded per *user* (`RLIMIT_SIGPENDING`); when it is full there is a plain SIGIO, which names no fd. The
//!   kernel has no way to queue one signal per fd, which would bound it by itself (Chandra and Mosberger, 2001).
//! - `si_band` is a guess made when the signal was sent: a pipe whose writer closed is "input". Signals of a closed
//!   fd stay queued, and hit whoever has its number by then. The number is the one that was armed, whatever duplicates
//!   there are and even when it is closed.
//! - Silent files: an eventfd, a timerfd or a regular file takes `F_SETFL` with `O_ASYNC`, and leaves the flag out. A terminal
//!   does not tell of a hang-up. Sockets send no signal for `shutdown` *of their own*: whoever waits on the same socket
//!   is not woken by it. An AF_UNIX stream tells of room only after a write has failed.
//! - Owner, signal and flag belong to the open file: a child of a fork, another loop, or a duplicate takes them away.
//!   Without a signal of its own a file's owner still gets SIGURG for an out-of-band byte, ignored by default.
//! - A signal that reaches a thread which does not block it ends the process.
//!
//! **What we do about it.**
//! - A signal is a hint, no more. What is reported comes from poll(2), which is asked about the hinted fds, all at
//!   once, and about those that were added, modified or re-armed since the last wait. See `table.rs`.
//! - Owner is the loop's thread (`F_OWNER_TID`): a signal is queued for this thread alone and no other can get it,
//!   whatever the others block, nor does it outlive the thread. It and SIGIO are blocked here from `new` to drop,
//!   which first has every file stop and reads what is queued. Where a registered number was closed or given to another
//!   file, somebody may hold a duplicate that signals still: both stay blocked then.
//! - Two loops of two threads use the same signal and never see each other's. Two loops of one thread take two
//!   signals, and tell each other of a SIGIO (`thread.rs`). Signals with a handler are passed over. Who sends this
//!   signal or SIGIO to the *process* may find that the loop has read it.
//! - Signals are relied on for pipes, TCP, UDP and AF_UNIX only. Every other file, every file that has an owner
//!   already, and whoever waits for room is polled in each wait, beside the signals. So a child of a fork, or a second loop, takes
//!   nothing away from who was first.
//! - SIGIO: the queue is read dry, and every fd is looked at.
//! - After a `shutdown` of its own the reactor re-arms the socket, so that it is looked at. A `shutdown` that the user makes on
//!   a socket of his own (behind an `AsyncFd`, or attached to the callback loop) is not seen: who waits to read there is
//!   not woken by it, but by the next thing that the peer does. Have it added or modified again, or choose another backend.
//!
//! Signals are read from a signalfd, many at once, and not by `sigtimedwait`, which takes one at a time and cannot wait for
//! fds: a wait is one `ppoll` when what was re-armed is ready, else `ppoll`, a read, and a second `ppoll` for any
//! number of signals.
//!
//! **What else is touched.** Threads and, by `std::process::Command` too, programs that the loop's thread starts inherit
//! its mask: both signals are blocked there as well. A program that replaces this one by exec(3) should find the loop
//! dropped: what was armed goes on signalling.
//!
//! lighttpd's version of this trusted `si_band` and the fd number, took one event a call, applied no interest to signals,
//! overwrote the file's other flags, and owned files by process; none of that is here.
//!
//! **Versions.** `F_SETOWN_EX` is Linux 2.6.32, `signalfd` 2.6.27. 32-bit Android has no room for real-time signals in its
//! sets: `EINVAL`.

use super::{Backend, Capabilities, Events, Interest, Notifier, NotifyFd, Token, Trigger};
use crate::sys::fd::{FileId, identify};
use crate::sys::poll::{poll, poll_on};
use crate::sys::signal::{Pending, SignalFd};
use crate::sys::syscall::{failure, retry};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;
use table::{Slot, Table};
use thread::{Claim, note_overflow, overflows};

mod files;
mod table;
#[cfg(test)]
mod tests;
mod thread;

/// Signals that are read at once. As many as that cost a second read, which may find nothing: so no number that is likely
/// to be a number of clients.
const BATCH: usize = 100;

/// Batches that are read in a row: enough for a busy turn, and what is left comes in the next one.
const BATCHES: usize = 16;

/// The same after an overflow, when the queue is to be empty soon: more than a queue of the usual length.
const FLUSH_BATCHES: usize = 4096;

pub(super) struct Rtsig {
    signals: SignalFd,
    notify: NotifyFd,
    table: Table,
    /// What was read last.
    pending: Vec<Pending>,
    /// `overflows` when everything was looked at.
    overflows: u32,
    /// Last, so that it is dropped last: signals stay blocked until then.
    claim: Claim,
}

impl Rtsig {
    pub(super) fn new(capacity: usize) -> io::Result<Rtsig> {
        // A sandbox that forbids the call should be known before anybody relies on it.
        retry(|| poll_on(&mut [], &mut Some(Duration::ZERO)))?;
        Rtsig::build(capacity, NotifyFd::new()?)
    }

    /// As `new`, with a given notifier.
    fn build(capacity: usize, notify: NotifyFd) -> io::Result<Rtsig> {
        let claim = Claim::new()?;
        let signals = SignalFd::new(&claim.signals()?)?;
        let [first, second] = [signals.as_fd(), notify.as_fd()].map(|fd| fd.as_raw_fd());
        // Not by `vec!`, which clones the structure in 5 kB of code.
        let mut pending = Vec::new();
        pending.resize_with(BATCH, Pending::none);
        Ok(Rtsig {
            table: Table::new(first, second, capacity),
            signals,
            notify,
            pending,
            overflows: overflows(),
            claim,
        })
    }

    /// Has the file of a forgotten registration stop to signal.
    fn release(&mut self, slot: &Slot) {
        if !slot.hints {
            return;
        }
        if FileId::of(slot.number).ok() == Some(slot.file) {
            files::release(slot.number);
        } else {
            // It was closed, or is another file. A duplicate may live on somewhere, and signal.
            self.claim.unblocks = false;
        }
    }

    /// Reads what is pending; every signal is a hint.
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

    /// Looks at what signals have hinted at since the last look, without blocking.
    fn look_at_hinted(&mut self) -> io::Result<()> {
        let hinted = self.table.hinted_fds();
        if !hinted.is_empty() {
            retry(|| poll(hinted, Some(Duration::ZERO)))?;
        }
        Ok(())
    }

    /// Looks at everything after a signal was lost, one that this loop has heard of or another of this thread.
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
            // Signals come by themselves, but not for all that a reader or writer waits for; see the head.
            rearm: true,
            // The kernel's part of a registration goes with the file, ours has to be told.
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
        let (file, kind) = identify(fd)?;
        if let Some(known) = self.table.get(fd) {
            if known.file == file {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            self.claim.unblocks &= !self.table.forget_number(fd);
        }
        let hints = files::tells(fd, kind) && files::ask(fd, self.claim.signal, self.claim.thread);
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
        loop {
            let seen = poll_on(self.table.fds(), &mut left)?;
            let is_signalled = self.table.is_signalled();
            let is_notified = self.table.is_notified();
            let is_ready = self.table.settle();
            if is_notified {
                self.notify.drain();
            }
            if is_signalled {
                self.read_signals()?;
            }
            if is_ready || is_notified {
                self.look_at_hinted()?;
                self.claim.unblocks &= !self.table.deliver(events);
                return Ok(());
            }
            if seen == 0 || is_last {
                return Ok(());
            }
            // There were signals only: look at what they hint at, once more when the time is up. What is signalled
            // after that is the next wait's.
            is_last = left == Some(Duration::ZERO);
        }
    }

    fn after_fork(&mut self) -> io::Result<()> {
        // Nothing is asked of the files: they signal to the parent.
        self.claim.after_fork();
        self.signals = SignalFd::new(&self.claim.signals()?)?;
        self.table.clear(self.signals.as_fd().as_raw_fd());
        self.notify.after_fork()
    }

    fn notifier(&self) -> Notifier {
        self.notify.notifier()
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        Err(failure(
            io::ErrorKind::Unsupported,
            "signals have no kernel object that another loop could watch for all that they do not tell",
        ))
    }
}

impl Drop for Rtsig {
    fn drop(&mut self) {
        // In the child of a fork: what is registered is the parent's.
        if !self.claim.is_ours() {
            return;
        }
        let table = std::mem::replace(&mut self.table, Table::new(-1, -1, 0));
        for slot in table.slots() {
            self.release(slot);
        }
        // Unblocked they would end the process. A SIGIO may be meant for another loop of this thread.
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
