//! Signal handlers that count signals and wake a loop (feature `signal`), and the numbers of the
//! signals.
//!
//! An [`Action`] belongs to one signal and one loop. The handler of `signal-hook-registry` runs it
//! on whatever thread the signal interrupts, between any two instructions. So an action makes only
//! two steps, both async-signal-safe:
//!
//! 1. It adds one to a [`Counter`], by atomic operations.
//! 2. It writes to the loop's [`WakeFd`], a number that stays open because the action owns it.
//!
//! It takes no lock, allocates nothing and drops nothing. Adding and removing actions locks, waits
//! until no handler runs an older set of actions, and drops removed actions on the thread that
//! removed them. The handler of `signal-hook-registry` preserves `errno`.
//!
//! # Fork
//!
//! The child of a fork has a copy of every action, and of the file of every `WakeFd`. There an
//! action counts from zero ([`Counter`]), and does not write before [`WakeFd::after_fork`] has put
//! a file of the child's own under the number. A copy that is dropped before that stays registered:
//! the lock that guards the actions may be held by a thread that the child does not have.

use super::fork;
use super::syscall::{check_size, retry};
use signal_hook_registry::SigId;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub(crate) use libc::{
    SIGALRM, SIGBUS, SIGCHLD, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGIO, SIGKILL, SIGPIPE, SIGQUIT,
    SIGSEGV, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};

/// How many times a signal has arrived in this process.
///
/// The upper half is the process that has counted ([`fork::process`]), so that what the parent has
/// counted is not reported in the child of a fork. The lower half is the count, which wraps.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Counts one signal. Called by signal handlers.
    fn add(&self) {
        let this = fork::process();
        let mut before = self.0.load(Ordering::Relaxed);
        loop {
            let count = if process_of(before) == this {
                count_of(before).wrapping_add(1)
            } else {
                1
            };
            let now = u64::from(this) << 32 | u64::from(count);
            let (order, failed) = (Ordering::SeqCst, Ordering::Relaxed);
            match self.0.compare_exchange_weak(before, now, order, failed) {
                Ok(_) => return,
                Err(other) => before = other,
            }
        }
    }

    /// Returns a mark from which [`since`](Counter::since) counts.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.0.load(Ordering::SeqCst))
    }

    /// Returns how many signals have arrived in this process since the mark was set, and sets it to
    /// the present.
    pub(crate) fn since(&self, mark: &mut Mark) -> u32 {
        let now = self.0.load(Ordering::SeqCst);
        if process_of(now) != fork::process() {
            return 0;
        }
        let seen = match process_of(mark.0) == process_of(now) {
            true => count_of(mark.0),
            false => 0,
        };
        *mark = Mark(now);
        count_of(now).wrapping_sub(seen)
    }
}

/// A value of a [`Counter`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

fn process_of(value: u64) -> u32 {
    (value >> 32) as u32
}

fn count_of(value: u64) -> u32 {
    value as u32
}

/// The descriptor of a loop that signal handlers write to: an eventfd, or a pipe where the system
/// has none or refuses it. The loop watches [`as_fd`](AsFd::as_fd) for reading.
#[derive(Debug)]
pub(crate) struct WakeFd {
    receive: OwnedFd,
    /// `None` for an eventfd, which is both ends.
    send: Option<OwnedFd>,
    /// The process that the file belongs to. In a child that has not called `after_fork` the
    /// numbers name the parent's file.
    process: AtomicU32,
}

impl WakeFd {
    pub(crate) fn new() -> io::Result<WakeFd> {
        fork::watch();
        let (receive, send) = make_ends()?;
        Ok(WakeFd::of(receive, send))
    }

    fn of(receive: OwnedFd, send: Option<OwnedFd>) -> WakeFd {
        WakeFd {
            receive,
            send,
            process: AtomicU32::new(fork::process()),
        }
    }

    /// Makes the descriptor readable. Async-signal-safe.
    ///
    /// A write that fails finds the counter or the pipe full, so the descriptor is readable
    /// already.
    pub(crate) fn wake(&self) {
        let one = 1_u64.to_ne_bytes();
        let (fd, len) = match &self.send {
            None => (&self.receive, one.len()),
            Some(send) => (send, 1),
        };
        // SAFETY: at least `len` bytes from the pointer on belong to a local.
        let _ =
            retry(|| check_size(unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), len) }));
    }

    /// Makes the descriptor unreadable until the next wake. The caller looks at the counters
    /// afterwards.
    pub(crate) fn drain(&self) {
        let mut buf = [0_u8; 128];
        let (fd, to, len) = (self.receive.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len());
        // An eventfd returns 8 bytes and is empty then. A pipe may hold more than the buffer.
        // SAFETY: `len` bytes from the pointer on belong to a local.
        while retry(|| check_size(unsafe { libc::read(fd, to, len) })).is_ok_and(|n| n == len) {}
    }

    /// Puts a new file under the same numbers, in the child of a fork. Actions write to it from now
    /// on. The mechanism has to watch the descriptor again.
    ///
    /// # Errors
    ///
    /// `EMFILE` and the like. The numbers may name the parent's file then, and actions do not
    /// write.
    pub(crate) fn after_fork(&self) -> io::Result<()> {
        let (receive, send) = match self.send {
            None => make_ends()?,
            Some(_) => make_pipe()?,
        };
        self.process.store(0, Ordering::SeqCst);
        if let (Some(old), Some(new)) = (&self.send, &send) {
            fork::replace(old.as_fd(), new.as_fd())?;
        }
        fork::replace(self.as_fd(), receive.as_fd())?;
        self.process.store(fork::process(), Ordering::SeqCst);
        Ok(())
    }

    /// Whether the file belongs to this process.
    fn is_ours(&self) -> bool {
        self.process.load(Ordering::SeqCst) == fork::process()
    }
}

impl AsFd for WakeFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receive.as_fd()
    }
}

type Ends = (OwnedFd, Option<OwnedFd>);

/// Makes an eventfd, or a pipe if the system refuses it.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "illumos"
))]
fn make_ends() -> io::Result<Ends> {
    match super::eventfd::eventfd() {
        Err(error) if super::syscall::is_refused(&error) => make_pipe(),
        made => Ok((made?, None)),
    }
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "illumos"
)))]
fn make_ends() -> io::Result<Ends> {
    make_pipe()
}

fn make_pipe() -> io::Result<Ends> {
    let (receive, send) = super::pipe::pipe()?;
    Ok((receive, Some(send)))
}

/// What signal handlers do for one loop and one signal. Dropping it removes the action: afterwards
/// no handler runs it.
#[derive(Debug)]
pub(crate) struct Action {
    id: SigId,
    /// The action owns it as well, so the number stays open while a handler may write to it.
    wake: Arc<WakeFd>,
}

impl Action {
    /// Counts this signal from now on, and wakes a loop each time. Replaces the default action of
    /// the signal in this process, and calls the handler that was installed before.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a number that is no signal, or that the C library keeps for itself.
    ///
    /// # Panics
    ///
    /// If the signal is SIGKILL, SIGSTOP, SIGILL, SIGFPE or SIGSEGV.
    pub(crate) fn new(signal: i32, counter: Arc<Counter>, wake: Arc<WakeFd>) -> io::Result<Action> {
        let written = wake.clone();
        let action = move || {
            counter.add();
            if written.is_ours() {
                written.wake();
            }
        };
        // SAFETY: the action is async-signal-safe: atomic operations, and one write(2) to a number
        // that its own `Arc` keeps open. It allocates, locks and drops nothing, and does not panic.
        let id = unsafe { signal_hook_registry::register(signal, action) }?;
        Ok(Action { id, wake })
    }
}

impl Drop for Action {
    fn drop(&mut self) {
        if self.wake.is_ours() {
            signal_hook_registry::unregister(self.id);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::fork::in_child;

    fn is_readable(wake: &WakeFd) -> bool {
        let mut entry = [libc::pollfd {
            fd: wake.as_fd().as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }];
        crate::sys::poll::poll(&mut entry, Some(std::time::Duration::ZERO)).unwrap() == 1
    }

    fn each_kind() -> [WakeFd; 2] {
        let (receive, send) = make_pipe().unwrap();
        [WakeFd::new().unwrap(), WakeFd::of(receive, send)]
    }

    #[test]
    fn wake_fd_is_readable_from_a_wake_to_the_drain() {
        for wake in each_kind() {
            for wakes in [1, 128, 129, 100_000] {
                assert!(!is_readable(&wake), "{wake:?}");
                (0..wakes).for_each(|_| wake.wake());
                assert!(is_readable(&wake), "{wake:?}");
                wake.drain();
            }
            wake.drain();
            assert!(!is_readable(&wake), "{wake:?}");
        }
    }

    #[test]
    fn counter_counts_from_each_mark() {
        let counter = Counter::default();
        let (mut one, mut two) = (counter.mark(), counter.mark());
        assert_eq!(counter.since(&mut one), 0);
        counter.add();
        assert_eq!((counter.since(&mut one), counter.since(&mut one)), (1, 0));
        counter.add();
        assert_eq!((counter.since(&mut one), counter.since(&mut two)), (1, 2));
        let mut late = counter.mark();
        assert_eq!(counter.since(&mut late), 0);
    }

    #[test]
    fn counter_wraps() {
        let process = u64::from(fork::process()) << 32;
        let counter = Counter(AtomicU64::new(process | u64::from(u32::MAX)));
        let mut mark = counter.mark();
        counter.add();
        counter.add();
        assert_eq!(counter.since(&mut mark), 2);
    }

    #[test]
    fn child_counts_from_zero_and_wakes_no_loop_of_the_parent() {
        fork::watch();
        for wake in each_kind() {
            let counter = Counter::default();
            let mut mark = counter.mark();
            counter.add();
            let seen = in_child(|| {
                let before = (wake.is_ours(), counter.since(&mut mark));
                counter.add();
                let early = counter.since(&mut mark);
                wake.after_fork().map_err(|error| error.to_string())?;
                wake.wake();
                match (before, early, wake.is_ours(), is_readable(&wake)) {
                    ((false, 0), 1, true, true) => Ok(()),
                    seen => Err(format!("{seen:?}")),
                }
            });
            assert_eq!(seen.unwrap(), Ok(()));
            assert!(wake.is_ours() && !is_readable(&wake), "{wake:?}");
            assert_eq!(counter.since(&mut mark), 1);
        }
    }
}
