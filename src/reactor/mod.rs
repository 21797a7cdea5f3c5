//! Registered fds and who waits for them, over one [`Backend`]; timers beside them in the [`Driver`](driver::Driver).
//!
//! ```text
//! Backend::wait -> Event { token, readiness }
//!   -> Reactor::merge      index + generation -> IoState; a stale generation is dropped
//!   -> IoState::merge      bits |= seen, round = this turn, matching wakers -> WakeList, which wakes our own at once
//! Timers::pop_expired      -> WakeList
//!   -> WakeList::wake_all  foreign ones: nothing is borrowed any more
//! ```
//!
//! Everything here belongs to one thread. What others send arrives through [`remote`], and [`parker`] ends the loop's
//! sleep. The layer knows tasks only as [`Waker`](std::task::Waker)s, and nothing of runtimes: it is entered through a
//! scoped thread-local, [`driver::CURRENT`], which the runtime sets.
//!
//! **Rule**: no foreign code (a waker's clone, wake or drop; a value's drop) runs while a cell of the driver is
//! borrowed. Every function that could come to it collects into a [`wake_list::WakeList`] or returns what is to be dropped.
//!
//! Next: [`io_state`] for cached readiness, [`driver`] for a turn, [`registration`] for what the I/O types hold.

#![forbid(unsafe_code)]

mod alarm;
pub(crate) mod armed;
pub(crate) mod clock;
pub(crate) mod driver;
pub(crate) mod io_state;
pub(crate) mod parker;
pub(crate) mod registration;
pub(crate) mod remote;
mod stand_ins;
#[cfg(all(test, not(loom)))]
mod tests;
mod wake_list;
pub(crate) mod waker_slot;

use crate::backend::{Backend, Capabilities, Events, Trigger};
use crate::interest::{Interest, Readiness};
use crate::sys::fork;
use crate::token::Token;
use io_state::{Direction, EVERYTHING, IoState, Traits};
use slab::Slab;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::task::Poll;
use std::time::Duration;
use wake_list::WakeList;
use waker_slot::{WakerSlot, Wakers};

/// What kind of fd is registered; decides the mask and what may be assumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Watch {
    /// A TCP stream of `net`: watched in both directions for its life, and a short read proves something.
    /// `connected`: writable until a write says otherwise.
    Tcp { connected: bool, sole: bool },
    /// A listening socket: readable alone.
    Listener { sole: bool },
    /// Any other fd: writability is added to the mask by the first wait for it, because an edge-triggered mask with it
    /// reports every send and every read of the peer on UDP and AF_UNIX.
    Custom(Interest),
}

impl Watch {
    /// What the backend is asked for at first.
    fn interest(self) -> Interest {
        match self {
            Watch::Tcp { .. } => Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY,
            Watch::Listener { .. } => Interest::READABLE,
            Watch::Custom(interest) => interest - Interest::WRITABLE,
        }
    }

    /// What is taken for granted at first: a fresh socket is writable and not readable.
    fn readiness(self) -> Readiness {
        match self {
            Watch::Tcp {
                connected: true, ..
            } => Readiness::WRITABLE,
            _ => Readiness::EMPTY,
        }
    }

    fn traits(self) -> Traits {
        match self {
            Watch::Tcp { sole, .. } => Traits {
                short_proves: true,
                sole,
            },
            Watch::Listener { sole } => Traits {
                short_proves: false,
                sole,
            },
            Watch::Custom(_) => Traits {
                short_proves: false,
                sole: false,
            },
        }
    }
}

/// The registrations and the backend that watches them.
#[derive(Debug)]
pub(crate) struct Reactor {
    backend: Box<dyn Backend>,
    capabilities: Capabilities,
    events: Events,
    states: Slab<IoState>,
    /// The generation of the last registration; never 0 and, within four thousand million registrations, never the same.
    generation: u32,
    /// Indices that were deregistered in this turn; they are used again from the next turn on.
    released: Vec<u32>,
    /// The number of the running turn; never 0, which stands for what no turn has seen.
    round: u32,
    /// `fork::count` when the backend was opened: another number says that it is the parent's.
    forks: u32,
}

/// Index of tokens that are the driver's own, such as its timer fd's: no slab index reaches it.
pub(crate) const RESERVED_INDEX: u32 = u32::MAX;

impl Reactor {
    pub(crate) fn new(backend: Box<dyn Backend>, event_capacity: usize) -> Reactor {
        fork::watch();
        Reactor {
            forks: fork::count(),
            capabilities: backend.capabilities(),
            backend,
            events: Events::with_capacity(event_capacity),
            states: Slab::new(),
            generation: 0,
            released: Vec::new(),
            round: 1,
        }
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(crate) fn backend_mut(&mut self) -> &mut dyn Backend {
        &mut *self.backend
    }

    /// How many fds are registered.
    pub(crate) fn len(&self) -> usize {
        self.states.len() - self.released.len()
    }

    /// Registers an fd. On failure nothing is left behind.
    pub(crate) fn register(&mut self, fd: BorrowedFd<'_>, watch: Watch) -> io::Result<Token> {
        self.check_forked()?;
        let index = u32::try_from(self.states.vacant_key())
            .ok()
            .filter(|index| *index != RESERVED_INDEX)
            .ok_or_else(|| io::Error::other("too many registrations"))?;
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let token = Token::new(index, self.generation);
        let interest = self.heard(watch.interest());
        self.backend.add(fd, token, interest, Trigger::Edge)?;
        self.states.insert(IoState::new(
            self.generation,
            fd.as_raw_fd(),
            interest,
            watch.readiness(),
            watch.traits(),
            self.round,
        ));
        Ok(token)
    }

    /// What the backend is asked for, so that who waits hears of a hang-up: a mechanism that tells it only with data or
    /// room is asked for these, too.
    #[inline]
    fn heard(&self, interest: Interest) -> Interest {
        let either = Interest::READABLE | Interest::WRITABLE;
        if self.capabilities.unasked || interest.is_none() || !(interest & either).is_none() {
            interest
        } else {
            interest | either
        }
    }

    /// Stores the waiter of a `poll_` method if that is a matter of one word; see [`IoState::store_key`].
    #[inline]
    pub(crate) fn store_key(
        &mut self,
        token: Token,
        direction: Direction,
        slot: WakerSlot,
    ) -> bool {
        self.get(token).is_some_and(|state| {
            state.watched.contains(direction.interest()) && state.store_key(direction, slot)
        })
    }

    /// The live registration of a token.
    #[inline]
    pub(crate) fn get(&mut self, token: Token) -> Option<&mut IoState> {
        self.states
            .get_mut(token.index() as usize)
            .filter(|state| state.generation == token.generation())
    }

    /// Ends a registration: events of it are dropped from now on, and its waiters are woken to find it gone. The backend
    /// is told unless the caller closes the fd right away (`closing`) and that is enough.
    pub(crate) fn deregister(
        &mut self,
        token: Token,
        closing: bool,
        wakers: &Wakers,
        list: &mut WakeList,
    ) -> io::Result<()> {
        let close_removes = self.capabilities.close_removes;
        let Some(state) = self.get(token) else {
            return Ok(());
        };
        let (fd, sole) = (state.fd, state.traits.sole);
        state.generation = 0;
        state.wake(EVERYTHING, wakers, list);
        self.released.push(token.index());
        // What a child of a fork removed would be the parent's.
        if (closing && sole && close_removes) || self.is_forked() {
            return Ok(());
        }
        self.backend.remove(fd, token)
    }

    /// Whether this process is a child of the one that opened the backend.
    #[inline]
    fn is_forked(&self) -> bool {
        self.forks != fork::count()
    }

    #[inline]
    fn check_forked(&self) -> io::Result<()> {
        if self.is_forked() {
            return Err(forked());
        }
        Ok(())
    }

    /// Clears cached bits as seen in `round`, and asks the backend to look again for what was cleared. On failure the bits
    /// stay: who waits for them would wait for ever.
    #[inline]
    pub(crate) fn clear(&mut self, token: Token, round: u32, bits: Readiness) -> io::Result<()> {
        let rearm = self.capabilities.rearm;
        let Some(state) = self.get(token) else {
            return Ok(());
        };
        let cleared = state.clear(round, bits);
        if rearm && !cleared.is_empty() {
            let armed = self.rearm(token, cleared);
            if let (Err(_), Some(state)) = (&armed, self.get(token)) {
                state.readiness |= cleared;
            }
            return armed;
        }
        Ok(())
    }

    /// Arms the directions of cleared bits again.
    #[cold]
    fn rearm(&mut self, token: Token, cleared: Readiness) -> io::Result<()> {
        let Some(state) = self.get(token) else {
            return Ok(());
        };
        // Errors come though nobody asked for them, and so are armed again.
        let (fd, watched) = (state.fd, state.watched | Interest::ERROR);
        let mut interest = Interest::NONE;
        for direction in Direction::ALL {
            if cleared.contains(direction.bit()) && watched.contains(direction.interest()) {
                interest |= direction.interest();
            }
        }
        if interest.is_none() {
            Ok(())
        } else {
            self.backend.rearm(fd, token, interest)
        }
    }

    /// Runs a read or write of at most `len` bytes if the direction is ready, and clears what it proves. `Pending`: it was
    /// not ready, or is not any more.
    ///
    /// The call is one of `sys`, which runs no foreign code: it is made with the reactor borrowed, so nothing can be
    /// merged meanwhile and the round needs no look.
    #[inline]
    pub(crate) fn try_call(
        &mut self,
        token: Token,
        direction: Direction,
        len: usize,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let rearm = self.capabilities.rearm;
        let bit = direction.bit();
        let Some(state) = self.get(token) else {
            return Poll::Ready(Err(deregistered()));
        };
        if !state.readiness.intersects(bit) {
            return Poll::Pending;
        }
        let result = loop {
            match call() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        let (done, drained) = match result {
            // Nothing done is the end of the stream, and stays true.
            Ok(done) => (
                Poll::Ready(Ok(done)),
                done < len && done != 0 && (rearm || state.short_proves()),
            ),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (Poll::Pending, true),
            Err(error) => (Poll::Ready(Err(error)), false),
        };
        if drained {
            state.readiness = state.readiness - bit;
            if rearm {
                return self.rearm_after(token, bit, done);
            }
        }
        done
    }

    /// Arms a direction again whose call has answered `done`. On failure the bit stays, and what was done is not lost: the
    /// next call will find that nothing is left, and the same failure.
    fn rearm_after(
        &mut self,
        token: Token,
        bit: Readiness,
        done: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Err(error) = self.rearm(token, bit) else {
            return done;
        };
        if let Some(state) = self.get(token) {
            state.readiness |= bit;
        }
        match done {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => Poll::Ready(Err(error)),
        }
    }

    /// Makes sure that the backend looks for `interest`, which the first mask may have left out.
    #[inline]
    pub(crate) fn watch(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        let Some(state) = self.get(token) else {
            return Ok(());
        };
        let (fd, before) = (state.fd, state.watched);
        // Errors come without being asked for, or with what they come with.
        let watched = self.heard(before | interest) - Interest::ERROR;
        if before.contains(watched) {
            return Ok(());
        }
        self.check_forked()?;
        self.backend.modify(fd, token, watched, Trigger::Edge)?;
        if let Some(state) = self.get(token) {
            state.watched = watched;
        }
        Ok(())
    }

    /// Waits and merges what came. Returns whether the reserved token was among it.
    pub(crate) fn turn(
        &mut self,
        timeout: Option<Duration>,
        wakers: &Wakers,
        list: &mut WakeList,
    ) -> io::Result<bool> {
        self.check_forked()?;
        self.round = self.round.wrapping_add(1).max(1);
        match self.backend.wait(&mut self.events, timeout) {
            Ok(()) => Ok(self.merge(wakers, list)),
            // A signal and no event: an empty turn, so that timers and hooks run and signal flags are looked at.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn merge(&mut self, wakers: &Wakers, list: &mut WakeList) -> bool {
        let mut reserved = false;
        for event in self.events.as_slice() {
            let token = event.token;
            match self.states.get_mut(token.index() as usize) {
                Some(state) if state.generation == token.generation() => {
                    state.merge(event.readiness, self.round, wakers, list);
                }
                _ => reserved |= token.index() == RESERVED_INDEX,
            }
        }
        reserved
    }

    /// Merges what `poll(2)` said about one registration, as if a turn had brought it.
    pub(crate) fn merge_one(
        &mut self,
        token: Token,
        seen: Readiness,
        wakers: &Wakers,
        list: &mut WakeList,
    ) {
        self.round = self.round.wrapping_add(1).max(1);
        let round = self.round;
        if let Some(state) = self.get(token) {
            state.merge(seen, round, wakers, list);
        }
    }

    /// Makes the indices free that were deregistered before now.
    #[inline]
    pub(crate) fn release(&mut self) {
        while let Some(index) = self.released.pop() {
            self.states.remove(index as usize);
        }
    }

    /// Every live registration, for the end of the runtime.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        let live = self
            .states
            .iter()
            .filter(|(_, state)| state.generation != 0);
        live.map(|(index, state)| Token::new(index as u32, state.generation))
            .collect()
    }
}

/// The loop was inherited: its kernel object is the parent's.
#[cold]
fn forked() -> io::Error {
    io::Error::other(
        "this runtime was made before a fork and belongs to the parent process: make a new one in the child",
    )
}

#[cold]
fn deregistered() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the fd is registered no more")
}
