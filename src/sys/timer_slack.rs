//! Reads and sets the timer slack of the calling thread (Linux): how late the kernel may end a
//! wait, so that it can end several at once.

use super::syscall::check_size;
use std::io;

/// Returns the slack in nanoseconds.
pub(crate) fn get() -> io::Result<u64> {
    prctl(libc::PR_GET_TIMERSLACK, 0)
}

/// Sets the slack to at least 1 ns, because 0 means the value that the thread was started with.
pub(crate) fn set(nanos: u64) -> io::Result<()> {
    let most = libc::c_ulong::MAX;
    let nanos = libc::c_ulong::try_from(nanos.max(1)).unwrap_or(most);
    prctl(libc::PR_SET_TIMERSLACK, nanos).map(drop)
}

/// Makes the system call directly: the C library's function returns an `int`, which holds at most 2
/// seconds.
fn prctl(option: libc::c_int, argument: libc::c_ulong) -> io::Result<u64> {
    // SAFETY: these options take a number, or nothing, and touch no memory.
    let result = unsafe { libc::syscall(libc::SYS_prctl, option, argument, 0, 0, 0) };
    Ok(check_size(result as isize)? as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_is_read_back() {
        std::thread::spawn(|| {
            let before = get().unwrap();
            // A real-time thread has no slack.
            for nanos in [1, 1000, 3_000_000_000].into_iter().filter(|_| before != 0) {
                set(nanos).unwrap();
                assert_eq!(get().unwrap(), nanos);
            }
            set(0).unwrap();
            assert!(before == 0 || get().unwrap() == 1);
        })
        .join()
        .unwrap();
    }
}
