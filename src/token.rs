//! Values that name things: [`Token`] a registration, [`RuntimeId`] a runtime.
//!
//! Both are plain data. Neither keeps anything alive, and a stale one is recognised by whoever owns what it named:
//! an index is reused only under another generation.

#![forbid(unsafe_code)]

use std::fmt;
use std::num::NonZeroU32;

/// Names one registration: its index in the reactor's slab and its generation, in one `u64`.
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

    /// The index in the slab of registrations.
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
}
