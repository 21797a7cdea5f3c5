//! The workbench of a case: one backend, one trigger, and what the layer above would do.

use crate::backend::{Backend, Capabilities, Event, Events, Interest, Readiness, Token, Trigger};
use crate::sys;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Why a case did not pass.
#[derive(Debug)]
pub(super) enum Fault {
    Failed(String),
    Skipped(String),
}

pub(super) type Verdict<T = ()> = Result<T, Fault>;

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Failed(format!("a call failed: {error} ({:?})", error.kind()))
    }
}

/// Fails the case with a text unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err($crate::conformance::bench::Fault::Failed(format!($($text)*)));
        }
    };
}
pub(super) use ensure;

/// How long something may take that should happen at once: longer than any machine is busy with other things.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// One fd as it was added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    pub(super) number: RawFd,
    pub(super) token: Token,
    pub(super) interest: Interest,
}

pub(super) struct Bench {
    pub(super) backend: Box<dyn Backend>,
    pub(super) trigger: Trigger,
    pub(super) capabilities: Capabilities,
    events: Events,
    last_index: u32,
}

impl Bench {
    pub(super) fn new(backend: Box<dyn Backend>, trigger: Trigger) -> Bench {
        Bench {
            capabilities: backend.capabilities(),
            backend,
            trigger,
            events: Events::with_capacity(64),
            last_index: 0,
        }
    }

    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.events = Events::with_capacity(capacity);
    }

    /// Gives a file a number that nobody else is likely to be given when it is closed, as high as the backend can watch.
    pub(super) fn move_up(&self, file: impl Into<OwnedFd>) -> io::Result<OwnedFd> {
        sys::lab::move_up(file.into(), self.capabilities.max_fd)
    }

    /// A token that was not used before.
    pub(super) fn token(&mut self) -> Token {
        self.last_index += 1;
        Token::new(self.last_index, 7)
    }

    pub(super) fn add(&mut self, fd: &impl AsFd, interest: Interest) -> io::Result<Added> {
        let added = Added {
            number: fd.as_fd().as_raw_fd(),
            token: self.token(),
            interest,
        };
        self.backend
            .add(fd.as_fd(), added.token, interest, self.trigger)?;
        Ok(added)
    }

    pub(super) fn modify(&mut self, added: &mut Added, interest: Interest) -> io::Result<()> {
        added.interest = interest;
        self.backend
            .modify(added.number, added.token, interest, self.trigger)
    }

    pub(super) fn remove(&mut self, added: Added) -> io::Result<()> {
        self.backend.remove(added.number, added.token)
    }

    /// What the reactor does after a call that would block, or the callback loop after it has served a one-shot fd.
    pub(super) fn again(&mut self, added: Added, direction: Interest) -> io::Result<()> {
        let Added {
            number,
            token,
            interest,
        } = added;
        match self.trigger {
            Trigger::Edge if self.capabilities.rearm => {
                self.backend.rearm(number, token, direction)
            }
            Trigger::Oneshot => self.backend.modify(number, token, interest, self.trigger),
            Trigger::Edge | Trigger::Level => Ok(()),
        }
    }

    /// One wait. Signals that were meant for others do not count; the halves of an fd are merged.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Verdict<Vec<Event>> {
        loop {
            match self.backend.wait(&mut self.events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    ensure!(
                        self.events.as_slice().is_empty(),
                        "Interrupted, but with events"
                    );
                }
                waited => break waited?,
            }
        }
        let mut merged: Vec<Event> = Vec::new();
        for event in self.events.as_slice() {
            match merged.iter_mut().find(|known| known.token == event.token) {
                Some(known) => known.readiness |= event.readiness,
                None => merged.push(*event),
            }
        }
        Ok(merged)
    }

    /// One wait that does not block.
    pub(super) fn look(&mut self) -> Verdict<Vec<Event>> {
        self.wait(Some(Duration::ZERO))
    }

    /// One wait, which must report the fd.
    pub(super) fn next(&mut self, added: Added) -> Verdict<Readiness> {
        let events = self.wait(Some(PATIENCE))?;
        match of(&events, added) {
            Some(readiness) => Ok(readiness),
            None => Err(Fault::Failed(format!(
                "no event for {added:?} but {events:?}"
            ))),
        }
    }

    /// Waits, going on after each event as the layer above does, until all of `wanted` was reported; answers all that
    /// was.
    pub(super) fn until(&mut self, added: Added, wanted: Readiness) -> Verdict<Readiness> {
        let started = Instant::now();
        let mut seen = Readiness::EMPTY;
        while !seen.contains(wanted) {
            let left = PATIENCE.saturating_sub(started.elapsed());
            ensure!(!left.is_zero(), "only {seen:?} of {wanted:?} for {added:?}");
            if let Some(readiness) = of(&self.wait(Some(left))?, added) {
                seen |= readiness;
                self.again(added, added.interest)?;
            }
        }
        Ok(seen)
    }

    /// Three looks, which must report the fd at most `most` times.
    pub(super) fn at_most(&mut self, most: usize, added: Added) -> Verdict {
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.extend(of(&self.look()?, added));
        }
        ensure!(
            seen.len() <= most,
            "{} events instead of at most {most} for {added:?}: {seen:?}",
            seen.len()
        );
        Ok(())
    }

    /// Three looks, which must not report the fd.
    pub(super) fn silent(&mut self, added: Added) -> Verdict {
        self.at_most(0, added)
    }

    /// After a hang-up or an error was delivered: a level or one-shot fd is silent until it is modified, an
    /// edge-triggered one does not spin. `seen` is what was delivered: a mechanism that cannot tell a hang-up from
    /// data repeats itself rightly.
    pub(super) fn disarmed_by(&mut self, seen: Readiness, added: Added) -> Verdict {
        let closed = Readiness::READ_CLOSED | Readiness::WRITE_CLOSED;
        let is_final = seen.is_error() || seen.contains(closed);
        match self.trigger {
            Trigger::Edge => self.at_most(1, added),
            Trigger::Level if !is_final => Ok(()),
            Trigger::Level | Trigger::Oneshot => {
                self.silent(added)?;
                let mut modified = added;
                self.modify(&mut modified, added.interest)?;
                self.next(added).map(drop)
            }
        }
    }
}

/// Ends the waits of a backend that would never end: a wait without limit is failed, not hung, by a backend that loses
/// what should have ended it. As long as it lives and patience has passed, it notifies.
pub(super) struct Rescue {
    over: Option<Sender<()>>,
    rescuer: Option<JoinHandle<()>>,
}

impl Rescue {
    pub(super) fn start(bench: &Bench) -> Rescue {
        let notifier = bench.backend.notifier();
        let (over, ended) = mpsc::channel();
        let rescuer = thread::spawn(move || {
            let mut patience = PATIENCE;
            while ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                patience = Duration::from_millis(100);
                let _ = notifier.notify();
            }
        });
        Rescue {
            over: Some(over),
            rescuer: Some(rescuer),
        }
    }
}

impl Drop for Rescue {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(rescuer) = self.rescuer.take() {
            let _ = rescuer.join();
        }
    }
}

/// What a batch says of an fd.
pub(super) fn of(events: &[Event], added: Added) -> Option<Readiness> {
    let event = events.iter().find(|event| event.token == added.token)?;
    Some(event.readiness)
}

/// Two connected AF_UNIX sockets that do not block.
pub(super) fn unix_pair() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((ours, theirs))
}

/// Two TCP sockets that are connected with each other and do not block.
pub(super) fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (theirs, _) = listener.accept()?;
    for socket in [&ours, &theirs] {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
    }
    Ok((ours, theirs))
}

/// A pipe: the reading end and the writing end.
pub(super) fn pipe() -> io::Result<(File, File)> {
    let (reader, writer) = sys::pipe::pipe()?;
    Ok((reader.into(), writer.into()))
}

/// Reads until the call would block or the file ends: how many bytes, and whether it ended.
pub(super) fn drain(mut from: impl Read) -> io::Result<(usize, bool)> {
    let mut buffer = [0; 4096];
    let mut total = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((total, true)),
            Ok(count) => total += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((total, false)),
            Err(error) => return Err(error),
        }
    }
}

/// Writes until the call would block, and goes on until there is no room to tell of either: what the other side of a TCP
/// connection acknowledges late makes some once more.
pub(super) fn fill_for_good(bench: &mut Bench, added: Added, to: impl Write + Copy) -> Verdict {
    let started = Instant::now();
    loop {
        fill(to)?;
        match bench.silent(added) {
            Err(Fault::Failed(_)) if started.elapsed() < PATIENCE => {
                bench.again(added, added.interest)?;
            }
            verdict => return verdict,
        }
    }
}

/// Writes until the call would block.
pub(super) fn fill(mut to: impl Write) -> io::Result<()> {
    loop {
        match to.write(&[0; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
