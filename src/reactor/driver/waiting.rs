//! Registrations: making and ending them, waiting for readiness, and the reads and writes that it lets try.

#![forbid(unsafe_code)]

use super::super::io_state::{Direction, answers};
use super::super::wake_list::WakeList;
use super::super::{Watch, deregistered};
use super::{Driver, Seen};
use crate::budget;
use crate::interest::{Interest, Readiness};
use crate::sys::syscall::Answer;
use crate::token::Token;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll, Waker};

impl Driver {
    /// Registers an fd. When it is taken for registered still, a foreign drop may wait in the queue: look, and try again.
    pub(crate) fn register(&self, fd: BorrowedFd<'_>, watch: Watch) -> io::Result<Token> {
        let first = self.reactor.borrow_mut().register(fd, watch);
        match first {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.handle_messages();
                self.reactor.borrow_mut().register(fd, watch)
            }
            result => result,
        }
    }

    /// Ends a registration and closes `fd` if one is given. Its waiters are woken.
    pub(crate) fn deregister(&self, token: Token, fd: Option<OwnedFd>) -> io::Result<()> {
        let mut list = WakeList::default();
        let closing = fd.is_some();
        let result = self
            .reactor
            .borrow_mut()
            .deregister(token, closing, &self.wakers, &mut list);
        drop(fd);
        if !list.is_idle() {
            list.wake_all();
        }
        result
    }

    /// Whether the registration is ready in one direction; stores the waker if not.
    #[inline]
    pub(crate) fn poll_ready(
        &self,
        token: Token,
        direction: Direction,
        cx: &Context<'_>,
    ) -> Poll<io::Result<Seen>> {
        let mut reactor = self.reactor.borrow_mut();
        let Some(state) = reactor.get(token) else {
            return Poll::Ready(Err(deregistered()));
        };
        if state.cached.intersects(answers(direction.interest())) {
            return Poll::Ready(Ok(Seen {
                round: state.round,
                readiness: state.readiness(),
            }));
        }
        if state.waits(direction, &self.wakers, cx.waker()) {
            return Poll::Pending;
        }
        drop(reactor);
        self.store_waiter(token, 0, direction.interest(), cx.waker())
            .map_or(Poll::Pending, |e| Poll::Ready(Err(e)))
    }

    /// Stores the waker of a direction that was just seen not ready, the long way.
    #[cold]
    #[inline(never)]
    fn wait_ready(
        &self,
        token: Token,
        direction: Direction,
        cx: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self.poll_ready(token, direction, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // It got ready while a foreign waker was cloned: come again.
            Poll::Ready(Ok(_)) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// As `poll_ready` for a future, which waits for any of `interest` and is named by `id` (0: not named yet).
    pub(crate) fn poll_ready_named(
        &self,
        token: Token,
        id: &mut u32,
        interest: Interest,
        cx: &Context<'_>,
    ) -> Poll<io::Result<Seen>> {
        let mut reactor = self.reactor.borrow_mut();
        let Some(state) = reactor.get(token) else {
            return Poll::Ready(Err(deregistered()));
        };
        if state.cached.intersects(answers(interest)) {
            return Poll::Ready(Ok(Seen {
                round: state.round,
                readiness: state.readiness(),
            }));
        }
        if *id != 0 && state.holds(*id, &self.wakers, cx.waker()) {
            return Poll::Pending;
        }
        drop(reactor);
        if *id == 0 {
            *id = self.next_waiter.get().wrapping_add(1).max(1);
            self.next_waiter.set(*id);
        }
        self.store_waiter(token, *id, interest, cx.waker())
            .map_or(Poll::Pending, |e| Poll::Ready(Err(e)))
    }

    /// Stores a waker that is not stored yet. Some: why the wait cannot be.
    fn store_waiter(
        &self,
        token: Token,
        id: u32,
        interest: Interest,
        waker: &Waker,
    ) -> Option<io::Error> {
        // A foreign waker is cloned here, with nothing borrowed; the registration may be gone afterwards.
        let slot = self.wakers.store(waker);
        let mut list = WakeList::default();
        let mut reactor = self.reactor.borrow_mut();
        let watched = reactor.watch(token, interest);
        let (unused, error) = match (watched, reactor.get(token)) {
            // The clone has looked at messages, and one of them at the fd.
            (Ok(()), Some(state)) if state.cached.intersects(answers(interest)) => {
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
        drop(unused);
        if !list.is_idle() {
            list.wake_all();
        }
        error
    }

    /// Takes a future's waiter off.
    pub(crate) fn forget_waiter(&self, token: Token, id: u32) {
        let taken = {
            let mut reactor = self.reactor.borrow_mut();
            reactor
                .get(token)
                .and_then(|state| state.remove(id, &self.wakers))
        };
        drop(taken);
    }

    /// The cached readiness, whatever it is.
    pub(crate) fn cached(&self, token: Token) -> Option<Seen> {
        let mut reactor = self.reactor.borrow_mut();
        reactor.get(token).map(|state| Seen {
            round: state.round,
            readiness: state.readiness(),
        })
    }

    /// Clears cached bits, unless something was merged since they were seen.
    #[inline]
    pub(crate) fn clear(&self, token: Token, round: u32, bits: Readiness) -> io::Result<()> {
        self.reactor.borrow_mut().clear(token, round, bits)
    }

    /// Has the mechanism look again for data and room.
    pub(crate) fn look_again(&self, token: Token) {
        self.reactor.borrow_mut().look_again(token);
    }

    /// Takes back that a short read proves something: the caller has reason to think that it does not.
    pub(crate) fn distrust_short(&self, token: Token) {
        if let Some(state) = self.reactor.borrow_mut().get(token) {
            state.distrust_short();
        }
    }

    /// Runs a read or write of at most `len` bytes when the direction is ready, and clears what it proves; the heart of
    /// every stream's `poll_`.
    ///
    /// `call` is one of `sys`, which runs no foreign code: it is made with the reactor borrowed, so nothing can be
    /// merged meanwhile and the round needs no look.
    // Three ways out, each on its own: a value in which they meet costs each of them.
    #[inline]
    pub(crate) fn poll_io<A: Answer>(
        &self,
        token: Token,
        direction: Direction,
        cx: &Context<'_>,
        len: usize,
        mut call: impl FnMut() -> A,
    ) -> Poll<io::Result<usize>> {
        let mut reactor = self.reactor.borrow_mut();
        let Some(entry) = reactor.entry(token) else {
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
        // Asked only now: who has to wait needs no unit.
        if !budget::take() {
            drop(reactor);
            return budget::used_up(cx);
        }
        let answer = call();
        // How most writes end and how most reads end, by a comparison each.
        if direction == Direction::Write && answer.is_all(len) {
            return Poll::Ready(Ok(len));
        }
        if answer.is_short(len) {
            if entry.state.short_proves() {
                entry.state.cached = entry.state.cached - bit;
            } else if entry.state.rearm {
                // On failure the bit stays: the next call will find that nothing is left, and the same failure.
                let token = entry.token();
                let _ = reactor.clear_and_rearm(token, bit);
            }
            return Poll::Ready(Ok(answer.count()));
        }
        match answer.result() {
            // Also the end of the stream, which stays true.
            Ok(done) => Poll::Ready(Ok(done)),
            Err(error) => {
                let token = entry.token();
                drop(reactor);
                self.failed(token, direction, cx, error)
            }
        }
    }

    /// A call has failed: if it would have had to wait, the bit was out of date.
    #[cold]
    #[inline(never)]
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
                // Made again by the next poll: to keep the call for this place would cost every call.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            _ => return Poll::Ready(Err(error)),
        }
        // Nothing has been merged since the call, so that what is cached now is what the call has seen.
        let cleared = match self.cached(token) {
            Some(seen) => self.clear(token, seen.round, direction.bit()),
            None => Ok(()),
        };
        match cleared {
            Ok(()) => self.wait_ready(token, direction, cx),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Runs any call when the direction is ready, with nothing borrowed.
    pub(crate) fn poll_call<R>(
        &self,
        token: Token,
        direction: Direction,
        cx: &Context<'_>,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        if budget::check(cx).is_pending() {
            return Poll::Pending;
        }
        loop {
            let seen = match self.poll_ready(token, direction, cx) {
                Poll::Ready(Ok(seen)) => seen,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            };
            match call() {
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => self.clear(token, seen.round, direction.bit())?,
                    io::ErrorKind::Interrupted => {}
                    _ => return Poll::Ready(Err(error)),
                },
                done => {
                    budget::spend();
                    return Poll::Ready(done);
                }
            }
        }
    }
}
