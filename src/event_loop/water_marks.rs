//! Water marks: fds, such as listeners, that pause while too many fds are attached. Parity with
//! lighttpd.

use super::EventLoop;
use super::attached::Pauses;
use super::key::Key;
use crate::backend::Token;
use crate::sys::syscall::failure;
use std::io;

/// The numbers of attached fds at which an fd pauses and resumes.
///
/// [`EventLoop::set_water_marks`] has an example. The fd itself counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaterMarks {
    /// The fd resumes when at most this many fds are attached.
    pub low: usize,
    /// The fd pauses when at least this many fds are attached.
    pub high: usize,
}

/// An fd with water marks.
#[derive(Debug)]
pub(super) struct MarkedFd {
    token: Token,
    marks: WaterMarks,
}

impl MarkedFd {
    /// Moves the marks to the fd that replaces this one.
    pub(super) fn follow(&mut self, from: Token, to: Token) {
        if self.token == from {
            self.token = to;
        }
    }
}

impl<D: 'static> EventLoop<D> {
    /// Pauses an fd while many fds are attached to the loop, or removes its water marks (`None`).
    ///
    /// Meant for listeners: the listener pauses when `marks.high` fds are attached, and resumes
    /// when at most `marks.low` are. While it is paused, connections wait in the kernel's queue.
    ///
    /// *Parity: lighttpd turns its listeners off and on by such marks.*
    ///
    /// # Errors
    ///
    /// `NotFound` if the key is no longer valid, `InvalidInput` if `low` is not below `high`, or an
    /// error of the system.
    ///
    /// # Examples
    ///
    /// At most 1,000 connections; the listener counts as one fd more:
    ///
    /// ```
    /// use reveille::backend::{Interest, Trigger};
    /// use reveille::event_loop::{EventLoop, WaterMarks};
    /// use std::net::TcpListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// listener.set_nonblocking(true)?;
    /// let mut event_loop = EventLoop::new(())?;
    /// let (readable, level) = (Interest::READABLE, Trigger::Level);
    /// let key = event_loop.attach(listener, readable, level, |event_loop, key, _| {
    ///     // The listener may be paused by the connections that this call attaches.
    ///     while !event_loop.is_paused(key) {
    ///         let Some(Ok((stream, _))) = event_loop.get(key).map(TcpListener::accept) else {
    ///             return;
    ///         };
    ///         # let _ = stream;
    ///         // ... attach the stream ...
    ///     }
    /// })?;
    /// event_loop.set_water_marks(key, Some(WaterMarks { low: 801, high: 1001 }))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_water_marks<T>(&mut self, key: Key<T>, marks: Option<WaterMarks>) -> io::Result<()> {
        let token = self.live_token(key)?;
        if marks.is_some_and(|marks| marks.low >= marks.high) {
            return Err(failure(
                io::ErrorKind::InvalidInput,
                "cannot set the water marks: `low` must be below `high`",
            ));
        }
        self.marked.retain(|marked| marked.token != token);
        match marks {
            Some(marks) => self.marked.push(MarkedFd { token, marks }),
            None => self.set_pauses(token, |pauses| pauses.without(Pauses::BY_WATER_MARK))?,
        }
        self.apply_water_marks();
        Ok(())
    }

    /// Pauses and resumes the fds with water marks. Called whenever the number of attached fds has
    /// changed.
    #[inline]
    pub(super) fn apply_water_marks(&mut self) {
        if !self.marked.is_empty() {
            self.apply_each_water_mark();
        }
    }

    fn apply_each_water_mark(&mut self) {
        let open = self.len();
        let mut marked = std::mem::take(&mut self.marked);
        marked.retain(|marked| {
            if self.table.peek(marked.token).is_none() {
                return false;
            }
            // On failure the fd stays as it was, and the next change tries again.
            let _ = self.set_pauses(marked.token, |pauses| {
                if open >= marked.marks.high {
                    pauses.with(Pauses::BY_WATER_MARK)
                } else if open <= marked.marks.low {
                    pauses.without(Pauses::BY_WATER_MARK)
                } else {
                    pauses
                }
            });
            true
        });
        self.marked = marked;
    }
}
