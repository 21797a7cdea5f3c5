//! Use of a registration or a timer on a thread that does not own the loop: a queue of messages to
//! the owner, and the functions that send them.
//!
//! Such a *remote* thread never touches a registration or a timer. It makes its system calls
//! itself. When it has to wait, it checks with poll(2) and sends one message; the owner then stores
//! the waker as if one of its own tasks had polled (`driver/messages.rs`). The owner's own thread
//! does the same while it does not run the loop.
//!
//! | operation | here |
//! |---|---|
//! | wait for an fd | [`poll_ready`] |
//! | end, recheck or mark a registration | [`send`], [`end`] |
//! | wait for a timer | [`poll_timer`] |
//! | reset or cancel a timer | [`send`] |
//! | read the runtime's clock | [`now`] |
//!
//! After the runtime's end the queue is closed: a push gives the message back, and waiting returns
//! an error.

use super::Closing;
use super::clock::{Moment, Source, is_monotonic};
use super::direction::{Direction, Seen, ending_bits};
use crate::backend::{self, Releaser};
use crate::interest::Interest;
use crate::place::Place;
use crate::registry::Registry;
use crate::sync::{Arc, ForkLock};
use crate::sys::syscall::failure;
use crate::timer::TimerKey;
use crate::token::{BuildKeyHasher, RuntimeId, Token};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A request of a remote thread.
#[derive(Debug)]
pub(crate) enum Message {
    /// Wake `waker` when the registration is ready in that direction. `again` is set if a call
    /// would have blocked although a hang-up or an error lasts: then the waiter is not woken at
    /// once, but later.
    Arm {
        token: Token,
        direction: Direction,
        waker: Waker,
        again: Option<Waker>,
    },
    /// Wake `waker` after a pause, because no event reports what it waits for. `name` is that of
    /// the future that waits, or 0.
    WakeAfter {
        token: Token,
        pause: Duration,
        waker: Waker,
        name: usize,
    },
    /// The fd became ready by a call of its handle: make the mechanism report it.
    Recheck { token: Token },
    /// Urgent data of the fd is about to be read, so that no event may report it.
    Urgent { token: Token },
    /// The user has switched the short-read hint of a stream.
    ShortReadHint { token: Token, on: bool },
    /// The registration's handle was dropped. An fd in the message is closed afterwards.
    Deregister {
        token: Token,
        closing: Option<Closing>,
    },
    /// Wake `waker` when the timer fires. `deadline` and `place` are what its handle knows.
    Timer {
        key: TimerKey,
        deadline: Moment,
        place: Place,
        waker: Waker,
    },
    /// Set another deadline for the timer.
    Reset { key: TimerKey, deadline: Moment },
    /// The timer's handle was dropped.
    Cancel { key: TimerKey },
}

/// Identifies what a message is about, so that a later message can replace an earlier one.
type Subject = (u64, u8, usize, usize, usize);

impl Message {
    /// Returns what the message is about, or `None` if every message of its kind must be handled.
    ///
    /// Messages that a handle may send any number of times have a subject, so that the queue stays
    /// short while the loop does not run.
    ///
    /// A registration may have many waiters, so the waker (data and vtable) is part of the subject.
    /// A timer has one waiter: the last.
    fn subject(&self) -> Option<Subject> {
        match self {
            Message::Arm {
                token,
                direction,
                waker,
                ..
            } => Some((
                token.to_u64(),
                *direction as u8,
                waker.data().addr(),
                std::ptr::from_ref(waker.vtable()).addr(),
                0,
            )),
            Message::WakeAfter {
                token, waker, name, ..
            } => Some((
                token.to_u64(),
                u8::MAX - 5,
                waker.data().addr(),
                std::ptr::from_ref(waker.vtable()).addr(),
                *name,
            )),
            Message::Timer { key, .. } => Some(timer_subject(*key)),
            Message::Reset { key, .. } => Some((key.to_u64(), u8::MAX - 1, 0, 0, 0)),
            Message::Recheck { token } => Some((token.to_u64(), u8::MAX - 2, 0, 0, 0)),
            Message::Urgent { token } => Some((token.to_u64(), u8::MAX - 3, 0, 0, 0)),
            Message::ShortReadHint { token, .. } => Some((token.to_u64(), u8::MAX - 4, 0, 0, 0)),
            Message::Deregister { .. } | Message::Cancel { .. } => None,
        }
    }
}

/// Returns the subject of the message that waits for a timer.
fn timer_subject(key: TimerKey) -> Subject {
    (key.to_u64(), u8::MAX, 0, 0, 0)
}

#[derive(Debug)]
struct Inbox {
    closed: bool,
    messages: VecDeque<Message>,
    /// The position in `messages` of each subject's message.
    places: HashMap<Subject, usize, BuildKeyHasher>,
}

/// The inbox that the child of a fork gets if the inbox was being changed. It takes nothing.
impl Default for Inbox {
    fn default() -> Inbox {
        Inbox {
            closed: true,
            ..Inbox::open()
        }
    }
}

impl Inbox {
    fn open() -> Inbox {
        Inbox {
            closed: false,
            messages: VecDeque::new(),
            places: HashMap::default(),
        }
    }

    /// Queues a message. If it replaces an earlier message about the same subject, returns that
    /// one, to be dropped without the lock.
    fn push(&mut self, message: Message) -> Option<Message> {
        if let Message::Reset { key, deadline } = message {
            // A queued wait gets the new deadline too, because the reset may come before or after
            // it in the queue.
            if let Some(&place) = self.places.get(&timer_subject(key)) {
                if let Message::Timer { deadline: old, .. } = &mut self.messages[place] {
                    *old = deadline;
                }
            }
        }
        let subject = message.subject();
        if let Some(&place) = subject.and_then(|subject| self.places.get(&subject)) {
            return Some(std::mem::replace(&mut self.messages[place], message));
        }
        if let Some(subject) = subject {
            self.places.insert(subject, self.messages.len());
        }
        self.messages.push_back(message);
        None
    }
}

/// The queue of one driver for remote threads.
#[derive(Debug)]
pub(crate) struct Remote {
    inbox: ForkLock<Inbox>,
    /// Ends the loop's sleep. Called after a push, without the lock.
    unpark: Waker,
    /// The source of the runtime's time.
    clock: Source,
    /// Releases files while the loop does not run, if the mechanism holds them.
    releaser: Option<Releaser>,
    /// How many registrations were ended by messages that the owner has not handled and whose fds
    /// stay open, so that their numbers may be closed and reused at any time.
    ended: ForkLock<usize>,
}

impl Remote {
    pub(crate) fn new(unpark: Waker, clock: Source, releaser: Option<Releaser>) -> Arc<Remote> {
        Arc::new(Remote {
            inbox: ForkLock::new(Inbox::open()),
            unpark,
            clock,
            releaser,
            ended: ForkLock::new(0),
        })
    }

    /// Makes the kernel release a file whose registration was ended by a message that the loop has
    /// not handled yet.
    pub(crate) fn release(&self, fd: RawFd, token: Token) {
        if let Some(releaser) = &self.releaser {
            releaser.release(fd, token);
        }
    }

    /// Calls `watch`, which gives the number of a registration to the mechanism, unless that number
    /// may name another file by now. No thread can end a registration and keep its fd meanwhile.
    ///
    /// The lock is held during a system call. Only a thread that ends a registration waits for it.
    pub(crate) fn while_fds_are_open<R>(&self, watch: impl FnOnce() -> R) -> Option<R> {
        let ended = self.ended.lock();
        (*ended == 0).then(watch)
    }

    /// Makes `while_fds_are_open` refuse every later call. To be called before the runtime is gone,
    /// because from then on the owners of fds close them without a message.
    pub(crate) fn stop_watching(&self) {
        *self.ended.lock() += 1;
    }

    /// Notes that a message was handled that has ended a registration and left its fd open.
    pub(crate) fn note_handled_end(&self) {
        let mut ended = self.ended.lock();
        // In the child of a fork it may have been reset.
        *ended = ended.saturating_sub(1);
    }

    /// Queues a message and wakes the loop. It replaces a queued message about the same subject:
    /// the last waker and the last deadline of a timer count, and the same waiter of a registration
    /// is queued once.
    ///
    /// # Errors
    ///
    /// Returns the message if the runtime has ended.
    pub(crate) fn push(&self, message: Message) -> Result<(), Message> {
        if matches!(message, Message::Deregister { closing: None, .. }) {
            *self.ended.lock() += 1;
        }
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            return Err(message);
        }
        let replaced = inbox.push(message);
        drop(inbox);
        // Dropping a waker runs foreign code, so it happens without the lock. A replaced message
        // has woken the loop already.
        match replaced {
            Some(replaced) => drop(replaced),
            None => self.unpark.wake_by_ref(),
        }
        Ok(())
    }

    /// Moves the queued messages to the end of `into`, for the owner. If `into` is empty, the two
    /// buffers are swapped.
    pub(crate) fn drain(&self, into: &mut VecDeque<Message>) {
        let mut inbox = self.inbox.lock();
        if into.is_empty() {
            std::mem::swap(&mut inbox.messages, into);
        } else {
            into.append(&mut inbox.messages);
        }
        inbox.places.clear();
    }

    /// Refuses every later push.
    pub(crate) fn close(&self) {
        self.inbox.lock().closed = true;
    }
}

/// The queues of all live drivers.
pub(super) static REMOTES: Registry<Remote> = Registry::new();

/// Sends a message to the owner. Returns it if the runtime has ended.
#[cold]
pub(super) fn send(runtime: RuntimeId, message: Message) -> Result<(), Message> {
    match REMOTES.get(runtime) {
        Some(remote) => remote.push(message),
        None => Err(message),
    }
}

/// Checks with poll(2) whether an fd is ready for `interest`, and sends a message for each
/// direction if it is not.
///
/// `blocked`: the last call would have blocked, and poll(2) has not been called since. The flag is
/// cleared.
#[cold]
pub(super) fn poll_ready(
    runtime: RuntimeId,
    token: Token,
    fd: RawFd,
    interest: Interest,
    blocked: &AtomicBool,
    cx: &Context<'_>,
) -> Poll<io::Result<Seen>> {
    let remote = REMOTES.get(runtime).ok_or_else(gone)?;
    let readiness = backend::poll_now(fd, interest)?;
    if readiness.is_priority() {
        let _ = remote.push(Message::Urgent { token });
    }
    let is_ready = readiness.intersects(ending_bits(interest));
    // If a hang-up or an error lasts although a call was made, trying again at once would change
    // nothing.
    let lasts = is_ready
        && blocked.swap(false, Ordering::Relaxed)
        && backend::is_hangup_or_error(readiness)
        && !interest.is_error()
        && backend::poll_revents(fd, interest)?.is_only_hangup_or_error();
    if is_ready && !lasts {
        return Poll::Ready(Ok(Seen::remote(readiness)));
    }
    let waited_for = Direction::ALL
        .into_iter()
        .filter(|d| interest.contains(d.interest()));
    for direction in waited_for {
        let waker = cx.waker().clone();
        let message = Message::Arm {
            token,
            direction,
            waker,
            again: lasts.then(|| cx.waker().clone()),
        };
        remote.push(message).map_err(|_| gone())?;
    }
    Poll::Pending
}

/// Wakes a waiter of a registration after a pause. A message replaces a queued one of the same
/// waker and `name`.
///
/// # Errors
///
/// If the runtime is gone, because the waiter would never be woken.
#[cold]
pub(super) fn wake_after(
    runtime: RuntimeId,
    token: Token,
    pause: Duration,
    waker: Waker,
    name: usize,
) -> io::Result<()> {
    let message = Message::WakeAfter {
        token,
        pause,
        waker,
        name,
    };
    send(runtime, message).map_err(|_| gone())
}

/// Ends a registration. The owner closes the fd in `closing`; `kept` is one that stays open, which
/// the kernel releases before this returns, if the mechanism can do that.
#[cold]
pub(super) fn end(runtime: RuntimeId, token: Token, closing: Option<Closing>, kept: Option<RawFd>) {
    if let Some(remote) = REMOTES.get(runtime) {
        // A closed queue gives the message back, and dropping it closes the fd.
        let _ = remote.push(Message::Deregister { token, closing });
        // After the push: if the file were released first, the owner would watch it again.
        if let Some(fd) = kept {
            remote.release(fd, token);
        }
    }
}

/// Returns the present of a runtime's clock; of this thread's, if the runtime is gone.
#[inline]
pub(super) fn now(runtime: RuntimeId) -> Moment {
    if is_monotonic() {
        return Moment::monotonic();
    }
    REMOTES
        .get(runtime)
        .map_or_else(Moment::now, |remote| remote.clock.now())
}

/// Sends the waker and the deadline of a timer.
///
/// # Panics
///
/// If the runtime is gone, because the timer would never fire.
#[cold]
pub(super) fn poll_timer(
    runtime: RuntimeId,
    key: TimerKey,
    deadline: Moment,
    place: Place,
    waker: &Waker,
) {
    let message = Message::Timer {
        key,
        deadline,
        place,
        waker: waker.clone(),
    };
    assert!(
        send(runtime, message).is_ok(),
        "the runtime that this timer was armed on is gone: it would never fire"
    );
}

/// Returns the error of an operation whose runtime has ended.
#[cold]
pub(super) fn gone() -> io::Error {
    failure(
        io::ErrorKind::Other,
        "the runtime that this socket or timer was registered with is gone (each `reveille::block_on` makes a new one): \
         make the socket or timer again on the new runtime, or keep one `Runtime`",
    )
}

#[cfg(test)]
mod tests;
