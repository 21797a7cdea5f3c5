//! The registrations of a mechanism that goes by fd numbers: a dense array of them, and where each number stands in it.
//!
//! A number that was closed behind our back and now names another file is found out by a later `add` only: each
//! registration remembers which file it was made for, and one that was made for another file gives way.

use super::{Interest, Token, Trigger};
use crate::sys::fd::FileId;
use std::io;
use std::ops::Index;
use std::os::fd::RawFd;

/// No place.
const ABSENT: u32 = u32::MAX;

/// The place of the notifier, which no registration ever has.
pub(super) const NOTIFIER: usize = 0;

pub(super) struct Table {
    /// Dense: the last one moves into a hole.
    slots: Vec<Slot>,
    /// By fd number: its place, or `ABSENT`.
    places: Vec<u32>,
}

pub(super) struct Slot {
    pub(super) number: RawFd,
    pub(super) token: Token,
    /// All that was asked for; what of it is armed is the mechanism's to know.
    pub(super) interest: Interest,
    pub(super) trigger: Trigger,
    /// The file that the number named when it was added.
    file: Option<FileId>,
}

impl Table {
    /// A table that holds only the notifier's fd.
    pub(super) fn new(notifier: RawFd, capacity: usize) -> Table {
        let mut slots = Vec::with_capacity(capacity.saturating_add(1));
        slots.push(Slot {
            number: notifier,
            token: Token::from_u64(u64::MAX),
            interest: Interest::READABLE,
            trigger: Trigger::Level,
            file: None,
        });
        Table {
            slots,
            places: Vec::new(),
        }
    }

    /// Enters a registration and says at which place: behind all others, or at that of one which gave way.
    pub(super) fn add(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<usize> {
        let slot = Slot {
            number: fd,
            token,
            interest,
            trigger,
            file: Some(FileId::of(fd)?),
        };
        if let Some(place) = self.place(fd) {
            if self.slots[place].file == slot.file {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            self.slots[place] = slot;
            return Ok(place);
        }
        let (at, place) = (fd as usize, self.slots.len());
        if at >= self.places.len() {
            self.places.resize(at + 1, ABSENT);
        }
        self.places[at] = u32::try_from(place).expect("fd numbers fit in 31 bits");
        self.slots.push(slot);
        Ok(place)
    }

    /// Replaces what was asked for and says at which place.
    pub(super) fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<usize> {
        let place = self.find(fd, token)?;
        self.slots[place].interest = interest;
        self.slots[place].trigger = trigger;
        Ok(place)
    }

    /// Where a token is registered under a number; `NotFound` if it is not.
    pub(super) fn find(&self, fd: RawFd, token: Token) -> io::Result<usize> {
        match self.place(fd) {
            Some(place) if self.slots[place].token == token => Ok(place),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Where a number is registered.
    pub(super) fn place(&self, fd: RawFd) -> Option<usize> {
        let at = usize::try_from(fd).ok()?;
        match *self.places.get(at)? {
            ABSENT => None,
            place => Some(place as usize),
        }
    }

    /// Takes one out and moves the last one into the hole: `swap_remove`, for who keeps another array in parallel.
    pub(super) fn forget(&mut self, place: usize) {
        let gone = self.slots.swap_remove(place);
        if let Some(moved) = self.slots.get(place) {
            self.places[moved.number as usize] = place as u32;
        }
        self.places[gone.number as usize] = ABSENT;
    }

    /// Forgets everything but the notifier.
    pub(super) fn clear(&mut self) {
        self.slots.truncate(NOTIFIER + 1);
        self.places.clear();
    }
}

impl Index<usize> for Table {
    type Output = Slot;

    fn index(&self, place: usize) -> &Slot {
        &self.slots[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::net::UnixStream;

    fn token(at: usize) -> Token {
        Token::new(at as u32, 1)
    }

    fn sockets() -> [UnixStream; 4] {
        let (a, b) = UnixStream::pair().unwrap();
        let (c, d) = UnixStream::pair().unwrap();
        [a, b, c, d]
    }

    fn add(table: &mut Table, fd: RawFd, token: Token) -> io::Result<usize> {
        table.add(fd, token, Interest::READABLE, Trigger::Level)
    }

    #[test]
    fn a_hole_is_filled_by_the_last_one() {
        let sockets = sockets();
        let numbers = sockets.each_ref().map(|socket| socket.as_raw_fd());
        let mut table = Table::new(-1, 0);
        for (at, &fd) in numbers.iter().enumerate() {
            assert_eq!(add(&mut table, fd, token(at)).unwrap(), at + 1);
        }
        table.forget(table.find(numbers[1], token(1)).unwrap());
        assert_eq!(table.place(numbers[3]), Some(2));
        table.forget(table.find(numbers[3], token(3)).unwrap());
        assert_eq!(table.slots.len(), 3);
        for at in [1, 3] {
            let gone = table.find(numbers[at], token(at)).unwrap_err();
            assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        }
        assert_eq!(table.find(numbers[0], token(0)).unwrap(), 1);
        assert_eq!(table.find(numbers[2], token(2)).unwrap(), 2);
        table.clear();
        assert_eq!(table.place(numbers[0]), None);
        assert_eq!(table.slots.len(), 1);
    }

    #[test]
    fn a_number_of_another_file_gives_way() {
        let [old, new, ..] = sockets();
        let mut table = Table::new(-1, 0);
        let fd = old.as_raw_fd();
        add(&mut table, fd, token(0)).unwrap();
        let twice = add(&mut table, fd, token(1)).unwrap_err();
        assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
        crate::sys::lab::replace(old.as_fd(), new.as_fd()).unwrap();
        assert_eq!(add(&mut table, fd, token(2)).unwrap(), 1);
        assert!(table.find(fd, token(0)).is_err());
        table.find(fd, token(2)).unwrap();
    }
}
