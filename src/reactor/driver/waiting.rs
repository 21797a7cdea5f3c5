//! Registers and deregisters fds, stores the waiters for readiness, and makes the reads and writes
//! of streams.

#![forbid(unsafe_code)]

use super::super::Closing;
use super::super::direction::{Direction, Seen, ending_bits, visible_bits};
use super::super::io_state::{ANY_INTEREST, IoState};
use super::super::wake_list::WakeList;
use super::super::{Watch, deregistered};
use super::Driver;
use crate::backend::Trigger;
use crate::budget;
use crate::interest::{Interest, Ready};
use crate::place::Place;
use crate::sys::syscall::Answer;
use crate::token::Token;
use std::io;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll, Waker};

impl Driver {
    /// Registers an fd. If the mechanism has its number already, another thread may have sent the
    /// deregistration, so the messages are handled and the fd is registered again. `place` is where
    /// the owner of the fd was created.
    pub(crate) fn register(
        &self,
        fd: BorrowedFd<'_>,
        watch: Watch,
        place: Place,
    ) -> io::Result<Token> {
        let first = self.reactor.borrow_mut().register(fd, watch);
        let result = match first {
            Err(error) if is_known(&error) => {
                self.handle_messages();
                // The call above has noted any fork since the fd was made, so a child may have a
                // copy of the fd.
                self.reactor.borrow_mut().register(fd, watch.shared())
            }
            result => result,
        };
        if let (Some(note), Ok(token)) = (self.on_register, &result) {
            note(*token, place);
        }
        result
    }

    /// Explains why an fd could not be registered, if the error number alone does not.
    #[cold]
    pub(crate) fn explain(&self, error: io::Error) -> io::Error {
        let why = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                "the fd is already registered with this runtime: share its handle, or duplicate the fd with dup(2)"
            }
            io::ErrorKind::StorageFull => {
                "the kernel's limit of watched fds is reached: raise it (on Linux: sysctl fs.epoll.max_user_watches)"
            }
            io::ErrorKind::PermissionDenied => {
                return io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("{} cannot wait for this kind of file", self.backend_name()),
                );
            }
            _ => return error,
        };
        io::Error::new(error.kind(), why)
    }

    /// Ends a registration, closes the fd if there is one in `closing`, and wakes the waiters.
    /// Panics of wakers are reported, because a handle is being dropped.
    pub(crate) fn deregister(&self, token: Token, closing: Option<Closing>) -> io::Result<()> {
        let mut list = WakeList::default();
        let (fd, only) = match closing {
            Some(Closing { fd, lent }) => (Some(fd), !lent),
            None => (None, false),
        };
        let removed = self
            .reactor
            .borrow_mut()
            .deregister(token, only, &self.wakers, &mut list);
        drop(fd);
        if !list.is_idle() {
            list.wake_all(&self.wakers);
        }
        removed.unwrap_or_else(|panic| {
            self.wakers.report_panic(panic);
            Ok(())
        })
    }

    /// Returns the readiness if the registration is ready in one direction. Otherwise stores the
    /// waker.
    #[inline]
    pub(crate) fn poll_ready(
        &self,
        token: Token,
        direction: Direction,
        cx: &Context<'_>,
    ) -> Poll<io::Result<Seen>> {
        let mut reactor = self.reactor.borrow_mut();
        let interest = direction.interest();
        if let Some(seen) = reactor.seen(token, ending_bits(interest))? {
            return Poll::Ready(Ok(seen));
        }
        let state = reactor.get(token);
        if state.is_some_and(|state| state.waits(direction, &self.wakers, cx.waker())) {
            return Poll::Pending;
        }
        drop(reactor);
        self.store_waiter(token, 0, interest, ending_bits(interest), cx.waker())
            .map_or(Poll::Pending, |e| Poll::Ready(Err(e)))
    }

    /// As `poll_ready`, for a direction that was not ready just now.
    #[cold]
    fn wait_ready(
        &self,
        token: Token,
        direction: Direction,
        cx: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self.poll_ready(token, direction, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // It became ready while a foreign waker was cloned.
            Poll::Ready(Ok(_)) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// As `poll_ready`, for a future. It waits with `interest` until one of `ends` is set, and
    /// keeps its `name` (0: no name yet).
    pub(crate) fn poll_ready_named(
        &self,
        token: Token,
        name: &mut u64,
        interest: Interest,
        ends: Ready,
        cx: &Context<'_>,
    ) -> Poll<io::Result<Seen>> {
        let mut reactor = self.reactor.borrow_mut();
        if let Some(seen) = reactor.seen(token, ends)? {
            return Poll::Ready(Ok(seen));
        }
        let mut id = self.id_of(*name);
        let state = reactor.get(token).filter(|_| id != 0);
        if state.is_some_and(|state| state.holds(id, &self.wakers, cx.waker())) {
            return Poll::Pending;
        }
        drop(reactor);
        if id == 0 {
            *name = self.name_waiter();
            id = *name as u32;
        }
        self.store_waiter(token, id, interest, ends, cx.waker())
            .map_or(Poll::Pending, |e| Poll::Ready(Err(e)))
    }

    /// Returns a unique name for a waiting future. The low 32 bits are its id within this round of
    /// 2^32 names. Only the id is stored with the waker, because it is half as large.
    #[inline]
    fn name_waiter(&self) -> u64 {
        let name = self.last_waiter.get() + 1;
        self.last_waiter.set(name);
        if name as u32 == 0 {
            return self.begin_round_of_waiters(name);
        }
        name
    }

    /// Returns the id under which a future is stored: 0 if it has no name, or one of an earlier
    /// round.
    #[inline]
    fn id_of(&self, name: u64) -> u32 {
        if name >> 32 == self.last_waiter.get() >> 32 {
            name as u32
        } else {
            0
        }
    }

    /// Begins the next round of ids. Wakes every waiter, so that none is stored under an id of the
    /// previous round: those that still wait get new names.
    #[cold]
    fn begin_round_of_waiters(&self, round: u64) -> u64 {
        let name = round + 1;
        self.last_waiter.set(name);
        let mut list = WakeList::default();
        {
            let mut reactor = self.reactor.borrow_mut();
            for token in reactor.table.tokens() {
                if let Some(state) = reactor.get(token) {
                    state.wake(ANY_INTEREST, &self.wakers, &mut list);
                }
            }
        }
        list.wake_all(&self.wakers);
        name
    }

    /// Makes the names of waiters begin their next round after `left` more.
    #[cfg(all(test, not(loom)))]
    pub(in crate::reactor) fn use_up_waiters(&self, left: u32) {
        self.last_waiter.set(u64::from(u32::MAX - left));
    }

    /// Stores a waker that is not stored yet. Returns an error if waiting is impossible.
    fn store_waiter(
        &self,
        token: Token,
        id: u32,
        interest: Interest,
        ends: Ready,
        waker: &Waker,
    ) -> Option<io::Error> {
        // Nothing is borrowed while a foreign waker is cloned. The registration may be gone
        // afterwards.
        let slot = self.wakers.store(waker);
        let mut list = WakeList::default();
        let mut reactor = self.reactor.borrow_mut();
        let mut watched = reactor.watch(token, interest);
        if watched.as_ref().is_err_and(is_known) {
            // As in `register`, for an accepted connection.
            drop(reactor);
            self.handle_messages();
            reactor = self.reactor.borrow_mut();
            watched = reactor.watch(token, interest);
        }
        let (unused, error) = match (watched, reactor.get(token)) {
            // The clone has handled messages, one of which has polled the fd.
            (Ok(()), Some(state)) if state.cached.intersects(ends) => {
                list.take(&self.wakers, slot);
                (None, None)
            }
            (Ok(()), Some(state)) => (
                state.store(id, interest, slot, &self.wakers, &mut list),
                None,
            ),
            (Err(error), _) => (self.wakers.take(slot), Some(error)),
            (_, None) => (self.wakers.take(slot), Some(deregistered())),
        };
        drop(reactor);
        if let Some(waker) = unused {
            self.wakers.guard(|| drop(waker));
        }
        if !list.is_idle() {
            list.wake_all(&self.wakers);
        }
        error.map(|error| self.explain(error))
    }

    /// Removes a future's waiter. Panics of its waker are reported, because the future is being
    /// dropped.
    pub(crate) fn forget_waiter(&self, token: Token, name: u64) {
        let id = self.id_of(name);
        if id == 0 {
            return;
        }
        let taken = {
            let mut reactor = self.reactor.borrow_mut();
            reactor
                .get(token)
                .and_then(|state| state.remove(id, &self.wakers))
        };
        if let Some(waker) = taken {
            self.wakers.guard(|| drop(waker));
        }
    }

    /// Returns the cached readiness, or `None` if the registration has ended.
    pub(crate) fn cached(&self, token: Token) -> Option<Seen> {
        let mut reactor = self.reactor.borrow_mut();
        reactor.get(token).map(|state| state.seen())
    }

    /// Clears cached bits, unless an event was merged since they were seen.
    #[inline]
    pub(crate) fn clear(&self, token: Token, round: u32, bits: Ready) -> io::Result<()> {
        self.reactor.borrow_mut().clear(token, round, bits)
    }

    /// Takes WRITABLE out of the interest, if the fd counts as writable.
    pub(crate) fn unwatch_writable(&self, token: Token) {
        self.reactor.borrow_mut().unwatch_writable(token);
    }

    /// Makes the mechanism report again what is ready.
    pub(crate) fn recheck(&self, token: Token) {
        self.reactor.borrow_mut().recheck(token);
    }

    /// Notes that there is urgent data, because an event may never report it.
    pub(crate) fn note_urgent(&self, token: Token) {
        if let Some(state) = self.reactor.borrow_mut().get(token) {
            state.note_urgent();
        }
    }

    /// Marks a pending error as shown. Returns whether it was not shown as readiness before.
    pub(crate) fn show_error(&self, token: Token) -> bool {
        let mut reactor = self.reactor.borrow_mut();
        reactor.get(token).is_none_or(IoState::show_error)
    }

    /// Notes that a short read of this registration does not prove that nothing is left.
    pub(crate) fn distrust_short(&self, token: Token) {
        if let Some(state) = self.reactor.borrow_mut().get(token) {
            state.distrust_short();
        }
    }

    /// Sets the user's choice whether a short read or write of this stream proves that nothing is
    /// left.
    pub(crate) fn set_short_read_hint(&self, token: Token, on: bool) {
        if let Some(state) = self.reactor.borrow_mut().get(token) {
            state.set_short_read_hint(on);
        }
    }

    /// Makes a read or write of at most `len` bytes if the direction is ready, and clears the bit
    /// if the result proves that nothing is left. All `poll_` functions of streams end here.
    ///
    /// `call` is a function of `sys`, which runs no foreign code. It is passed whether the trigger
    /// is level, so that the mechanism reports again what a read leaves. The reactor stays borrowed
    /// during the call, so no event is merged meanwhile, and the round need not be compared.
    // Each result has a return of its own, because a common variable would cost each of them
    // instructions.
    #[inline]
    pub(crate) fn poll_io<A: Answer>(
        &self,
        token: Token,
        direction: Direction,
        cx: &Context<'_>,
        len: usize,
        mut call: impl FnMut(bool) -> A,
    ) -> Poll<io::Result<usize>> {
        let mut reactor = self.reactor.borrow_mut();
        let Some(entry) = reactor.table.get(token) else {
            return Poll::Ready(Err(deregistered()));
        };
        let bit = direction.bit();
        if !entry.state.cached.intersects(bit) {
            if let Some(slot) = self.wakers.key_slot(cx.waker()) {
                let watched = entry.watched.contains(direction.interest());
                if watched && entry.state.store_key(direction, slot) {
                    return Poll::Pending;
                }
            }
            drop(reactor);
            return self.wait_ready(token, direction, cx);
        }
        // Only here, because a wait takes no unit.
        if !budget::take() {
            drop(reactor);
            return budget::used_up(cx);
        }
        let is_level = entry.trigger == Trigger::Level;
        let answer = call(is_level);
        // Most writes end here, and most reads in the next branch: one comparison each.
        if direction == Direction::Write && answer.is_all(len) {
            return Poll::Ready(Ok(len));
        }
        if answer.is_short(len) {
            if entry.state.short_proves() {
                entry.state.cached = entry.state.cached - bit;
                if A::CHOOSES_TRIGGER && entry.state.tally.note_read(is_level) {
                    let token = entry.token();
                    reactor.watch_by_level(token);
                }
            } else if entry.state.rearms_after_short() {
                // If that fails the bit stays, and the next call finds that nothing is left and
                // fails the same way.
                let token = entry.token();
                let _ = reactor.clear_and_rearm(token, bit);
            }
            return Poll::Ready(Ok(answer.count()));
        }
        match answer.result() {
            // At the end of the stream the bit stays, because reads do not block there.
            Ok(done) => Poll::Ready(Ok(done)),
            Err(error) => {
                let token = entry.token();
                drop(reactor);
                self.failed(token, direction, cx, error)
            }
        }
    }

    /// Handles a failed call. If it would have blocked, the bit was out of date, and the waker is
    /// stored.
    #[cold]
    fn failed(
        &self,
        token: Token,
        direction: Direction,
        cx: &Context<'_>,
        error: io::Error,
    ) -> Poll<io::Result<usize>> {
        match error.kind() {
            io::ErrorKind::WouldBlock => budget::put_back(),
            io::ErrorKind::Interrupted => {
                // The next poll makes the call again: to keep the call until here would cost every
                // call.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            _ => return Poll::Ready(Err(error)),
        }
        // No event was merged since the call, so the cached bits are those that the call has seen.
        let cleared = match self.cached(token) {
            Some(seen) => self.clear(token, seen.round, visible_bits(direction.interest())),
            None => Ok(()),
        };
        match cleared {
            Ok(()) => self.wait_ready(token, direction, cx),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

/// Whether a mechanism has refused an fd because it has the number already.
fn is_known(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AlreadyExists
}
