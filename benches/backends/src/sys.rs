//! Clocks, limits and pending signals, which std does not have.

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};

fn check(ret: libc::c_int) -> io::Result<()> {
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Pins this thread to one core.
pub fn pin(core: usize) -> io::Result<()> {
    // SAFETY: the set is a plain bit set, for which zeros are none, and lives for the call.
    unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(core, &mut set);
        check(libc::sched_setaffinity(
            0,
            size_of::<libc::cpu_set_t>(),
            &set,
        ))
    }
}

/// Ends this process after `seconds` by SIGALRM, so that no run lasts forever.
pub fn end_after(seconds: u32) {
    // SAFETY: alarm(2) takes a number.
    unsafe { libc::alarm(seconds) };
}

/// Raises the soft limit of descriptors to the hard one.
pub fn raise_descriptor_limit() -> io::Result<()> {
    // SAFETY: `limit` is a plain struct of numbers and lives for both calls.
    unsafe {
        let mut limit: libc::rlimit = zeroed();
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &limit))
    }
}

/// Lowers the limit of queued signals.
pub fn limit_pending_signals(most: u64) -> io::Result<()> {
    // SAFETY: `limit` is a plain struct of numbers and lives for both calls.
    unsafe {
        let mut limit: libc::rlimit = zeroed();
        check(libc::getrlimit(libc::RLIMIT_SIGPENDING, &mut limit))?;
        limit.rlim_cur = most.min(limit.rlim_max);
        check(libc::setrlimit(libc::RLIMIT_SIGPENDING, &limit))
    }
}

/// Returns whether a SIGIO is pending for this thread: the kernel had no room for a signal with an
/// fd.
pub fn has_overflowed() -> bool {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigpending(2) fills the set, which lives for both calls; if it fails the set is not
    // read.
    unsafe {
        libc::sigpending(set.as_mut_ptr()) == 0 && libc::sigismember(set.as_ptr(), libc::SIGIO) == 1
    }
}

/// Elapsed nanoseconds: of the clock, and of this thread's CPU.
#[derive(Clone, Copy)]
pub struct Times {
    pub wall: u64,
    pub cpu: u64,
}

impl Times {
    pub fn now() -> Times {
        Times {
            wall: clock(libc::CLOCK_MONOTONIC),
            cpu: clock(libc::CLOCK_THREAD_CPUTIME_ID),
        }
    }

    pub fn passed(self) -> Times {
        let now = Times::now();
        Times {
            wall: now.wall - self.wall,
            cpu: now.cpu - self.cpu,
        }
    }
}

fn clock(id: libc::clockid_t) -> u64 {
    // SAFETY: `time` is a plain struct of numbers and lives for the call.
    unsafe {
        let mut time: libc::timespec = zeroed();
        libc::clock_gettime(id, &mut time);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

/// Microseconds of this thread's CPU, in user space and in the kernel. The kernel splits the exact
/// sum by samples.
pub fn user_and_kernel() -> (u64, u64) {
    let microseconds = |t: libc::timeval| t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64;
    // SAFETY: `usage` is a plain struct of numbers and lives for the call.
    unsafe {
        let mut usage: libc::rusage = zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &mut usage);
        (microseconds(usage.ru_utime), microseconds(usage.ru_stime))
    }
}
