//! The bitmaps of `select`: one for each direction, with a bit for every fd number, as long as the highest one needs.
//!
//! What is armed lives here, and a copy of it is what the kernel reads and writes: arming costs a store, and what comes
//! after a wait changes nothing of what the wait has seen. A direction that nobody asks for is not shown to the kernel at
//! all, and words above the highest number are neither copied nor looked at.

use super::{Interest, Readiness};
use crate::sys::select::{BITS, LEAST_WORDS, Word, select};
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// In the order of the bitmaps: what is asked for by a bit, and what a bit says. The third one tells of out-of-band data,
/// never of errors.
const DIRECTIONS: [(Interest, Readiness); 3] = [
    (Interest::READABLE, Readiness::READABLE),
    (Interest::WRITABLE, Readiness::WRITABLE),
    (Interest::PRIORITY, Readiness::PRIORITY),
];

#[derive(Default)]
pub(super) struct FdSets {
    /// All of one length.
    armed: [Vec<Word>; 3],
    /// How many bits are set in each.
    counts: [usize; 3],
    /// How many words may hold a bit. Lowered by the next wait when the highest has gone.
    words: usize,
    /// What the last wait saw; empty for a direction that was not asked about.
    seen: [Vec<Word>; 3],
}

impl FdSets {
    pub(super) fn new() -> FdSets {
        FdSets::default()
    }

    /// Adds directions to those that are armed.
    #[inline(never)]
    pub(super) fn arm(&mut self, fd: RawFd, interest: Interest) {
        let (word, bit) = position(fd);
        if word >= self.armed[0].len() {
            for set in &mut self.armed {
                set.resize((word + 1).max(LEAST_WORDS), 0);
            }
        }
        self.words = self.words.max(word + 1);
        for (at, (asked, _)) in DIRECTIONS.into_iter().enumerate() {
            if interest.contains(asked) && self.armed[at][word] & bit == 0 {
                self.armed[at][word] |= bit;
                self.counts[at] += 1;
            }
        }
    }

    /// Takes away those directions that were seen.
    #[inline(never)]
    pub(super) fn disarm(&mut self, fd: RawFd, seen: Readiness) {
        let (word, bit) = position(fd);
        for (at, (_, told)) in DIRECTIONS.into_iter().enumerate() {
            let armed = self.armed[at].get_mut(word);
            if let Some(armed) = armed.filter(|armed| seen.contains(told) && **armed & bit != 0) {
                *armed &= !bit;
                self.counts[at] -= 1;
            }
        }
    }

    /// Disarms everything.
    pub(super) fn clear(&mut self) {
        *self = FdSets::new();
    }

    /// Waits, and keeps what was seen. Says how many bits that is.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let end = self.end();
        let words = self.words.max(LEAST_WORDS);
        for (at, seen) in self.seen.iter_mut().enumerate() {
            seen.clear();
            if self.counts[at] != 0 {
                seen.extend_from_slice(&self.armed[at][..words]);
            }
        }
        let sets = self.seen.each_mut();
        select(
            end,
            sets.map(|set| Some(&mut set[..]).filter(|set| !set.is_empty())),
            timeout,
        )
    }

    /// One more than the highest number that is armed.
    pub(super) fn end(&mut self) -> usize {
        let at = |word: usize| self.armed.iter().fold(0, |bits, set| bits | set[word]);
        while self.words > 0 && at(self.words - 1) == 0 {
            self.words -= 1;
        }
        match self.words.checked_sub(1) {
            Some(last) => self.words * BITS - at(last).leading_zeros() as usize,
            None => 0,
        }
    }

    /// The first number from `from` on and below `to` that is armed.
    pub(super) fn first_armed(&self, from: usize, to: usize) -> Option<RawFd> {
        first(&self.armed, from, to)
    }

    /// The first number from `from` on and below `to` of which the last wait saw something.
    pub(super) fn first_seen(&self, from: usize, to: usize) -> Option<RawFd> {
        first(&self.seen, from, to)
    }

    /// What the last wait saw of a number, and how many bits that is.
    pub(super) fn seen(&self, fd: RawFd) -> (Readiness, usize) {
        let (word, bit) = position(fd);
        let (mut seen, mut count) = (Readiness::EMPTY, 0);
        for (set, (_, told)) in self.seen.iter().zip(DIRECTIONS) {
            if set.get(word).is_some_and(|bits| bits & bit != 0) {
                seen |= told;
                count += 1;
            }
        }
        (seen, count)
    }

    /// Forgets what the last wait saw of a number.
    pub(super) fn unsee(&mut self, fd: RawFd) {
        let (word, bit) = position(fd);
        for bits in self.seen.iter_mut().filter_map(|set| set.get_mut(word)) {
            *bits &= !bit;
        }
    }
}

/// Which word holds a number's bit, and the bit.
fn position(fd: RawFd) -> (usize, Word) {
    let at = fd as usize;
    (at / BITS, 1 << (at % BITS))
}

/// The first number from `from` on and below `to` that has a bit in any of the bitmaps.
fn first(sets: &[Vec<Word>; 3], from: usize, to: usize) -> Option<RawFd> {
    // What lies below `from` in its word.
    let mut passed = (1 << (from % BITS)) - 1;
    for word in from / BITS..to.div_ceil(BITS) {
        let any = sets
            .iter()
            .fold(0, |bits, set| bits | set.get(word).copied().unwrap_or(0));
        let left = any & !passed;
        if left != 0 {
            let at = word * BITS + left.trailing_zeros() as usize;
            return (at < to).then_some(at as RawFd);
        }
        passed = 0;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: RawFd = BITS as RawFd;

    #[test]
    fn the_end_follows_the_highest_number() {
        let mut sets = FdSets::new();
        assert_eq!(sets.end(), 0);
        sets.arm(5 * B + 3, Interest::PRIORITY);
        sets.arm(2 * B - 1, Interest::WRITABLE);
        sets.arm(4, Interest::READABLE);
        assert_eq!(sets.end(), 5 * BITS + 4);
        sets.disarm(5 * B + 3, Readiness::READABLE);
        assert_eq!(sets.end(), 5 * BITS + 4);
        sets.disarm(5 * B + 3, Readiness::PRIORITY);
        assert_eq!(sets.end(), 2 * BITS);
        sets.disarm(2 * B - 1, Readiness::ALL);
        assert_eq!(sets.end(), 5);
        sets.disarm(4, Readiness::ALL);
        assert_eq!((sets.end(), sets.counts), (0, [0; 3]));
        // Beyond all words there are, and twice: nothing happens.
        sets.disarm(900 * B, Readiness::ALL);
        sets.disarm(4, Readiness::ALL);
        assert_eq!((sets.end(), sets.counts), (0, [0; 3]));
    }

    #[test]
    fn a_bit_counts_once() {
        let mut sets = FdSets::new();
        sets.arm(7, Interest::READABLE | Interest::WRITABLE);
        sets.arm(7, Interest::READABLE | Interest::PRIORITY | Interest::ERROR);
        assert_eq!(sets.counts, [1, 1, 1]);
        sets.arm(8, Interest::NONE);
        assert_eq!((sets.counts, sets.end()), ([1, 1, 1], 8));
    }

    #[test]
    fn the_first_one_is_found_from_and_below_any_number() {
        let mut sets = FdSets::new();
        let numbers = [0, B - 1, B, 3 * B + 5];
        for number in numbers {
            sets.arm(number, Interest::WRITABLE);
        }
        for from in 0..4 * BITS + 1 {
            for to in [from, from + 1, BITS, 3 * BITS + 5, 3 * BITS + 6, 9 * BITS] {
                let there = |number: &&RawFd| (from..to).contains(&(**number as usize));
                let expected = numbers.iter().find(there).copied();
                assert_eq!(sets.first_armed(from, to), expected, "{from}..{to}");
            }
        }
        assert_eq!(sets.first_seen(0, 9 * BITS), None);
    }

    #[test]
    fn a_direction_that_nobody_asks_for_is_not_shown() {
        let (here, _there) = std::os::unix::net::UnixStream::pair().unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&here);
        let mut sets = FdSets::new();
        sets.arm(fd, Interest::WRITABLE);
        assert_eq!(sets.wait(None).unwrap(), 1);
        assert_eq!(sets.seen(fd), (Readiness::WRITABLE, 1));
        assert!(sets.seen[0].is_empty() && sets.seen[2].is_empty());
        sets.unsee(fd);
        assert_eq!(sets.seen(fd), (Readiness::EMPTY, 0));
        assert_eq!(sets.first_seen(0, 1000), None);
        sets.disarm(fd, Readiness::WRITABLE);
        assert_eq!(sets.wait(Some(Duration::ZERO)).unwrap(), 0);
    }
}
