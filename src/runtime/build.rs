//! Puts a [`Runtime`] together from the settings of a [`Builder`].

use super::batch::Pace;
use super::context::CURRENT;
use super::local::Local;
use super::origins::{Origin, Registrant};
use super::shared::Shared;
use super::{Builder, Runtime};
use crate::backend::Backend;
use crate::blocking;
use crate::place::Place;
use crate::reactor::clock::Clock;
use crate::reactor::driver::{Driver, Parts};
use crate::reactor::parker::Parker;
use crate::reactor::waker_slot::KeyWakers;
#[cfg(feature = "signal")]
use crate::signals::HubSlot;
use crate::sync::Arc;
use crate::sys::syscall::failure;
use crate::task::{self, Tasks};
use crate::token::Token;
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::Waker;

impl Runtime {
    /// Creates the runtime of [`Builder::build`].
    pub(super) fn from_builder(mut builder: Builder) -> io::Result<Runtime> {
        let backend = builder.settings.open()?;
        check_edge_triggers(&*backend)?;
        let backend_name = backend.name().into();
        let parker = Parker::new(backend.notifier(), builder.settings.spin_before_park);
        let unparker = parker.unparker().clone();
        let unpark = Waker::from(unparker.clone());
        let tasks = Tasks::new(unpark, builder.poll_budget, builder.track_spawn_locations)
            .ok_or_else(too_many_runtimes)?;
        let blocking = blocking::Settings {
            spin: builder.settings.spin_before_park,
            ..builder.blocking
        };
        // Before the driver is created, so that an unwind from here does not have to drop one.
        let remote = tasks.remote().clone();
        let shared = Arc::new(Shared::new(
            tasks.id(),
            builder.name,
            remote,
            blocking,
            unparker,
        ));
        let clock = Clock::new(shared.clock.clone(), builder.settings.timer_tick());
        let origins = builder.track_spawn_locations.then(RefCell::default);
        let driver = Driver::new(Parts {
            id: tasks.id(),
            backend,
            parker,
            event_capacity: builder.settings.event_capacity(),
            clock,
            precise_timers: builder.precise_timers,
            timer_slack: builder.settings.timer_slack(),
            keys: key_wakers(),
            on_register: origins.is_some().then_some(note_registration),
            tracks_places: origins.is_some(),
        })?;
        let local = Rc::new(Local {
            shared,
            tasks,
            driver,
            event_interval: builder.event_interval,
            pace: Pace::new(),
            on_park: builder.on_park,
            on_unpark: builder.on_unpark,
            unhandled_panic: builder.unhandled_panic,
            origins,
            #[cfg(feature = "test-util")]
            auto_advance: builder.auto_advance,
            #[cfg(feature = "signal")]
            signals: HubSlot::default(),
            looping: Cell::new(false),
        });
        #[cfg(feature = "test-util")]
        if builder.start_paused {
            local.driver.pause();
        }
        local.driver.suspend();
        Ok(Runtime {
            local,
            backend_name,
            host_fd: OnceCell::new(),
        })
    }
}

/// Returns an error if the mechanism cannot report each change once, as the reactor needs it.
fn check_edge_triggers(backend: &dyn Backend) -> io::Result<()> {
    if backend.capabilities().edge {
        return Ok(());
    }
    let text = format!(
        "the backend {} lacks edge triggers, which a runtime needs: choose another one, or use an `EventLoop`",
        backend.name()
    );
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

fn too_many_runtimes() -> io::Error {
    failure(
        io::ErrorKind::Other,
        "too many runtimes exist in this process: drop some of them first",
    )
}

/// Returns the functions by which the reactor stores and wakes the wakers of tasks.
fn key_wakers() -> KeyWakers {
    KeyWakers {
        vtable: task::vtable(),
        wake: task::wake_key,
        min_key: task::MIN_KEY,
        report_panic: task::report_panic,
    }
}

/// Notes that the current task of the current runtime has registered an fd, whose owner was created
/// at `place`.
#[cold]
fn note_registration(token: Token, place: Place) {
    CURRENT.with(|local| {
        let Some((local, origins)) = local.and_then(|local| Some((local, local.origins.as_ref()?)))
        else {
            return;
        };
        let current = local.tasks.describe_current();
        let registrant = current.map(|(id, description)| Registrant { id, description });
        origins
            .borrow_mut()
            .set(token, Origin { registrant, place });
    });
}
