//! The signal mask of this thread, and a file that reads pending signals (Linux).

use super::syscall::{check, check_size, retry};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// A set of signals.
#[derive(Clone, Copy)]
pub(crate) struct SignalSet(libc::sigset_t);

impl SignalSet {
    /// Makes a set of these signals.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a number that is no signal, or has no room in the C library's sets: those of
    /// 32-bit Android end before the real-time signals.
    #[inline(never)]
    pub(crate) fn of(signals: &[libc::c_int]) -> io::Result<SignalSet> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: the pointer is to a whole set, which the call fills.
        check(unsafe { libc::sigemptyset(set.as_mut_ptr()) })?;
        // SAFETY: the call above has filled it.
        let mut set = unsafe { set.assume_init() };
        for &signal in signals {
            // SAFETY: the set is ours, and a signal that does not exist is an error.
            check(unsafe { libc::sigaddset(&mut set, signal) })?;
        }
        Ok(SignalSet(set))
    }

    /// Whether the set contains a signal.
    pub(crate) fn contains(&self, signal: libc::c_int) -> bool {
        // SAFETY: the set was filled when it was made; the call writes nothing.
        unsafe { libc::sigismember(&self.0, signal) == 1 }
    }

    /// Blocks these signals on the calling thread. Returns what was blocked before.
    pub(crate) fn block(&self) -> io::Result<SignalSet> {
        self.change(libc::SIG_BLOCK)
    }

    /// Unblocks these signals on the calling thread. Pending ones are delivered.
    pub(crate) fn unblock(&self) -> io::Result<SignalSet> {
        self.change(libc::SIG_UNBLOCK)
    }

    #[inline(never)]
    fn change(&self, how: libc::c_int) -> io::Result<SignalSet> {
        let mut before = SignalSet::of(&[])?;
        // SAFETY: both sets outlive the call.
        match unsafe { libc::pthread_sigmask(how, &self.0, &mut before.0) } {
            0 => Ok(before),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

impl fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signals = 1..=libc::SIGRTMAX();
        f.debug_set()
            .entries(signals.filter(|signal| self.contains(*signal)))
            .finish()
    }
}

/// One pending signal as a [`SignalFd`] reads it: the kernel's structure and nothing else.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Pending(libc::signalfd_siginfo);

impl Pending {
    /// An empty value, to be filled by a read.
    pub(crate) fn none() -> Pending {
        // SAFETY: all-zero bytes are a valid structure: integers only.
        Pending(unsafe { std::mem::zeroed() })
    }

    /// Returns the signal's number.
    pub(crate) fn signal(&self) -> libc::c_int {
        self.0.ssi_signo as libc::c_int
    }

    /// Returns the fd that the signal is about, as the sender filled it in.
    pub(crate) fn fd(&self) -> libc::c_int {
        self.0.ssi_fd
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending({}, fd {})", self.signal(), self.fd())
    }
}

/// A file that reads blocked signals of a set, those sent to the reading thread and those sent to
/// its process. It is readable while there are any.
#[derive(Debug)]
pub(crate) struct SignalFd {
    fd: OwnedFd,
}

impl SignalFd {
    /// Makes such a file.
    pub(crate) fn new(set: &SignalSet) -> io::Result<SignalFd> {
        let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
        // SAFETY: the set outlives the call.
        let fd = check(unsafe { libc::signalfd(-1, &set.0, flags) })?;
        // SAFETY: the call has just made this fd, and no other code has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(SignalFd { fd })
    }

    /// Reads as many signals as there are, or as there is room for, the lowest signals first.
    /// Returns how many. Does not block.
    pub(crate) fn read(&self, room: &mut [Pending]) -> io::Result<usize> {
        let (to, len) = (room.as_mut_ptr().cast(), size_of_val(room));
        // SAFETY: the pointer and the length are those of the room, whose items are the kernel's
        // structure and nothing else (`repr(transparent)`), and what is written there is whole
        // structures of integers (signalfd(2)).
        let read = retry(|| check_size(unsafe { libc::read(self.fd.as_raw_fd(), to, len) }));
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            read => Ok(read? / size_of::<Pending>()),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether the signal has no handler and is not ignored.
pub(crate) fn is_default(signal: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the new action is null, so nothing changes; the old one is written to `action`.
    let read = check(unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) });
    // SAFETY: the call has succeeded, so it filled the action.
    read.is_ok() && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_DFL
}

/// Returns the kernel's number of this thread. Makes the system call, because older C libraries
/// have no function for it.
pub(crate) fn thread_id() -> libc::pid_t {
    // SAFETY: the call takes nothing and always succeeds.
    unsafe { libc::syscall(libc::SYS_gettid) as libc::pid_t }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_returns_blocked_signals() {
        let signal = libc::SIGRTMAX() - 1;
        let set = SignalSet::of(&[signal]).unwrap();
        assert!(!set.block().unwrap().contains(signal));
        let file = SignalFd::new(&set).unwrap();
        let mut room = [Pending::none(); 4];
        assert_eq!(file.read(&mut room).unwrap(), 0);
        for _ in 0..3 {
            // SAFETY: the call only names this thread. Unless it is blocked the signal ends the
            // process.
            unsafe { libc::pthread_kill(libc::pthread_self(), signal) };
        }
        assert_eq!(file.read(&mut room).unwrap(), 3);
        assert_eq!(room[2].signal(), signal);
        assert_eq!(file.read(&mut room).unwrap(), 0);
        assert!(set.unblock().unwrap().contains(signal));
        assert!(!set.block().unwrap().contains(signal));
        set.unblock().unwrap();
    }

    #[test]
    fn set_of_a_number_that_is_no_signal_fails() {
        let error = SignalSet::of(&[4000]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        assert!(!is_default(4000));
        assert!(is_default(libc::SIGRTMAX() - 1));
    }
}
