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
//! Next: [`table`] for registrations as such, [`io_state`] for cached readiness, [`driver`] for a turn, [`registration`] for what the I/O types hold.

#![forbid(unsafe_code)]

mod alarm;
pub(crate) mod armed;
pub(crate) mod clock;
pub(crate) mod driver;
pub(crate) mod io_state;
pub(crate) mod parker;
pub(crate) mod registration;
pub(crate) mod remote;
pub(crate) mod spin;
mod stand_ins;
pub(crate) mod table;
#[cfg(all(test, not(loom)))]
mod tests;
mod wake_list;
pub(crate) mod waker_slot;

use crate::backend::{Backend, Trigger};
use crate::interest::{Interest, Readiness};
use crate::token::Token;
use io_state::{Direction, EVERYTHING, IoState};
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;
use table::{Entry, RESERVED_INDEX, Table, Terms};
use wake_list::WakeList;
use waker_slot::Wakers;

/// What kind of fd is registered; decides the mask and what may be assumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Watch {
    /// A TCP stream of `net`: watched in both directions for its life, and a short read proves something.
    /// `connected`: writable until a write says otherwise.
    Tcp { connected: bool, sole: bool },
    /// A listening socket: readable alone.
    Listener { sole: bool },
    /// A listening socket that other loops watch too: of those that wait, one is woken.
    ExclusiveListener,
    /// Any other fd: writability is added to the mask by the first wait for it, because an edge-triggered mask with it
    /// reports every send and every read of the peer on UDP and AF_UNIX.
    Custom(Interest),
}

impl Watch {
    /// What the backend is asked for at first.
    fn interest(self) -> Interest {
        match self {
            Watch::Tcp { .. } => Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY,
            Watch::Listener { .. } | Watch::ExclusiveListener => Interest::READABLE,
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

    /// How it is registered.
    fn terms(self) -> Terms {
        Terms {
            interest: self.interest(),
            trigger: Trigger::Edge,
            sole: match self {
                Watch::Tcp { sole, .. } | Watch::Listener { sole } => sole,
                Watch::ExclusiveListener | Watch::Custom(_) => false,
            },
        }
    }

    /// Whether a short read or write proves that nothing is left.
    fn short_proves(self) -> bool {
        matches!(self, Watch::Tcp { .. })
    }
}

/// The registrations that futures wait for.
#[derive(Debug)]
pub(crate) struct Reactor {
    table: Table<IoState>,
    /// The number of the running turn; never 0, which stands for what no turn has seen.
    round: u32,
}

impl Reactor {
    pub(crate) fn new(backend: Box<dyn Backend>, event_capacity: usize) -> Reactor {
        Reactor {
            table: Table::new(backend, event_capacity),
            round: 1,
        }
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        self.table.backend()
    }

    pub(crate) fn backend_mut(&mut self) -> &mut dyn Backend {
        self.table.backend_mut()
    }

    /// Whether errors end a wait for nothing else.
    pub(crate) fn tells_errors(&self) -> bool {
        self.table.capabilities().errors
    }

    /// An error in the child of a fork, where everything that has an fd is the parent's.
    pub(crate) fn check_forked(&self) -> io::Result<()> {
        self.table.check_forked()
    }

    /// How many fds are registered.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Registers an fd. On failure nothing is left behind.
    pub(crate) fn register(&mut self, fd: BorrowedFd<'_>, watch: Watch) -> io::Result<Token> {
        let rearm = self.table.capabilities().rearm;
        let state = IoState::new(watch.readiness(), watch.short_proves(), rearm, self.round);
        let mut terms = watch.terms();
        terms.interest = self.heard(terms.interest);
        let watched = match watch {
            Watch::ExclusiveListener => self.table.watch_exclusive(fd)?,
            _ => self.table.watch(fd, terms)?,
        };
        Ok(self.table.keep(watched, state))
    }

    /// What the backend is asked for, so that who waits hears of a hang-up: a mechanism that tells it only with data or
    /// room is asked for these, too.
    #[inline]
    fn heard(&self, interest: Interest) -> Interest {
        let either = Interest::READABLE | Interest::WRITABLE;
        if self.table.capabilities().unasked || interest.is_none() || !(interest & either).is_none()
        {
            interest
        } else {
            interest | either
        }
    }

    /// What is known of a live registration.
    #[inline]
    pub(crate) fn get(&mut self, token: Token) -> Option<&mut IoState> {
        self.table.get(token).map(|entry| &mut entry.state)
    }

    /// The fd of a live registration.
    pub(crate) fn fd(&mut self, token: Token) -> Option<RawFd> {
        self.table.get(token).map(|entry| entry.fd)
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
        let Some((state, removed)) = self.table.deregister(token, closing) else {
            return Ok(());
        };
        state.wake(EVERYTHING, wakers, list);
        removed
    }

    /// Clears cached bits as seen in `round`, and asks the backend to look again for what was cleared. On failure the bits
    /// stay: who waits for them would wait for ever.
    #[inline]
    pub(crate) fn clear(&mut self, token: Token, round: u32, bits: Readiness) -> io::Result<()> {
        let rearm = self.table.capabilities().rearm;
        let Some(state) = self.get(token) else {
            return Ok(());
        };
        let cleared = state.clear(round, bits);
        if rearm && !cleared.is_empty() {
            let armed = self.rearm(token, cleared);
            if let (Err(_), Some(state)) = (&armed, self.get(token)) {
                state.cached |= cleared;
            }
            return armed;
        }
        Ok(())
    }

    /// Arms the directions of cleared bits again.
    #[cold]
    fn rearm(&mut self, token: Token, cleared: Readiness) -> io::Result<()> {
        let Some(entry) = self.table.get(token) else {
            return Ok(());
        };
        // Errors come though nobody asked for them, and so are armed again.
        let watched = entry.watched | Interest::ERROR;
        let mut interest = Interest::NONE;
        for direction in Direction::ALL {
            if cleared.contains(direction.bit()) && watched.contains(direction.interest()) {
                interest |= direction.interest();
            }
        }
        if interest.is_none() {
            Ok(())
        } else {
            self.table.rearm(token, interest)
        }
    }

    /// Has a mechanism that must be armed look again, for data and room, also where it is armed already: it would tell of
    /// what others do to the file, not of what this process has just done. The others tell of everything.
    pub(crate) fn look_again(&mut self, token: Token) {
        if self.table.capabilities().rearm {
            let both = Readiness::READABLE | Readiness::WRITABLE;
            // Errors: the fd is registered no more, and its waiters know, or the next arming says the same.
            let _ = self.rearm(token, both);
        }
    }

    /// A live registration.
    #[inline]
    fn entry(&mut self, token: Token) -> Option<&mut Entry<IoState>> {
        self.table.get(token)
    }

    /// Clears the bit of a direction and arms that again. On failure the bit comes back.
    #[cold]
    #[inline(never)]
    fn clear_and_rearm(&mut self, token: Token, bit: Readiness) -> io::Result<()> {
        if let Some(state) = self.get(token) {
            state.cached = state.cached - bit;
        }
        let armed = self.rearm(token, bit);
        if let (Err(_), Some(state)) = (&armed, self.get(token)) {
            state.cached |= bit;
        }
        armed
    }

    /// Makes sure that the backend looks for `interest`, which the first mask may have left out.
    #[inline]
    pub(crate) fn watch(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        let Some(entry) = self.table.get(token) else {
            return Ok(());
        };
        let (before, trigger) = (entry.watched, entry.trigger);
        // Errors come without being asked for, or with what they come with.
        let watched = self.heard(before | interest) - Interest::ERROR;
        if before.contains(watched) {
            return Ok(());
        }
        self.table.modify(token, watched, trigger)
    }

    /// Waits and merges what came. Returns whether the reserved token was among it.
    pub(crate) fn turn(
        &mut self,
        timeout: Option<Duration>,
        wakers: &Wakers,
        list: &mut WakeList,
    ) -> io::Result<bool> {
        self.round = self.round.wrapping_add(1).max(1);
        match self.table.wait(timeout) {
            Ok(()) => Ok(self.merge(wakers, list)),
            // A signal and no event: an empty turn, so that timers and hooks run and signal flags are looked at.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn merge(&mut self, wakers: &Wakers, list: &mut WakeList) -> bool {
        let mut reserved = false;
        let round = self.round;
        self.table.for_each_event(|event, entry| match entry {
            Some(entry) => entry.state.merge(event.readiness, round, wakers, list),
            None => reserved |= event.token.index() == RESERVED_INDEX,
        });
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

    /// Makes the places free of what was deregistered before now.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.table.release();
    }

    /// Every live registration, for the end of the runtime.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        self.table.tokens()
    }
}

#[cold]
fn deregistered() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the fd is registered no more")
}
