//! What other threads may send to the reactor: a locked queue, emptied once per turn.
//!
//! A thread that does not own the loop never touches a registration or a timer. It makes its system calls itself and,
//! when it has to wait, sends one message; the owner stores the waker as if one of its own tasks had asked. After the
//! runtime's end the queue is closed, and a push gives the message back.

use super::clock::Moment;
use super::io_state::Direction;
use crate::sync::{Arc, Mutex};
use crate::timer::TimerKey;
use crate::token::{BuildKeyHasher, Token};
use std::collections::{HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::task::Waker;

/// One request of another thread.
#[derive(Debug)]
pub(crate) enum Message {
    /// Wake `waker` when the registration is ready in that direction.
    Arm {
        token: Token,
        direction: Direction,
        waker: Waker,
    },
    /// The fd has become ready by what its handle did: have the mechanism look.
    LookAgain { token: Token },
    /// The registration's handle was dropped; an fd that comes along is closed afterwards.
    Deregister { token: Token, fd: Option<OwnedFd> },
    /// Wake `waker` when the timer fires, which its handle takes to be at `deadline`.
    Timer {
        key: TimerKey,
        deadline: Moment,
        waker: Waker,
    },
    /// Give the timer another deadline.
    Reset { key: TimerKey, deadline: Moment },
    /// The timer's handle was dropped.
    Cancel { key: TimerKey },
}

/// One waiter, to be in the queue once: whose, for what, and which waker (data and vtable).
type WaiterId = (u64, u8, usize, usize);

impl Message {
    fn waiter(&self) -> Option<WaiterId> {
        let (of, what, waker) = match self {
            Message::Arm {
                token,
                direction,
                waker,
            } => (token.to_u64(), *direction as u8, waker),
            Message::Timer { key, waker, .. } => (key.to_u64(), u8::MAX, waker),
            _ => return None,
        };
        Some((
            of,
            what,
            waker.data().addr(),
            std::ptr::from_ref(waker.vtable()).addr(),
        ))
    }
}

#[derive(Debug, Default)]
struct Inbox {
    closed: bool,
    messages: VecDeque<Message>,
    waiting: HashSet<WaiterId, BuildKeyHasher>,
}

/// The reactor's queue for other threads.
#[derive(Debug)]
pub(crate) struct Remote {
    inbox: Mutex<Inbox>,
    /// Ends the loop's sleep; called after a push, outside the lock.
    unpark: Waker,
}

impl Remote {
    pub(crate) fn new(unpark: Waker) -> Arc<Remote> {
        Arc::new(Remote {
            inbox: Mutex::new(Inbox::default()),
            unpark,
        })
    }

    /// Queues a message and wakes the loop. The same waiter is queued once.
    ///
    /// # Errors
    ///
    /// Gives the message back when the runtime has ended.
    pub(crate) fn push(&self, message: Message) -> Result<(), Message> {
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            return Err(message);
        }
        if let Some(waiter) = message.waiter() {
            if !inbox.waiting.insert(waiter) {
                drop(inbox);
                // Dropping the second waker runs foreign code: not under the lock.
                drop(message);
                return Ok(());
            }
        }
        inbox.messages.push_back(message);
        drop(inbox);
        self.unpark.wake_by_ref();
        Ok(())
    }

    /// Moves what is queued to the end of `into`, for the owner. If that is empty it lends its room.
    pub(crate) fn drain(&self, into: &mut VecDeque<Message>) {
        let mut inbox = self.inbox.lock();
        if into.is_empty() {
            std::mem::swap(&mut inbox.messages, into);
        } else {
            into.append(&mut inbox.messages);
        }
        inbox.waiting.clear();
    }

    /// Refuses every later push.
    pub(crate) fn close(&self) {
        self.inbox.lock().closed = true;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn arm(waker: &Waker) -> Message {
        Message::Arm {
            token: Token::new(1, 1),
            direction: Direction::Read,
            waker: waker.clone(),
        }
    }

    #[test]
    fn a_waiter_is_queued_once_until_it_is_taken() {
        let remote = Remote::new(Waker::noop().clone());
        let mut taken = VecDeque::new();
        remote.push(arm(Waker::noop())).unwrap();
        remote.push(arm(Waker::noop())).unwrap();
        remote.drain(&mut taken);
        assert_eq!(taken.len(), 1);
        taken.clear();
        remote.push(arm(Waker::noop())).unwrap();
        remote.drain(&mut taken);
        assert_eq!(taken.len(), 1);
    }

    #[test]
    fn a_closed_queue_gives_the_message_back() {
        let remote = Remote::new(Waker::noop().clone());
        remote.close();
        assert!(matches!(
            remote.push(arm(Waker::noop())),
            Err(Message::Arm { .. })
        ));
    }
}
