//! [`LimitedListener`]: a listener that limits how many connections are open, and can be paused.
//!
//! A trial is taken before accept(2) is called, so no connection is accepted that must be closed
//! again: those that are too many wait in the kernel's queue.

use super::Listener;
use crate::net::ByteStream;
use crate::net::backoff::Backoff;
use crate::net::kind::{Duplex, Tcp};
use crate::panics;
use crate::place::Place;
use crate::sync::{Arc, ForkLock};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::task::{Context, Poll, Waker, ready};

/// A listener that limits how many connections are open at a time. Made by [`Listener::limit`].
///
/// Each accepted connection comes with a [`Permit`]. Keep it for as long as the connection lives:
/// in the same task, or in the same struct. Connections beyond the limit wait in the kernel's queue
/// and are accepted later.
///
/// # Examples
///
/// ```
/// use reveille::net::{LimitedListener, TcpListener};
///
/// async fn serve(listener: LimitedListener) -> std::io::Result<()> {
///     loop {
///         let (stream, _addr, permit) = listener.accept().await?;
///         reveille::spawn(async move {
///             let _permit = permit;
///             stream.write_all(b"hello\n").await
///         });
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let server = reveille::spawn(serve(listener.limit(1000)));
///     # server.abort();
///     # drop(server);
///     Ok(())
/// })
/// # }
/// ```
pub struct LimitedListener<K: Duplex = Tcp> {
    listener: Listener<K>,
    gate: Arc<Gate>,
}

/// Counts one connection of a [`LimitedListener`] until it is dropped, on any thread.
///
/// # Examples
///
/// See [`LimitedListener`].
#[must_use = "the connection is counted only as long as its permit is kept"]
pub struct Permit(Arc<Gate>);

/// The most wakers of `poll_accept` that are kept, because nothing takes them back: if there are
/// more, all are woken. A future of `accept` takes its waker back when it is dropped.
const MAX_POLLED: usize = 1024;

/// Counts the permits, and stores the wakers of tasks that wait for one.
struct Gate {
    state: ForkLock<State>,
}

#[derive(Default)]
struct State {
    /// How many permits exist.
    connections: usize,
    /// How many are about to call accept(2), each during one poll.
    trying: usize,
    /// The most connections at a time.
    limit: usize,
    /// Once the limit was reached, the gate stays closed until `connections` is at most this.
    resumes_at: usize,
    is_full: bool,
    is_paused: bool,
    /// The wakers to wake when the gate opens, each with the id of its future of `accept`, or 0.
    waiters: Vec<(u64, Waker)>,
    /// How many of them have the id 0.
    polled: usize,
    last_id: u64,
}

impl State {
    fn is_open(&self) -> bool {
        !self.is_full && !self.is_paused && self.connections + self.trying < self.limit
    }

    /// Takes the wakers of the waiting tasks, if the gate is open.
    fn take_waiters(&mut self) -> Vec<(u64, Waker)> {
        if !self.is_open() {
            return Vec::new();
        }
        self.polled = 0;
        std::mem::take(&mut self.waiters)
    }

    /// Stores a waker. Returns those that it replaces, and whether they are to be woken.
    fn store(&mut self, id: u64, waker: Waker) -> (Vec<(u64, Waker)>, bool) {
        let mut known = self.waiters.iter_mut();
        let known = match id {
            0 => known.find(|(other, kept)| *other == 0 && kept.will_wake(&waker)),
            _ => known.find(|(other, _)| *other == id),
        };
        if let Some((_, kept)) = known {
            return (vec![(id, std::mem::replace(kept, waker))], false);
        }
        let mut removed = Vec::new();
        if id == 0 && self.polled == MAX_POLLED {
            // Those of `accept` stay.
            let all = std::mem::take(&mut self.waiters);
            (removed, self.waiters) = all.into_iter().partition(|waiter| waiter.0 == 0);
            self.polled = 0;
        }
        self.polled += usize::from(id == 0);
        self.waiters.push((id, waker));
        (removed, true)
    }
}

impl Gate {
    /// Lets one try, or stores the waker under the id.
    fn poll_try<'a>(gate: &'a Arc<Gate>, id: u64, cx: &Context<'_>) -> Poll<Trial<'a>> {
        // Cloned and dropped without the lock, because both may run foreign code.
        let waker = cx.waker().clone();
        let mut state = gate.state.lock();
        if state.is_open() {
            state.trying += 1;
            drop(state);
            return Poll::Ready(Trial { gate });
        }
        let (replaced, are_woken) = state.store(id, waker);
        drop(state);
        if are_woken {
            wake_all(replaced);
        }
        Poll::Pending
    }

    /// Changes the state, and wakes the waiting tasks if the gate is open then.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let woken = {
            let mut state = self.state.lock();
            change(&mut state);
            state.take_waiters()
        };
        wake_all(woken);
    }

    /// Returns an id for a future of `accept`.
    fn new_id(&self) -> u64 {
        let mut state = self.state.lock();
        state.last_id += 1;
        state.last_id
    }

    /// Takes the waker of a future of `accept` back.
    fn forget(&self, id: u64) {
        let waker = {
            let mut state = self.state.lock();
            let at = state.waiters.iter().position(|(other, _)| *other == id);
            at.map(|at| state.waiters.swap_remove(at))
        };
        drop(waker);
    }
}

/// The right to call accept(2) once. It counts like a connection, so that threads that accept at
/// the same time do not exceed the limit, but it does not make the gate full.
struct Trial<'a> {
    gate: &'a Arc<Gate>,
}

impl Trial<'_> {
    /// A connection was accepted.
    fn into_permit(self) -> Permit {
        {
            let mut state = self.gate.state.lock();
            state.connections += 1;
            state.is_full = state.connections >= state.limit;
        }
        // The drop ends the trial. Until then the connection counts twice.
        Permit(self.gate.clone())
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        // Not below zero in the child of a fork, where the state may have been lost.
        self.gate
            .change(|state| state.trying = state.trying.saturating_sub(1));
    }
}

/// The id of a future of `accept`, which takes its waker back when it is dropped.
struct Id<'a> {
    gate: &'a Gate,
    id: u64,
}

impl Drop for Id<'_> {
    fn drop(&mut self) {
        self.gate.forget(self.id);
    }
}

fn wake_all(wakers: Vec<(u64, Waker)>) {
    for (_, waker) in wakers {
        // A permit may be dropped anywhere, so the panic of a foreign waker goes no further.
        if let Err(payload) = panics::catch(|| waker.wake()) {
            panics::drop_caught(payload);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.change(|state| {
            // Not below zero in the child of a fork, where the state may have been lost.
            state.connections = state.connections.saturating_sub(1);
            state.is_full = state.is_full && state.connections > state.resumes_at;
        });
    }
}

impl<K: Duplex> Listener<K> {
    /// Limits how many connections are open at a time.
    ///
    /// When the limit is reached, [`accept`](LimitedListener::accept) waits until a [`Permit`] is
    /// dropped; [`resume_at`](LimitedListener::resume_at) makes it wait for longer.
    ///
    /// # Panics
    ///
    /// If `connections` is 0.
    ///
    /// # Examples
    ///
    /// See [`LimitedListener`].
    pub fn limit(self, connections: usize) -> LimitedListener<K> {
        assert!(connections > 0, "a limit of 0 connections accepts none");
        let state = State {
            limit: connections,
            resumes_at: connections - 1,
            ..State::default()
        };
        LimitedListener {
            listener: self,
            gate: Arc::new(Gate {
                state: ForkLock::new(state),
            }),
        }
    }
}

impl<K: Duplex> LimitedListener<K> {
    /// Sets the low mark: once the limit was reached, accepting goes on when at most `connections`
    /// are left. By default it goes on when one connection has ended.
    ///
    /// # Panics
    ///
    /// If `connections` is not less than the limit.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::TcpListener;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?.limit(1000).resume_at(900);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[must_use = "the listener is returned"]
    pub fn resume_at(self, connections: usize) -> LimitedListener<K> {
        // Not under the lock, because a panic hook is foreign code.
        let limit = self.gate.state.lock().limit;
        assert!(
            connections < limit,
            "accepting cannot go on at {connections} connections: the limit is {limit}"
        );
        self.gate.change(|state| state.resumes_at = connections);
        self
    }

    /// Accepts a connection. Waits while the limit is reached and while the listener is paused.
    ///
    /// # Errors
    ///
    /// Same as [`Listener::accept`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a connection is taken off the queue only by the poll that returns it.
    ///
    /// # Examples
    ///
    /// See [`LimitedListener`].
    #[track_caller]
    pub fn accept(&self) -> impl Future<Output = io::Result<(ByteStream<K>, K::Addr, Permit)>> {
        let place = Place::here();
        async move {
            let id = Id {
                gate: &self.gate,
                id: self.gate.new_id(),
            };
            let mut backoff = Backoff::default();
            poll_fn(|cx| {
                let trial = ready!(Gate::poll_try(&self.gate, id.id, cx));
                let accepted = self.listener.poll_accept_with(&mut backoff, place, cx);
                let (stream, addr) = ready!(accepted)?;
                Poll::Ready(Ok((stream, addr, trial.into_permit())))
            })
            .await
        }
    }

    /// Polls for a connection, for futures written by hand. Otherwise the same as
    /// [`accept`](LimitedListener::accept).
    ///
    /// During a pause for lack of descriptors, only the task that polled last is woken.
    ///
    /// # Errors
    ///
    /// Same as [`Listener::accept`].
    #[allow(clippy::type_complexity, reason = "what `accept` returns")]
    #[track_caller]
    pub fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(ByteStream<K>, K::Addr, Permit)>> {
        let trial = ready!(Gate::poll_try(&self.gate, 0, cx));
        let (stream, addr) = ready!(self.listener.poll_accept(cx))?;
        Poll::Ready(Ok((stream, addr, trial.into_permit())))
    }

    /// Stops accepting until [`resume`](LimitedListener::resume): connections wait in the kernel's
    /// queue. Those that were accepted go on.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?.limit(100);
    /// let client = TcpStream::connect(listener.get_ref().local_addr()?).await?;
    /// listener.pause();
    /// assert!(listener.is_paused());
    /// listener.resume();
    /// let (_stream, _addr, permit) = listener.accept().await?;
    /// assert_eq!(listener.connections(), 1);
    /// drop(permit);
    /// assert_eq!(listener.connections(), 0);
    /// # drop(client);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn pause(&self) {
        self.gate.change(|state| state.is_paused = true);
    }

    /// Accepts again after [`pause`](LimitedListener::pause).
    pub fn resume(&self) {
        self.gate.change(|state| state.is_paused = false);
    }

    /// Returns true between [`pause`](LimitedListener::pause) and
    /// [`resume`](LimitedListener::resume).
    pub fn is_paused(&self) -> bool {
        self.gate.state.lock().is_paused
    }

    /// Returns how many connections are open: the number of permits that were not dropped yet.
    pub fn connections(&self) -> usize {
        self.gate.state.lock().connections
    }

    /// Returns the listener, for its address for example.
    pub fn get_ref(&self) -> &Listener<K> {
        &self.listener
    }

    /// Returns the listener without the limit.
    pub fn into_inner(self) -> Listener<K> {
        self.listener
    }
}

impl<K: Duplex> fmt::Debug for LimitedListener<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedListener")
            .field("listener", &self.listener)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}
