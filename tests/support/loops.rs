//! Callback loops on every mechanism of this host, and what their tests do with them.

use super::guarded;
use reveille::backend::{BackendKind, Interest, Trigger};
use reveille::event_loop::{Builder, EventLoop};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

pub(crate) const MS: Duration = Duration::from_millis(1);

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

/// Two connected sockets, neither of which blocks.
pub(crate) fn pair() -> (UnixStream, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    there.set_nonblocking(true).unwrap();
    (here, there)
}

/// A pair whose first socket has a byte to read.
pub(crate) fn ready_pair() -> (UnixStream, UnixStream) {
    let (here, mut there) = pair();
    there.write_all(b"x").unwrap();
    (here, there)
}

/// A turn that does not wait; how many handlers were called.
pub(crate) fn turn<D: 'static>(event_loop: &mut EventLoop<D>) -> usize {
    event_loop.run_once(Some(Duration::ZERO)).unwrap()
}

/// Turns, which wait, until the handlers have brought it so far.
pub(crate) fn run_until<D: 'static>(event_loop: &mut EventLoop<D>, is_done: impl Fn(&D) -> bool) {
    while !is_done(event_loop.data()) {
        event_loop.run_once(None).unwrap();
    }
}

/// Asserts that nothing is called, for a while.
#[track_caller]
pub(crate) fn assert_quiet<D: 'static>(event_loop: &mut EventLoop<D>) {
    for _ in 0..3 {
        assert_eq!(event_loop.run_once(Some(5 * MS)).unwrap(), 0);
    }
}

/// Waits until a moment has passed, for certain.
pub(crate) fn pass(moment: Instant) {
    while Instant::now() <= moment {
        std::thread::sleep(MS);
    }
}

/// All that can be read now, as any trigger demands it.
pub(crate) fn drain(mut stream: &UnixStream) -> Vec<u8> {
    let mut buffer = [0; 64];
    let mut all = Vec::new();
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(length) => all.extend(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return all,
            Err(error) => panic!("{error}"),
        }
    }
}
