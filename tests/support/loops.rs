//! Callback loops on every mechanism of this host.

use super::guarded;
use reveille::backend::{BackendKind, Interest, Trigger};
use reveille::event_loop::{Builder, EventLoop};
use std::io;
use std::os::unix::net::UnixStream;

/// A mechanism that this host has, to make loops of.
#[derive(Clone, Copy)]
pub(crate) struct Loops {
    /// `None`: the one that `REVEILLE_BACKEND` names.
    kind: Option<BackendKind>,
}

impl Loops {
    pub(crate) fn builder(self) -> Builder {
        match self.kind {
            Some(kind) => Builder::new().backend(kind),
            None => Builder::new(),
        }
    }

    pub(crate) fn make<D: 'static>(self, data: D) -> EventLoop<D> {
        self.builder()
            .build(data)
            .expect("it was to be had a moment ago")
    }

    /// Whether the mechanism has a trigger: asked as a user would.
    fn has(self, trigger: Trigger) -> bool {
        let (here, _there) = UnixStream::pair().unwrap();
        let attached = self
            .make(())
            .attach(here, Interest::READABLE, trigger, |_, _, _| {});
        match attached {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.error().kind(), io::ErrorKind::InvalidInput);
                false
            }
        }
    }
}

/// Runs a test on every mechanism that this host has, or on the one that `REVEILLE_BACKEND` names. A test that hangs
/// ends the process and says where.
pub(crate) fn on_every_loop(test: impl Fn(Loops)) {
    if std::env::var_os("REVEILLE_BACKEND").is_some() {
        return guarded("the chosen one", || test(Loops { kind: None }));
    }
    for kind in BackendKind::ALL {
        let loops = Loops { kind: Some(kind) };
        match loops.builder().build(()) {
            Ok(_) => guarded(kind.name(), || test(loops)),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                println!("skipped on {kind}: {error}");
            }
            Err(error) => panic!("{kind}: {error}"),
        }
    }
}

/// As `on_every_loop`, once for each trigger that the mechanism has.
pub(crate) fn on_every_trigger(test: impl Fn(Loops, Trigger)) {
    on_every_loop(|loops| {
        for trigger in [Trigger::Level, Trigger::Oneshot, Trigger::Edge] {
            if loops.has(trigger) {
                println!("... {trigger:?}");
                test(loops, trigger);
            } else {
                println!("skipped: no {trigger:?}");
            }
        }
    });
}
