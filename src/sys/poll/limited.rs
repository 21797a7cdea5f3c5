//! Polls more fds than `RLIMIT_NOFILE` allows.
//!
//! A process may lower the limit, as sandboxes do, and keep its open files. But poll(2) fails with
//! `EINVAL` if it gets more entries than the limit; with a limit of 0 it takes no fd at all.
//! select(2) does not check the limit.
//!
//! | | with a limit of 1 and more | with a limit of 0 |
//! |---|---|---|
//! | a check without waiting | poll(2), with as many entries at a time as the limit allows | select(2) |
//! | a wait | select(2), then poll(2) for each fd that it reports | select(2) |
//!
//! select(2) reports hang-ups and errors as readiness. So with a limit of 0 the next read or write
//! finds them, and during a wait an entry without events is not watched for them.

use super::poll_within_limit;
use crate::sys::fd::is_open;
use crate::sys::select::{BITS, HIGHEST, LEAST_WORDS, Word, select_counting_down};
use crate::sys::syscall::check;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// The number of entries that are polled at once, if the limit allows it.
const CHUNK: usize = 64;

/// Does the same as poll(2) for these entries, after that has failed with `EINVAL`. Subtracts the
/// time that was waited from `timeout`, where the system reports it.
///
/// # Errors
///
/// `Interrupted`, and `Unsupported` with the reason if select(2) cannot wait for these fds.
#[cold]
pub(super) fn poll(fds: &mut [libc::pollfd], timeout: &mut Option<Duration>) -> io::Result<usize> {
    let limit = open_limit()?;
    if *timeout == Some(Duration::ZERO) && limit != 0 {
        let mut ready = 0;
        for chunk in fds.chunks_mut(limit.min(CHUNK)) {
            ready += poll_within_limit(chunk, Some(Duration::ZERO))?;
        }
        return Ok(ready);
    }
    // select(2) would not report all of these: on Linux it ignores numbers beyond the end of the
    // process's table of files.
    let closed = note_closed(fds);
    if closed != 0 {
        return Ok(closed);
    }
    let mut sets = Sets::new(fds).ok_or_else(|| refused(fds.len(), limit))?;
    match sets.wait(timeout) {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => return Ok(note_closed(fds)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
        Err(_) => return Err(refused(fds.len(), limit)),
        Ok(_) => {}
    }
    for entry in &mut *fds {
        entry.revents = sets.seen(entry);
    }
    if limit != 0 {
        poll_reported(fds);
    }
    Ok(fds.iter().filter(|entry| entry.revents != 0).count())
}

/// Calls poll(2), one entry at a time, for the entries that select(2) has reported and for those
/// that it cannot watch. If poll(2) fails, the result of select(2) stays.
fn poll_reported(fds: &mut [libc::pollfd]) {
    for entry in fds {
        let is_unwatched = entry.events & ALL_EVENTS == 0 && entry.fd >= 0;
        if entry.revents != 0 || is_unwatched {
            let mut one = [*entry];
            if poll_within_limit(&mut one, Some(Duration::ZERO)).is_ok() {
                *entry = one[0];
            }
        }
    }
}

/// Marks the numbers that are not open, and returns how many there are.
fn note_closed(fds: &mut [libc::pollfd]) -> usize {
    for entry in &mut *fds {
        let is_closed = entry.fd >= 0 && !is_open(entry.fd);
        entry.revents = if is_closed { libc::POLLNVAL } else { 0 };
    }
    fds.iter().filter(|entry| entry.revents != 0).count()
}

const EVENTS: [libc::c_short; 3] = [libc::POLLIN, libc::POLLOUT, libc::POLLPRI];
const ALL_EVENTS: libc::c_short = libc::POLLIN | libc::POLLOUT | libc::POLLPRI;

/// A bitmap for each of `EVENTS`.
struct Sets {
    end: usize,
    bits: [Vec<Word>; 3],
}

impl Sets {
    /// Makes the sets for these entries. Returns `None` if a number does not fit.
    fn new(fds: &[libc::pollfd]) -> Option<Sets> {
        let highest = fds.iter().map(|entry| entry.fd).max().unwrap_or(-1);
        if HIGHEST.is_some_and(|most| highest > most) {
            return None;
        }
        let end = usize::try_from(highest + 1).unwrap_or(0);
        let words = end.div_ceil(BITS).max(LEAST_WORDS);
        let mut bits = [vec![0; words], vec![0; words], vec![0; words]];
        for entry in fds.iter().filter(|entry| entry.fd >= 0) {
            for (set, event) in bits.iter_mut().zip(EVENTS) {
                if entry.events & event != 0 {
                    let (word, bit) = place(entry.fd);
                    set[word] |= bit;
                }
            }
        }
        Some(Sets { end, bits })
    }

    fn wait(&mut self, timeout: &mut Option<Duration>) -> io::Result<usize> {
        let sets = self.bits.each_mut().map(|set| Some(&mut set[..]));
        select_counting_down(self.end, sets, timeout)
    }

    /// Returns what the last wait reported for an entry.
    fn seen(&self, entry: &libc::pollfd) -> libc::c_short {
        if entry.fd < 0 {
            return 0;
        }
        let (word, bit) = place(entry.fd);
        let seen = self.bits.iter().zip(EVENTS);
        let seen = seen.filter(|(set, event)| entry.events & event != 0 && set[word] & bit != 0);
        seen.fold(0, |bits, (_, event)| bits | event)
    }
}

fn place(fd: RawFd) -> (usize, Word) {
    let fd = fd as usize;
    (fd / BITS, 1 << (fd % BITS))
}

/// Returns how many files this process may have open.
pub(crate) fn open_limit() -> io::Result<usize> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call fills the value, which outlives it.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    Ok(usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}

#[cold]
fn refused(count: usize, limit: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!(
            "poll(2) cannot take {count} fds, because the limit of open files (RLIMIT_NOFILE) is {limit}, and select(2) \
             cannot take its place: raise the limit, or choose another backend"
        ),
    )
}

#[cfg(test)]
mod tests;
