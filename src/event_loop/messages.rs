//! Messages of other threads: a typed queue for each kind, and one wake-up for all.
//!
//! The ancestors write pointers and descriptors into a pipe. Here what is sent lies in a locked queue, and the pipe, or
//! what the mechanism has in its place, is written only while the loop sleeps, once: see `reactor/parker.rs`. The loop
//! takes note of the wake-up first and looks into the queues afterwards, so nothing is slept over.

use super::EventLoop;
use super::handle::Shared;
use super::turn::Caught;
use crate::sync::Mutex;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Sends messages to an event loop, from any thread; made by [`EventLoop::on_message`].
pub struct Sender<M> {
    inbox: Arc<Inbox<M>>,
}

struct Inbox<M> {
    queue: Mutex<Queue<M>>,
    shared: Arc<Shared>,
}

struct Queue<M> {
    closed: bool,
    messages: VecDeque<M>,
}

impl<M> Sender<M> {
    /// Sends a message; the loop's thread will handle it in this turn or the next. The queue has no limit: who sends more than
    /// is handled should be told so by messages back.
    ///
    /// # Errors
    ///
    /// Gives the message back when the loop is gone.
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        let mut queue = self.inbox.queue.lock();
        if queue.closed {
            drop(queue);
            return Err(SendError(message));
        }
        queue.messages.push_back(message);
        drop(queue);
        self.inbox.shared.unparker.unpark();
        Ok(())
    }
}

impl<M> Clone for Sender<M> {
    fn clone(&self) -> Sender<M> {
        Sender {
            inbox: self.inbox.clone(),
        }
    }
}

impl<M> fmt::Debug for Sender<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

/// The loop is gone; the message is given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<M>(pub M);

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError")
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event loop is gone")
    }
}

impl<M> Error for SendError<M> {}

/// The loop's end of a queue, with the message's type forgotten.
pub(super) struct Channel<D>(Box<dyn Receive<D>>);

trait Receive<D> {
    /// Takes up what has been sent.
    fn take_up(&mut self);
    /// Handles one message; false when none is left.
    fn handle(&mut self, event_loop: &mut EventLoop<D>) -> bool;
    /// Forgets what has been sent.
    fn clear(&mut self);
    /// Refuses what is sent from now on, and forgets what has been sent.
    fn close(&mut self);
    /// Nobody can send any more, and nothing is left.
    fn is_over(&self) -> bool;
}

struct Receiver<M, F> {
    inbox: Arc<Inbox<M>>,
    /// Taken up and not handled.
    taken: VecDeque<M>,
    handler: F,
}

impl<D, M, F: FnMut(&mut EventLoop<D>, M)> Receive<D> for Receiver<M, F> {
    fn take_up(&mut self) {
        let mut queue = self.inbox.queue.lock();
        if self.taken.is_empty() {
            std::mem::swap(&mut self.taken, &mut queue.messages);
        } else {
            self.taken.append(&mut queue.messages);
        }
    }

    fn handle(&mut self, event_loop: &mut EventLoop<D>) -> bool {
        let Some(message) = self.taken.pop_front() else {
            return false;
        };
        event_loop.calls += 1;
        (self.handler)(event_loop, message);
        true
    }

    fn clear(&mut self) {
        let sent = std::mem::take(&mut self.inbox.queue.lock().messages);
        // Foreign drops: not under the lock.
        drop(sent);
        self.taken.clear();
    }

    fn close(&mut self) {
        self.inbox.queue.lock().closed = true;
        Receive::<D>::clear(self);
    }

    fn is_over(&self) -> bool {
        Arc::strong_count(&self.inbox) == 1
            && self.taken.is_empty()
            && self.inbox.queue.lock().messages.is_empty()
    }
}

impl<D> Channel<D> {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn close(&mut self) {
        self.0.close();
    }
}

impl<D: 'static> EventLoop<D> {
    /// Calls `handler` on the loop's thread with each message that is sent through the [`Sender`] returned, in the order in which
    /// they were sent. The handler is dropped with the loop, or some time after the last sender.
    ///
    /// ```
    /// use reveille::event_loop::EventLoop;
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop = EventLoop::new(0)?;
    /// let numbers = event_loop.on_message(|event_loop, number: u32| {
    ///     *event_loop.data_mut() += number;
    ///     event_loop.stop();
    /// });
    /// let sender = std::thread::spawn(move || numbers.send(42).unwrap());
    /// event_loop.run()?;
    /// assert_eq!(*event_loop.data(), 42);
    /// # sender.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_message<M: Send + 'static>(
        &mut self,
        handler: impl FnMut(&mut EventLoop<D>, M) + 'static,
    ) -> Sender<M> {
        let inbox = Arc::new(Inbox {
            queue: Mutex::new(Queue {
                closed: false,
                messages: VecDeque::new(),
            }),
            shared: self.shared.clone(),
        });
        self.channels.push(Channel(Box::new(Receiver {
            inbox: inbox.clone(),
            taken: VecDeque::new(),
            handler,
        })));
        Sender { inbox }
    }

    /// Handles what has been sent, if something was. What is sent meanwhile is the next turn's.
    #[inline]
    pub(super) fn take_messages(&mut self) {
        // Note is taken of the wake-up before the queues are looked at.
        if std::mem::take(&mut self.notified) | self.unparker.take() {
            self.handle_messages();
        }
    }

    fn handle_messages(&mut self) {
        let mut channels = std::mem::take(&mut self.channels);
        let mut caught = Caught::default();
        self.forgets_messages = false;
        for channel in &mut channels {
            channel.0.take_up();
            while !self.forgets_messages && caught.call(|| channel.0.handle(self)) == Some(true) {}
            if caught.is_panic() {
                // The rest is handled in the next turn.
                self.notified = true;
            }
            if caught.is_panic() || self.forgets_messages {
                break;
            }
        }
        if std::mem::take(&mut self.forgets_messages) {
            for channel in &mut channels {
                channel.clear();
            }
        }
        channels.retain(|channel| !channel.0.is_over());
        // Those that handlers have added.
        channels.append(&mut self.channels);
        self.channels = channels;
        caught.resume();
    }
}
