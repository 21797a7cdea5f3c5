//! [`Direction`] is what a waiter waits for; the functions map directions and interests to cached
//! bits; [`Seen`] is a reading of these bits.

use crate::interest::{Interest, Ready};

/// The direction in which a waiter of a `poll_` method waits. The first two index the slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) enum Direction {
    Read = 0,
    Write = 1,
    Priority = 2,
    Error = 3,
}

impl Direction {
    pub(crate) const ALL: [Direction; 4] = [
        Direction::Read,
        Direction::Write,
        Direction::Priority,
        Direction::Error,
    ];

    /// Returns the interest of a wait in this direction.
    #[inline]
    pub(crate) const fn interest(self) -> Interest {
        match self {
            Direction::Read => Interest::READABLE,
            Direction::Write => Interest::WRITABLE,
            Direction::Priority => Interest::PRIORITY,
            Direction::Error => Interest::ERROR,
        }
    }

    /// Returns the direction of an interest with a single bit.
    pub(crate) fn of(interest: Interest) -> Option<Direction> {
        Direction::ALL
            .into_iter()
            .find(|direction| direction.interest() == interest)
    }

    /// Returns the cached bit that is set and cleared for this direction.
    #[inline]
    pub(crate) const fn bit(self) -> Ready {
        match self {
            Direction::Read => Ready::READABLE,
            Direction::Write => Ready::WRITABLE,
            Direction::Priority => Ready::PRIORITY,
            Direction::Error => Ready::ERROR,
        }
    }
}

/// Returns the bits that end a wait for `interest`. A closed side also ends waits for PRIORITY and
/// ERROR, because nothing more will come. Waits for READABLE and WRITABLE are ended by the bit that
/// the event sets together with it.
#[inline]
pub(crate) const fn ending_bits(interest: Interest) -> Ready {
    let mut bits = Ready::EMPTY;
    if interest.is_readable() {
        bits = bits.union(Ready::READABLE);
    }
    if interest.is_writable() {
        bits = bits.union(Ready::WRITABLE);
    }
    if interest.is_priority() {
        bits = bits.union(Ready::PRIORITY).union(Ready::READ_CLOSED);
    }
    if interest.is_error() {
        bits = bits.union(Ready::ERROR).union(Ready::WRITE_CLOSED);
    }
    bits
}

/// Returns the cached bits that are set and cleared for `interest`.
#[inline]
pub(crate) const fn clearable_bits(interest: Interest) -> Ready {
    Ready::from_bits(visible_bits(interest).bits() & !CLOSED.bits())
}

/// Returns the bits that a waiter for `interest` sees, and that are out of date when a call for it
/// would block: those that are set and cleared for it, and those that say that its side is closed.
#[inline]
pub(crate) const fn visible_bits(interest: Interest) -> Ready {
    Ready::from_interest(interest).union(ending_bits(interest))
}

/// Both closed sides.
pub(super) const CLOSED: Ready = Ready::READ_CLOSED.union(Ready::WRITE_CLOSED);

/// A reading of the cached readiness. A caller that clears bits passes its round, which shows
/// whether an event was merged since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) round: u32,
    pub(crate) readiness: Ready,
    /// The closed sides that stay closed, whatever poll(2) returns.
    pub(crate) final_sides: Ready,
}

impl Seen {
    /// The round of a reading off the owner's thread. No turn has this number, so it clears
    /// nothing.
    const REMOTE: u32 = 0;

    /// Makes the reading of a call of poll(2) off the owner's thread.
    pub(crate) fn remote(readiness: Ready) -> Seen {
        Seen {
            round: Seen::REMOTE,
            readiness,
            final_sides: Ready::EMPTY,
        }
    }

    /// Whether the reading was made off the owner's thread.
    pub(crate) fn is_remote(&self) -> bool {
        self.round == Seen::REMOTE
    }
}
