//! The registrations over one [`Backend`], whatever is kept with each: `IoState` for futures, a handler for the callback
//! loop.
//!
//! A registration is named by a [`Token`]: where it stands, and a generation that no other one ever has. So an event or
//! a call that comes too late finds nothing, however often the fd's number or the place has been used since.
//!
//! ```text
//! watch, keep -> live (its token) -- deregister --> dead (nobody's token; place not used again) -- release --> free
//! ```
//!
//! A place holds the whole token of its registration, and in all other states one that names no place: one comparison
//! finds out whether a token is stale.
//!
//! The place of a dead registration is kept until [`Table::release`], at the end of the turn: what was collected from the batch before
//! may name it still.

use crate::backend::{Backend, Capabilities, Event, Events, Trigger};
use crate::interest::Interest;
use crate::sys::fork;
use crate::sys::syscall::failure;
use crate::token::Token;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// Index of tokens that are the driver's own, such as its timer fd's: no place has it.
pub(crate) const RESERVED_INDEX: u32 = u32::MAX;

/// The end of the list of free places.
const NO_PLACE: u32 = RESERVED_INDEX;

/// What is kept with a registration.
pub(crate) trait Kept {
    /// Drops what it holds: the registration is gone, and what is left of this is put away with the place.
    fn vacate(&mut self);
}

/// A place: of one registered fd, if it is not free.
#[derive(Debug)]
pub(crate) struct Entry<S> {
    /// The registration's. Once it is dead the index is the reserved one, so that no token is found here; once the place is
    /// free the generation is the next free place.
    token: Token,
    pub(crate) fd: RawFd,
    /// What the backend has been asked for.
    pub(crate) watched: Interest,
    pub(crate) trigger: Trigger,
    /// The loop made the descriptor and alone owns it: closing it removes it.
    sole: bool,
    /// The kernel watches it; not so what is always ready.
    backed: bool,
    pub(crate) state: S,
}

impl<S> Entry<S> {
    /// What names it, while it is live.
    #[inline]
    pub(crate) fn token(&self) -> Token {
        self.token
    }

    fn is_live(&self) -> bool {
        self.token.index() != RESERVED_INDEX
    }
}

/// How a registration begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) interest: Interest,
    pub(crate) trigger: Trigger,
    /// See `Entry::sole`.
    pub(crate) sole: bool,
}

/// Half a registration: the backend knows it, the table does not.
#[must_use = "the backend watches it under a token that nobody has"]
#[derive(Debug)]
pub(crate) struct Watched {
    token: Token,
    fd: RawFd,
    terms: Terms,
    backed: bool,
}

/// The registrations and the backend that watches them.
#[derive(Debug)]
pub(crate) struct Table<S> {
    backend: Box<dyn Backend>,
    capabilities: Capabilities,
    events: Events,
    entries: Vec<Entry<S>>,
    /// The first free place, or `NO_PLACE`; the others follow from one to the next.
    free: u32,
    /// How many are live.
    len: usize,
    /// The generation of the last registration; never 0 and, within four thousand million registrations, never the same.
    generation: u32,
    /// Places that were left in this turn; they are used again from the next turn on.
    released: Vec<u32>,
    /// `fork::count` when the backend was opened: another number says that it is the parent's.
    forks: u32,
}

impl<S: Kept> Table<S> {
    pub(crate) fn new(backend: Box<dyn Backend>, event_capacity: usize) -> Table<S> {
        fork::watch();
        Table {
            forks: fork::count(),
            capabilities: backend.capabilities(),
            backend,
            events: Events::with_capacity(event_capacity),
            entries: Vec::new(),
            free: NO_PLACE,
            len: 0,
            generation: 0,
            released: Vec::new(),
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

    /// How many fds are registered.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Has the backend watch an fd, the first half of registering it; [`keep`](Table::keep) is the second, and cannot fail. On
    /// failure nothing is left behind.
    pub(crate) fn watch(&mut self, fd: BorrowedFd<'_>, terms: Terms) -> io::Result<Watched> {
        self.check_forked()?;
        let token = self.next_token()?;
        self.backend.add(fd, token, terms.interest, terms.trigger)?;
        Ok(Watched {
            token,
            fd: fd.as_raw_fd(),
            terms,
            backed: true,
        })
    }

    /// As `watch`, for a listening socket that other loops watch too, of which one is to be woken.
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
                sole: false,
            },
            backed: true,
        })
    }

    /// As `watch`, for an fd that no kernel needs to watch because it is always ready. A number that is registered so already is
    /// found by a walk over all registrations: these are few, and rare.
    pub(crate) fn watch_nothing(
        &mut self,
        fd: BorrowedFd<'_>,
        terms: Terms,
    ) -> io::Result<Watched> {
        self.check_forked()?;
        let fd = fd.as_raw_fd();
        if self.live().any(|entry| !entry.backed && entry.fd == fd) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Watched {
            token: self.next_token()?,
            fd,
            terms,
            backed: false,
        })
    }

    /// Keeps `state` with what is watched; to be called right after `watch`.
    pub(crate) fn keep(&mut self, watched: Watched, state: S) -> Token {
        let Watched {
            token,
            fd,
            terms,
            backed,
        } = watched;
        let entry = Entry {
            token,
            fd,
            watched: terms.interest,
            trigger: terms.trigger,
            sole: terms.sole,
            backed,
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

    /// Where the next registration will stand.
    fn next_place(&self) -> usize {
        if self.free == NO_PLACE {
            self.entries.len()
        } else {
            self.free as usize
        }
    }

    fn next_token(&mut self) -> io::Result<Token> {
        let index = u32::try_from(self.next_place())
            .ok()
            .filter(|index| *index != RESERVED_INDEX)
            .ok_or_else(|| failure(io::ErrorKind::Other, "too many registrations"))?;
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        Ok(Token::new(index, self.generation))
    }

    /// The live registration of a token.
    #[inline]
    pub(crate) fn get(&mut self, token: Token) -> Option<&mut Entry<S>> {
        self.entries
            .get_mut(token.index() as usize)
            .filter(|entry| entry.token == token)
    }

    /// As `get`, to look only.
    pub(crate) fn peek(&self, token: Token) -> Option<&Entry<S>> {
        self.entries
            .get(token.index() as usize)
            .filter(|entry| entry.token == token)
    }

    /// Every live registration.
    fn live(&self) -> impl Iterator<Item = &Entry<S>> {
        self.entries.iter().filter(|entry| entry.is_live())
    }

    /// Asks the backend for another interest, armed afresh. A token that is not registered is passed over.
    pub(crate) fn modify(
        &mut self,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        self.check_forked()?;
        let Some(entry) = self.get(token) else {
            return Ok(());
        };
        let (fd, backed) = (entry.fd, entry.backed);
        if backed {
            self.backend.modify(fd, token, interest, trigger)?;
        }
        if let Some(entry) = self.get(token) {
            entry.watched = interest;
            entry.trigger = trigger;
        }
        Ok(())
    }

    /// Arms directions of an edge-triggered registration again, where the mechanism needs it.
    pub(crate) fn rearm(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        self.check_forked()?;
        match self.get(token) {
            Some(entry) if entry.backed => {
                let fd = entry.fd;
                self.backend.rearm(fd, token, interest)
            }
            _ => Ok(()),
        }
    }

    /// Ends a registration: events of it are dropped from now on. The backend is told unless the caller closes the fd
    /// right away (`closing`) and that is enough. Returns what was kept with it, and what the backend said; `None` when the
    /// token is not registered.
    pub(crate) fn deregister(
        &mut self,
        token: Token,
        closing: bool,
    ) -> Option<(&mut S, io::Result<()>)> {
        let close_removes = self.capabilities.close_removes;
        let forked = self.is_forked();
        let entry = self
            .entries
            .get_mut(token.index() as usize)
            .filter(|entry| entry.token == token)?;
        entry.token = Token::new(RESERVED_INDEX, NO_PLACE);
        self.len -= 1;
        self.released.push(token.index());
        // What a child of a fork removed would be the parent's.
        let is_done = !entry.backed || forked || (closing && entry.sole && close_removes);
        let removed = if is_done {
            Ok(())
        } else {
            self.backend.remove(entry.fd, token)
        };
        Some((&mut entry.state, removed))
    }

    /// Waits and keeps the batch.
    #[inline]
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.check_forked()?;
        self.backend.wait(&mut self.events, timeout)
    }

    /// The batch of the last wait.
    #[inline]
    pub(crate) fn events(&self) -> &[Event] {
        self.events.as_slice()
    }

    /// Shows every event of the last wait to `see`, with the registration that it is about if that is live.
    #[inline]
    pub(crate) fn for_each_event(&mut self, mut see: impl FnMut(Event, Option<&mut Entry<S>>)) {
        for event in self.events.as_slice() {
            let entry = self
                .entries
                .get_mut(event.token.index() as usize)
                .filter(|entry| entry.token == event.token);
            see(*event, entry);
        }
    }

    /// Makes the places free that were left before now.
    #[inline]
    pub(crate) fn release(&mut self) {
        while let Some(index) = self.released.pop() {
            let place = &mut self.entries[index as usize];
            place.token = Token::new(RESERVED_INDEX, self.free);
            self.free = index;
            place.state.vacate();
        }
    }

    /// Every live registration.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        self.live().map(|entry| entry.token).collect()
    }

    /// In the child of a fork: takes a kernel object of its own and registers with it what was registered before. `fd_of`
    /// borrows a registration's fd. Returns those that could not be registered again, with the reason.
    pub(crate) fn after_fork(
        &mut self,
        fd_of: impl Fn(&S) -> BorrowedFd<'_>,
    ) -> io::Result<Vec<(Token, io::Error)>> {
        self.backend.after_fork()?;
        self.forks = fork::count();
        self.events.clear();
        let mut lost = Vec::new();
        let live = self.entries.iter().filter(|entry| entry.is_live());
        for entry in live.filter(|entry| entry.backed) {
            let (token, fd) = (entry.token, fd_of(&entry.state));
            if let Err(error) = self.backend.add(fd, token, entry.watched, entry.trigger) {
                lost.push((token, error));
            }
        }
        Ok(lost)
    }

    /// Whether this process is a child of the one that opened the backend.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.forks != fork::count()
    }

    /// An error if it is.
    #[inline]
    pub(crate) fn check_forked(&self) -> io::Result<()> {
        if self.is_forked() {
            return Err(forked());
        }
        Ok(())
    }
}

/// The loop was inherited: its kernel object is the parent's.
#[cold]
fn forked() -> io::Error {
    failure(
        io::ErrorKind::Other,
        "this loop was made before a fork and belongs to the parent process: make a new runtime in the child, or call \
         `EventLoop::after_fork`",
    )
}
