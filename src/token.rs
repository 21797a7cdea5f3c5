//! Values that name things: [`Token`] a registration, [`RuntimeId`] a runtime.
//!
//! Both are plain data. Neither keeps anything alive, and a stale one is recognised by whoever owns what it named:
//! an index is reused only under another generation.

#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU32;

/// Names one registration: its index in the reactor's table and its generation, in one `u64`.
///
/// A backend carries it through the kernel and gives it back in every [`Event`](crate::backend::Event); it reads
/// nothing out of it. The reactor drops an event whose generation is no longer the registration's, so an event of a
/// closed fd never reaches the next owner of the same number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

impl Token {
    /// Packs an index and a generation.
    #[inline]
    pub const fn new(index: u32, generation: u32) -> Token {
        Token((generation as u64) << 32 | index as u64)
    }

    /// The index in the table of registrations.
    #[inline]
    pub const fn index(self) -> u32 {
        self.0 as u32
    }

    /// How often that index had been handed out when this token was made.
    #[inline]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The value to carry through the kernel.
    #[inline]
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The token behind a value that came back from the kernel.
    #[inline]
    pub const fn from_u64(raw: u64) -> Token {
        Token(raw)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}v{})", self.index(), self.generation())
    }
}

/// Names one runtime of this process: a place in the process-wide registry (never 0) and how often it had been used.
///
/// Handles such as `TcpStream` hold this instead of an `Arc`, so that making and dropping one costs no locked
/// instruction. The place alone (16 bits) is unique among the runtimes that are alive; wakers carry only that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RuntimeId(NonZeroU32);

impl RuntimeId {
    /// Packs a place and its generation. `place` is never 0.
    #[inline]
    pub(crate) const fn new(place: u16, generation: u16) -> RuntimeId {
        assert!(place != 0, "places are counted from one");
        match NonZeroU32::new((generation as u32) << 16 | place as u32) {
            Some(id) => RuntimeId(id),
            None => unreachable!(),
        }
    }

    /// As one number.
    #[inline]
    pub(crate) const fn number(self) -> NonZeroU32 {
        self.0
    }

    /// How often the place had been used before.
    #[inline]
    pub(crate) const fn generation(self) -> u16 {
        (self.0.get() >> 16) as u16
    }

    /// The place in the registry: unique among the live runtimes, never 0.
    #[inline]
    pub(crate) const fn place(self) -> u16 {
        self.0.get() as u16
    }
}

impl fmt::Debug for RuntimeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RuntimeId({}v{})", self.place(), self.generation())
    }
}

/// Hashes what the runtime itself hands out: tokens, keys, the words of a waker. Nobody from outside chooses them, so a
/// multiplication does, and no seed: std's default hasher is some 5 kB of code with its source of randomness.
#[derive(Clone, Copy, Default)]
pub(crate) struct KeyHasher(u64);

/// For a table that goes by such keys.
pub(crate) type BuildKeyHasher = BuildHasherDefault<KeyHasher>;

impl Hasher for KeyHasher {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        // An odd number near 2^64 divided by the golden ratio: neighbours end far apart.
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    #[inline]
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u8(byte);
        }
    }

    /// The good bits of a product are its upper ones, and a table takes its place from the lower.
    #[inline]
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_keeps_both_halves() {
        for (index, generation) in [(0, 0), (1, u32::MAX), (u32::MAX, 1), (7, 9)] {
            let token = Token::from_u64(Token::new(index, generation).to_u64());
            assert_eq!((token.index(), token.generation()), (index, generation));
        }
    }

    #[test]
    fn runtime_id_differs_by_generation() {
        assert_ne!(RuntimeId::new(3, 1), RuntimeId::new(3, 2));
        assert_eq!(RuntimeId::new(3, 2).place(), 3);
    }

    #[test]
    fn neighbouring_keys_spread_over_a_table() {
        let places = |step: u32, shift: u32| {
            let hash = |at: u32| {
                let mut hasher = KeyHasher::default();
                hasher.write_u64(Token::new(at * step, 1).to_u64());
                (hasher.finish() >> shift) & 0xFFF
            };
            let taken: std::collections::HashSet<u64> = (0..4096).map(hash).collect();
            taken.len()
        };
        // By chance 63 of 100 places are taken. The lower bits choose the place, the upper ones tell entries apart.
        for step in [1, 2, 8, 64, 4096] {
            for shift in [0, 52] {
                let taken = places(step, shift);
                assert!(taken > 2048, "step {step}, bits from {shift}: {taken}");
            }
        }
    }
}
