//! The room: who is there, and a bounded queue of messages for each.
//!
//! A slow client must not delay the others, and must not make the server keep what it does not
//! read. A client whose queue is full is disconnected, as in the example `chat`. To leave messages
//! out instead would let it answer to what it has not seen.

use async_tungstenite::tungstenite::Utf8Bytes;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The most bytes of text that a queue holds. Queues share the text, so many full ones need hardly
/// more memory than one.
const QUEUE: usize = 128 * 1024;

/// What a message costs in a queue beside its text, so that empty ones are not free.
const OVERHEAD: usize = 64;

#[derive(Default)]
pub(crate) struct Room {
    clients: RefCell<Vec<Rc<Client>>>,
}

pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) queue: Queue,
}

impl Room {
    /// How many clients there are.
    pub(crate) fn len(&self) -> usize {
        self.clients.borrow().len()
    }

    /// Adds a client. Appends a number to its name if that is taken.
    pub(crate) fn enter(&self, name: &str) -> Rc<Client> {
        let mut clients = self.clients.borrow_mut();
        let is_taken = |name: &str| clients.iter().any(|client| client.name == name);
        let mut unique = name.to_owned();
        let mut number = 2;
        while is_taken(&unique) {
            unique = format!("{name}-{number}");
            number += 1;
        }
        let client = Rc::new(Client {
            name: unique,
            queue: Queue::default(),
        });
        clients.push(client.clone());
        drop(clients);
        self.tell(format!("* {} has come", client.name));
        client
    }

    /// Removes a client, and tells the others why.
    pub(crate) fn leave(&self, client: &Rc<Client>, why: &str) {
        self.clients
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, client));
        self.tell(format!("* {} {why}", client.name));
    }

    /// Puts a message into the queues of all clients.
    pub(crate) fn tell(&self, text: String) {
        let text = Utf8Bytes::from(text);
        for client in self.clients.borrow().iter() {
            client.queue.push(&text);
        }
    }
}

/// The queue of a client, and the waker of the task that serves the client.
#[derive(Default)]
pub(crate) struct Queue(RefCell<Waiting>);

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Utf8Bytes>,
    /// The size of all messages, with their overhead.
    size: usize,
    /// A message did not fit. The queue is empty and remains so.
    has_overflowed: bool,
    waker: Option<Waker>,
}

impl Queue {
    /// Adds a message, or marks that the queue has overflowed.
    fn push(&self, text: &Utf8Bytes) {
        let mut waiting = self.0.borrow_mut();
        let size = waiting.size + text.len() + OVERHEAD;
        if waiting.has_overflowed || size > QUEUE {
            waiting.has_overflowed = true;
            waiting.messages = VecDeque::new();
        } else {
            waiting.size = size;
            waiting.messages.push_back(text.clone());
        }
        let waker = waiting.waker.take();
        drop(waiting);
        // A waker may run any code, so it is called after the borrow has ended.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for a message. Returns `None` if the queue has overflowed.
    pub(crate) async fn next(&self) -> Option<Utf8Bytes> {
        poll_fn(|cx| {
            if self.poll_overflow(cx).is_ready() {
                return Poll::Ready(None);
            }
            let mut waiting = self.0.borrow_mut();
            match waiting.messages.pop_front() {
                Some(text) => {
                    waiting.size -= text.len() + OVERHEAD;
                    Poll::Ready(Some(text))
                }
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Waits until the queue has overflowed.
    pub(crate) async fn overflow(&self) {
        poll_fn(|cx| self.poll_overflow(cx)).await;
    }

    /// One task waits for the queue, whatever it waits for, so there is one waker.
    fn poll_overflow(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.0.borrow_mut();
        if waiting.has_overflowed {
            return Poll::Ready(());
        }
        waiting.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
