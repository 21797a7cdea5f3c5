//! Starts threads that receive no signals.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::thread;

/// The signals that a fault of a thread raises on this thread. If a thread blocks them, the fault
/// ends the process without a message.
const FAULTS: &[libc::c_int] = &[
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGTRAP,
];

/// Starts a detached thread that blocks all signals except [`FAULTS`], so that the kernel delivers
/// signals of the process to other threads.
///
/// The caller blocks the signals itself until the thread exists, because the thread inherits them:
/// a thread that blocked them in its own code could receive one before.
pub(crate) fn spawn_without_signals(
    name: &str,
    f: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let builder = thread::Builder::new().name(name.to_owned());
    let _blocked = BlockedSignals::new();
    builder.spawn(f).map(drop)
}

/// Signals are blocked on this thread until this is dropped.
struct BlockedSignals {
    before: libc::sigset_t,
}

impl BlockedSignals {
    fn new() -> BlockedSignals {
        let mut all = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: the first call fills the set, which the others change and read. They write only
        // to these two sets, and fail only for arguments that are wrong. `pthread_sigmask` fills
        // the second set.
        let before = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            for &signal in FAULTS {
                libc::sigdelset(all.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            before.assume_init()
        };
        BlockedSignals { before }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set was filled by `new` and outlives the call, which writes nothing.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, ptr::null_mut()) };
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    /// Returns whether this thread blocks a signal.
    fn blocks(signal: libc::c_int) -> bool {
        let mut mask = MaybeUninit::uninit();
        // SAFETY: the call only fills the set, which is read after it.
        unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), mask.as_mut_ptr());
            libc::sigismember(&mask.assume_init(), signal) == 1
        }
    }

    #[test]
    fn spawn_without_signals_blocks_signals_in_the_thread_alone() {
        let (send, receive) = channel();
        let f = move || {
            let name = thread::current().name().map(str::to_owned);
            let seen = [libc::SIGTERM, libc::SIGUSR1, libc::SIGSEGV].map(blocks);
            send.send((name, seen)).unwrap();
        };
        spawn_without_signals("quiet", f).unwrap();
        let (name, seen) = receive.recv().unwrap();
        assert_eq!(name.as_deref(), Some("quiet"));
        assert_eq!(seen, [true, true, false]);
        assert!(!blocks(libc::SIGTERM) && !blocks(libc::SIGUSR1));
    }
}
