//! [`Children`]: the children of a scope, which its handles and its future share.

use slab::Slab;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use super::handle::{Promise, ScopedJoinHandle};
use super::ready::{ChildWaker, Place, ReadyList};

/// The future of a child. An error ends the scope.
pub(super) type ChildFuture<'env, E> = Pin<Box<dyn Future<Output = Result<(), E>> + 'env>>;

/// A child that is not being polled.
pub(super) struct Child<'env, E> {
    pub(super) future: ChildFuture<'env, E>,
    pub(super) state: Arc<ChildWaker>,
    /// `state` once more, as a waker.
    pub(super) waker: Waker,
}

/// A place in the table of children.
struct Slot<'env, E> {
    /// `None` while it is being polled.
    child: Option<Child<'env, E>>,
    serial: u64,
    /// The number of the last poll of the scope that has polled it.
    polled_in: u64,
}

/// What [`Children::take`] has found.
pub(super) enum Taken<'env, E> {
    Child(Child<'env, E>),
    /// It was polled in this poll of the scope.
    Polled,
    /// It has ended.
    Gone,
}

/// The children of a scope. Foreign code never runs while the table is borrowed.
pub(super) struct Children<'env, E> {
    slots: RefCell<Slab<Slot<'env, E>>>,
    pub(super) ready: Arc<ReadyList>,
    /// How many children have been spawned.
    spawned: Cell<u64>,
    /// Children with this serial and lower ones are to be dropped; 0 if none are.
    aborted: Cell<u64>,
    /// The scope has ended: spawns drop their future.
    closed: Cell<bool>,
}

impl<'env, E: 'env> Children<'env, E> {
    pub(super) fn new() -> Rc<Children<'env, E>> {
        Rc::new(Children {
            slots: RefCell::default(),
            ready: ReadyList::new(),
            spawned: Cell::new(0),
            aborted: Cell::new(0),
            closed: Cell::new(false),
        })
    }

    /// Adds a child, which is polled for the first time by a poll of the scope. `make` makes its
    /// future of a promise that answers the handle.
    pub(super) fn spawn<T, F>(&self, make: impl FnOnce(Promise<T>) -> F) -> ScopedJoinHandle<T>
    where
        F: Future<Output = Result<(), E>> + 'env,
    {
        let promise = Promise::new();
        let mut handle = promise.handle();
        let future: ChildFuture<'env, E> = Box::pin(make(promise));
        if self.closed.get() {
            drop(future);
            return handle;
        }
        let serial = self.spawned.get() + 1;
        self.spawned.set(serial);
        let state = {
            let mut slots = self.slots.borrow_mut();
            let entry = slots.vacant_entry();
            let index = entry.key();
            let state = ChildWaker::new(Place { index, serial }, self.ready.clone());
            entry.insert(Slot {
                child: Some(Child {
                    future,
                    waker: Waker::from(state.clone()),
                    state: state.clone(),
                }),
                serial,
                polled_in: 0,
            });
            state
        };
        handle.attach(state.clone());
        state.add();
        handle
    }

    /// Requests that the children spawned so far be dropped.
    pub(super) fn abort_all(&self) {
        let spawned = self.spawned.get();
        if self.aborted.replace(spawned) == 0 && spawned != 0 {
            self.ready.push(Place::NONE);
        }
    }

    /// Takes a child out for the poll of the scope that has this number.
    pub(super) fn take(&self, place: Place, poll: u64) -> Taken<'env, E> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(place.index);
        let Some(slot) = slot.filter(|slot| slot.serial == place.serial) else {
            return Taken::Gone;
        };
        if mem::replace(&mut slot.polled_in, poll) == poll {
            return Taken::Polled;
        }
        match slot.child.take() {
            Some(child) => Taken::Child(child),
            None => Taken::Gone,
        }
    }

    /// Puts a child back whose poll has returned `Pending`.
    pub(super) fn put_back(&self, child: Child<'env, E>) {
        let index = child.state.place().index;
        self.slots.borrow_mut()[index].child = Some(child);
    }

    /// Makes the place of a child free that `take` has returned.
    pub(super) fn remove(&self, place: Place) {
        self.slots.borrow_mut().remove(place.index);
    }

    /// Returns whether all children have ended.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.borrow().is_empty()
    }

    /// Takes the children out that `abort_all` has aborted, for the caller to drop.
    pub(super) fn take_aborted(&self) -> Vec<Child<'env, E>> {
        let last = self.aborted.take();
        if last == 0 {
            return Vec::new();
        }
        let mut taken = Vec::new();
        self.slots.borrow_mut().retain(|_, slot| {
            if slot.serial <= last {
                taken.extend(slot.child.take());
            }
            slot.serial > last
        });
        taken
    }

    /// Refuses further children. Returns all that are left, for the caller to drop.
    pub(super) fn close(&self) -> Vec<Child<'env, E>> {
        self.closed.set(true);
        let slots = mem::take(&mut *self.slots.borrow_mut());
        slots
            .into_iter()
            .filter_map(|(_, slot)| slot.child)
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.borrow().len()
    }
}
