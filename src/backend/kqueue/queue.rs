//! The kqueue as those share it who may wake it up.
//!
//! A child of a fork has lost its parent's queue and opens another, and the handles that were given out before must reach
//! that one. So queues hang in a chain: the last is the one in use, and none is dropped before the chain is. Following
//! it takes no lock, which a fork could have left locked for ever.

use super::super::Notify;
use super::sys::{Entry, Filter, NOTE_TRIGGER, Sys};
use std::io;
use std::sync::OnceLock;

/// The user event's number; user events have numbers of their own, apart from those of fds.
pub(super) const WAKE: usize = 0;

pub(super) struct Queue<S> {
    sys: S,
    /// What a child of a fork uses instead.
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

    /// The one in use.
    #[inline]
    pub(super) fn sys(&self) -> &S {
        &self.last().sys
    }

    /// Opens another, which is the one in use from then on. For the child of a fork.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let fresh = Box::new(Queue::open()?);
        // Only the owner does this, so the last one stays the last until here.
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
        // Without room for events the call does not wait, and an error of the change is the call's.
        self.sys().kevent(&[trigger], &mut Vec::new(), 0, None)
    }
}
