//! [`Registration`] names a registered fd and its runtime; the I/O types hold one. It is plain
//! data.
//!
//! Each operation first checks whether this thread owns the runtime's driver. The owner works on
//! the cached readiness. Any other thread, and the owner's thread while it does not run the loop,
//! makes its system call itself, checks with poll(2), and sends a message when it has to wait
//! (`remote.rs`). That is slower, but correct. When the runtime is gone, waiting is an error;
//! system calls that need no waiting still work.

use super::clock::Moment;
use super::direction::{Direction, Seen, clearable_bits, ending_bits, visible_bits};
use super::driver::{CURRENT, Driver};
use super::remote::{self, Message};
use super::{Closing, Watch};
use crate::backend;
use crate::budget;
use crate::interest::{Interest, Ready};
use crate::place::Place;
use crate::sys::syscall::{Answer, failure};
use crate::token::{RuntimeId, Token};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How long `read_closed` waits at first between two checks of a stream with unread urgent data,
/// off the owner's thread.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// A check every 32 ms is little work.
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

/// The pauses of one `read_closed`.
struct Pauses {
    /// The length of the next one.
    next: Duration,
    /// The end of the current one, and the waker that is woken then (data and vtable).
    current: Option<(Moment, [usize; 2])>,
}

/// Names one registered fd, which it does not borrow. The owner of both ends the registration
/// before it closes the fd, with [`close`](Registration::close) or [`end`](Registration::end).
#[derive(Debug)]
pub(crate) struct Registration {
    token: Token,
    runtime: RuntimeId,
    /// Off the owner's thread: the last call would have blocked, and poll(2) has not been called
    /// since.
    blocked: AtomicBool,
    /// Whether the mechanism reports the end of the peer's side while data is unread.
    reports_end: bool,
    /// Whether the fd is an end of a pipe, where an error that lasts makes writes return: there is
    /// no reader.
    is_pipe: bool,
    /// For a pipe: whether the mechanism reports errors as such.
    reports_errors: bool,
}

impl Registration {
    /// Registers an fd with the runtime that this thread runs. `place` is where in the source the
    /// owner of the fd was created.
    ///
    /// # Errors
    ///
    /// If no runtime runs here, if the fd is already registered, or if the mechanism refuses it.
    pub(crate) fn new(fd: BorrowedFd<'_>, watch: Watch, place: Place) -> io::Result<Registration> {
        CURRENT.with(|driver| {
            let driver = driver.ok_or_else(no_runtime)?;
            let token = driver
                .register(fd, watch, place)
                .map_err(|error| driver.explain(error))?;
            let is_pipe = matches!(watch, Watch::Pipe { .. });
            Ok(Registration {
                token,
                runtime: driver.id(),
                blocked: AtomicBool::new(false),
                reports_end: driver.reports_end(),
                is_pipe,
                reports_errors: is_pipe && driver.reports_errors(),
            })
        })
    }

    /// Calls `f` with the driver if this thread owns it.
    #[inline]
    fn owner<R>(&self, f: impl FnOnce(Option<&Driver>) -> R) -> R {
        CURRENT.with_named(self.runtime.number(), f)
    }

    /// Reads or writes at most `len` bytes with `call` when the fd is ready. `call` is a function
    /// of `sys` and runs no foreign code.
    ///
    /// `len` is what the call could move. With 0, a short result proves nothing. `call` is passed
    /// whether what a read leaves needs no mention in its result, because the mechanism reports it
    /// again.
    #[inline]
    pub(crate) fn poll_io<A: Answer>(
        &self,
        fd: impl AsRawFd,
        direction: Direction,
        cx: &Context<'_>,
        len: usize,
        mut call: impl FnMut(bool) -> A,
    ) -> Poll<io::Result<usize>> {
        self.owner(|driver| match driver {
            Some(driver) => driver.poll_io(self.token, direction, cx, len, call),
            // Nothing is cached there, so no call has to prove anything.
            None => self.poll_io_remote(fd.as_raw_fd(), direction, cx, move || call(true).result()),
        })
    }

    #[cold]
    fn poll_io_remote(
        &self,
        fd: RawFd,
        direction: Direction,
        cx: &Context<'_>,
        call: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.poll_call(fd, direction, cx, call)
    }

    /// Makes any call when the fd is ready, with nothing borrowed, and again while it would block.
    /// For `accept`.
    pub(crate) fn poll_call<R>(
        &self,
        fd: impl AsRawFd,
        direction: Direction,
        cx: &Context<'_>,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        ready!(budget::check(cx));
        let fd = fd.as_raw_fd();
        // Nothing is cached off the owner's thread, so make the call first there.
        let mut guess = self
            .owner(|driver| driver.is_none())
            .then_some(Seen::remote(Ready::EMPTY));
        loop {
            let seen = match guess.take() {
                Some(guess) => guess,
                None => ready!(self.poll_ready(fd, direction, cx))?,
            };
            let result = call();
            if !is_interrupted(&result)
                && !self.clear_if_blocked(seen, direction.interest(), &result)?
            {
                budget::spend();
                return Poll::Ready(result);
            }
            if seen.is_remote() && !seen.readiness.is_empty() {
                // poll(2) reports ready, but the call would block: let other tasks run before the
                // next try.
                return budget::used_up(cx);
            }
        }
    }

    /// As [`poll_call`](Registration::poll_call), for any `interest` and a call that may block
    /// unless the fd was reported as ready. Returns the error of an interrupted call.
    pub(crate) fn poll_ready_call<R>(
        &self,
        fd: impl AsRawFd,
        interest: Interest,
        cx: &Context<'_>,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        ready!(budget::check(cx));
        let fd = fd.as_raw_fd();
        loop {
            let seen = ready!(self.poll_any_ready(fd, interest, cx))?;
            let result = call();
            if !self.clear_if_blocked(seen, interest, &result)? {
                budget::spend();
                return Poll::Ready(result);
            }
            if seen.is_remote() {
                // As in `poll_call`.
                return budget::used_up(cx);
            }
        }
    }

    /// As [`poll_ready`](Registration::poll_ready), for any of `interest`. Stores the waker once
    /// for each direction.
    fn poll_any_ready(
        &self,
        fd: RawFd,
        interest: Interest,
        cx: &Context<'_>,
    ) -> Poll<io::Result<Seen>> {
        self.owner(|driver| match driver {
            Some(driver) => Direction::ALL
                .into_iter()
                .filter(|direction| interest.contains(direction.interest()))
                .map(|direction| driver.poll_ready(self.token, direction, cx))
                .find(Poll::is_ready)
                .unwrap_or(Poll::Pending),
            None => self.poll_remote(fd, interest, cx),
        })
    }

    /// Compares the cached readiness with poll(2), and clears the bits that are out of date, so
    /// that the next wait waits. (A read that filled its buffer may have taken the last byte.)
    /// Returns the readiness, or `None` if there is none.
    ///
    /// A pending error makes calls return, so it counts as readiness once. An error that lasts,
    /// such as an unread error queue, does not make reads or writes return, so it does not count
    /// again.
    pub(crate) fn confirm(
        &self,
        fd: RawFd,
        seen: Seen,
        interest: Interest,
    ) -> io::Result<Option<Ready>> {
        let now = backend::poll_now_ignoring_errors(fd, interest)?;
        let mut readiness = now | seen.final_sides;
        if now.is_error() {
            if !readiness.intersects(ending_bits(interest)) && self.show_error() {
                readiness |= Ready::READABLE | Ready::WRITABLE;
            }
        } else if seen.readiness.is_error() {
            self.clear(seen.round, Ready::ERROR)?;
        }
        if readiness.intersects(ending_bits(interest)) {
            return Ok(Some(readiness & visible_bits(interest)));
        }
        self.clear(seen.round, visible_bits(interest))?;
        Ok(None)
    }

    /// As [`poll_call`](Registration::poll_call), for a future and any `interest`. Returns the
    /// error of an interrupted call.
    pub(crate) async fn async_io<R>(
        &self,
        fd: impl AsRawFd,
        interest: Interest,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        let mut wait = self.ready(fd, interest);
        loop {
            let seen = (&mut wait).await?;
            let result = call();
            if !self.clear_if_blocked(seen, interest, &result)? {
                return result;
            }
            // The call would block although a side is closed, and the side stays closed: wait for
            // something else.
            wait.ends = clearable_bits(interest);
            if seen.is_remote() {
                yield_once().await;
            }
        }
    }

    /// Makes a call now, without a check of the cached readiness.
    #[inline]
    pub(crate) fn try_io<R>(
        &self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        if interest.is_priority() {
            // The call may take the urgent byte before an event reports it.
            self.note_urgent();
        }
        // Read before the call, so that what comes during the call is not cleared.
        let seen = self.cached();
        let result = call();
        // After an error the cached bits stay, and the next wait returns the error.
        let seen = seen.unwrap_or(Seen::remote(Ready::EMPTY));
        let _ = self.clear_if_blocked(seen, interest, &result);
        result
    }

    /// Returns whether a call would have blocked. If so, clears the cached bits for `interest`,
    /// which were seen before the call and are out of date.
    fn clear_if_blocked<R>(
        &self,
        seen: Seen,
        interest: Interest,
        result: &io::Result<R>,
    ) -> io::Result<bool> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.clear(seen.round, visible_bits(interest))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Checks whether the fd is ready in one direction, and stores the waker if not.
    #[inline]
    pub(crate) fn poll_ready(
        &self,
        fd: impl AsRawFd,
        direction: Direction,
        cx: &Context<'_>,
    ) -> Poll<io::Result<Seen>> {
        self.owner(|driver| match driver {
            Some(driver) => driver.poll_ready(self.token, direction, cx),
            None => self.poll_remote(fd.as_raw_fd(), direction.interest(), cx),
        })
    }

    fn poll_remote(
        &self,
        fd: RawFd,
        interest: Interest,
        cx: &Context<'_>,
    ) -> Poll<io::Result<Seen>> {
        remote::poll_ready(self.runtime, self.token, fd, interest, &self.blocked, cx)
    }

    /// Returns a future that waits until the fd is ready for any of `interest`. Any number of them
    /// may wait at once.
    pub(crate) fn ready(&self, fd: impl AsRawFd, interest: Interest) -> ReadyFuture<'_> {
        ReadyFuture {
            registration: self,
            fd: fd.as_raw_fd(),
            interest,
            ends: ending_bits(interest),
            name: 0,
        }
    }

    /// Waits until the peer has ended its side, even if there are bytes to read before the end.
    pub(crate) async fn read_closed(&self, fd: impl AsRawFd) -> io::Result<()> {
        if !self.reports_end {
            return Err(failure(
                io::ErrorKind::Unsupported,
                "cannot wait for the end of this stream: the runtime's mechanism reports it only to the read that finds it",
            ));
        }
        // This interest stays armed while data is unread.
        let mut wait = self.ready(fd, Interest::PRIORITY);
        wait.ends = Ready::READ_CLOSED;
        let mut pauses = Pauses {
            next: FIRST_PAUSE,
            current: None,
        };
        loop {
            let seen = (&mut wait).await?;
            if seen.readiness.is_read_closed() {
                return Ok(());
            }
            // Off the owner's thread, where poll(2) has found urgent data. While that is unread, no
            // event reports the end there.
            self.pause(&mut pauses).await?;
        }
    }

    /// Returns an error if a wait until a pipe has no reader would not end.
    pub(crate) fn check_reports_errors(&self) -> io::Result<()> {
        if self.reports_errors {
            return Ok(());
        }
        Err(failure(
            io::ErrorKind::Unsupported,
            "cannot wait until this pipe has no reader: the runtime's mechanism reports it only to the write that finds it",
        ))
    }

    /// Returns the cached readiness, or `None` off the owner's thread.
    pub(crate) fn cached(&self) -> Option<Seen> {
        self.owner(|driver| driver.and_then(|driver| driver.cached(self.token)))
    }

    /// Clears cached readiness that was seen in `round`. Off the owner's thread nothing is cached,
    /// and the registration notes that a call would have blocked.
    pub(crate) fn clear(&self, round: u32, bits: Ready) -> io::Result<()> {
        self.owner(|driver| match driver {
            Some(driver) => driver.clear(self.token, round, bits),
            None => {
                self.blocked.store(true, Ordering::Relaxed);
                Ok(())
            }
        })
    }

    /// Takes WRITABLE out of the interest, if the fd counts as writable. Returns false off the
    /// owner's thread, where this does nothing.
    #[cold]
    pub(crate) fn unwatch_writable(&self) -> bool {
        self.owner(|driver| match driver {
            Some(driver) => {
                driver.unwatch_writable(self.token);
                true
            }
            None => false,
        })
    }

    /// Stops relying on short reads and writes of this fd, permanently. Only on the owner's thread:
    /// it does nothing elsewhere.
    pub(crate) fn distrust_short(&self) {
        self.owner(|driver| {
            if let Some(driver) = driver {
                driver.distrust_short(self.token);
            }
        });
    }

    /// Sets whether short reads and writes prove that nothing is left, as far as the user decides.
    pub(crate) fn set_short_read_hint(&self, on: bool) {
        let token = self.token;
        self.owner(|driver| match driver {
            Some(driver) => driver.set_short_read_hint(token, on),
            // If the runtime has ended, nothing is cached any more.
            None => drop(remote::send(
                self.runtime,
                Message::ShortReadHint { token, on },
            )),
        });
    }

    /// Marks a pending error as shown. Returns true if it was not shown as readiness before, and
    /// always off the owner's thread, where nothing is cached, and for a pipe.
    #[cold]
    fn show_error(&self) -> bool {
        self.is_pipe
            || self.owner(|driver| driver.is_none_or(|driver| driver.show_error(self.token)))
    }

    /// Notes that there is urgent data, which the caller is about to read: from now on reads stop
    /// at its mark.
    #[cold]
    fn note_urgent(&self) {
        self.owner(|driver| match driver {
            Some(driver) => driver.note_urgent(self.token),
            // If the runtime has ended, nothing is cached any more.
            None => drop(remote::send(
                self.runtime,
                Message::Urgent { token: self.token },
            )),
        });
    }

    /// Makes the mechanism report again what is ready, after a call such as `shutdown` that makes
    /// the fd ready: a mechanism that is armed may not report it.
    pub(crate) fn recheck(&self) {
        self.owner(|driver| match driver {
            Some(driver) => driver.recheck(self.token),
            // If the runtime has ended, no task waits.
            None => drop(remote::send(
                self.runtime,
                Message::Recheck { token: self.token },
            )),
        });
    }

    /// Wakes the task after a pause, for what no event reports. Any number of tasks may wait so. If
    /// the registration ends meanwhile, they are woken nevertheless.
    ///
    /// # Errors
    ///
    /// If the runtime is gone.
    #[cold]
    pub(crate) fn wake_after(&self, pause: Duration, cx: &Context<'_>) -> io::Result<()> {
        self.wake_named_after(pause, 0, cx)
    }

    /// As `wake_after`, for a future with a name: no other future of its task takes its place in
    /// the queue of messages.
    fn wake_named_after(&self, pause: Duration, name: usize, cx: &Context<'_>) -> io::Result<()> {
        // Cloned before anything is borrowed: the waker may be foreign code.
        let waker = cx.waker().clone();
        self.owner(|driver| match driver {
            Some(driver) => {
                driver.wake_after(pause, waker);
                Ok(())
            }
            None => remote::wake_after(self.runtime, self.token, pause, waker, name),
        })
    }

    /// Waits for the end of a pause, or for another wake of the task.
    async fn pause(&self, pauses: &mut Pauses) -> io::Result<()> {
        let mut has_begun = false;
        poll_fn(|cx| match std::mem::replace(&mut has_begun, true) {
            false => match self.begin_pause(pauses, cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
            true => Poll::Ready(Ok(())),
        })
        .await
    }

    /// Begins a pause, unless the current one has not ended and will wake this task. No timer of a
    /// pause is cancelled, so otherwise every other wake of the task would add one that lasts.
    fn begin_pause(&self, pauses: &mut Pauses, cx: &Context<'_>) -> io::Result<()> {
        let (now, waker) = (remote::now(self.runtime), cx.waker());
        // The timer holds the waker, so no other one has this address.
        let data = waker.data().addr();
        let woken = [data, std::ptr::from_ref(waker.vtable()).addr()];
        if (pauses.current).is_some_and(|(end, known)| now < end && woken == known) {
            return Ok(());
        }
        // The future is pinned while it exists, so its address is a name.
        let name = std::ptr::from_ref(pauses).addr();
        self.wake_named_after(pauses.next, name, cx)?;
        pauses.current = Some((now.plus(pauses.next), woken));
        pauses.next = (pauses.next * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    /// Ends the registration and closes the fd. Off the owner's thread the message takes the fd, so
    /// that its number is not reused before the owner has ended the registration.
    pub(crate) fn close(&self, closing: Closing) {
        self.end_with(Some(closing), None);
    }

    /// Ends the registration of an fd that stays open. Afterwards the kernel no longer holds the
    /// file, so that a close reaches the peer even if the owner handles the message later.
    pub(crate) fn end(&self, fd: RawFd) {
        self.end_with(None, Some(fd));
    }

    fn end_with(&self, closing: Option<Closing>, kept: Option<RawFd>) {
        self.owner(|driver| match driver {
            // An error means that the number was closed already.
            Some(driver) => drop(driver.deregister(self.token, closing)),
            None => remote::end(self.runtime, self.token, closing, kept),
        });
    }
}

/// The future of [`Registration::ready`], which may be awaited again. Dropping it removes its
/// waker.
#[derive(Debug)]
pub(crate) struct ReadyFuture<'a> {
    registration: &'a Registration,
    fd: RawFd,
    interest: Interest,
    /// The bits that end the wait.
    ends: Ready,
    /// 0 until it has waited on the owner's thread.
    name: u64,
}

impl ReadyFuture<'_> {
    pub(crate) fn registration(&self) -> &Registration {
        self.registration
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    pub(crate) fn interest(&self) -> Interest {
        self.interest
    }
}

impl Future for ReadyFuture<'_> {
    type Output = io::Result<Seen>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Seen>> {
        if budget::check(cx).is_pending() {
            return Poll::Pending;
        }
        let this = &mut *self;
        let registration = this.registration;
        let polled = registration.owner(|driver| match driver {
            Some(driver) => {
                let (name, ends) = (&mut this.name, this.ends);
                driver.poll_ready_named(registration.token, name, this.interest, ends, cx)
            }
            None => registration.poll_remote(this.fd, this.interest, cx),
        });
        if polled.is_ready() {
            budget::spend();
        }
        polled
    }
}

impl Drop for ReadyFuture<'_> {
    fn drop(&mut self) {
        if self.name != 0 {
            self.registration.owner(|driver| {
                if let Some(driver) = driver {
                    driver.forget_waiter(self.registration.token, self.name);
                }
            });
        }
    }
}

/// Lets other tasks run.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|cx| match std::mem::replace(&mut has_yielded, true) {
        false => budget::used_up(cx),
        true => Poll::Ready(()),
    })
    .await;
}

fn is_interrupted<R>(result: &io::Result<R>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::Interrupted)
}

/// Fails if no runtime runs on this thread. Call it before work that could not be undone.
pub(crate) fn check_runtime() -> io::Result<()> {
    if CURRENT.with(|driver| driver.is_some()) {
        Ok(())
    } else {
        Err(no_runtime())
    }
}

/// Returns an error if `interest` is empty, because such a wait would not end.
pub(crate) fn check_not_empty(interest: Interest) -> io::Result<()> {
    if interest.is_empty() {
        return Err(failure(
            io::ErrorKind::InvalidInput,
            "cannot wait for an empty interest: nothing would end the wait; add READABLE or WRITABLE",
        ));
    }
    Ok(())
}

/// Whether the mechanism of the runtime that runs here reports errors, so that a wait for errors
/// alone can end.
pub(crate) fn reports_errors() -> bool {
    CURRENT.with(|driver| driver.is_some_and(Driver::reports_errors))
}

/// Whether the mechanism of the runtime that runs here refuses files that cannot be polled. True if
/// no runtime runs, so that registering fails with that error.
pub(crate) fn refuses_files() -> bool {
    CURRENT.with(|driver| driver.is_none_or(Driver::refuses_files))
}

/// Returns the error of a call that needs a runtime, on a thread that runs none.
#[cold]
pub(crate) fn no_runtime() -> io::Error {
    failure(io::ErrorKind::Other, NO_RUNTIME)
}

/// The text of the error or panic of a call that needs a runtime, on a thread that runs none.
pub(crate) const NO_RUNTIME: &str = "no reveille runtime runs on this thread: call this inside `block_on`, `Runtime::run` or `Runtime::enter`";
