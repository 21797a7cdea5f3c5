//! From `-1` to `io::Error`: the one place that reads `errno`.

use std::io;

/// The result of a system call that answers -1 on failure.
#[inline]
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// The same for calls that count bytes.
#[inline]
pub(crate) fn check_size(result: isize) -> io::Result<usize> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as usize)
    }
}

/// An error that says why, for people. Here once, for building one takes two allocations.
#[cold]
#[inline(never)]
pub(crate) fn failure(kind: io::ErrorKind, why: &str) -> io::Error {
    io::Error::new(kind, why)
}

/// What a call that counts bytes has answered, to be asked no more than one has to know.
pub(crate) trait Answer {
    /// Whether `len` bytes were moved, which is less than the largest number there is.
    fn is_all(&self, len: usize) -> bool;

    /// Whether some bytes were moved, and fewer than `len`.
    fn is_short(&self, len: usize) -> bool;

    /// How many, if it is known that some were.
    fn count(&self) -> usize;

    /// All there is to know; before any other system call.
    fn result(self) -> io::Result<usize>;
}

/// The answer as it came: -1 leads to `errno`.
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

/// Whether a call is missing in this kernel, or a sandbox forbids it or hides it, so that its elder has to do.
pub(crate) fn is_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// A call, since every caller of [`retry`] would hold the table of kinds.
#[cold]
#[inline(never)]
fn is_interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

/// Repeats a call as long as a signal interrupts it: for calls that do not block, where only the work is left to do.
#[inline]
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            // A number in a word, of which a drop would free nothing.
            Err(error) if is_interrupted(&error) => std::mem::forget(error),
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_short_between_nothing_and_all() {
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
            let told = (raw.is_short(len), raw.is_all(len));
            assert_eq!(told, (short, all), "{answer} of {len}");
            if answer >= 0 {
                let result = raw.result();
                let told = (result.is_short(len), result.is_all(len), result.count());
                assert_eq!(told, (short, all, answer as usize), "{answer} of {len}");
            }
        }
        let failed: io::Result<usize> = Err(io::ErrorKind::WouldBlock.into());
        assert!(!failed.is_short(10) && !failed.is_all(10) && !failed.is_all(0));
    }
}
