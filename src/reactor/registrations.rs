//! [`Registrations`] is the table of registrations over one [`Backend`], with a state for each: an
//! `IoState` for futures, a handler for the callback loop.
//!
//! A [`Token`] names a registration: its place, and a generation that no other registration ever
//! has. So an event or a call that comes too late finds nothing, however often the fd's number or
//! the place was reused.
//!
//! ```text
//! watch, insert --> live (its token)
//! deregister    --> dead (no token; the place is not reused)
//! release       --> free
//! ```
//!
//! A place holds the whole token of its registration, and in all other states a token that names no
//! place. So one comparison finds out whether a token is stale.
//!
//! The backend watches a live registration unless it is always ready or was [taken
//! out](Registrations::take_out). One that was taken out is watched again from the next
//! [`Registrations::modify`] on; one that is [watched later](Registrations::watch_later), from the
//! first.
//!
//! On a mechanism that has to be armed again, a registration with a lasting hang-up or error and
//! nothing else to report is not armed but on the [recheck list](super::recheck_list).
//!
//! The place of a dead registration is kept until [`Registrations::release`], at the end of the
//! turn, because events collected from the batch may still name it.

mod rearm;

use super::recheck_list::RecheckList;
use crate::backend::{self, Backend, Capabilities, Event, Events, Trigger};
use crate::interest::Interest;
use crate::panics::{Payload, catch};
use crate::sys::fd::FileId;
use crate::sys::fork;
use crate::sys::syscall::failure;
use crate::token::Token;
pub(crate) use rearm::Rearm;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// The index of the driver's own tokens, such as its timer fd's. No place has it.
pub(crate) const RESERVED_INDEX: u32 = u32::MAX;

/// The end of the list of free places.
const NO_PLACE: u32 = RESERVED_INDEX;

/// The state that is kept with a registration.
pub(crate) trait RegistrationState {
    /// Returns the fd, if this owns it. A registration that may be taken out, or registered again
    /// after a fork, must own it.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Drops what it holds. The registration is gone, and the rest of this stays in the place.
    fn vacate(&mut self);
}

/// A place: free, or of one registration.
#[derive(Debug)]
pub(crate) struct Entry<S> {
    /// The token of the registration. Once it is dead the index is the reserved one, so that no
    /// token is found here. Once the place is free the generation is the next free place.
    token: Token,
    pub(crate) fd: RawFd,
    /// The interest that the backend has.
    pub(crate) watched: Interest,
    pub(crate) trigger: Trigger,
    backing: Backing,
    /// From `rearm::SUSPECT` on, poll(2) is called before the fd is armed again.
    suspicion: u8,
    pub(crate) state: S,
}

/// How the readiness of a registration is found out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Backing {
    /// The backend watches it.
    Watched,
    /// The backend watches it. The loop made the descriptor, and the file has no other one, so
    /// closing it removes the registration. Becomes `Watched` once the process has forked
    /// (`Registrations::copies`).
    Owned,
    /// The file is always ready, and the backend does not watch it.
    AlwaysReady,
    /// The backend does not watch it until the next `modify`.
    TakenOut,
    /// The backend does not watch it until the first `modify`.
    Later,
    /// As `Later`, and becomes `Owned` then. Becomes `Later` once the process has forked.
    LaterOwned,
}

/// The result of `Backend::remove` or `Backend::forget`, or its panic.
pub(crate) type Removed = Result<io::Result<()>, Payload>;

impl Backing {
    fn is_watched(self) -> bool {
        matches!(self, Backing::Watched | Backing::Owned)
    }
}

impl<S> Entry<S> {
    /// Returns the token, while the registration is live.
    #[inline]
    pub(crate) fn token(&self) -> Token {
        self.token
    }

    /// Whether the registration was removed from the backend until the next `modify`.
    pub(crate) fn is_taken_out(&self) -> bool {
        self.backing == Backing::TakenOut
    }

    /// Whether the backend watches it from the first `modify` on.
    #[inline]
    pub(crate) fn is_watched_later(&self) -> bool {
        matches!(self.backing, Backing::Later | Backing::LaterOwned)
    }

    fn is_live(&self) -> bool {
        self.token.index() != RESERVED_INDEX
    }
}

/// How an fd is registered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) interest: Interest,
    pub(crate) trigger: Trigger,
    /// See `Backing::Owned`. Set it only if you made the descriptor just before, with no other call
    /// of the table in between: the table notices forks at its calls.
    pub(crate) owned: bool,
}

/// Half a registration: the backend watches it, the table does not have it yet.
#[must_use = "pass it to `insert`: the backend watches the fd already"]
#[derive(Debug)]
pub(crate) struct Watched {
    token: Token,
    fd: RawFd,
    terms: Terms,
    backing: Backing,
}

/// The registrations and the backend that watches them.
#[derive(Debug)]
pub(crate) struct Registrations<S> {
    backend: Box<dyn Backend>,
    capabilities: Capabilities,
    events: Events,
    entries: Vec<Entry<S>>,
    /// The first free place, or `NO_PLACE`; the others follow from one to the next.
    free: u32,
    /// How many registrations are live.
    len: usize,
    /// The generation of the last registration. It is never 0, and never the same twice for one
    /// place.
    generation: u32,
    /// Places below this one are not used again, because the generations have wrapped since they
    /// were used.
    retired: usize,
    /// Places of registrations that ended in this turn. They are reused from the next turn on.
    released: Vec<u32>,
    /// The numbers of registrations that were taken out, with the files they named. The backend
    /// does not know these registrations.
    taken_out: HashMap<RawFd, Option<FileId>>,
    rechecks: RecheckList,
    /// `fork::count` when the backend was opened. Another value means that it is the parent's.
    forks: u32,
    /// The value of `fork::copies` for which `Backing::Owned` holds. With another value a child has
    /// a copy of every descriptor.
    copies: u32,
}

impl<S: RegistrationState> Registrations<S> {
    pub(crate) fn new(backend: Box<dyn Backend>, event_capacity: usize) -> Registrations<S> {
        fork::watch();
        Registrations {
            forks: fork::count(),
            copies: fork::copies(),
            capabilities: backend.capabilities(),
            backend,
            events: Events::with_capacity(event_capacity),
            entries: Vec::new(),
            free: NO_PLACE,
            len: 0,
            generation: 0,
            retired: 0,
            released: Vec::new(),
            taken_out: HashMap::new(),
            rechecks: RecheckList::new(),
        }
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(crate) fn backend_mut(&mut self) -> &mut dyn Backend {
        &mut *self.backend
    }

    #[inline]
    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Returns how many fds are registered.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Makes the backend watch an fd, the first half of registering it.
    /// [`insert`](Registrations::insert) is the second half, and cannot fail. After an error
    /// nothing is left behind.
    pub(crate) fn watch(&mut self, fd: BorrowedFd<'_>, mut terms: Terms) -> io::Result<Watched> {
        self.check_forked()?;
        self.check_taken_out(fd)?;
        // The process may have forked since this descriptor was made.
        terms.owned &= !self.has_copies();
        let token = self.next_token()?;
        self.backend.add(fd, token, terms.interest, terms.trigger)?;
        Ok(Watched {
            token,
            fd: fd.as_raw_fd(),
            terms,
            backing: Backing::Watched,
        })
    }

    /// As `watch`, for a listening socket that other loops watch too; a connection wakes one of
    /// them.
    pub(crate) fn watch_exclusive(&mut self, fd: BorrowedFd<'_>) -> io::Result<Watched> {
        self.check_forked()?;
        let token = self.next_token()?;
        self.backend.add_exclusive(fd, token)?;
        Ok(Watched {
            token,
            fd: fd.as_raw_fd(),
            terms: Terms {
                interest: Interest::READABLE,
                trigger: Trigger::Edge,
                owned: false,
            },
            backing: Backing::Watched,
        })
    }

    /// As `watch`, for an fd that the backend watches from the first `modify` on. It must stay open
    /// while it is registered.
    pub(crate) fn watch_later(
        &mut self,
        fd: BorrowedFd<'_>,
        mut terms: Terms,
    ) -> io::Result<Watched> {
        self.check_forked()?;
        self.check_taken_out(fd)?;
        terms.owned &= !self.has_copies();
        Ok(Watched {
            token: self.next_token()?,
            fd: fd.as_raw_fd(),
            terms,
            backing: Backing::Later,
        })
    }

    /// As `watch`, for an fd that is always ready, so the backend need not watch it. Searches all
    /// registrations for the same number; always-ready fds are few and rare.
    pub(crate) fn watch_nothing(
        &mut self,
        fd: BorrowedFd<'_>,
        terms: Terms,
    ) -> io::Result<Watched> {
        self.check_forked()?;
        let fd = fd.as_raw_fd();
        let is_same = |entry: &Entry<S>| entry.backing == Backing::AlwaysReady && entry.fd == fd;
        if self.live().any(is_same) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Watched {
            token: self.next_token()?,
            fd,
            terms,
            backing: Backing::AlwaysReady,
        })
    }

    /// Stores the registration with its state. Call it right after `watch`.
    pub(crate) fn insert(&mut self, watched: Watched, state: S) -> Token {
        let Watched {
            token,
            fd,
            terms,
            backing,
        } = watched;
        let entry = Entry {
            token,
            fd,
            watched: terms.interest,
            trigger: terms.trigger,
            backing: match backing {
                Backing::Watched if terms.owned => Backing::Owned,
                Backing::Later if terms.owned => Backing::LaterOwned,
                backing => backing,
            },
            suspicion: 0,
            state,
        };
        debug_assert_eq!(self.next_place(), token.index() as usize);
        match self.entries.get_mut(token.index() as usize) {
            Some(place) => {
                self.free = place.token.generation();
                *place = entry;
            }
            None => self.entries.push(entry),
        }
        self.len += 1;
        token
    }

    /// Returns the place of the next registration.
    fn next_place(&self) -> usize {
        if self.free == NO_PLACE {
            self.entries.len()
        } else {
            self.free as usize
        }
    }

    fn next_token(&mut self) -> io::Result<Token> {
        let generation = match self.generation.checked_add(1) {
            Some(generation) => generation,
            None => self.retire_places(),
        };
        let index = u32::try_from(self.next_place())
            .ok()
            .filter(|index| *index != RESERVED_INDEX)
            .ok_or_else(|| failure(io::ErrorKind::Other, "too many registrations"))?;
        self.generation = generation;
        Ok(Token::new(index, generation))
    }

    /// Restarts the generations after 2^32 registrations, with new places, so that a token that was
    /// kept all the time names nothing. Returns the first generation. The memory of the old places
    /// is not used until the table is dropped.
    #[cold]
    fn retire_places(&mut self) -> u32 {
        self.retired = self.entries.len();
        self.free = NO_PLACE;
        1
    }

    /// Returns the live registration of a token.
    #[inline]
    pub(crate) fn get(&mut self, token: Token) -> Option<&mut Entry<S>> {
        live(&mut self.entries, token)
    }

    /// As `get`, without `&mut`.
    pub(crate) fn peek(&self, token: Token) -> Option<&Entry<S>> {
        self.entries
            .get(token.index() as usize)
            .filter(|entry| entry.token == token)
    }

    /// Returns every live registration.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Entry<S>> {
        self.entries.iter().filter(|entry| entry.is_live())
    }

    /// Sets the interest in the backend and arms the fd again. An fd that was taken out is watched
    /// again. A token that is not registered is ignored.
    pub(crate) fn modify(
        &mut self,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        self.check_forked()?;
        let Some(entry) = live(&mut self.entries, token) else {
            return Ok(());
        };
        match entry.backing {
            Backing::Later | Backing::LaterOwned => {
                backend::add_number(&mut *self.backend, entry.fd, token, interest, trigger)?;
                entry.backing = if entry.backing == Backing::LaterOwned {
                    Backing::Owned
                } else {
                    Backing::Watched
                };
            }
            Backing::Watched | Backing::Owned => {
                self.backend.modify(entry.fd, token, interest, trigger)?;
                self.rechecks.remove(token);
            }
            Backing::AlwaysReady => {}
            Backing::TakenOut => {
                let fd = entry
                    .state
                    .fd()
                    .expect("a registration that was taken out owns its fd");
                let number = fd.as_raw_fd();
                self.backend.add(fd, token, interest, trigger)?;
                self.taken_out.remove(&entry.fd);
                // The value may have been replaced since.
                entry.fd = number;
                self.rechecks.remove(token);
                entry.backing = Backing::Watched;
            }
        }
        entry.watched = interest;
        entry.trigger = trigger;
        Ok(())
    }

    /// Returns an error if the fd is a registered one that was taken out, which the backend does
    /// not know.
    fn check_taken_out(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.taken_out.is_empty() {
            return Ok(());
        }
        let number = fd.as_raw_fd();
        match self.taken_out.get(&number) {
            Some(file) if *file == FileId::of(number).ok() => {
                Err(io::ErrorKind::AlreadyExists.into())
            }
            _ => Ok(()),
        }
    }

    /// Whether the process has forked since the last call. Then a child has copies of all
    /// registered fds, and closing one no longer removes its registration.
    #[inline]
    fn has_copies(&mut self) -> bool {
        let copies = fork::copies();
        let has_forked = copies != self.copies;
        if has_forked {
            self.clear_owned(copies);
        }
        has_forked
    }

    /// Turns every `Backing::Owned` into `Watched` and `LaterOwned` into `Later`, because a child
    /// has copies of the descriptors.
    #[cold]
    fn clear_owned(&mut self, copies: u32) {
        self.copies = copies;
        for entry in &mut self.entries {
            match entry.backing {
                Backing::Owned => entry.backing = Backing::Watched,
                Backing::LaterOwned => entry.backing = Backing::Later,
                _ => {}
            }
        }
    }

    /// Ends a registration: its events are dropped from now on. Calls `Backend::remove`, or
    /// `Backend::forget` if the caller closes the file's only descriptor next (`closing`) and the
    /// mechanism allows it. Never `forget` for a level trigger: if the file lives on in a duplicate
    /// that the caller does not know of, it would end every wait. Returns the state of the
    /// registration and the result of the backend; `None` if the token is not registered.
    pub(crate) fn deregister(&mut self, token: Token, closing: bool) -> Option<(&mut S, Removed)> {
        let forked = self.is_forked();
        let forgets = closing && self.capabilities.close_removes && !self.has_copies();
        let entry = live(&mut self.entries, token)?;
        entry.token = Token::new(RESERVED_INDEX, NO_PLACE);
        self.rechecks.remove(token);
        self.len -= 1;
        self.released.push(token.index());
        if entry.backing == Backing::TakenOut {
            self.taken_out.remove(&entry.fd);
        }
        let removed = if !entry.backing.is_watched() || forked {
            // In the child of a fork this would remove the parent's registration.
            Ok(Ok(()))
        } else if forgets && entry.backing == Backing::Owned && entry.trigger != Trigger::Level {
            catch(|| self.backend.forget(entry.fd, token))
        } else {
            catch(|| self.backend.remove(entry.fd, token))
        };
        Some((&mut entry.state, removed))
    }

    /// Waits for events. The batch stays until the next wait.
    #[inline]
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.check_forked()?;
        self.backend.wait(&mut self.events, timeout)?;
        if self.capabilities.rearm {
            self.note_hangups_and_errors();
        }
        if !self.rechecks.is_empty() {
            self.recheck();
        }
        Ok(())
    }

    /// Returns the batch of the last wait.
    #[inline]
    pub(crate) fn events(&self) -> &[Event] {
        self.events.as_slice()
    }

    /// Calls `see` for every event of the last wait, with its registration if that is live.
    #[inline]
    pub(crate) fn for_each_event(&mut self, mut see: impl FnMut(Event, Option<&mut Entry<S>>)) {
        for event in self.events.as_slice() {
            see(*event, live(&mut self.entries, event.token));
        }
    }

    /// Frees the places of the registrations that have ended.
    #[inline]
    pub(crate) fn release(&mut self) {
        while let Some(index) = self.released.pop() {
            let place = &mut self.entries[index as usize];
            if index as usize >= self.retired {
                place.token = Token::new(RESERVED_INDEX, self.free);
                self.free = index;
            }
            // Last, because it may panic.
            place.state.vacate();
        }
    }

    /// Gives back memory that is kept for new registrations.
    pub(crate) fn shrink(&mut self) {
        let used = self.entries.iter().rposition(Entry::is_live);
        let released = self.released.iter().map(|index| *index as usize);
        // Places below `retired` stay, because their tokens must not come back.
        let len =
            (used.into_iter().chain(released).map(|at| at + 1)).fold(self.retired, usize::max);
        let mut next = std::mem::replace(&mut self.free, NO_PLACE);
        while next != NO_PLACE {
            let at = next;
            let place = &mut self.entries[at as usize];
            next = place.token.generation();
            if (at as usize) < len {
                place.token = Token::new(RESERVED_INDEX, self.free);
                self.free = at;
            }
        }
        self.entries.truncate(len);
        self.entries.shrink_to_fit();
        self.released.shrink_to_fit();
        self.taken_out.shrink_to_fit();
    }

    /// Returns the tokens of all live registrations.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        self.live().map(|entry| entry.token).collect()
    }

    /// Opens a new kernel object in the child of a fork, and registers everything with it again.
    /// Returns the registrations that failed, with the reason.
    pub(crate) fn after_fork(&mut self) -> io::Result<Vec<(Token, io::Error)>> {
        self.backend.after_fork()?;
        self.forks = fork::count();
        self.events.clear();
        self.rechecks.clear();
        let mut lost = Vec::new();
        let live = self.entries.iter_mut().filter(|entry| entry.is_live());
        for entry in live.filter(|entry| entry.backing.is_watched()) {
            let token = entry.token;
            let fd = entry
                .state
                .fd()
                .expect("a registration of a loop that goes on after a fork owns its fd");
            let number = fd.as_raw_fd();
            if let Err(error) = self.backend.add(fd, token, entry.watched, entry.trigger) {
                lost.push((token, error));
            }
            entry.fd = number;
        }
        Ok(lost)
    }

    /// Whether this process is a child of the one that opened the backend.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.forks != fork::count()
    }

    /// Returns an error if this process is such a child.
    #[inline]
    pub(crate) fn check_forked(&self) -> io::Result<()> {
        if self.is_forked() {
            return Err(forked());
        }
        Ok(())
    }
}

/// Returns the live registration of a token.
#[inline]
fn live<S>(entries: &mut [Entry<S>], token: Token) -> Option<&mut Entry<S>> {
    entries
        .get_mut(token.index() as usize)
        .filter(|entry| entry.token == token)
}

/// Returns the error for a loop that was inherited, whose kernel object belongs to the parent.
#[cold]
fn forked() -> io::Error {
    failure(
        io::ErrorKind::Other,
        "this loop was made before a fork and belongs to the parent process: make a new runtime in the child, or call \
         `EventLoop::after_fork`",
    )
}

#[cfg(all(test, not(loom)))]
mod tests;
