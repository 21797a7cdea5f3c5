//! [`FdTable`] holds the registrations of a mechanism that uses fd numbers: a dense array, and the
//! place of each number in it.
//!
//! Each registration remembers which file it was made for. If a number was closed while registered
//! and now names another file, the next `add` of that number notices this and replaces the
//! registration.

use super::identity::{FileTracker, Identity};
use super::{Interest, Token, Trigger};
use crate::sys::fd::FileKind;
use std::io;
use std::ops::Index;
use std::os::fd::RawFd;

/// No place.
const ABSENT: u32 = u32::MAX;

/// The place of the notifier. No registration has it.
pub(super) const NOTIFIER: usize = 0;

pub(super) struct FdTable {
    /// Dense: the last registration moves into a hole.
    slots: Vec<Slot>,
    /// By fd number: its place, or `ABSENT`.
    places: Vec<u32>,
    files: FileTracker,
}

pub(super) struct Slot {
    pub(super) number: RawFd,
    pub(super) token: Token,
    /// The whole interest. The mechanism knows what of it is armed.
    pub(super) interest: Interest,
    pub(super) trigger: Trigger,
    /// The file that the number named when it was added.
    file: Option<Identity>,
}

impl FdTable {
    /// Makes a table that holds only the notifier's fd.
    pub(super) fn new(notifier: RawFd, capacity: usize) -> FdTable {
        let mut slots = Vec::with_capacity(capacity.saturating_add(1));
        slots.push(Slot {
            number: notifier,
            token: Token::from_u64(u64::MAX),
            interest: Interest::READABLE,
            trigger: Trigger::Level,
            file: None,
        });
        FdTable {
            slots,
            places: Vec::new(),
            files: FileTracker::default(),
        }
    }

    /// Adds a registration and returns its place: behind all others, or that of one which it
    /// replaces.
    pub(super) fn add(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<usize> {
        let mut file = Identity::of(fd)?;
        let known = self.place(fd);
        if let Some(place) = known {
            let is_same = |known| self.files.is_same(fd, known, &file);
            if self.slots[place].file.as_ref().is_none_or(is_same) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
        }
        self.files.note(fd, &mut file);
        let slot = Slot {
            number: fd,
            token,
            interest,
            trigger,
            file: Some(file),
        };
        if let Some(place) = known {
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

    /// Replaces interest and trigger. Returns the place.
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

    /// Returns the place of a token under a number; `NotFound` if it is not registered.
    pub(super) fn find(&self, fd: RawFd, token: Token) -> io::Result<usize> {
        match self.place(fd) {
            Some(place) if self.slots[place].token == token => Ok(place),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Whether the file at a place may report a change to one call only: the files of /proc that
    /// report changes are regular files.
    pub(super) fn reports_once(&self, place: usize) -> bool {
        let file = self.slots[place].file.as_ref();
        file.is_some_and(|file| file.kind == FileKind::Regular)
    }

    /// Returns the place of a number, if it is registered.
    pub(super) fn place(&self, fd: RawFd) -> Option<usize> {
        let at = usize::try_from(fd).ok()?;
        match *self.places.get(at)? {
            ABSENT => None,
            place => Some(place as usize),
        }
    }

    /// Removes a registration and moves the last one into the hole, like `swap_remove`, for callers
    /// with a parallel array.
    pub(super) fn forget(&mut self, place: usize) {
        let gone = self.slots.swap_remove(place);
        if let Some(moved) = self.slots.get(place) {
            self.places[moved.number as usize] = place as u32;
        }
        self.places[gone.number as usize] = ABSENT;
        if let Some(file) = &gone.file {
            self.files.forget(gone.number, file);
        }
    }

    /// Forgets everything but the notifier.
    pub(super) fn clear(&mut self) {
        self.slots.truncate(NOTIFIER + 1);
        self.places.clear();
        self.files = FileTracker::default();
    }
}

impl Index<usize> for FdTable {
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

    fn add(table: &mut FdTable, fd: RawFd, token: Token) -> io::Result<usize> {
        table.add(fd, token, Interest::READABLE, Trigger::Level)
    }

    #[test]
    fn forget_fills_the_hole_with_the_last_registration() {
        let sockets = sockets();
        let numbers = sockets.each_ref().map(|socket| socket.as_raw_fd());
        let mut table = FdTable::new(-1, 0);
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
    fn add_replaces_the_registration_of_another_file() {
        let [old, new, ..] = sockets();
        let mut table = FdTable::new(-1, 0);
        let fd = old.as_raw_fd();
        add(&mut table, fd, token(0)).unwrap();
        let twice = add(&mut table, fd, token(1)).unwrap_err();
        assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
        crate::sys::test_fds::replace(old.as_fd(), new.as_fd()).unwrap();
        assert_eq!(add(&mut table, fd, token(2)).unwrap(), 1);
        assert!(table.find(fd, token(0)).is_err());
        table.find(fd, token(2)).unwrap();
    }
}
