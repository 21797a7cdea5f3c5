//! Functions that are called in every turn.

use super::EventLoop;
use super::turn::Caught;

/// A hook.
pub(super) type Hook<D> = Box<dyn FnMut(&mut EventLoop<D>)>;

/// When a hook is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    BeforeWait = 0,
    AfterEvents = 1,
    AfterTurn = 2,
}

/// The hooks of each place.
pub(super) struct Hooks<D> {
    lists: [Vec<Hook<D>>; 3],
}

impl<D> Default for Hooks<D> {
    fn default() -> Hooks<D> {
        Hooks {
            lists: [Vec::new(), Vec::new(), Vec::new()],
        }
    }
}

impl<D: 'static> EventLoop<D> {
    /// Calls `hook` in every turn before the loop waits: the last moment to set timers and to see that nothing is left to
    /// do. Hooks are called in the order in which they were added, and stay for the loop's life.
    pub fn before_wait(&mut self, hook: impl FnMut(&mut EventLoop<D>) + 'static) {
        self.add_hook(Place::BeforeWait, Box::new(hook));
    }

    /// Calls `hook` in every turn when the handlers of the ready fds have been called, before timers; also in turns that
    /// brought nothing.
    pub fn after_events(&mut self, hook: impl FnMut(&mut EventLoop<D>) + 'static) {
        self.add_hook(Place::AfterEvents, Box::new(hook));
    }

    /// Calls `hook` at the end of every turn, when everything else is done; also in turns that brought nothing.
    pub fn after_turn(&mut self, hook: impl FnMut(&mut EventLoop<D>) + 'static) {
        self.add_hook(Place::AfterTurn, Box::new(hook));
    }

    fn add_hook(&mut self, place: Place, hook: Hook<D>) {
        self.hooks.lists[place as usize].push(hook);
    }

    /// Calls the hooks of one place. Those that a hook adds are called from the next turn on.
    #[inline]
    pub(super) fn call_hooks(&mut self, place: Place) {
        if !self.hooks.lists[place as usize].is_empty() {
            self.call_some_hooks(place);
        }
    }

    fn call_some_hooks(&mut self, place: Place) {
        let mut hooks = std::mem::take(&mut self.hooks.lists[place as usize]);
        let mut caught = Caught::default();
        for hook in &mut hooks {
            caught.call(|| hook(self));
            if caught.is_panic() {
                break;
            }
        }
        let added = std::mem::replace(&mut self.hooks.lists[place as usize], hooks);
        self.hooks.lists[place as usize].extend(added);
        caught.resume();
    }
}
