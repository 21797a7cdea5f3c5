//! [`FdSets`] holds the bitmaps of `select`: one for each direction, with a bit for every fd
//! number, as long as the highest number needs.
//!
//! The bitmaps say what is armed. The kernel reads and writes a copy, so arming costs a store, and
//! changes after a wait do not affect its results. A direction without bits is not passed to the
//! kernel, and words above the highest number are neither copied nor read.

use super::{Interest, Ready};
use crate::sys::select::{BITS, LEAST_WORDS, Word, select};
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// The interest and the readiness of each bitmap, in their order. The third one reports out-of-band
/// data, never errors.
const DIRECTIONS: [(Interest, Ready); 3] = [
    (Interest::READABLE, Ready::READABLE),
    (Interest::WRITABLE, Ready::WRITABLE),
    (Interest::PRIORITY, Ready::PRIORITY),
];

#[derive(Default)]
pub(super) struct FdSets {
    /// All have the same length.
    armed: [Vec<Word>; 3],
    /// How many bits are set in each.
    counts: [usize; 3],
    /// How many words may have bits. The next wait lowers it when the highest number was removed.
    words: usize,
    /// The results of the last wait; empty for a direction without bits.
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
        for (at, (direction, _)) in DIRECTIONS.into_iter().enumerate() {
            if interest.contains(direction) && self.armed[at][word] & bit == 0 {
                self.armed[at][word] |= bit;
                self.counts[at] += 1;
            }
        }
    }

    /// Disarms the directions that were found.
    #[inline(never)]
    pub(super) fn disarm(&mut self, fd: RawFd, seen: Ready) {
        let (word, bit) = position(fd);
        for (at, (_, found)) in DIRECTIONS.into_iter().enumerate() {
            let armed = self.armed[at].get_mut(word);
            if let Some(armed) = armed.filter(|armed| seen.contains(found) && **armed & bit != 0) {
                *armed &= !bit;
                self.counts[at] -= 1;
            }
        }
    }

    /// Disarms everything.
    pub(super) fn clear(&mut self) {
        *self = FdSets::new();
    }

    /// Waits, and keeps the results. Returns how many bits are set in them.
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

    /// Returns the highest armed number plus one.
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

    /// Returns the first armed number from `from` on and below `to`.
    pub(super) fn first_armed(&self, from: usize, to: usize) -> Option<RawFd> {
        first(&self.armed, from, to)
    }

    /// Returns the first number from `from` on and below `to` that the last wait has found.
    pub(super) fn first_seen(&self, from: usize, to: usize) -> Option<RawFd> {
        first(&self.seen, from, to)
    }

    /// Returns what the last wait found of a number, and how many bits that is.
    pub(super) fn seen(&self, fd: RawFd) -> (Ready, usize) {
        let (word, bit) = position(fd);
        let (mut seen, mut count) = (Ready::EMPTY, 0);
        for (set, (_, found)) in self.seen.iter().zip(DIRECTIONS) {
            if set.get(word).is_some_and(|bits| bits & bit != 0) {
                seen |= found;
                count += 1;
            }
        }
        (seen, count)
    }

    /// Whether a direction of a number is armed.
    pub(super) fn is_armed(&self, fd: RawFd, interest: Interest) -> bool {
        let (word, bit) = position(fd);
        let mut sets = DIRECTIONS.iter().zip(&self.armed);
        sets.any(|((direction, _), set)| {
            interest.contains(*direction) && set.get(word).is_some_and(|bits| bits & bit != 0)
        })
    }

    /// Adds PRIORITY to what the last wait found of a number, for which it is armed. Returns how
    /// many bits that adds.
    pub(super) fn add_priority(&mut self, fd: RawFd) -> usize {
        let (word, bit) = position(fd);
        let [.., seen] = &mut self.seen;
        match seen.get_mut(word) {
            Some(bits) if *bits & bit == 0 => {
                *bits |= bit;
                1
            }
            _ => 0,
        }
    }

    /// Forgets what the last wait found of a number.
    pub(super) fn clear_seen(&mut self, fd: RawFd) {
        let (word, bit) = position(fd);
        for bits in self.seen.iter_mut().filter_map(|set| set.get_mut(word)) {
            *bits &= !bit;
        }
    }
}

/// Returns the index of the word with a number's bit, and the bit.
fn position(fd: RawFd) -> (usize, Word) {
    let at = fd as usize;
    (at / BITS, 1 << (at % BITS))
}

/// Returns the first number from `from` on and below `to` that has a bit in any of the bitmaps.
fn first(sets: &[Vec<Word>; 3], from: usize, to: usize) -> Option<RawFd> {
    // The bits below `from` in its word.
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
    fn end_follows_the_highest_number() {
        let mut sets = FdSets::new();
        assert_eq!(sets.end(), 0);
        sets.arm(5 * B + 3, Interest::PRIORITY);
        sets.arm(2 * B - 1, Interest::WRITABLE);
        sets.arm(4, Interest::READABLE);
        assert_eq!(sets.end(), 5 * BITS + 4);
        sets.disarm(5 * B + 3, Ready::READABLE);
        assert_eq!(sets.end(), 5 * BITS + 4);
        sets.disarm(5 * B + 3, Ready::PRIORITY);
        assert_eq!(sets.end(), 2 * BITS);
        sets.disarm(2 * B - 1, Ready::ALL);
        assert_eq!(sets.end(), 5);
        sets.disarm(4, Ready::ALL);
        assert_eq!((sets.end(), sets.counts), (0, [0; 3]));
        // Beyond all words, and twice: nothing happens.
        sets.disarm(900 * B, Ready::ALL);
        sets.disarm(4, Ready::ALL);
        assert_eq!((sets.end(), sets.counts), (0, [0; 3]));
    }

    #[test]
    fn arm_counts_a_bit_once() {
        let mut sets = FdSets::new();
        sets.arm(7, Interest::READABLE | Interest::WRITABLE);
        sets.arm(7, Interest::READABLE | Interest::PRIORITY | Interest::ERROR);
        assert_eq!(sets.counts, [1, 1, 1]);
        sets.arm(8, Interest::EMPTY);
        assert_eq!((sets.counts, sets.end()), ([1, 1, 1], 8));
    }

    #[test]
    fn first_armed_respects_both_bounds() {
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
    fn wait_does_not_pass_empty_bitmaps_to_the_kernel() {
        let (here, _there) = std::os::unix::net::UnixStream::pair().unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&here);
        let mut sets = FdSets::new();
        sets.arm(fd, Interest::WRITABLE);
        assert_eq!(sets.wait(None).unwrap(), 1);
        assert_eq!(sets.seen(fd), (Ready::WRITABLE, 1));
        assert!(sets.seen[0].is_empty() && sets.seen[2].is_empty());
        sets.clear_seen(fd);
        assert_eq!(sets.seen(fd), (Ready::EMPTY, 0));
        assert_eq!(sets.first_seen(0, 1000), None);
        sets.disarm(fd, Ready::WRITABLE);
        assert_eq!(sets.wait(Some(Duration::ZERO)).unwrap(), 0);
    }
}
