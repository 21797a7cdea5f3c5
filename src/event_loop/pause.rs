//! Pauses: fds that stay attached and are not watched for a while.
//!
//! An fd may be paused for two reasons at once: by the user, and by its water marks.

use super::EventLoop;
use super::attached::{Due, Pauses};
use super::key::Key;
use crate::backend::Token;
use std::io;
use std::time::Duration;

impl<D: 'static> EventLoop<D> {
    /// Stops watching an fd for its interest, until [`resume`](EventLoop::resume). A hang-up or an
    /// error may still be reported, once.
    ///
    /// *Parity: lighttpd turns its listeners off and on.*
    ///
    /// # Errors
    ///
    /// Same as [`modify`](EventLoop::modify).
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::backend::{Interest, Trigger};
    /// use reveille::event_loop::EventLoop;
    /// use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (ours, mut theirs) = UnixStream::pair()?;
    /// let mut event_loop = EventLoop::new(())?;
    /// let key = event_loop.attach(ours, Interest::READABLE, Trigger::Level, |_, _, _| {})?;
    /// theirs.write_all(b"x")?;
    /// event_loop.pause(key)?;
    /// assert!(event_loop.is_paused(key));
    /// assert_eq!(event_loop.turn(Some(Duration::ZERO))?, 0);
    /// event_loop.resume(key)?;
    /// assert_eq!(event_loop.turn(None)?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn pause<T>(&mut self, key: Key<T>) -> io::Result<()> {
        let token = self.live_token(key)?;
        self.set_pauses(token, |pauses| pauses.with(Pauses::BY_USER))?;
        self.cancel_pause_end(token);
        Ok(())
    }

    /// Ends a [pause](EventLoop::pause). If the fd is ready by now, its handler is called, even if
    /// a `Oneshot` event was delivered before the pause.
    ///
    /// # Errors
    ///
    /// Same as [`modify`](EventLoop::modify).
    pub fn resume<T>(&mut self, key: Key<T>) -> io::Result<()> {
        let token = self.live_token(key)?;
        self.resume_token(token)
    }

    /// Ends a pause by the user.
    fn resume_token(&mut self, token: Token) -> io::Result<()> {
        self.set_pauses(token, |pauses| pauses.without(Pauses::BY_USER))?;
        self.cancel_pause_end(token);
        Ok(())
    }

    /// Returns true if an fd is paused, by [`pause`](EventLoop::pause) or by its [water
    /// marks](EventLoop::set_water_marks).
    pub fn is_paused<T>(&self, key: Key<T>) -> bool {
        let entry = self
            .live_token(key)
            .ok()
            .and_then(|token| self.table.peek(token));
        entry.is_some_and(|entry| entry.state.pauses != Pauses::NONE)
    }

    /// [Pauses](EventLoop::pause) an fd for `duration`.
    ///
    /// This is meant for a listener whose `accept` has failed because the process is out of
    /// descriptors. Each call of `pause`, `resume` or `pause_for` replaces the earlier one.
    ///
    /// # Errors
    ///
    /// Same as [`pause`](EventLoop::pause).
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::backend::{Interest, Trigger};
    /// use reveille::event_loop::EventLoop;
    /// use std::io::ErrorKind;
    /// use std::net::TcpListener;
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// listener.set_nonblocking(true)?;
    /// let mut event_loop = EventLoop::new(())?;
    /// event_loop.attach(listener, Interest::READABLE, Trigger::Level, |event_loop, key, _| {
    ///     match event_loop.get(key).map(TcpListener::accept) {
    ///         Some(Ok((_stream, _addr))) => { /* attach the stream */ }
    ///         Some(Err(error)) if error.kind() != ErrorKind::WouldBlock => {
    ///             // Out of descriptors. The listener stays ready, and every turn would report it.
    ///             let _ = event_loop.pause_for(key, Duration::from_millis(100));
    ///         }
    ///         _ => {}
    ///     }
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn pause_for<T>(&mut self, key: Key<T>, duration: Duration) -> io::Result<()> {
        self.pause(key)?;
        let tick = self.clock.tick_after(self.clock.now().plus(duration));
        let pause_end = self.timers.insert(tick, Due::PauseEnd(key.token));
        if let Some(entry) = self.table.get(key.token) {
            entry.state.pause_end = Some(pause_end);
        }
        Ok(())
    }

    /// Ends the pause of an fd whose time has passed.
    pub(super) fn fire_pause_end(&mut self, token: Token) {
        if self.resume_token(token).is_err() {
            self.report_lost(token);
        }
    }

    /// Cancels the timer that would end a pause.
    fn cancel_pause_end(&mut self, token: Token) {
        let key = self
            .table
            .get(token)
            .and_then(|entry| entry.state.pause_end.take());
        if let Some(key) = key {
            self.timers.cancel(key);
        }
    }

    /// Changes the reasons for the pause of an fd, and what the mechanism watches if that pauses or
    /// resumes the fd. On failure nothing has changed. The end of a pause by the user arms a
    /// `Oneshot` fd; the end of a pause by water marks does not.
    pub(super) fn set_pauses(
        &mut self,
        token: Token,
        change: impl FnOnce(Pauses) -> Pauses,
    ) -> io::Result<()> {
        let Some(entry) = self.table.get(token) else {
            return Ok(());
        };
        let (before, was_disarmed) = (entry.state.pauses, entry.state.is_disarmed);
        let after = change(before);
        entry.state.pauses = after;
        let is_resumed = before.contains(Pauses::BY_USER) && !after.contains(Pauses::BY_USER);
        entry.state.is_disarmed &= !is_resumed;
        entry.state.refresh();
        if (before == Pauses::NONE) == (after == Pauses::NONE) {
            return Ok(());
        }
        let applied = self.apply(token);
        if let (Err(_), Some(entry)) = (&applied, self.table.get(token)) {
            entry.state.pauses = before;
            entry.state.is_disarmed = was_disarmed;
            entry.state.refresh();
        }
        applied
    }
}
