//! [`Claim`] takes a real-time signal for one loop; the loops of a thread share which signals are
//! in use, what was blocked before, and SIGIO.

use crate::sys::signalfd::{SignalSet, is_default, thread_id};
use crate::sys::syscall::failure;
use std::cell::Cell;
use std::io;
use std::marker::PhantomData;

/// The first real-time signal that is tried, counted from `SIGRTMIN`, which follows those that the
/// C library keeps for itself. Many programs that need one signal take the first; libkqueue and
/// lighttpd take the second; service managers send the next few to the first process of a
/// container.
const FIRST_OFFSET: libc::c_int = 7;

/// Sets of signals as bits. MIPS has 127 signals.
type Bits = u128;

#[derive(Clone, Copy)]
struct Thread {
    /// The signals of the thread's loops.
    used: Bits,
    /// Those signals, and SIGIO, that were blocked before a loop blocked them.
    blocked_before: Bits,
    /// How often the kernel had no room for a signal.
    overflows: u32,
}

thread_local! {
    static THREAD: Cell<Thread> = const {
        Cell::new(Thread {
            used: 0,
            blocked_before: 0,
            overflows: 0,
        })
    };
}

/// The real-time signal of one loop. It and SIGIO are blocked on this thread while this exists.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) signal: libc::c_int,
    /// The thread that the signals are sent to.
    pub(super) thread: libc::pid_t,
    /// Whether the end of the claim unblocks what it has blocked.
    pub(super) unblocks: bool,
    /// The mask and the thread-local are this thread's.
    _stays: PhantomData<*const ()>,
}

impl Claim {
    /// Takes the first signal that no loop of this thread has and that has no handler.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub(super) fn new() -> io::Result<Claim> {
        let mut state = THREAD.get();
        let (first, last) = (libc::SIGRTMIN() + FIRST_OFFSET, libc::SIGRTMAX());
        let signal = (first..=last)
            .find(|&signal| state.used & bit(signal) == 0 && is_default(signal))
            .ok_or_else(|| {
                failure(
                    io::ErrorKind::Other,
                    "no real-time signal is left on this thread: drop another loop that uses one, or choose another backend",
                )
            })?;
        let before = SignalSet::of(&[signal, libc::SIGIO])?.block()?;
        if before.contains(signal) {
            state.blocked_before |= bit(signal);
        }
        if state.used == 0 && before.contains(libc::SIGIO) {
            state.blocked_before |= bit(libc::SIGIO);
        }
        state.used |= bit(signal);
        THREAD.set(state);
        Ok(Claim {
            signal,
            thread: thread_id(),
            unblocks: true,
            _stays: PhantomData,
        })
    }

    /// Returns the signals that the loop reads.
    pub(super) fn signals(&self) -> io::Result<SignalSet> {
        SignalSet::of(&[self.signal, libc::SIGIO])
    }

    /// Whether this is the thread that made the claim, and not its copy in the child of a fork.
    pub(super) fn is_ours(&self) -> bool {
        self.thread == thread_id()
    }

    /// Makes signals come to this thread from now on, in the child of a fork.
    pub(super) fn after_fork(&mut self) {
        self.thread = thread_id();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = THREAD.get();
        state.used &= !bit(self.signal);
        if !self.unblocks {
            // The last loop must not unblock SIGIO either: a file that still sends signals sends it
            // when there is no more room.
            state.blocked_before |= bit(libc::SIGIO);
        }
        let mut unblocked = Vec::new();
        for signal in [self.signal, libc::SIGIO] {
            let is_last = signal == self.signal || state.used == 0;
            if is_last && state.blocked_before & bit(signal) == 0 {
                unblocked.push(signal);
            }
            if is_last {
                state.blocked_before &= !bit(signal);
            }
        }
        THREAD.set(state);
        if self.unblocks {
            // Errors are ignored: blocked signals do no harm.
            let _ = SignalSet::of(&unblocked).and_then(|set| set.unblock());
        }
    }
}

/// Whether a loop may take this signal. SIGIO, which every loop reads, is not among these.
#[cfg(feature = "signal")]
pub(crate) fn may_use(signal: libc::c_int) -> bool {
    (libc::SIGRTMIN() + FIRST_OFFSET..=libc::SIGRTMAX()).contains(&signal)
}

/// Returns how often a signal of this thread was lost. A loop that reads another number than the
/// last time has to poll every fd, whichever loop read the SIGIO.
pub(super) fn overflows() -> u32 {
    THREAD.get().overflows
}

/// Notes that a loop of this thread has read a SIGIO.
pub(super) fn note_overflow() {
    let mut state = THREAD.get();
    state.overflows = state.overflows.wrapping_add(1);
    THREAD.set(state);
}

fn bit(signal: libc::c_int) -> Bits {
    1 << (signal - 1)
}
