//! Signals (feature `signal`): handlers that are called when a signal has arrived.
//!
//! The loop attaches one descriptor for all signals, with a handler of its own, while there is a
//! handler for a signal. It is not among the fds that [`EventLoop::len`] counts.

use super::EventLoop;
use super::attached::{Callback, Value};
use super::key::SignalKey;
use crate::backend::{Interest, Token, Trigger};
use crate::panics::FirstPanic;
use crate::signals::{HeardSignals, SignalKind};
use crate::sys::signal::{Counter, Mark};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

/// The handlers of signals.
pub(super) struct SignalHandlers<D> {
    /// `None` while there is no handler.
    heard: Option<(HeardSignals, Token)>,
    /// In the order in which they were added.
    handlers: Vec<SignalHandler<D>>,
    /// The id of the handler that was added last; no id is used twice.
    last_id: u64,
}

struct SignalHandler<D> {
    id: u64,
    kind: SignalKind,
    counter: Arc<Counter>,
    seen: Mark,
    /// `None` while it runs.
    handler: Option<BoxedHandler<D>>,
}

type BoxedHandler<D> = Box<dyn FnMut(&mut EventLoop<D>, SignalKind, u32)>;

impl<D> SignalHandlers<D> {
    pub(super) fn new() -> SignalHandlers<D> {
        SignalHandlers {
            heard: None,
            handlers: Vec::new(),
            last_id: 0,
        }
    }

    /// Returns how many fds the loop has attached for signals.
    pub(super) fn attached(&self) -> usize {
        usize::from(self.heard.is_some())
    }

    /// Returns the token of the descriptor for signals.
    pub(super) fn token(&self) -> Option<Token> {
        self.heard.as_ref().map(|(_, token)| *token)
    }

    /// Makes the descriptor the child's own after a fork, before it is watched again.
    pub(super) fn after_fork(&self) -> io::Result<()> {
        match &self.heard {
            Some((heard, _)) => heard.after_fork(),
            None => Ok(()),
        }
    }

    /// Drops the handlers at the end of the loop.
    pub(super) fn clear(&mut self, panics: &mut FirstPanic) {
        for handler in std::mem::take(&mut self.handlers) {
            panics.call(|| drop(handler));
        }
    }

    fn position(&self, id: u64) -> Option<usize> {
        self.handlers.iter().position(|handler| handler.id == id)
    }
}

impl<D: 'static> EventLoop<D> {
    /// Calls `handler` when a signal of this kind has arrived in the process (feature `signal`).
    ///
    /// The handler receives the loop, the kind, and how many signals of this kind have arrived
    /// since its last call, at least 1. The system may merge equal signals before they are counted.
    /// It is called on the loop's thread among the handlers of fds, so it may do anything that
    /// these may do. Signals that arrived before `on_signal` are not reported.
    ///
    /// Any number of handlers, loops and runtimes may listen for the same kind, and each is called.
    /// The [module `signal`](mod@crate::signal) describes what else happens to the process: in
    /// particular, the default action of the signal does not come back when the handler is removed.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the kind is [refused](mod@crate::signal#kinds-that-are-refused) or is no
    /// signal, or an error of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::event_loop::EventLoop;
    /// use reveille::signal::SignalKind;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop = EventLoop::new(())?;
    /// event_loop.on_signal(SignalKind::terminate(), |event_loop, _kind, _count| {
    ///     event_loop.stop();
    /// })?;
    /// // SAFETY: the call takes no pointer, and the signal has a handler.
    /// unsafe { libc::raise(libc::SIGTERM) };
    /// event_loop.run()
    /// # }
    /// ```
    pub fn on_signal(
        &mut self,
        kind: SignalKind,
        handler: impl FnMut(&mut EventLoop<D>, SignalKind, u32) + 'static,
    ) -> io::Result<SignalKey> {
        if self.signals.heard.is_none() {
            self.attach_signals()?;
        }
        let Some((heard, _)) = &self.signals.heard else {
            unreachable!("the descriptor for signals was attached just now");
        };
        let counter = match heard.add(kind) {
            Ok(counter) => counter,
            Err(error) => {
                self.detach_signals_if_unused();
                return Err(error);
            }
        };
        self.signals.last_id += 1;
        let id = self.signals.last_id;
        self.signals.handlers.push(SignalHandler {
            id,
            kind,
            seen: counter.mark(),
            counter,
            handler: Some(Box::new(handler)),
        });
        Ok(SignalKey { id, owner: self.id })
    }

    /// Removes a handler of [`on_signal`](EventLoop::on_signal) and drops it. Returns false if it
    /// was removed before. A handler may remove itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::event_loop::EventLoop;
    /// use reveille::signal::SignalKind;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop = EventLoop::new(())?;
    /// let key = event_loop.on_signal(SignalKind::user_defined1(), |_, _, _| {})?;
    /// assert!(event_loop.remove_signal(key));
    /// assert!(!event_loop.remove_signal(key));
    /// # Ok(())
    /// # }
    /// ```
    pub fn remove_signal(&mut self, key: SignalKey) -> bool {
        let at = self.signals.position(key.id);
        let Some(at) = at.filter(|_| key.owner == self.id) else {
            return false;
        };
        let removed = self.signals.handlers.remove(at);
        if let Some((heard, _)) = &self.signals.heard {
            heard.remove(removed.kind);
        }
        let mut panics = FirstPanic::default();
        panics.call(|| self.detach_signals_if_unused());
        // Last, because it is foreign code.
        panics.call(|| drop(removed));
        panics.resume();
        true
    }

    /// Makes the mechanism watch a new descriptor for signals.
    fn attach_signals(&mut self) -> io::Result<()> {
        let heard = HeardSignals::new()?;
        let triggers = [Trigger::Level, Trigger::Edge];
        let supported = triggers
            .into_iter()
            .find(|trigger| self.table.capabilities().supports(*trigger));
        let trigger = supported.unwrap_or(Trigger::Level);
        let callback: Callback<D> = Box::new(|event_loop, _token, _cause| {
            // The call of this handler does not count as one: `deliver_signals` counts its own.
            event_loop.calls -= 1;
            event_loop.deliver_signals();
        });
        let (value, handler) = (
            Value::new(heard.wake_fd().clone()),
            Rc::new(RefCell::new(callback)),
        );
        let token = self
            .attach_value(value, Interest::READABLE, trigger, handler)
            .map_err(|(error, _value)| error)?;
        self.signals.heard = Some((heard, token));
        Ok(())
    }

    /// Detaches the descriptor for signals if there is no handler.
    fn detach_signals_if_unused(&mut self) {
        let unused = self.signals.heard.take_if(|(heard, _)| heard.is_empty());
        if let Some((heard, token)) = unused {
            let value = self.detach_value(token);
            // Closed after it was deregistered.
            drop((value, heard));
        }
    }

    /// Calls the handlers of the signals that have arrived.
    fn deliver_signals(&mut self) {
        let Some((heard, _)) = &self.signals.heard else {
            return;
        };
        // Before the counters are read, so that a signal that comes later makes it readable again.
        heard.wake_fd().drain();
        // Handlers that are added meanwhile have larger ids, and have missed nothing.
        let ids: Vec<u64> = self.signals.handlers.iter().map(|one| one.id).collect();
        let mut panics = FirstPanic::default();
        for id in ids {
            panics.call(|| self.deliver_signal(id));
            if panics.is_panic() {
                // The rest is delivered in the next turn.
                if let Some((heard, _)) = &self.signals.heard {
                    heard.wake_fd().wake();
                }
                break;
            }
        }
        panics.resume();
    }

    /// Calls a handler if its signal has arrived.
    fn deliver_signal(&mut self, id: u64) {
        let Some(at) = self.signals.position(id) else {
            return; // Another handler has removed it.
        };
        let one = &mut self.signals.handlers[at];
        let count = one.counter.since(&mut one.seen);
        if count == 0 {
            return;
        }
        let kind = one.kind;
        let Some(mut handler) = one.handler.take() else {
            return;
        };
        self.calls += 1;
        let mut panics = FirstPanic::default();
        panics.call(|| handler(self, kind, count));
        match self.signals.position(id) {
            Some(at) => self.signals.handlers[at].handler = Some(handler),
            // It has removed itself.
            None => drop(panics.call(|| drop(handler))),
        }
        panics.resume();
    }
}
