//! Registrations: attaching, changing, pausing, replacing and detaching fds.

use super::EventLoop;
use super::source::{AttachError, Callback, Cause, Handler, Held, Pauses, Source, Value};
use super::timers::Due;
use crate::backend::{self, Interest, Readiness, Token, Trigger};
use crate::reactor::table::{Terms, Watched};
use crate::sys::{self, fd::FileKind};
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

impl<D: 'static> EventLoop<D> {
    /// Registers an fd, which the loop owns from now on, and calls `handler` whenever it has become ready for `interest`, with
    /// the loop, the fd's name and the reason. With [`Interest::NONE`] it is known and not watched, but for hang-ups and
    /// errors; with select and kqueue it hears not even of those
    /// ([`Capabilities::unasked`](crate::backend::Capabilities::unasked)).
    ///
    /// An fd that does not block is what handlers expect: nobody makes it so here.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` when this fd is attached already, `InvalidInput` for a trigger that the mechanism has not, `Unsupported` for an
    /// fd that it cannot watch, and what the system says. The error gives the fd back.
    pub fn attach<T, F>(
        &mut self,
        fd: T,
        interest: Interest,
        trigger: Trigger,
        mut handler: F,
    ) -> Result<Source<T>, AttachError<T>>
    where
        T: AsFd + 'static,
        F: FnMut(&mut EventLoop<D>, Source<T>, Cause) + 'static,
    {
        let owner = self.id;
        let callback: Callback<D> = Box::new(move |event_loop, token, cause| {
            handler(event_loop, Source::new(token, owner), cause);
        });
        let handler = Rc::new(RefCell::new(callback));
        match self.attach_any(Value::new(fd), interest, trigger, handler) {
            Ok(token) => {
                self.mind_marks();
                Ok(Source::new(token, owner))
            }
            Err((error, value)) => Err(AttachError {
                error,
                fd: value.into_inner(),
            }),
        }
    }

    /// As `attach`, with the types forgotten.
    fn attach_any(
        &mut self,
        value: Value,
        interest: Interest,
        trigger: Trigger,
        handler: Handler<D>,
    ) -> Result<Token, (io::Error, Value)> {
        let terms = Terms {
            interest,
            trigger,
            sole: false,
        };
        let (watched, always_ready) = match self.watch(value.fd(), terms) {
            Ok(watched) => watched,
            Err(error) => return Err((error, value)),
        };
        let held = Held {
            value: Some(value),
            handler: Some(handler),
            timeout: None,
            wanted: interest,
            mask: Readiness::from_interest(interest),
            pauses: Pauses::NONE,
            resumes: None,
            is_spent: false,
            always_ready,
            is_listed: false,
            told_the_end: false,
        };
        let token = self.table.keep(watched, held);
        if always_ready {
            self.is_ready_always(token);
        }
        Ok(token)
    }

    /// Has the mechanism watch an fd, unless it is always ready, as the second one says then. What a mechanism makes of such an fd
    /// differs; one that refuses it spares us the question.
    fn watch(&mut self, fd: BorrowedFd<'_>, terms: Terms) -> io::Result<(Watched, bool)> {
        let capabilities = self.table.capabilities();
        let takes_files = !capabilities.refuses_files && capabilities.supports(terms.trigger);
        if takes_files && is_always_ready(fd)? {
            return Ok((self.table.watch_nothing(fd, terms)?, true));
        }
        match self.table.watch(fd, terms) {
            Err(error) if is_refusal(&error) && is_always_ready(fd)? => {
                Ok((self.table.watch_nothing(fd, terms)?, true))
            }
            watched => Ok((watched?, false)),
        }
    }

    /// Asks for another interest, and arms what a one-shot trigger or a hang-up has disarmed.
    ///
    /// # Errors
    ///
    /// `NotFound` when nothing is attached under that name any more; else what the system says.
    pub fn modify<T>(&mut self, source: Source<T>, interest: Interest) -> io::Result<()> {
        let token = self.live(source)?;
        let Some(entry) = self.table.get(token) else {
            return Err(not_attached());
        };
        let held = &mut entry.state;
        let is_same = held.wanted == interest && entry.trigger == Trigger::Level;
        if is_same && !held.told_the_end && held.effective() == interest {
            return Ok(());
        }
        let before = std::mem::replace(&mut held.wanted, interest);
        let was_spent = std::mem::take(&mut held.is_spent);
        held.refresh();
        let applied = self.apply(token);
        if let (Err(_), Some(entry)) = (&applied, self.table.get(token)) {
            entry.state.wanted = before;
            entry.state.is_spent = was_spent;
            entry.state.refresh();
        }
        applied
    }

    /// Changes how the fd repeats itself, and arms it afresh.
    ///
    /// # Errors
    ///
    /// As [`modify`](EventLoop::modify), and `InvalidInput` for a trigger that the mechanism has not.
    pub fn set_trigger<T>(&mut self, source: Source<T>, trigger: Trigger) -> io::Result<()> {
        let token = self.live(source)?;
        if !self.table.capabilities().supports(trigger) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let Some(entry) = self.table.get(token) else {
            return Err(not_attached());
        };
        let interest = entry.state.effective();
        self.table.modify(token, interest, trigger)?;
        if let Some(entry) = self.table.get(token) {
            entry.state.told_the_end = false;
            entry.state.is_spent = false;
            entry.state.refresh();
        }
        self.is_ready_always(token);
        Ok(())
    }

    /// Stops watching for what was asked for, until [`resume`](EventLoop::resume). Hang-ups and errors may come all the same,
    /// once.
    ///
    /// # Errors
    ///
    /// As [`modify`](EventLoop::modify).
    pub fn pause<T>(&mut self, source: Source<T>) -> io::Result<()> {
        let token = self.live(source)?;
        self.set_pauses(token, |pauses| pauses.with(Pauses::ASKED))?;
        self.cancel_resume(token);
        Ok(())
    }

    /// Watches again what was [paused](EventLoop::pause); what is ready by now is told, also by a one-shot trigger that had
    /// fired before the pause.
    ///
    /// # Errors
    ///
    /// As [`modify`](EventLoop::modify).
    pub fn resume<T>(&mut self, source: Source<T>) -> io::Result<()> {
        let token = self.live(source)?;
        self.resume_any(token)
    }

    /// Ends a pause that was asked for.
    pub(super) fn resume_any(&mut self, token: Token) -> io::Result<()> {
        self.set_pauses(token, |pauses| pauses.without(Pauses::ASKED))?;
        self.cancel_resume(token);
        Ok(())
    }

    /// Whether the fd is not watched just now: it was [paused](EventLoop::pause), or its
    /// [water marks](EventLoop::set_water_marks) have paused it.
    pub fn is_paused<T>(&self, source: Source<T>) -> bool {
        let entry = self
            .live(source)
            .ok()
            .and_then(|token| self.table.peek(token));
        entry.is_some_and(|entry| entry.state.pauses != Pauses::NONE)
    }

    /// Takes the fd off the loop and gives it back. The handler is dropped, at the end of the turn if one runs; a timeout is cancelled.
    ///
    /// # Errors
    ///
    /// `NotFound` when nothing is attached under that name any more.
    pub fn detach<T: 'static>(&mut self, source: Source<T>) -> io::Result<T> {
        let token = self.live(source)?;
        let value = self.detach_any(token).ok_or_else(not_attached)?;
        self.mind_marks();
        Ok(value.into_inner())
    }

    /// Detaches the fd and drops it, which closes it if it is owned; false when that had been done before.
    pub fn close<T>(&mut self, source: Source<T>) -> bool {
        match self.live(source) {
            Ok(token) => {
                let value = self.detach_any(token);
                self.mind_marks();
                value.is_some()
            }
            Err(_) => false,
        }
    }

    /// Attaches another fd in the place of one, with the same handler, interest, trigger and timeout, and gives the old one back. It has
    /// a name of its own: what was fetched for the old one is not delivered to it.
    ///
    /// # Errors
    ///
    /// As [`attach`](EventLoop::attach), and `NotFound` when nothing is attached under that name; the old fd stays attached and the error gives the new one
    /// back.
    pub fn replace_fd<T: AsFd + 'static>(
        &mut self,
        source: Source<T>,
        fd: T,
    ) -> Result<(Source<T>, T), AttachError<T>> {
        let live = self
            .live(source)
            .ok()
            .and_then(|token| self.table.peek(token))
            .and_then(|entry| Some((entry, entry.state.handler.clone()?)));
        let Some((entry, handler)) = live else {
            let error = not_attached();
            return Err(AttachError { error, fd });
        };
        let (interest, trigger, pauses) = (entry.state.wanted, entry.trigger, entry.state.pauses);
        let attached = self.attach_any(Value::new(fd), interest, trigger, handler);
        let token = attached.map_err(|(error, value)| AttachError {
            error,
            fd: value.into_inner(),
        })?;
        // A refusal leaves it watched: better than lost.
        let _ = self.set_pauses(token, |_| pauses);
        self.move_timeout(source.token, token);
        let old = self.detach_any(source.token);
        let old = old.expect("it was live, and nothing foreign ran since");
        self.mind_marks();
        Ok((Source::new(token, self.id), old.into_inner()))
    }

    /// What is attached, to look at.
    pub fn get<T: 'static>(&self, source: Source<T>) -> Option<&T> {
        let token = self.live(source).ok()?;
        let held = &self.table.peek(token)?.state;
        held.value.as_ref()?.any.downcast_ref()
    }

    /// What is attached, to use it: to read and to write, say.
    #[inline]
    pub fn get_mut<T: 'static>(&mut self, source: Source<T>) -> Option<&mut T> {
        self.get_with_data(source).map(|(value, _)| value)
    }

    /// What is attached and what the handlers share, both at once.
    #[inline]
    pub fn get_with_data<T: 'static>(&mut self, source: Source<T>) -> Option<(&mut T, &mut D)> {
        if source.owner != self.id {
            return None;
        }
        let held = &mut self.table.get(source.token)?.state;
        let value = held.value.as_mut()?.any.downcast_mut()?;
        Some((value, &mut self.data))
    }

    /// Whether something is attached under that name.
    pub fn is_attached<T>(&self, source: Source<T>) -> bool {
        self.live(source).is_ok()
    }

    /// The token of a source, if it is one of this loop's and live.
    pub(super) fn live<T>(&self, source: Source<T>) -> io::Result<Token> {
        if source.owner != self.id {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the fd is attached to another event loop",
            ));
        }
        match self.table.peek(source.token) {
            Some(_) => Ok(source.token),
            None => Err(not_attached()),
        }
    }

    /// Tells the backend what is to be watched now.
    pub(super) fn apply(&mut self, token: Token) -> io::Result<()> {
        let Some(entry) = self.table.get(token) else {
            return Ok(());
        };
        let (interest, trigger) = (entry.state.effective(), entry.trigger);
        self.table.modify(token, interest, trigger)?;
        if let Some(entry) = self.table.get(token) {
            entry.state.told_the_end = false;
        }
        self.is_ready_always(token);
        Ok(())
    }

    /// Changes the reasons why a source is paused, and tells the backend if that makes a difference. On failure nothing has
    /// changed. The end of a pause that was asked for arms a one-shot; water marks do not.
    pub(super) fn set_pauses(
        &mut self,
        token: Token,
        change: impl FnOnce(Pauses) -> Pauses,
    ) -> io::Result<()> {
        let Some(entry) = self.table.get(token) else {
            return Ok(());
        };
        let (before, was_spent) = (entry.state.pauses, entry.state.is_spent);
        let after = change(before);
        entry.state.pauses = after;
        let is_resumed = before.contains(Pauses::ASKED) && !after.contains(Pauses::ASKED);
        entry.state.is_spent &= !is_resumed;
        entry.state.refresh();
        if (before == Pauses::NONE) == (after == Pauses::NONE) {
            return Ok(());
        }
        let applied = self.apply(token);
        if let (Err(_), Some(entry)) = (&applied, self.table.get(token)) {
            entry.state.pauses = before;
            entry.state.is_spent = was_spent;
            entry.state.refresh();
        }
        applied
    }

    /// Sees to it that an fd which is always ready is delivered: in every turn, or once if its trigger says so.
    fn is_ready_always(&mut self, token: Token) {
        let Some(entry) = self.table.get(token) else {
            return;
        };
        if entry.state.always_ready && !std::mem::replace(&mut entry.state.is_listed, true) {
            self.always.push(token);
        }
    }

    fn detach_any(&mut self, token: Token) -> Option<Value> {
        let (held, _removed) = self.table.deregister(token, false)?;
        let (value, timeout, resumes) = (held.value.take(), held.timeout.take(), held.resumes);
        if let Some(timeout) = timeout {
            self.timers.cancel(timeout.key);
        }
        if let Some(key) = resumes {
            self.timers.cancel(key);
        }
        if !self.running {
            self.table.release();
        }
        value
    }

    /// Gives the timeout and the marks of one source to another.
    fn move_timeout(&mut self, from: Token, to: Token) {
        let Some(entry) = self.table.get(from) else {
            return;
        };
        let (timeout, resumes) = (entry.state.timeout.take(), entry.state.resumes.take());
        for (key, due) in [
            (timeout.map(|timeout| timeout.key), Due::Source(to)),
            (resumes, Due::Resume(to)),
        ] {
            // The wheel calls who is new there. A key that is stale stays what it is.
            if let Some(value) = key.and_then(|key| self.timers.get_mut(key)) {
                *value = due;
            }
        }
        for marked in &mut self.marked {
            marked.follow(from, to);
        }
        if let Some(entry) = self.table.get(to) {
            entry.state.timeout = timeout;
            entry.state.resumes = resumes;
        }
    }
}

/// What an fd reports that is always ready.
pub(super) fn ready_now(interest: Interest) -> Readiness {
    Readiness::from_interest(interest) & (Readiness::READABLE | Readiness::WRITABLE)
}

/// Whether the mechanism says that it cannot watch an fd.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
    )
}

/// Whether an fd is one that poll(2) calls ready whatever happens: a regular file, a directory, or a device without a
/// notion of being ready, such as /dev/null.
fn is_always_ready(fd: BorrowedFd<'_>) -> io::Result<bool> {
    match sys::fd::file_kind(fd)? {
        FileKind::Regular => Ok(true),
        FileKind::Device => backend::is_never_reported(fd),
        FileKind::Socket | FileKind::Pipe | FileKind::Other => Ok(false),
    }
}

/// What a name is answered by that names nothing any more.
#[cold]
pub(super) fn not_attached() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        "nothing is attached under that name any more",
    )
}
