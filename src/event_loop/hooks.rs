//! Hooks: functions that the loop calls in every turn.

use super::EventLoop;
use crate::panics::FirstPanic;

/// A function to call in every turn, with the loop.
pub(super) type Hook<D> = Box<dyn FnMut(&mut EventLoop<D>)>;

/// The point of a turn at which a hook is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HookPoint {
    BeforeWait = 0,
    AfterEvents = 1,
    AfterTurn = 2,
}

/// The hooks of each point.
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

impl<D> Hooks<D> {
    /// Removes all hooks, when the loop is dropped.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Hook<D>> + use<D> {
        std::mem::take(&mut self.lists).into_iter().flatten()
    }
}

impl<D: 'static> EventLoop<D> {
    /// Calls `hook` in every turn before the loop waits. It may still set timers, or flush what the
    /// handlers have collected.
    ///
    /// Hooks are called in the order in which they were added, and stay as long as the loop.
    ///
    /// *Parity: FastDFS calls a function in every turn.*
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::event_loop::EventLoop;
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop = EventLoop::new(Vec::new())?;
    /// event_loop.before_wait(|event_loop| event_loop.data_mut().push("before wait"));
    /// event_loop.after_events(|event_loop| event_loop.data_mut().push("after events"));
    /// event_loop.after_turn(|event_loop| event_loop.data_mut().push("after turn"));
    /// event_loop.turn(Some(Duration::ZERO))?;
    /// assert_eq!(*event_loop.data(), ["before wait", "after events", "after turn"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn before_wait(&mut self, hook: impl FnMut(&mut EventLoop<D>) + 'static) {
        self.add_hook(HookPoint::BeforeWait, Box::new(hook));
    }

    /// Calls `hook` in every turn after the handlers of ready fds and before messages and timers,
    /// even if no fd was ready. [`before_wait`](EventLoop::before_wait) has an example.
    pub fn after_events(&mut self, hook: impl FnMut(&mut EventLoop<D>) + 'static) {
        self.add_hook(HookPoint::AfterEvents, Box::new(hook));
    }

    /// Calls `hook` at the end of every turn, even if nothing happened in it.
    /// [`before_wait`](EventLoop::before_wait) has an example.
    pub fn after_turn(&mut self, hook: impl FnMut(&mut EventLoop<D>) + 'static) {
        self.add_hook(HookPoint::AfterTurn, Box::new(hook));
    }

    fn add_hook(&mut self, point: HookPoint, hook: Hook<D>) {
        self.hooks.lists[point as usize].push(hook);
    }

    /// Calls the hooks of one point. Hooks that a hook adds are called from the next turn on.
    #[inline]
    pub(super) fn call_hooks(&mut self, point: HookPoint) {
        if !self.hooks.lists[point as usize].is_empty() {
            self.call_each_hook(point);
        }
    }

    fn call_each_hook(&mut self, point: HookPoint) {
        let mut hooks = std::mem::take(&mut self.hooks.lists[point as usize]);
        let mut panics = FirstPanic::default();
        for hook in &mut hooks {
            panics.call(|| hook(self));
            if panics.is_panic() {
                break;
            }
        }
        let added = std::mem::replace(&mut self.hooks.lists[point as usize], hooks);
        self.hooks.lists[point as usize].extend(added);
        panics.resume();
    }
}
