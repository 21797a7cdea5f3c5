//! [`Harness`] is one backend with one trigger, which does by hand what the reactor does; beside it
//! are the functions that make, fill and drain the fds of the cases.

use crate::backend::{Backend, Capabilities, Event, Events, Interest, Ready, Token, Trigger};
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

/// Fails the case with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err($crate::conformance::harness::Fault::Failed(format!($($text)*)));
        }
    };
}
pub(super) use ensure;

/// How long something may take that should happen at once. No machine is busy with other things for
/// so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// One registration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    pub(super) number: RawFd,
    pub(super) token: Token,
    pub(super) interest: Interest,
}

pub(super) struct Harness {
    pub(super) backend: Box<dyn Backend>,
    pub(super) trigger: Trigger,
    pub(super) capabilities: Capabilities,
    events: Events,
    last_index: u32,
}

impl Harness {
    pub(super) fn new(backend: Box<dyn Backend>, trigger: Trigger) -> Harness {
        Harness {
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

    /// Gives a file a high number, which no other thread is likely to get when it is closed, but
    /// not a higher one than the backend can watch.
    pub(super) fn move_up(&self, file: impl Into<OwnedFd>) -> io::Result<OwnedFd> {
        sys::test_fds::move_up(file.into(), self.capabilities.max_fd)
    }

    /// Returns a token that was not used before.
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

    /// Arms a direction again, as the reactor does after a call that would block, or the callback
    /// loop after it has served a one-shot fd.
    pub(super) fn rearm(&mut self, added: Added, direction: Interest) -> io::Result<()> {
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

    /// Makes one wait, and repeats it if a signal ends it. Merges the events of each fd.
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

    /// Makes one wait that does not block.
    pub(super) fn poll_now(&mut self) -> Verdict<Vec<Event>> {
        self.wait(Some(Duration::ZERO))
    }

    /// Makes one wait, which must report the fd.
    pub(super) fn next(&mut self, added: Added) -> Verdict<Ready> {
        let events = self.wait(Some(PATIENCE))?;
        match of(&events, added) {
            Some(readiness) => Ok(readiness),
            None => Err(Fault::Failed(format!(
                "no event for {added:?} but {events:?}"
            ))),
        }
    }

    /// Waits until the fd is reported. `other` may be reported before it or with it, and nothing
    /// else.
    pub(super) fn next_with(&mut self, added: Added, other: Added) -> Verdict<Ready> {
        let started = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(started.elapsed());
            let events = self.wait(Some(left))?;
            if let Some(readiness) = of(&events, added) {
                return Ok(readiness);
            }
            let is_other = !events.is_empty() && events.iter().all(|e| e.token == other.token);
            ensure!(
                is_other && !left.is_zero(),
                "no event for {added:?} but {events:?}"
            );
        }
    }

    /// Waits until all of `wanted` was reported, and arms the fd again after each event, as the
    /// reactor does. Returns everything that was reported.
    pub(super) fn until(&mut self, added: Added, wanted: Ready) -> Verdict<Ready> {
        let started = Instant::now();
        let mut seen = Ready::EMPTY;
        while !seen.contains(wanted) {
            let left = PATIENCE.saturating_sub(started.elapsed());
            ensure!(!left.is_zero(), "only {seen:?} of {wanted:?} for {added:?}");
            if let Some(readiness) = of(&self.wait(Some(left))?, added) {
                seen |= readiness;
                self.rearm(added, added.interest)?;
            }
        }
        Ok(seen)
    }

    /// Makes three waits that do not block, which together may report the fd at most `most` times.
    pub(super) fn at_most(&mut self, most: usize, added: Added) -> Verdict {
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.extend(of(&self.poll_now()?, added));
        }
        ensure!(
            seen.len() <= most,
            "{} events instead of at most {most} for {added:?}: {seen:?}",
            seen.len()
        );
        Ok(())
    }

    /// Makes three waits that do not block, which must not report the fd.
    pub(super) fn silent(&mut self, added: Added) -> Verdict {
        self.at_most(0, added)
    }

    /// Checks what follows after a lasting hang-up or error was delivered: a level-triggered fd
    /// reports it in every wait, a one-shot fd is silent until it is modified, an edge-triggered
    /// one does not spin. After `modify` each of them reports it again.
    pub(super) fn check_lasting_hangup(&mut self, added: Added) -> Verdict {
        self.check_lasting(added)?;
        let mut modified = added;
        self.modify(&mut modified, added.interest)?;
        self.next(added).map(drop)
    }

    /// Checks what follows after a lasting condition was delivered: a level-triggered fd reports it
    /// in every wait, a one-shot fd is silent, an edge-triggered one does not spin.
    pub(super) fn check_lasting(&mut self, added: Added) -> Verdict {
        match self.trigger {
            Trigger::Edge => self.at_most(1, added),
            Trigger::Oneshot => self.silent(added),
            Trigger::Level => (0..3).try_for_each(|_| self.next(added).map(drop)),
        }
    }
}

/// Ends waits that a faulty backend would never end, so that the case fails instead of hanging. It
/// notifies once patience has passed, and again and again until it is dropped.
pub(super) struct Rescue {
    over: Option<Sender<()>>,
    rescuer: Option<JoinHandle<()>>,
}

impl Rescue {
    pub(super) fn start(harness: &Harness) -> Rescue {
        let notifier = harness.backend.notifier();
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

/// Returns what a batch reports about a registration.
pub(super) fn of(events: &[Event], added: Added) -> Option<Ready> {
    let event = events.iter().find(|event| event.token == added.token)?;
    Some(event.readiness)
}

/// Returns two connected AF_UNIX sockets that do not block.
pub(super) fn unix_pair() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((ours, theirs))
}

/// Returns two connected TCP sockets that do not block.
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

/// Returns a pipe: the reading end and the writing end.
pub(super) fn pipe() -> io::Result<(File, File)> {
    let (reader, writer) = sys::pipe::pipe()?;
    Ok((reader.into(), writer.into()))
}

/// Reads until the call would block or the file ends. Returns the number of bytes, and whether the
/// file ended.
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

/// Writes until the call would block, and again until no more room is reported. The peer of a TCP
/// connection may acknowledge late, which makes room once more.
pub(super) fn fill_completely(
    harness: &mut Harness,
    added: Added,
    to: impl Write + Copy,
) -> Verdict {
    let started = Instant::now();
    loop {
        fill(to)?;
        match harness.silent(added) {
            Err(Fault::Failed(_)) if started.elapsed() < PATIENCE => {
                harness.rearm(added, added.interest)?;
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
