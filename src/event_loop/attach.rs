//! Registrations: attaching fds, changing what the loop waits for, and detaching them.

use super::EventLoop;
use super::attached::{Attached, Callback, Cause, Handler, Pauses, Value};
use super::error::{AttachError, not_attached};
use super::key::Key;
use crate::backend::{self, Interest, Ready, Token, Trigger};
use crate::panics::FirstPanic;
use crate::reactor::registrations::{Terms, Watched};
use crate::sys::syscall::failure;
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

impl<D: 'static> EventLoop<D> {
    /// Registers `fd`, which the loop owns from now on, and calls `handler` whenever it is ready
    /// for `interest`.
    ///
    /// The handler receives the loop, the key of the fd and the cause.
    ///
    /// Set the fd to non-blocking mode first; the loop does not. With [`Interest::EMPTY`] the loop
    /// reports only hang-ups and errors of the fd, and with select and kqueue not even those
    /// ([`Capabilities::unasked`](crate::backend::Capabilities::unasked)).
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if this fd is attached already, `InvalidInput` if the mechanism lacks the
    /// trigger, `Unsupported` if it cannot watch the fd, or an error of the system. The error
    /// contains the fd.
    ///
    /// # Examples
    ///
    /// The [module](super) has an example with a handler that reads. This one writes, and is
    /// interested in WRITABLE only while something is left to write:
    ///
    /// ```
    /// use reveille::backend::{Interest, Trigger};
    /// use reveille::event_loop::{Cause, EventLoop, Key};
    /// use std::io::{ErrorKind, Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// fn send(event_loop: &mut EventLoop<Vec<u8>>, key: Key<UnixStream>, _cause: Cause) {
    ///     let Some((stream, left)) = event_loop.get_with_data(key) else { return };
    ///     match stream.write(left) {
    ///         Ok(length) => {
    ///             left.drain(..length);
    ///         }
    ///         Err(error) if error.kind() == ErrorKind::WouldBlock => {}
    ///         Err(_) => left.clear(),
    ///     }
    ///     if left.is_empty() {
    ///         event_loop.close(key);
    ///         event_loop.stop();
    ///     }
    /// }
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (mut ours, theirs) = UnixStream::pair()?;
    /// theirs.set_nonblocking(true)?;
    /// let mut event_loop = EventLoop::new(b"good morning".to_vec())?;
    /// event_loop.attach(theirs, Interest::WRITABLE, Trigger::Level, send)?;
    /// event_loop.run()?;
    /// let mut text = String::new();
    /// ours.read_to_string(&mut text)?;
    /// assert_eq!(text, "good morning");
    /// # Ok(())
    /// # }
    /// ```
    pub fn attach<T, F>(
        &mut self,
        fd: T,
        interest: Interest,
        trigger: Trigger,
        mut handler: F,
    ) -> Result<Key<T>, AttachError<T>>
    where
        T: AsFd + 'static,
        F: FnMut(&mut EventLoop<D>, Key<T>, Cause) + 'static,
    {
        let owner = self.id;
        let callback: Callback<D> = Box::new(move |event_loop, token, cause| {
            handler(event_loop, Key::new(token, owner), cause);
        });
        let handler = Rc::new(RefCell::new(callback));
        match self.attach_value(Value::new(fd), interest, trigger, handler) {
            Ok(token) => {
                self.apply_water_marks();
                Ok(Key::new(token, owner))
            }
            Err((error, value)) => Err(AttachError {
                error,
                fd: value.into_inner(),
            }),
        }
    }

    /// Same as `attach`, without the types.
    pub(super) fn attach_value(
        &mut self,
        value: Value,
        interest: Interest,
        trigger: Trigger,
        handler: Handler<D>,
    ) -> Result<Token, (io::Error, Value)> {
        let terms = Terms {
            interest,
            trigger,
            owned: false,
        };
        let (watched, always_ready) = match self.watch(value.fd(), terms) {
            Ok(watched) => watched,
            Err(error) => return Err((error, value)),
        };
        let attached = Attached {
            value: Some(value),
            handler: Some(handler),
            timeout: None,
            interest,
            mask: Ready::from_interest(interest),
            pauses: Pauses::NONE,
            pause_end: None,
            is_disarmed: false,
            always_ready,
            is_listed: false,
            hangup_delivered: false,
        };
        let token = self.table.insert(watched, attached);
        if always_ready {
            self.list_always_ready(token);
        }
        Ok(token)
    }

    /// Makes the mechanism watch an fd. Returns true as the second value if the fd is always ready
    /// and so not watched. If the mechanism refuses such fds, only a refused fd is checked.
    fn watch(&mut self, fd: BorrowedFd<'_>, terms: Terms) -> io::Result<(Watched, bool)> {
        let capabilities = self.table.capabilities();
        let takes_files = !capabilities.refuses_files && capabilities.supports(terms.trigger);
        if takes_files && backend::is_always_ready(fd)? {
            return Ok((self.table.watch_nothing(fd, terms)?, true));
        }
        match self.table.watch(fd, terms) {
            Err(error) if is_refusal(&error) && backend::is_always_ready(fd)? => {
                Ok((self.table.watch_nothing(fd, terms)?, true))
            }
            watched => Ok((watched?, false)),
        }
    }

    /// Sets the interest of an fd. This arms the fd again after a `Oneshot` event, and watches it
    /// again if it is no longer watched [after a hang-up](super#triggers).
    ///
    /// # Errors
    ///
    /// `NotFound` if the key is no longer valid, or an error of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::backend::{Interest, Trigger};
    /// use reveille::event_loop::EventLoop;
    /// use std::os::unix::net::UnixStream;
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (ours, _theirs) = UnixStream::pair()?;
    /// let mut event_loop = EventLoop::new(())?;
    /// let key = event_loop.attach(ours, Interest::READABLE, Trigger::Level, |_, _, cause| {
    ///     assert!(cause.is_writable());
    /// })?;
    /// assert_eq!(event_loop.turn(Some(Duration::ZERO))?, 0); // nothing to read
    /// event_loop.modify(key, Interest::WRITABLE)?;
    /// assert_eq!(event_loop.turn(None)?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn modify<T>(&mut self, key: Key<T>, interest: Interest) -> io::Result<()> {
        let token = self.live_token(key)?;
        let Some(entry) = self.table.get(token) else {
            return Err(not_attached());
        };
        let taken_out = entry.is_taken_out();
        let attached = &mut entry.state;
        let is_armed = !attached.hangup_delivered && attached.effective() == interest;
        let is_same = attached.interest == interest && entry.trigger == Trigger::Level;
        if is_same && is_armed && !taken_out {
            return Ok(());
        }
        let before = std::mem::replace(&mut attached.interest, interest);
        let was_disarmed = std::mem::take(&mut attached.is_disarmed);
        attached.refresh();
        let applied = self.apply(token);
        if let (Err(_), Some(entry)) = (&applied, self.table.get(token)) {
            entry.state.interest = before;
            entry.state.is_disarmed = was_disarmed;
            entry.state.refresh();
        }
        applied
    }

    /// Sets the trigger of an fd and arms it again.
    ///
    /// *Parity: FastDFS chooses the trigger of a whole poller.*
    ///
    /// # Errors
    ///
    /// Same as [`modify`](EventLoop::modify), and `InvalidInput` if the mechanism lacks the
    /// trigger.
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
    /// event_loop.set_trigger(key, Trigger::Oneshot)?;
    /// theirs.write_all(b"x")?;
    /// assert_eq!(event_loop.turn(None)?, 1);
    /// assert_eq!(event_loop.turn(Some(Duration::ZERO))?, 0); // not armed until `modify`
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_trigger<T>(&mut self, key: Key<T>, trigger: Trigger) -> io::Result<()> {
        let token = self.live_token(key)?;
        if !self.table.capabilities().supports(trigger) {
            return Err(failure(
                io::ErrorKind::InvalidInput,
                &format!(
                    "cannot set the trigger: the mechanism {} lacks {trigger:?}; choose another trigger or mechanism",
                    self.backend_name()
                ),
            ));
        }
        let Some(entry) = self.table.get(token) else {
            return Err(not_attached());
        };
        let interest = entry.state.effective();
        self.table.modify(token, interest, trigger)?;
        if let Some(entry) = self.table.get(token) {
            entry.state.hangup_delivered = false;
            entry.state.is_disarmed = false;
            entry.state.refresh();
        }
        self.list_always_ready(token);
        Ok(())
    }

    /// Removes an fd from the loop and returns it.
    ///
    /// Its timeout is cancelled. Its handler is dropped, at the end of the turn if the loop is
    /// running.
    ///
    /// # Errors
    ///
    /// `NotFound` if the key is no longer valid.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::backend::{Interest, Trigger};
    /// use reveille::event_loop::EventLoop;
    /// use std::io::{self, Write};
    ///
    /// # fn main() -> io::Result<()> {
    /// let (reader, mut writer) = std::os::unix::net::UnixStream::pair()?;
    /// let mut event_loop = EventLoop::new(())?;
    /// let key = event_loop.attach(reader, Interest::READABLE, Trigger::Level, |_, _, _| {})?;
    /// assert!(event_loop.is_attached(key) && event_loop.get(key).is_some());
    /// let reader = event_loop.detach(key)?;
    /// writer.write_all(b"x")?;
    /// assert_eq!(event_loop.detach(key).unwrap_err().kind(), io::ErrorKind::NotFound);
    /// assert!(!event_loop.close(key));
    /// # drop(reader);
    /// # Ok(())
    /// # }
    /// ```
    pub fn detach<T: 'static>(&mut self, key: Key<T>) -> io::Result<T> {
        let token = self.live_token(key)?;
        let value = self.detach_value(token).ok_or_else(not_attached)?;
        Ok(value.into_inner())
    }

    /// Detaches an fd and drops it, which closes it if the value owns it. Returns false if the key
    /// is no longer valid.
    ///
    /// See [`detach`](EventLoop::detach), which has an example.
    pub fn close<T>(&mut self, key: Key<T>) -> bool {
        let Ok(token) = self.live_token(key) else {
            return false;
        };
        let value = self.detach_value(token);
        value.is_some()
    }

    /// Returns the attached value, or `None` if the key is no longer valid.
    pub fn get<T: 'static>(&self, key: Key<T>) -> Option<&T> {
        let token = self.live_token(key).ok()?;
        let attached = &self.table.peek(token)?.state;
        attached.value.as_ref()?.any.downcast_ref()
    }

    /// Returns the attached value mutably, for example to read and write, or `None` if the key is
    /// no longer valid.
    ///
    /// Do not exchange the value through this reference: the loop would go on watching the old fd.
    /// To attach another fd in its place, call [`replace_fd`](EventLoop::replace_fd).
    #[inline]
    pub fn get_mut<T: 'static>(&mut self, key: Key<T>) -> Option<&mut T> {
        self.get_with_data(key).map(|(value, _)| value)
    }

    /// Returns the attached value together with the data that the handlers share.
    /// [`attach`](EventLoop::attach) has an example.
    #[inline]
    pub fn get_with_data<T: 'static>(&mut self, key: Key<T>) -> Option<(&mut T, &mut D)> {
        if key.owner != self.id {
            return None;
        }
        let attached = &mut self.table.get(key.token)?.state;
        let value = attached.value.as_mut()?.any.downcast_mut()?;
        Some((value, &mut self.data))
    }

    /// Returns true if an fd is attached under this key.
    pub fn is_attached<T>(&self, key: Key<T>) -> bool {
        self.live_token(key).is_ok()
    }

    /// Returns the token of a key, if an fd of this loop is attached under it.
    pub(super) fn live_token<T>(&self, key: Key<T>) -> io::Result<Token> {
        if key.owner != self.id {
            return Err(failure(
                io::ErrorKind::NotFound,
                "no fd is attached under this key: it belongs to another event loop; use it with the loop that returned it",
            ));
        }
        match self.table.peek(key.token) {
            Some(_) => Ok(key.token),
            None => Err(not_attached()),
        }
    }

    /// Makes the mechanism watch the effective interest of an fd.
    pub(super) fn apply(&mut self, token: Token) -> io::Result<()> {
        let Some(entry) = self.table.get(token) else {
            return Ok(());
        };
        let (interest, trigger) = (entry.state.effective(), entry.trigger);
        self.table.modify(token, interest, trigger)?;
        if let Some(entry) = self.table.get(token) {
            entry.state.hangup_delivered = false;
        }
        self.list_always_ready(token);
        Ok(())
    }

    /// Adds an fd that is always ready to the next batch. With a level trigger it stays in every
    /// batch.
    fn list_always_ready(&mut self, token: Token) {
        let Some(entry) = self.table.get(token) else {
            return;
        };
        if entry.state.always_ready && !std::mem::replace(&mut entry.state.is_listed, true) {
            self.batch.push_always_ready(token);
        }
    }

    /// Ends a registration and returns the value. Outside a turn the handler is dropped as well. If
    /// that drop or a custom mechanism panics, the value is dropped and the panic goes on.
    pub(super) fn detach_value(&mut self, token: Token) -> Option<Value> {
        let (attached, removed) = self.table.deregister(token, false)?;
        let (value, timeout, pause_end) = (
            attached.value.take(),
            attached.timeout.take(),
            attached.pause_end,
        );
        if let Some(timeout) = timeout {
            self.timers.cancel(timeout.key);
        }
        if let Some(key) = pause_end {
            self.timers.cancel(key);
        }
        self.apply_water_marks();
        let mut panics = FirstPanic::default();
        // An error means that the number was closed already.
        if let Err(panic) = removed {
            panics.keep(panic);
        }
        if !self.running {
            panics.call(|| self.table.release());
        }
        if panics.is_panic() {
            panics.call(|| drop(value));
            panics.resume();
            return None;
        }
        value
    }
}

/// Whether an error means that the mechanism cannot watch this kind of fd.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
    )
}
