//! The places that call foreign code, and their properties. Each place has a function of the same
//! name that makes the crate call foreign code there.

mod closures;
mod scopes;
mod shutdowns;
#[cfg(feature = "signal")]
mod signals;
mod tasks;
mod values;
mod wakers;

use super::fixture::Action;
use super::fixture::{Fixture, Planned, runtime};
use PanicTarget::{OutOfTheCall, ToTheHandle, ToThePolicy};
use closures::*;
use reveille::backend::BackendKind;
use reveille::time::Duration;
use scopes::*;
use shutdowns::*;
#[cfg(feature = "signal")]
use signals::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tasks::*;
use values::*;
use wakers::*;

/// Where a panic went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PanicTarget {
    Nothing,
    /// Out of the call that entered the place.
    OutOfTheCall,
    ToTheHandle,
    ToThePolicy,
}

/// The budget that applies to the foreign code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bound {
    /// The budget of the current poll.
    Poll,
    None,
}

/// Makes the crate call the foreign code of a place.
type Enter = fn(Arc<Fixture>, BackendKind, Action) -> Entered;

pub(crate) struct Place {
    pub(crate) name: &'static str,
    /// Makes the crate call the place with this fixture, or with another one that it creates.
    pub(crate) enter: Enter,
    pub(crate) panic: PanicTarget,
    pub(crate) bound: Bound,
    pub(crate) is_current: bool,
    pub(crate) is_named: bool,
    pub(crate) is_in_loop: bool,
}

type Entered = (Arc<Fixture>, PanicTarget);

/// Calls code that may panic with `Planned`.
fn call<R>(f: impl FnOnce() -> R) -> Result<R, PanicTarget> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        assert!(payload.is::<Planned>(), "a panic that was not planned");
        PanicTarget::OutOfTheCall
    })
}

fn target(result: Result<(), PanicTarget>) -> PanicTarget {
    result.err().unwrap_or(PanicTarget::Nothing)
}

fn turns() -> Result<(), PanicTarget> {
    for _ in 0..3 {
        call(|| runtime().turn(Some(Duration::ZERO)).unwrap())?;
    }
    Ok(())
}

const fn at(name: &'static str, enter: Enter, panic: PanicTarget) -> Place {
    Place {
        name,
        enter,
        panic,
        bound: Bound::None,
        is_current: true,
        is_named: false,
        is_in_loop: false,
    }
}

impl Place {
    /// In a loop of the runtime.
    const fn looping(mut self) -> Place {
        self.is_in_loop = true;
        self
    }

    /// Outside of the runtime.
    const fn outside(mut self) -> Place {
        self.is_current = false;
        self
    }

    /// Named as a task.
    const fn named(mut self) -> Place {
        self.is_named = true;
        self
    }

    /// On the budget of a poll.
    const fn bound(mut self) -> Place {
        self.bound = Bound::Poll;
        self
    }
}

pub(crate) const PLACES: &[Place] = &[
    at("poll of a task", poll_of_a_task, ToTheHandle)
        .looping()
        .named()
        .bound(),
    at("poll of a root", poll_of_a_root, OutOfTheCall)
        .looping()
        .bound(),
    at("drop of a future", drop_of_a_future, ToTheHandle)
        .looping()
        .named(),
    at(
        "drop of an aborted future",
        drop_of_an_aborted_future,
        ToTheHandle,
    )
    .looping()
    .named(),
    at(
        "drop of a future at the end",
        drop_of_a_future_at_the_end,
        ToThePolicy,
    )
    .named(),
    at(
        "drop of an unwanted output",
        drop_of_an_unwanted_output,
        ToThePolicy,
    )
    .looping()
    .named(),
    at(
        "drop of an output by its handle",
        drop_of_an_output_by_its_handle,
        ToThePolicy,
    )
    .named()
    .looping(),
    at(
        "drop of an output by a message",
        drop_of_an_output_by_a_message,
        ToThePolicy,
    )
    .looping()
    .named(),
    at(
        "drop of an output in a reply",
        drop_of_an_output_in_a_reply,
        ToThePolicy,
    )
    .outside()
    .named(),
    at("drop of a payload", drop_of_a_payload, ToThePolicy).looping(),
    at(
        "clone of a waker by a handle",
        clone_of_a_waker_by_a_handle,
        OutOfTheCall,
    )
    .looping(),
    at(
        "wake by the end of a task",
        wake_by_the_end_of_a_task,
        ToThePolicy,
    )
    .looping(),
    at(
        "drop of a waker by a handle",
        drop_of_a_waker_by_a_handle,
        ToThePolicy,
    )
    .looping(),
    at("wake by a reply", wake_by_a_reply, ToThePolicy).looping(),
    at(
        "drop of a waker in a reply",
        drop_of_a_waker_in_a_reply,
        ToThePolicy,
    )
    .outside(),
    at(
        "clone of a waker by a timer",
        clone_of_a_waker_by_a_timer,
        OutOfTheCall,
    )
    .looping(),
    at("wake by a timer", wake_by_a_timer, ToThePolicy).looping(),
    at(
        "drop of a waker by a timer",
        drop_of_a_waker_by_a_timer,
        ToThePolicy,
    )
    .looping(),
    at(
        "drop of a waker by a message",
        drop_of_a_waker_by_a_message,
        ToThePolicy,
    )
    .looping(),
    at(
        "clone of a waker by an fd",
        clone_of_a_waker_by_an_fd,
        OutOfTheCall,
    )
    .looping(),
    at("wake by an fd", wake_by_an_fd, ToThePolicy).looping(),
    at(
        "wake by the drop of an fd",
        wake_by_the_drop_of_an_fd,
        ToThePolicy,
    )
    .looping(),
    at(
        "drop of a waker by an fd",
        drop_of_a_waker_by_an_fd,
        ToThePolicy,
    )
    .looping(),
    #[cfg(feature = "signal")]
    at(
        "clone of a waker by a signal",
        clone_of_a_waker_by_a_signal,
        OutOfTheCall,
    )
    .looping(),
    #[cfg(feature = "signal")]
    at("wake by a signal", wake_by_a_signal, ToThePolicy).looping(),
    #[cfg(feature = "signal")]
    at(
        "drop of a waker by a signal",
        drop_of_a_waker_by_a_signal,
        ToThePolicy,
    )
    .looping(),
    at("as_fd of a value", as_fd_of_a_value, OutOfTheCall),
    at("drop of a value", drop_of_a_value, OutOfTheCall),
    at("call of async_io", call_of_async_io, OutOfTheCall)
        .looping()
        .bound(),
    at("iterator of send_many", iterator_of_send_many, OutOfTheCall)
        .looping()
        .bound(),
    at("on_park", on_park, OutOfTheCall).looping(),
    at("on_unpark", on_unpark, OutOfTheCall).looping(),
    at("handler of panics", handler_of_panics, OutOfTheCall).looping(),
    at("add of a backend", add_of_a_backend, OutOfTheCall),
    at("remove of a backend", remove_of_a_backend, ToThePolicy),
    at("wait of a backend", wait_of_a_backend, OutOfTheCall).looping(),
    at("notify of a backend", notify_of_a_backend, OutOfTheCall).outside(),
    at("handler of an fd", handler_of_an_fd, OutOfTheCall).outside(),
    at("handler of a timer", handler_of_a_timer, OutOfTheCall).outside(),
    at("hook of a loop", hook_of_a_loop, OutOfTheCall).outside(),
    at("handler of messages", handler_of_messages, OutOfTheCall).outside(),
    #[cfg(feature = "signal")]
    at("handler of a signal", handler_of_a_signal, OutOfTheCall).outside(),
    at("deferred function", deferred, OutOfTheCall).outside(),
    at(
        "drop of an attached value",
        drop_of_an_attached_value,
        OutOfTheCall,
    )
    .outside(),
    at("call of a closure", call_of_a_closure, ToTheHandle).named(),
    at(
        "drop of an aborted closure",
        drop_of_an_aborted_closure,
        ToTheHandle,
    )
    .outside()
    .named(),
    at(
        "drop of a closure at the end",
        drop_of_a_closure_at_the_end,
        ToTheHandle,
    )
    .named(),
    at(
        "drop of a closure's output",
        drop_of_a_closures_output,
        ToThePolicy,
    )
    .outside()
    .named(),
    at(
        "wake by the answer of a closure",
        wake_by_the_answer_of_a_closure,
        ToThePolicy,
    )
    .outside(),
    at("poll of a child", poll_of_a_child, OutOfTheCall)
        .looping()
        .bound(),
    at("drop of a child", drop_of_a_child, OutOfTheCall)
        .looping()
        .bound(),
    at(
        "drop of a child's output",
        drop_of_a_childs_output,
        ToThePolicy,
    )
    .looping(),
    at(
        "clone of a waker by a scope",
        clone_of_a_waker_by_a_scope,
        OutOfTheCall,
    )
    .looping(),
    at("wake by a child", wake_by_a_child, ToThePolicy).looping(),
    at(
        "drop of a waker by a scope",
        drop_of_a_waker_by_a_scope,
        ToThePolicy,
    )
    .looping(),
    at("poll in a shutdown", poll_in_a_shutdown, ToTheHandle)
        .named()
        .bound(),
    at(
        "drop of a future at the deadline",
        drop_of_a_future_at_the_deadline,
        ToThePolicy,
    )
    .named(),
    at(
        "drop of a closure at the deadline",
        drop_of_a_closure_at_the_deadline,
        ToTheHandle,
    )
    .named(),
    at("wake in a shutdown", wake_in_a_shutdown, ToThePolicy),
    at("hook in a shutdown", hook_in_a_shutdown, OutOfTheCall),
];
