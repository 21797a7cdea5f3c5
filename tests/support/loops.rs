//! Event loops on every backend of this host, and helpers for their tests.

use super::guarded;
use reveille::backend::{BackendKind, Interest, Trigger};
use reveille::event_loop::{Builder, EventLoop};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// Makes event loops on one backend of this host.
#[derive(Clone, Copy)]
pub(crate) struct Loops {
    /// `None`: the backend that `REVEILLE_BACKEND` names.
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
            .expect("it was available a moment ago")
    }

    /// Whether the backend has a trigger, found out as a user would.
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

/// Runs a test on every backend that this host has, or on the one that `REVEILLE_BACKEND` names. A
/// test that hangs aborts the process with its name.
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

/// As `on_every_loop`, once for each trigger that the backend has.
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

/// Two connected non-blocking sockets.
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

/// Makes a turn that does not wait. Returns how many handlers were called.
pub(crate) fn turn<D: 'static>(event_loop: &mut EventLoop<D>) -> usize {
    event_loop.turn(Some(Duration::ZERO)).unwrap()
}

/// Makes turns, which wait, until `is_done` returns true for the loop's data.
pub(crate) fn run_until<D: 'static>(event_loop: &mut EventLoop<D>, is_done: impl Fn(&D) -> bool) {
    while !is_done(event_loop.data()) {
        event_loop.turn(None).unwrap();
    }
}

/// Asserts that no handler is called for a while.
#[track_caller]
pub(crate) fn assert_quiet<D: 'static>(event_loop: &mut EventLoop<D>) {
    for _ in 0..3 {
        assert_eq!(event_loop.turn(Some(5 * MS)).unwrap(), 0);
    }
}

/// Asserts that the loop does not spin: it makes one turn per allowed wait, and one per recheck of
/// the fds with a lasting hang-up. A thread that is stopped for a while makes fewer.
#[track_caller]
pub(crate) fn assert_rests<D: 'static>(event_loop: &mut EventLoop<D>) {
    let (begin, mut turns) = (Instant::now(), 0);
    while begin.elapsed() < 40 * MS {
        event_loop.turn(Some(5 * MS)).unwrap();
        turns += 1;
    }
    let most = 20 + begin.elapsed().as_millis() / 2;
    assert!(turns <= most, "{turns} turns, at most {most}");
}

/// Sleeps until a moment has passed.
pub(crate) fn pass(moment: Instant) {
    while Instant::now() <= moment {
        std::thread::sleep(MS);
    }
}

/// Reads until a read would block, as every trigger requires.
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
