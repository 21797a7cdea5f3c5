//! Messages from other threads: a typed queue for each kind of message, and one wake-up for all.
//!
//! A message lies in a locked queue. The mechanism's notifier is used only while the loop sleeps,
//! once (see `reactor/parker.rs`). The loop takes the notification first and checks the queues
//! afterwards, so it never sleeps while a message waits.

use super::EventLoop;
use super::handle::Shared;
use crate::panics::FirstPanic;
use crate::sync::ForkLock;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Sends messages to an event loop, from any thread. Created by [`EventLoop::on_message`], which
/// has an example.
pub struct Sender<M> {
    inbox: Arc<Inbox<M>>,
}

/// The queue of one kind of message, and the loop to wake.
struct Inbox<M> {
    queue: ForkLock<Queue<M>>,
    shared: Arc<Shared>,
}

/// The messages that were sent and not yet taken by the loop.
struct Queue<M> {
    loop_is_gone: bool,
    messages: VecDeque<M>,
}

/// The queue in the child of a fork, if another thread was changing it. Earlier messages belong to
/// the parent.
impl<M> Default for Queue<M> {
    fn default() -> Queue<M> {
        Queue {
            loop_is_gone: false,
            messages: VecDeque::new(),
        }
    }
}

impl<M> Sender<M> {
    /// Sends a message, which the loop handles in this turn or the next.
    ///
    /// The queue has no limit. A thread that may send faster than the loop handles messages should
    /// wait for answers in between.
    ///
    /// # Errors
    ///
    /// Returns [`SendError`] with the message if the loop was dropped.
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        let mut queue = self.inbox.queue.lock();
        if queue.loop_is_gone {
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

/// The error of [`Sender::send`] when the loop was dropped. It contains the message.
///
/// # Examples
///
/// ```
/// use reveille::event_loop::{EventLoop, SendError};
///
/// # fn main() -> std::io::Result<()> {
/// let mut event_loop = EventLoop::new(())?;
/// let sender = event_loop.on_message(|_, _: &str| {});
/// drop(event_loop);
/// assert_eq!(sender.send("too late"), Err(SendError("too late")));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<M>(pub M);

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError")
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot send the message: the event loop was dropped")
    }
}

impl<M> Error for SendError<M> {}

/// A [`Receiver`] without its types.
pub(super) struct Channel<D>(Box<dyn Receive<D>>);

/// The loop's access to a [`Receiver`], without the type of its messages.
trait Receive<D> {
    /// Takes all messages out of the queue, to be handled.
    fn drain(&mut self);
    /// Handles one message. Returns false if none is left.
    fn handle(&mut self, event_loop: &mut EventLoop<D>) -> bool;
    /// Drops all messages.
    fn clear(&mut self, panics: &mut FirstPanic);
    /// Makes later sends fail and drops all messages.
    fn close(&mut self, panics: &mut FirstPanic);
    /// Whether no sender and no message is left.
    fn is_closed(&self) -> bool;
}

/// The loop's end of a queue, and the handler of its messages.
struct Receiver<M, F> {
    inbox: Arc<Inbox<M>>,
    /// Taken out of the queue and not handled yet.
    drained: VecDeque<M>,
    handler: F,
}

impl<D, M, F: FnMut(&mut EventLoop<D>, M)> Receive<D> for Receiver<M, F> {
    fn drain(&mut self) {
        let mut queue = self.inbox.queue.lock();
        if self.drained.is_empty() {
            std::mem::swap(&mut self.drained, &mut queue.messages);
        } else {
            self.drained.append(&mut queue.messages);
        }
    }

    fn handle(&mut self, event_loop: &mut EventLoop<D>) -> bool {
        let Some(message) = self.drained.pop_front() else {
            return false;
        };
        event_loop.calls += 1;
        (self.handler)(event_loop, message);
        true
    }

    fn clear(&mut self, panics: &mut FirstPanic) {
        // Dropping a message runs foreign code: not under the lock, and with each panic caught.
        let sent = std::mem::take(&mut self.inbox.queue.lock().messages);
        for message in std::mem::take(&mut self.drained).into_iter().chain(sent) {
            panics.call(|| drop(message));
        }
    }

    fn close(&mut self, panics: &mut FirstPanic) {
        self.inbox.queue.lock().loop_is_gone = true;
        Receive::<D>::clear(self, panics);
    }

    fn is_closed(&self) -> bool {
        Arc::strong_count(&self.inbox) == 1
            && self.drained.is_empty()
            && self.inbox.queue.lock().messages.is_empty()
    }
}

impl<D> Channel<D> {
    pub(super) fn clear(&mut self, panics: &mut FirstPanic) {
        self.0.clear(panics);
    }

    pub(super) fn close(&mut self, panics: &mut FirstPanic) {
        self.0.close(panics);
    }
}

impl<D: 'static> EventLoop<D> {
    /// Calls `handler` on the loop's thread with each message that is sent through the returned
    /// [`Sender`], in the order of sending.
    ///
    /// The handler is dropped with the loop, or some time after the last sender.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::event_loop::{EventLoop, Sender};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop = EventLoop::new(0)?;
    /// let numbers: Sender<u32> = event_loop.on_message(|event_loop, number| {
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
            queue: ForkLock::new(Queue::default()),
            shared: self.shared.clone(),
        });
        self.channels.push(Channel(Box::new(Receiver {
            inbox: inbox.clone(),
            drained: VecDeque::new(),
            handler,
        })));
        Sender { inbox }
    }

    /// Handles the messages that were sent before now. Messages that are sent meanwhile belong to
    /// the next turn.
    #[inline]
    pub(super) fn take_messages(&mut self) {
        // The notification is taken before the queues are checked.
        if self.parker.take_notified() {
            self.handle_messages();
        }
    }

    fn handle_messages(&mut self) {
        let mut channels = std::mem::take(&mut self.channels);
        let mut panics = FirstPanic::default();
        self.discard_messages = false;
        for channel in &mut channels {
            channel.0.drain();
            while !self.discard_messages && panics.call(|| channel.0.handle(self)) == Some(true) {}
            if panics.is_panic() {
                // The rest is handled in the next turn.
                self.parker.notify_self();
            }
            if panics.is_panic() || self.discard_messages {
                break;
            }
        }
        if std::mem::take(&mut self.discard_messages) {
            for channel in &mut channels {
                channel.clear(&mut panics);
            }
        }
        // The channels that handlers have added come last.
        channels.append(&mut self.channels);
        self.channels = channels;
        self.drop_closed_channels(&mut panics);
        panics.resume();
    }

    fn drop_closed_channels(&mut self, panics: &mut FirstPanic) {
        let mut at = 0;
        while let Some(channel) = self.channels.get(at) {
            if channel.0.is_closed() {
                let closed = self.channels.remove(at);
                panics.call(|| drop(closed));
            } else {
                at += 1;
            }
        }
    }
}
