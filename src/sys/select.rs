//! `select(2)`, with nanoseconds, over the caller's bitmaps.
//!
//! Linux's kernel takes bitmaps of any length; only the C library's `fd_set` ends at 1,024
//! (select(2), "BUGS"). So there the system call is made directly. Elsewhere the C library is
//! called with its `fd_set`, and numbers end where that does.

use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::time::Duration;

pub(crate) use imp::{HIGHEST, LEAST_WORDS, Word};

/// How many fds a word of a bitmap has bits for. Bit `n` of word `m` is fd `m * BITS + n`.
pub(crate) const BITS: usize = Word::BITS as usize;

/// Waits until an fd below `end` is ready for one of the bitmaps: readable, writable, or with
/// something exceptional. Leaves the bits of the ready fds in the bitmaps, and returns how many
/// these are.
///
/// # Errors
///
/// `Interrupted` if a signal handler ran first; `EBADF` if one of the fds is not open. Then the
/// bitmaps have no meaning.
///
/// # Panics
///
/// If a bitmap has fewer than `LEAST_WORDS` words, or too few for `end`.
pub(crate) fn select(
    end: usize,
    sets: [Option<&mut [Word]>; 3],
    timeout: Option<Duration>,
) -> io::Result<usize> {
    select_counting_down(end, sets, &mut { timeout })
}

/// As [`select`]. Subtracts the time that was waited from `timeout` where the system reports it, as
/// Linux does.
pub(crate) fn select_counting_down(
    end: usize,
    sets: [Option<&mut [Word]>; 3],
    timeout: &mut Option<Duration>,
) -> io::Result<usize> {
    let count = libc::c_int::try_from(end).expect("fd numbers fit in 31 bits");
    let words = end.div_ceil(BITS).max(LEAST_WORDS);
    let pointer = |set: Option<&mut [Word]>| {
        set.map_or(ptr::null_mut(), |set| {
            assert!(set.len() >= words, "the bitmap is too short");
            set.as_mut_ptr()
        })
    };
    imp::select(count, sets.map(pointer), timeout).map(|ready| ready as usize)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use super::*;
    use crate::sys::syscall::{check, is_refused};
    use crate::sys::timeout::{KernelTimespec, timespec};

    /// The word of the kernel's bitmaps (`__NFDBITS`).
    pub(crate) type Word = libc::c_ulong;

    /// There is no limit.
    pub(crate) const HIGHEST: Option<RawFd> = None;

    pub(crate) const LEAST_WORDS: usize = 1;

    /// The form with 64 bits of seconds. 32-bit kernels have it since Linux 5.1, under this number
    /// except on MIPS, which does not have it.
    #[cfg(target_pointer_width = "32")]
    const PSELECT6: libc::c_long = 413;
    #[cfg(not(target_pointer_width = "32"))]
    const PSELECT6: libc::c_long = libc::SYS_pselect6;

    pub(super) fn select(
        count: libc::c_int,
        sets: [*mut Word; 3],
        timeout: &mut Option<Duration>,
    ) -> io::Result<libc::c_int> {
        match by_number(count, sets, timeout) {
            // Nothing was done. The C library knows the alternatives.
            Err(error) if is_refused(&error) => by_name(count, sets, timeout),
            waited => waited,
        }
    }

    fn by_number(
        count: libc::c_int,
        [readable, writable, exceptional]: [*mut Word; 3],
        timeout: &mut Option<Duration>,
    ) -> io::Result<libc::c_int> {
        let mut spec = timeout.map(KernelTimespec::new);
        let pointer = spec.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        // SAFETY: each bitmap is null or a slice that `select_counting_down` borrows mutably during
        // the call, and that its assertion found as long as `count` needs; the timespec, into which
        // the kernel writes what is left of the time, is null or outlives the call; a null signal
        // mask leaves the mask alone.
        let ready = unsafe {
            libc::syscall(
                PSELECT6,
                count,
                readable,
                writable,
                exceptional,
                pointer,
                ptr::null::<libc::c_void>(),
            )
        };
        let ready = check(ready as libc::c_int)?;
        *timeout = spec.map(KernelTimespec::duration);
        Ok(ready)
    }

    fn by_name(
        count: libc::c_int,
        [readable, writable, exceptional]: [*mut Word; 3],
        timeout: &mut Option<Duration>,
    ) -> io::Result<libc::c_int> {
        let spec = timeout.map(timespec);
        let spec = spec.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the bitmaps are as in `by_number`, and the C libraries pass the three pointers on
        // without reading what they point to; the timespec is null or outlives the call; a null
        // signal mask leaves the mask alone.
        check(unsafe {
            libc::pselect(
                count,
                readable.cast(),
                writable.cast(),
                exceptional.cast(),
                spec,
                ptr::null(),
            )
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::io::Write;
        use std::os::fd::AsRawFd;
        use std::os::unix::net::UnixStream;

        #[test]
        fn both_ways_see_the_same() {
            let (here, mut there) = UnixStream::pair().unwrap();
            let fd = here.as_raw_fd() as usize;
            let armed: Vec<Word> = (0..=fd / BITS)
                .map(|word| Word::from(word == fd / BITS) << (fd % BITS))
                .collect();
            for select in [by_number, by_name] {
                let look = |timeout| {
                    let mut sets = [armed.clone(), armed.clone(), armed.clone()];
                    let pointers = sets.each_mut().map(|set| set.as_mut_ptr());
                    let count = fd as libc::c_int + 1;
                    let ready = select(count, pointers, &mut { timeout }).unwrap();
                    (ready, sets.map(|set| set == armed))
                };
                let (ready, seen) = look(Some(Duration::ZERO));
                let has_byte = ready == 2;
                assert_eq!(seen, [has_byte, true, false]);
                there.write_all(b"x").unwrap();
                assert_eq!(look(Some(Duration::MAX)), (2, [true, true, false]));
                assert_eq!(look(None), (2, [true, true, false]));
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    use super::*;
    use crate::sys::syscall::check;
    use crate::sys::timeout::timespec;

    /// The word of an `fd_set`.
    #[cfg(any(target_vendor = "apple", target_os = "netbsd", target_os = "openbsd"))]
    pub(crate) type Word = u32;
    #[cfg(not(any(target_vendor = "apple", target_os = "netbsd", target_os = "openbsd")))]
    pub(crate) type Word = libc::c_ulong;

    const _: () = assert!(align_of::<Word>() == align_of::<libc::fd_set>());

    /// The largest number that has a bit in an `fd_set`.
    pub(crate) const HIGHEST: Option<RawFd> = Some(libc::FD_SETSIZE as RawFd - 1);

    /// A whole `fd_set`.
    pub(crate) const LEAST_WORDS: usize = size_of::<libc::fd_set>() / size_of::<Word>();

    /// A longer time is `EINVAL` on illumos (select(3C), "10^8 seconds") and was on the BSDs
    /// (`itimerfix`).
    const LONGEST: Duration = Duration::from_secs(100_000_000);

    pub(super) fn select(
        count: libc::c_int,
        [readable, writable, exceptional]: [*mut Word; 3],
        timeout: &mut Option<Duration>,
    ) -> io::Result<libc::c_int> {
        let spec = timeout.map(|timeout| timespec(timeout.min(LONGEST)));
        let spec = spec.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: each bitmap is null or a slice that `select_counting_down` borrows mutably during
        // the call, and that its assertion found at least as long as an `fd_set`; the timespec is
        // null or outlives the call; a null signal mask leaves the mask alone.
        check(unsafe {
            libc::pselect(
                count,
                readable.cast(),
                writable.cast(),
                exceptional.cast(),
                spec,
                ptr::null(),
            )
        })
    }
}
