//! [`Queue`] shares the kqueue with the threads that may notify it.
//!
//! A child of a fork has lost its parent's queue and opens another, and the handles that were
//! handed out before must reach that one. So queues form a chain: the last is the one in use, and
//! none is dropped before the chain is. Following the chain takes no lock, which a fork could have
//! left locked forever.

use super::super::Notify;
use super::sys::{Entry, Filter, NOTE_TRIGGER, Sys};
use std::io;
use std::sync::OnceLock;

/// The number of the user event. User events have their own numbers, apart from those of fds.
pub(super) const WAKE: usize = 0;

pub(super) struct Queue<S> {
    sys: S,
    /// The queue that a child of a fork uses instead.
    next: OnceLock<Box<Queue<S>>>,
}

impl<S: Sys> Queue<S> {
    pub(super) fn open() -> io::Result<Queue<S>> {
        Ok(Queue {
            sys: S::open()?,
            next: OnceLock::new(),
        })
    }

    fn last(&self) -> &Queue<S> {
        let mut last = self;
        while let Some(next) = last.next.get() {
            last = next;
        }
        last
    }

    /// Returns the queue in use.
    #[inline]
    pub(super) fn sys(&self) -> &S {
        &self.last().sys
    }

    /// Opens another queue, which is the one in use from then on. For the child of a fork.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let fresh = Box::new(Queue::open()?);
        // Only the owner does this, so the last one is still the last here.
        let _ = self.last().next.set(fresh);
        Ok(())
    }
}

impl<S: Sys> Notify for Queue<S> {
    fn notify(&self) -> io::Result<()> {
        let trigger = S::record(Entry {
            ident: WAKE,
            filter: Filter::User,
            flags: 0,
            fflags: NOTE_TRIGGER,
            data: 0,
        });
        // Without room for events the call does not wait, and returns the error of the change.
        self.sys().kevent(&[trigger], &mut Vec::new(), 0, None)
    }
}
