//! `replace_fd`, which puts another fd in the place of an attached one. Parity with FastDFS.

use super::EventLoop;
use super::attached::{Due, Value};
use super::error::{AttachError, not_attached};
use super::key::Key;
use crate::backend::Token;
use std::os::fd::AsFd;

impl<D: 'static> EventLoop<D> {
    /// Attaches `fd` in the place of the fd under `key`, and returns the new key and the old fd.
    ///
    /// Handler, interest, trigger, timeout, pauses and water marks move to the new fd. Events of
    /// this turn for the old fd are dropped.
    ///
    /// *Parity: FastDFS gives a task another descriptor.* Other programs can
    /// [`detach`](EventLoop::detach) and [`attach`](EventLoop::attach).
    ///
    /// # Errors
    ///
    /// Same as [`attach`](EventLoop::attach), and `NotFound` if the key is no longer valid. If
    /// the new fd cannot be attached, the old one stays attached. The error contains the new fd.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::backend::{Interest, Trigger};
    /// use reveille::event_loop::EventLoop;
    /// use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (first, _peer) = UnixStream::pair()?;
    /// let (second, mut peer) = UnixStream::pair()?;
    /// let mut event_loop = EventLoop::new(0)?;
    /// let key = event_loop.attach(first, Interest::READABLE, Trigger::Level, |event_loop, _, _| {
    ///     *event_loop.data_mut() += 1;
    /// })?;
    /// let (new_key, _first) = event_loop.replace_fd(key, second)?;
    /// assert!(event_loop.is_attached(new_key) && !event_loop.is_attached(key));
    /// peer.write_all(b"x")?;
    /// event_loop.turn(None)?;
    /// assert_eq!(*event_loop.data(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn replace_fd<T: AsFd + 'static>(
        &mut self,
        key: Key<T>,
        fd: T,
    ) -> Result<(Key<T>, T), AttachError<T>> {
        let live = self
            .live_token(key)
            .ok()
            .and_then(|token| self.table.peek(token))
            .and_then(|entry| Some((entry, entry.state.handler.clone()?)));
        let Some((entry, handler)) = live else {
            let error = not_attached();
            return Err(AttachError { error, fd });
        };
        let (interest, trigger, pauses) = (entry.state.interest, entry.trigger, entry.state.pauses);
        let attached = self.attach_value(Value::new(fd), interest, trigger, handler);
        let token = attached.map_err(|(error, value)| AttachError {
            error,
            fd: value.into_inner(),
        })?;
        // On failure the new fd is watched although it should be paused, which is better than
        // losing it.
        let _ = self.set_pauses(token, |_| pauses);
        self.move_timeout(key.token, token);
        let old = self.detach_value(key.token);
        let old = old.expect("the old fd is attached, and no foreign code has run");
        Ok((Key::new(token, self.id), old.into_inner()))
    }

    /// Moves the timeout, the end of a pause and the water marks of one fd to another.
    fn move_timeout(&mut self, from: Token, to: Token) {
        let Some(entry) = self.table.get(from) else {
            return;
        };
        let (timeout, pause_end) = (entry.state.timeout.take(), entry.state.pause_end.take());
        for (key, due) in [
            (timeout.map(|timeout| timeout.key), Due::Timeout(to)),
            (pause_end, Due::PauseEnd(to)),
        ] {
            // The timers go on, for the new fd. A stale key stays stale.
            if let Some(value) = key.and_then(|key| self.timers.get_mut(key)) {
                *value = due;
            }
        }
        for marked in &mut self.marked {
            marked.follow(from, to);
        }
        if let Some(entry) = self.table.get(to) {
            entry.state.timeout = timeout;
            entry.state.pause_end = pause_end;
        }
    }
}
