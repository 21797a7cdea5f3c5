//! [`Token`], the name of a registration; [`RuntimeId`], the name of a runtime; [`KeyHasher`] for
//! maps of such names.
//!
//! The names are plain data and keep nothing alive. An index is reused only with another
//! generation, so the table that an index belongs to recognizes a stale name.

#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU32;

/// The name of a registration: its index in the reactor's table and its generation, in one `u64`.
///
/// A backend passes it through the kernel unchanged and returns it in every
/// [`Event`](crate::backend::Event). The reactor drops an event with a stale generation, so an
/// event of a closed fd never reaches the next owner of the same number.
///
/// # Examples
///
/// ```
/// use reveille::backend::Token;
///
/// let token = Token::new(3, 7);
/// assert_eq!((token.index(), token.generation()), (3, 7));
/// assert_eq!(Token::from_u64(token.to_u64()), token);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

impl Token {
    /// Makes a token of an index and a generation.
    #[inline]
    pub const fn new(index: u32, generation: u32) -> Token {
        Token((generation as u64) << 32 | index as u64)
    }

    /// Returns the index in the table of registrations.
    #[inline]
    pub const fn index(self) -> u32 {
        self.0 as u32
    }

    /// Returns the generation, which differs between registrations that have used the same index.
    ///
    /// The reactor counts one generation for all registrations of a table, so consecutive
    /// generations of one index may be far apart.
    #[inline]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Returns the token as a number, for the kernel.
    #[inline]
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// Converts a number from [`to_u64`](Token::to_u64) back.
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

/// The name of a runtime of this process: a place in the process-wide registry (never 0), and a
/// generation that counts how often the place was used before.
///
/// Handles such as `TcpStream` hold this instead of an `Arc`, so creating and dropping one costs no
/// locked instruction. The place alone (16 bits) is unique among the live runtimes. Wakers carry
/// only the place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RuntimeId(NonZeroU32);

impl RuntimeId {
    /// Makes an id of a place, which is not 0, and its generation.
    #[inline]
    pub(crate) const fn new(place: u16, generation: u16) -> RuntimeId {
        assert!(place != 0, "places are counted from one");
        match NonZeroU32::new((generation as u32) << 16 | place as u32) {
            Some(id) => RuntimeId(id),
            None => unreachable!(),
        }
    }

    /// Returns the id as one number.
    #[inline]
    pub(crate) const fn number(self) -> NonZeroU32 {
        self.0
    }

    /// Returns how often the place was used before.
    #[inline]
    pub(crate) const fn generation(self) -> u16 {
        (self.0.get() >> 16) as u16
    }

    /// Returns the place in the registry. It is unique among the live runtimes and never 0.
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

/// A hasher for tokens, keys and the words of a waker.
///
/// The runtime makes these numbers itself, so no attacker chooses them: a multiplication without a
/// seed is enough. std's default hasher is about 5 kB of code, with its source of randomness.
#[derive(Clone, Copy, Default)]
pub(crate) struct KeyHasher(u64);

/// The parameter of a `HashMap` with such keys.
pub(crate) type BuildKeyHasher = BuildHasherDefault<KeyHasher>;

impl Hasher for KeyHasher {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        // An odd number near 2^64 divided by the golden ratio, so that neighbors end far apart.
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

    /// Moves the upper bits down: in a product they are the better ones, and a table uses the lower
    /// bits as the place.
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
    fn runtime_ids_differ_by_generation() {
        assert_ne!(RuntimeId::new(3, 1), RuntimeId::new(3, 2));
        assert_eq!(RuntimeId::new(3, 2).place(), 3);
    }

    #[test]
    fn key_hasher_spreads_neighboring_keys_over_a_table() {
        let places = |step: u32, shift: u32| {
            let hash = |at: u32| {
                let mut hasher = KeyHasher::default();
                hasher.write_u64(Token::new(at * step, 1).to_u64());
                (hasher.finish() >> shift) & 0xFFF
            };
            let taken: std::collections::HashSet<u64> = (0..4096).map(hash).collect();
            taken.len()
        };
        // Random keys take 63 of 100 places. The lower bits choose the place, the upper bits tell
        // entries apart.
        for step in [1, 2, 8, 64, 4096] {
            for shift in [0, 52] {
                let taken = places(step, shift);
                assert!(taken > 2048, "step {step}, bits from {shift}: {taken}");
            }
        }
    }
}
