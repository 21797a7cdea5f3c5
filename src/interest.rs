//! [`Interest`], what to wait for, and [`Ready`], what was found: two sets of bits.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub};

/// The set of events to wait for.
///
/// | bit | the wait ends if |
/// |---|---|
/// | READABLE | a read would not block; this includes the end of the stream |
/// | WRITABLE | a write would not block |
/// | PRIORITY | there is out-of-band data or another exceptional condition |
/// | ERROR | an error is pending |
///
/// Errors and hang-ups end every wait, whatever the interest is. The backend `select` cannot wait
/// for ERROR alone.
///
/// # Examples
///
/// ```
/// use reveille::io::Interest;
///
/// let both = Interest::READABLE | Interest::WRITABLE;
/// assert!(both.is_readable() && both.is_writable());
/// assert_eq!(both.remove(Interest::READABLE), Some(Interest::WRITABLE));
/// assert_eq!(both - both, Interest::EMPTY);
///
/// const ALL: Interest = Interest::READABLE
///     .union(Interest::WRITABLE)
///     .add(Interest::PRIORITY)
///     .add(Interest::ERROR);
/// assert!(ALL.is_priority() && ALL.is_error() && ALL.contains(both));
/// assert_eq!(ALL.bits(), 15);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Interest(u8);

impl Interest {
    /// The empty set. The fd stays registered. Most backends still report hang-ups and errors.
    pub const EMPTY: Interest = Interest(0);
    /// A read would not block. This includes the end of the stream.
    pub const READABLE: Interest = Interest(1);
    /// A write would not block.
    pub const WRITABLE: Interest = Interest(2);
    /// Out-of-band data on TCP, or another exceptional condition of the file (`POLLPRI`).
    pub const PRIORITY: Interest = Interest(4);
    /// An error is pending. All backends but `select` report errors to every registration, so this
    /// bit is needed only to wait for errors alone. `select` reports them as READABLE and WRITABLE.
    pub const ERROR: Interest = Interest(8);

    /// Returns the union of both sets. Unlike `|`, it can be called in a `const`.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }

    /// Same as [`union`](Interest::union), under the name that tokio uses.
    #[inline]
    #[must_use]
    #[allow(clippy::should_implement_trait, reason = "tokio's name")]
    pub const fn add(self, other: Interest) -> Interest {
        self.union(other)
    }

    /// Returns this set without `other`, or `None` if nothing is left.
    #[must_use]
    pub const fn remove(self, other: Interest) -> Option<Interest> {
        match self.0 & !other.0 {
            0 => None,
            left => Some(Interest(left)),
        }
    }

    /// Returns true if [`READABLE`](Interest::READABLE) is in the set.
    #[inline]
    pub const fn is_readable(self) -> bool {
        self.contains(Interest::READABLE)
    }

    /// Returns true if [`WRITABLE`](Interest::WRITABLE) is in the set.
    #[inline]
    pub const fn is_writable(self) -> bool {
        self.contains(Interest::WRITABLE)
    }

    /// Returns true if [`PRIORITY`](Interest::PRIORITY) is in the set.
    #[inline]
    pub const fn is_priority(self) -> bool {
        self.contains(Interest::PRIORITY)
    }

    /// Returns true if [`ERROR`](Interest::ERROR) is in the set.
    #[inline]
    pub const fn is_error(self) -> bool {
        self.contains(Interest::ERROR)
    }

    /// Returns true if the set is empty.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns true if all of `other` is in the set.
    #[inline]
    pub const fn contains(self, other: Interest) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the bits, for the tables of a backend: READABLE 1, WRITABLE 2, PRIORITY 4, ERROR 8.
    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl BitOr for Interest {
    type Output = Interest;
    #[inline]
    fn bitor(self, other: Interest) -> Interest {
        self.union(other)
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

/// The set without `other`. Unlike that of [`Interest::remove`], the result may be empty.
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

/// The set of events that were found on an fd.
///
/// | bits | meaning |
/// |---|---|
/// | READABLE, WRITABLE | a read or a write would not block; a hang-up or an error sets both bits, because both calls would return |
/// | READ_CLOSED | the peer sends no more, and may still read |
/// | WRITE_CLOSED | the peer reads no more |
/// | [`ERROR`](Ready::ERROR), [`PRIORITY`](Ready::PRIORITY), [`INVALID`](Ready::INVALID) | see the constants |
///
/// If READ_CLOSED or WRITE_CLOSED is set, that side is closed. A side may be closed although its
/// bit is not set, because not every backend reports it.
///
/// # Examples
///
/// ```
/// use reveille::io::{Interest, Ready};
///
/// let half_closed = Ready::READABLE | Ready::READ_CLOSED;
/// assert!(half_closed.is_read_closed() && !half_closed.is_write_closed());
/// assert!(half_closed.intersects(Ready::from_interest(Interest::READABLE)));
/// assert_eq!(half_closed - Ready::READ_CLOSED, Ready::READABLE);
/// assert_eq!(half_closed - Ready::ALL, Ready::EMPTY);
/// assert!(!Ready::ALL.contains(Ready::INVALID));
///
/// const FAILED: Ready = Ready::ERROR.union(Ready::PRIORITY).union(Ready::WRITE_CLOSED);
/// assert!(FAILED.is_error() && FAILED.is_priority() && !FAILED.is_invalid());
/// assert_eq!(FAILED.bits(), 8 + 4 + 32);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Ready(u8);

impl Ready {
    /// The empty set.
    pub const EMPTY: Ready = Ready(0);
    /// A read would not block.
    pub const READABLE: Ready = Ready(1);
    /// A write would not block.
    pub const WRITABLE: Ready = Ready(2);
    /// Out-of-band data or another exceptional condition.
    pub const PRIORITY: Ready = Ready(4);
    /// An error is pending on the fd. The next call returns it.
    pub const ERROR: Ready = Ready(8);
    /// The peer sends no more, or the reading side was shut down.
    pub const READ_CLOSED: Ready = Ready(16);
    /// Nothing more can be sent.
    pub const WRITE_CLOSED: Ready = Ready(32);
    /// The fd was closed without being deregistered (`POLLNVAL`).
    pub const INVALID: Ready = Ready(64);
    /// All bits except [`INVALID`](Ready::INVALID).
    pub const ALL: Ready = Ready(63);

    /// Returns true if a read would not block.
    #[inline]
    pub const fn is_readable(self) -> bool {
        self.contains(Ready::READABLE)
    }

    /// Returns true if a write would not block.
    #[inline]
    pub const fn is_writable(self) -> bool {
        self.contains(Ready::WRITABLE)
    }

    /// Returns true if there is an exceptional condition.
    #[inline]
    pub const fn is_priority(self) -> bool {
        self.contains(Ready::PRIORITY)
    }

    /// Returns true if an error is pending.
    #[inline]
    pub const fn is_error(self) -> bool {
        self.contains(Ready::ERROR)
    }

    /// Returns true if the reading side is closed.
    #[inline]
    pub const fn is_read_closed(self) -> bool {
        self.contains(Ready::READ_CLOSED)
    }

    /// Returns true if the writing side is closed.
    #[inline]
    pub const fn is_write_closed(self) -> bool {
        self.contains(Ready::WRITE_CLOSED)
    }

    /// Returns true if the fd is not open.
    #[inline]
    pub const fn is_invalid(self) -> bool {
        self.contains(Ready::INVALID)
    }

    /// Returns true if the set is empty.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns true if all of `other` is in the set.
    #[inline]
    pub const fn contains(self, other: Ready) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns true if any bit of `other` is in the set.
    #[inline]
    pub const fn intersects(self, other: Ready) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns the bits that end a wait for `interest`: its own bits, READ_CLOSED if it contains
    /// READABLE, and WRITE_CLOSED if it contains WRITABLE.
    #[inline]
    #[must_use]
    pub const fn from_interest(interest: Interest) -> Ready {
        // The bits of an interest have the same values here.
        let mut bits = interest.0;
        if interest.is_readable() {
            bits |= Ready::READ_CLOSED.0;
        }
        if interest.is_writable() {
            bits |= Ready::WRITE_CLOSED.0;
        }
        Ready(bits)
    }

    /// Converts a number from [`bits`](Ready::bits) back. Drops bits that have no meaning.
    #[inline]
    pub(crate) const fn from_bits(bits: u8) -> Ready {
        Ready(bits & Ready::ALL.union(Ready::INVALID).0)
    }

    /// Returns the union of both sets. Unlike `|`, it can be called in a `const`.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Ready) -> Ready {
        Ready(self.0 | other.0)
    }

    /// Returns the bits: READABLE 1, WRITABLE 2, PRIORITY 4, ERROR 8, READ_CLOSED 16, WRITE_CLOSED
    /// 32, INVALID 64.
    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl BitOr for Ready {
    type Output = Ready;
    #[inline]
    fn bitor(self, other: Ready) -> Ready {
        Ready(self.0 | other.0)
    }
}

impl BitOrAssign for Ready {
    #[inline]
    fn bitor_assign(&mut self, other: Ready) {
        self.0 |= other.0;
    }
}

impl BitAnd for Ready {
    type Output = Ready;
    #[inline]
    fn bitand(self, other: Ready) -> Ready {
        Ready(self.0 & other.0)
    }
}

impl Sub for Ready {
    type Output = Ready;
    #[inline]
    fn sub(self, other: Ready) -> Ready {
        Ready(self.0 & !other.0)
    }
}

impl fmt::Debug for Ready {
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

/// Writes the names of the bits that are set, such as `READABLE | ERROR`, or `EMPTY`.
fn names(f: &mut fmt::Formatter<'_>, bits: u8, names: &[&str]) -> fmt::Result {
    if bits == 0 {
        return f.write_str("EMPTY");
    }
    let mut separator = "";
    for (bit, name) in names.iter().enumerate() {
        if bits & 1 << bit != 0 {
            write!(f, "{separator}{name}")?;
            separator = " | ";
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_names_every_bit() {
        assert_eq!(format!("{:?}", Interest::EMPTY), "EMPTY");
        assert_eq!(
            format!("{:?}", Interest::READABLE | Interest::PRIORITY),
            "READABLE | PRIORITY"
        );
        assert_eq!(
            format!("{:?}", Ready::ERROR | Ready::INVALID),
            "ERROR | INVALID"
        );
        for (bit, name) in [
            (Ready::EMPTY, "EMPTY"),
            (Ready::READABLE, "READABLE"),
            (Ready::WRITABLE, "WRITABLE"),
            (Ready::PRIORITY, "PRIORITY"),
            (Ready::READ_CLOSED, "READ_CLOSED"),
            (Ready::WRITE_CLOSED, "WRITE_CLOSED"),
        ] {
            assert_eq!(format!("{bit:?}"), name);
        }
        for (bit, name) in [(Interest::WRITABLE, "WRITABLE"), (Interest::ERROR, "ERROR")] {
            assert_eq!(format!("{bit:?}"), name);
        }
    }

    #[test]
    fn remove_of_the_last_interest_returns_none() {
        assert_eq!(Interest::READABLE.remove(Interest::READABLE), None);
        assert_eq!(Interest::READABLE - Interest::READABLE, Interest::EMPTY);
    }

    #[test]
    fn from_interest_has_the_closed_bit_of_its_side() {
        let read = Ready::from_interest(Interest::READABLE);
        assert_eq!(read, Ready::READABLE | Ready::READ_CLOSED);
        assert!(!read.intersects(Ready::WRITE_CLOSED));
    }
}
