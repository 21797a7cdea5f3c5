//! What is asked for ([`Interest`]) and what was seen ([`Readiness`]): two plain bit sets, never one type for both.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub};

/// What a registration asks its backend to look for.
///
/// ```
/// use reveille::io::Interest;
/// let both = Interest::READABLE | Interest::WRITABLE;
/// assert!(both.is_readable() && both.is_writable());
/// assert_eq!(both.remove(Interest::READABLE), Some(Interest::WRITABLE));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Interest(u8);

impl Interest {
    /// Nothing: the fd stays known but is not looked at. Kernels report hang-ups and errors all the same.
    pub const NONE: Interest = Interest(0);
    /// Reading would not block; also a peer that closed its side.
    pub const READABLE: Interest = Interest(1);
    /// Writing would not block.
    pub const WRITABLE: Interest = Interest(2);
    /// Out-of-band data on TCP, or what else the fd's driver calls an exceptional condition (`POLLPRI`).
    pub const PRIORITY: Interest = Interest(4);
    /// Errors alone. Nearly every mechanism reports errors without being asked; this only opens the slot to wait for them.
    /// (`select` reports them as READABLE and WRITABLE, to who asked for that.)
    pub const ERROR: Interest = Interest(8);

    /// A bit that nobody asks for: who keeps a set to himself may keep a flag of his own in the same byte.
    pub(crate) const SPARE: Interest = Interest(128);

    /// Both sets together.
    #[inline]
    #[must_use]
    #[allow(
        clippy::should_implement_trait,
        reason = "the name tokio's users know; `|` does the same"
    )]
    pub const fn add(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }

    /// This set without `other`, or `None` when nothing is left.
    #[must_use]
    pub const fn remove(self, other: Interest) -> Option<Interest> {
        match self.0 & !other.0 {
            0 => None,
            left => Some(Interest(left)),
        }
    }

    /// Whether [`READABLE`](Interest::READABLE) is in the set.
    #[inline]
    pub const fn is_readable(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether [`WRITABLE`](Interest::WRITABLE) is in the set.
    #[inline]
    pub const fn is_writable(self) -> bool {
        self.0 & 2 != 0
    }

    /// Whether [`PRIORITY`](Interest::PRIORITY) is in the set.
    #[inline]
    pub const fn is_priority(self) -> bool {
        self.0 & 4 != 0
    }

    /// Whether [`ERROR`](Interest::ERROR) is in the set.
    #[inline]
    pub const fn is_error(self) -> bool {
        self.0 & 8 != 0
    }

    /// Whether nothing is asked for.
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is in the set.
    #[inline]
    pub const fn contains(self, other: Interest) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits, for a backend's own tables: READABLE 1, WRITABLE 2, PRIORITY 4, ERROR 8.
    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl BitOr for Interest {
    type Output = Interest;
    #[inline]
    fn bitor(self, other: Interest) -> Interest {
        self.add(other)
    }
}

impl BitOrAssign for Interest {
    #[inline]
    fn bitor_assign(&mut self, other: Interest) {
        self.0 |= other.0;
    }
}

impl BitAnd for Interest {
    type Output = Interest;
    #[inline]
    fn bitand(self, other: Interest) -> Interest {
        Interest(self.0 & other.0)
    }
}

/// The set without `other`; unlike [`Interest::remove`] the result may be [`Interest::NONE`].
impl Sub for Interest {
    type Output = Interest;
    #[inline]
    fn sub(self, other: Interest) -> Interest {
        Interest(self.0 & !other.0)
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 4] = ["READABLE", "WRITABLE", "PRIORITY", "ERROR"];
        names(f, self.0, &NAMES)
    }
}

/// What a backend saw of an fd.
///
/// A hang-up or an error also sets READABLE and WRITABLE, because both calls would return at once; the other bits say
/// why. READ_CLOSED and WRITE_CLOSED are kept apart: a peer that only ended its sending side can still be written to.
/// They may be missing although the side is closed, never the other way round.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Readiness(u8);

impl Readiness {
    /// Nothing.
    pub const EMPTY: Readiness = Readiness(0);
    /// Reading would not block.
    pub const READABLE: Readiness = Readiness(1);
    /// Writing would not block.
    pub const WRITABLE: Readiness = Readiness(2);
    /// Out-of-band data or another exceptional condition.
    pub const PRIORITY: Readiness = Readiness(4);
    /// An error is pending on the fd; the next call reports it.
    pub const ERROR: Readiness = Readiness(8);
    /// The peer will send no more, or the reading side was shut down.
    pub const READ_CLOSED: Readiness = Readiness(16);
    /// Nothing can be sent any more.
    pub const WRITE_CLOSED: Readiness = Readiness(32);
    /// The fd was closed behind the backend's back (`POLLNVAL`).
    pub const INVALID: Readiness = Readiness(64);
    /// Every bit but [`INVALID`](Readiness::INVALID).
    pub const ALL: Readiness = Readiness(63);
    /// A bit that nothing ever sees: who keeps a set to himself may keep a flag of his own in the same byte.
    pub(crate) const SPARE: Readiness = Readiness(128);

    /// Whether reading would not block.
    #[inline]
    pub const fn is_readable(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether writing would not block.
    #[inline]
    pub const fn is_writable(self) -> bool {
        self.0 & 2 != 0
    }

    /// Whether there is an exceptional condition.
    #[inline]
    pub const fn is_priority(self) -> bool {
        self.0 & 4 != 0
    }

    /// Whether an error is pending.
    #[inline]
    pub const fn is_error(self) -> bool {
        self.0 & 8 != 0
    }

    /// Whether the reading side has ended.
    #[inline]
    pub const fn is_read_closed(self) -> bool {
        self.0 & 16 != 0
    }

    /// Whether the writing side has ended.
    #[inline]
    pub const fn is_write_closed(self) -> bool {
        self.0 & 32 != 0
    }

    /// Whether the fd was not open any more.
    #[inline]
    pub const fn is_invalid(self) -> bool {
        self.0 & 64 != 0
    }

    /// Whether nothing was seen.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` was seen.
    #[inline]
    pub const fn contains(self, other: Readiness) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` was seen.
    #[inline]
    pub const fn intersects(self, other: Readiness) -> bool {
        self.0 & other.0 != 0
    }

    /// The bits that answer an interest: what a waiter with `interest` is woken for.
    #[inline]
    #[must_use]
    pub const fn from_interest(interest: Interest) -> Readiness {
        let mut bits = interest.0 & 0b1111;
        if interest.is_readable() {
            bits |= Readiness::READ_CLOSED.0;
        }
        if interest.is_writable() {
            bits |= Readiness::WRITE_CLOSED.0;
        }
        Readiness(bits)
    }

    /// The set of these bits; see [`bits`](Readiness::bits).
    #[inline]
    pub(crate) const fn from_bits(bits: u8) -> Readiness {
        Readiness(bits & 127)
    }

    /// Both sets together, in a `const`.
    #[inline]
    #[must_use]
    pub const fn or(self, other: Readiness) -> Readiness {
        Readiness(self.0 | other.0)
    }

    /// READABLE 1, WRITABLE 2, PRIORITY 4, ERROR 8, READ_CLOSED 16, WRITE_CLOSED 32, INVALID 64.
    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl BitOr for Readiness {
    type Output = Readiness;
    #[inline]
    fn bitor(self, other: Readiness) -> Readiness {
        Readiness(self.0 | other.0)
    }
}

impl BitOrAssign for Readiness {
    #[inline]
    fn bitor_assign(&mut self, other: Readiness) {
        self.0 |= other.0;
    }
}

impl BitAnd for Readiness {
    type Output = Readiness;
    #[inline]
    fn bitand(self, other: Readiness) -> Readiness {
        Readiness(self.0 & other.0)
    }
}

impl Sub for Readiness {
    type Output = Readiness;
    #[inline]
    fn sub(self, other: Readiness) -> Readiness {
        Readiness(self.0 & !other.0)
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 7] = [
            "READABLE",
            "WRITABLE",
            "PRIORITY",
            "ERROR",
            "READ_CLOSED",
            "WRITE_CLOSED",
            "INVALID",
        ];
        names(f, self.0, &NAMES)
    }
}

/// Writes the names of the set bits, `A | B`, or `NONE`.
fn names(f: &mut fmt::Formatter<'_>, bits: u8, names: &[&str]) -> fmt::Result {
    if bits == 0 {
        return f.write_str("NONE");
    }
    let mut first = true;
    for (bit, name) in names
        .iter()
        .enumerate()
        .filter(|(bit, _)| bits & 1 << bit != 0)
    {
        let _ = bit;
        if !std::mem::take(&mut first) {
            f.write_str(" | ")?;
        }
        f.write_str(name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_names_every_bit() {
        assert_eq!(format!("{:?}", Interest::NONE), "NONE");
        assert_eq!(
            format!("{:?}", Interest::READABLE | Interest::PRIORITY),
            "READABLE | PRIORITY"
        );
        assert_eq!(
            format!("{:?}", Readiness::ERROR | Readiness::INVALID),
            "ERROR | INVALID"
        );
        for (bit, name) in [
            (Readiness::EMPTY, "NONE"),
            (Readiness::READABLE, "READABLE"),
            (Readiness::WRITABLE, "WRITABLE"),
            (Readiness::PRIORITY, "PRIORITY"),
            (Readiness::READ_CLOSED, "READ_CLOSED"),
            (Readiness::WRITE_CLOSED, "WRITE_CLOSED"),
        ] {
            assert_eq!(format!("{bit:?}"), name);
        }
        for (bit, name) in [(Interest::WRITABLE, "WRITABLE"), (Interest::ERROR, "ERROR")] {
            assert_eq!(format!("{bit:?}"), name);
        }
    }

    #[test]
    fn removing_the_last_interest_leaves_none() {
        assert_eq!(Interest::READABLE.remove(Interest::READABLE), None);
        assert_eq!(Interest::READABLE - Interest::READABLE, Interest::NONE);
    }

    #[test]
    fn an_interest_is_answered_by_its_own_closed_bit() {
        let read = Readiness::from_interest(Interest::READABLE);
        assert_eq!(read, Readiness::READABLE | Readiness::READ_CLOSED);
        assert!(!read.intersects(Readiness::WRITE_CLOSED));
    }
}
