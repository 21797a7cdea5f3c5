//! [`Key`], [`TimerKey`] and [`SignalKey`]: the names of attached fds, of timers, and of handlers of
//! signals.

use crate::backend::Token;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};

/// Names an attached fd, and knows the type of the attached value.
///
/// A plain number: copy it freely. Once the fd is detached, the key is invalid and never names
/// another fd. Functions that take an invalid key fail with `NotFound`, or return `None` or false.
///
/// # Examples
///
/// ```
/// use reveille::backend::{Interest, Trigger};
/// use reveille::event_loop::{EventLoop, Key};
/// use std::net::UdpSocket;
///
/// # fn main() -> std::io::Result<()> {
/// let mut event_loop = EventLoop::new(())?;
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// let key: Key<UdpSocket> =
///     event_loop.attach(socket, Interest::READABLE, Trigger::Level, |_, _, _| {})?;
/// assert!(event_loop.get(key).is_some_and(|socket| socket.local_addr().is_ok()));
/// event_loop.close(key);
/// assert!(event_loop.get(key).is_none());
/// # Ok(())
/// # }
/// ```
pub struct Key<T> {
    pub(super) token: Token,
    pub(super) owner: u32,
    value: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    pub(super) fn new(token: Token, owner: u32) -> Key<T> {
        Key {
            token,
            owner,
            value: PhantomData,
        }
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Key<T> {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Key<T>) -> bool {
        (self.token, self.owner) == (other.token, other.owner)
    }
}

impl<T> Eq for Key<T> {}

impl<T> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.token, self.owner).hash(state);
    }
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.token).finish()
    }
}

/// Names a timer set by [`EventLoop::set_timer`](super::EventLoop::set_timer), which has an
/// example.
///
/// A plain number: copy it freely. Once the timer has fired or was cancelled, the key is invalid.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerKey {
    pub(super) id: u64,
    pub(super) index: u32,
    pub(super) owner: u32,
}

/// Names a handler of a signal, added by [`EventLoop::on_signal`](super::EventLoop::on_signal).
///
/// A plain number: copy it freely. Once the handler is removed, the key is invalid.
#[cfg(feature = "signal")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SignalKey {
    pub(super) id: u64,
    pub(super) owner: u32,
}

/// Returns the id of the next loop.
pub(super) fn next_loop_id() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}
