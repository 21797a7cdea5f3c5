//! Turns the result of a system call into an `io::Result`: the one place that reads `errno`.

use std::io;

/// Returns the result of a system call that returns -1 on failure.
#[inline]
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// As `check`, for calls that count bytes.
#[inline]
pub(crate) fn check_size(result: isize) -> io::Result<usize> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as usize)
    }
}

/// Makes an error with an explanation. One function for all, because making one takes two
/// allocations.
#[cold]
pub(crate) fn failure(kind: io::ErrorKind, why: &str) -> io::Error {
    io::Error::new(kind, why)
}

/// The result of a call that counts bytes, which is decoded only as far as needed.
pub(crate) trait Answer {
    /// Whether these are reads of a stream that is watched with a level trigger after some of them
    /// (`reactor/trigger_choice.rs`).
    const CHOOSES_TRIGGER: bool = false;

    /// Whether exactly `len` bytes were moved. `len` must be less than `usize::MAX`.
    fn is_all(&self, len: usize) -> bool;

    /// Whether some bytes were moved, and fewer than `len`, because no more were there or found
    /// room.
    fn is_short(&self, len: usize) -> bool;

    /// Returns the number of bytes, if some were moved.
    fn count(&self) -> usize;

    /// Returns the whole result. Call it before any other system call.
    fn result(self) -> io::Result<usize>;
}

/// The raw result: -1 means that `errno` has the error.
#[derive(Debug)]
pub(crate) struct RawAnswer(pub(crate) isize);

impl Answer for RawAnswer {
    #[inline]
    fn is_all(&self, len: usize) -> bool {
        self.0 as usize == len
    }

    // One comparison: 0 and -1 become the largest numbers.
    #[inline]
    fn is_short(&self, len: usize) -> bool {
        len != 0 && (self.0 as usize).wrapping_sub(1) < len - 1
    }

    #[inline]
    fn count(&self) -> usize {
        self.0 as usize
    }

    #[inline]
    fn result(self) -> io::Result<usize> {
        check_size(self.0)
    }
}

impl Answer for io::Result<usize> {
    fn is_all(&self, len: usize) -> bool {
        self.as_ref().is_ok_and(|done| *done == len)
    }

    fn is_short(&self, len: usize) -> bool {
        self.as_ref().is_ok_and(|done| (1..len).contains(done))
    }

    fn count(&self) -> usize {
        self.as_ref().map_or(0, |done| *done)
    }

    fn result(self) -> io::Result<usize> {
        self
    }
}

/// Whether the kernel lacks this call or a sandbox blocks it, so that the caller should fall back
/// to the older one.
pub(crate) fn is_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// A function call, because otherwise every caller of [`retry`] would contain the table of kinds.
#[cold]
fn is_interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

/// Repeats a call while a signal interrupts it. For calls that do not block: a wait would begin its
/// timeout again.
#[inline]
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            // An error of the system owns no memory, so there is nothing to drop.
            Err(error) if is_interrupted(&error) => std::mem::forget(error),
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_short_between_nothing_and_all() {
        for (answer, len, short, all) in [
            (0, 10, false, false),
            (1, 10, true, false),
            (9, 10, true, false),
            (10, 10, false, true),
            (11, 10, false, false),
            (-1, 10, false, false),
            (1, 1, false, true),
            (1, 0, false, false),
            (-1, 0, false, false),
        ] {
            let raw = RawAnswer(answer);
            let found = (raw.is_short(len), raw.is_all(len));
            assert_eq!(found, (short, all), "{answer} of {len}");
            if answer >= 0 {
                let result = raw.result();
                let found = (result.is_short(len), result.is_all(len), result.count());
                assert_eq!(found, (short, all, answer as usize), "{answer} of {len}");
            }
        }
        let failed: io::Result<usize> = Err(io::ErrorKind::WouldBlock.into());
        assert!(!failed.is_short(10) && !failed.is_all(10) && !failed.is_all(0));
    }
}
