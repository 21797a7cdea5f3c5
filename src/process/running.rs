//! [`Running`]: a process that was not reaped, and what notices its end.
//!
//! ```text
//! Child ── Running ──┬─ Process (sys)   the number, std's Child; reaps and signals
//!            │       └─ ExitWatch       a registered pidfd, or a listener for SIGCHLD
//!            └─ dropped with the Child while the process runs:
//!               Orphan  a Running that is its own waker, stored where the ExitWatch waits
//! ```
//!
//! - [`Running`] is the one owner of a process that was not reaped. When it is dropped with its
//!   process still in it, the process goes to the list in `sys/process.rs`. So no path loses a
//!   process: not an unwind, not the end of a runtime, not a waker that is dropped without a wake.
//! - An `Orphan` (`orphan.rs`) is kept alive by its waker alone, which the reactor holds (pidfd) or
//!   the runtime's hub of signals (SIGCHLD). Each wake tries to reap; success drops the last
//!   reference. At the end of the runtime both wake it, it finds the runtime gone, and ends.
//! - Before a process is started, a pidfd of this process is registered, whose place the child's
//!   takes later; or a listener is made. So lack of descriptors, and a mechanism that cannot watch
//!   pidfds, are found while nothing has been started. If a pipe of the child cannot be registered,
//!   or another thread has taken the last descriptor, the process is killed and left to the list.

use super::watch::{ExitWatch, Prepared};
use crate::place::Place;
use crate::signals::SignalKind;
use crate::sys::process::{Process, leave, lost};
use std::io;
use std::process::ExitStatus;
use std::task::{Context, Poll, ready};

/// A process that was not reaped. When it is dropped before that, the process goes to the list of
/// those that have no runtime.
#[derive(Debug)]
pub(super) struct Running {
    /// `None`: it was reaped, here or by other code.
    process: Option<Process>,
    watch: ExitWatch,
}

impl Running {
    /// Watches a process. Gives it back if it cannot be watched.
    pub(super) fn new(
        process: Process,
        prepared: Prepared,
        place: Place,
    ) -> Result<Running, (Process, io::Error)> {
        match ExitWatch::new(process.id(), prepared, place) {
            Ok(watch) => Ok(Running {
                process: Some(process),
                watch,
            }),
            Err(error) => Err((process, error)),
        }
    }

    /// Returns the process id. `None`: it was reaped, here or by other code.
    pub(super) fn id(&self) -> Option<u32> {
        self.living().map(Process::id)
    }

    /// Returns the process if its number is its own, as far as that is known here.
    fn living(&self) -> Option<&Process> {
        let is_gone = matches!(self.watch, ExitWatch::Gone);
        self.process.as_ref().filter(|_| !is_gone)
    }

    /// Whether the process was not reaped and is a child of this process.
    pub(super) fn is_ours(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_ours)
    }

    /// Reaps the process if it has ended. After a status or an error it must not be called again,
    /// unless the error says that this is the child of a fork.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let process = self.process.as_mut().expect("it was not reaped");
        process.check_parent()?;
        let found = match self.watch {
            // The number may be that of another child by now, which this must not reap.
            ExitWatch::Gone => Err(lost()),
            _ => process.try_wait(),
        };
        let is_lost = (found.as_ref()).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if is_lost || matches!(found, Ok(Some(_))) {
            self.process = None;
        }
        found
    }

    /// Waits until the process has ended, and reaps it.
    pub(super) fn poll_exit(&mut self, cx: &Context<'_>) -> Poll<io::Result<ExitStatus>> {
        if let Some(process) = &self.process {
            process.check_parent()?;
        }
        if self.watch.must_look_first() {
            if let Some(status) = self.try_wait()? {
                return Poll::Ready(Ok(status));
            }
        }
        loop {
            let noticed = ready!(self.watch.poll(cx));
            // Also after an error: the runtime may have ended after the process.
            if let Some(status) = self.try_wait()? {
                return Poll::Ready(Ok(status));
            }
            noticed?;
            ready!(self.watch.look_again(cx))?;
        }
    }

    /// Sends a signal to the process.
    pub(super) fn signal(&self, kind: SignalKind) -> io::Result<()> {
        match self.living() {
            Some(process) => process.signal(self.watch.pidfd(), kind.as_raw_value()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Sends a signal to the group that the process leads.
    pub(super) fn signal_group(&self, kind: SignalKind) -> io::Result<()> {
        match self.living() {
            Some(process) => process.signal_group(kind.as_raw_value()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let is_gone = matches!(self.watch, ExitWatch::Gone);
        if let Some(process) = self.process.take().filter(|_| !is_gone) {
            leave(process);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::process::KILL;
    use std::process::{Command, Stdio};

    /// Here the number is that of another child already.
    #[test]
    fn number_of_a_process_that_is_gone_is_not_used() {
        let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let stdin = other.stdin.take();
        let running = || Running {
            process: Some(Process::adopted(other.id()).unwrap()),
            watch: ExitWatch::Gone,
        };
        let mut gone = running();
        assert_eq!(gone.id(), None);
        let kill = SignalKind::from_raw(KILL);
        for sent in [gone.signal(kill), gone.signal_group(kill)] {
            assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        assert_eq!(gone.try_wait().unwrap_err().kind(), io::ErrorKind::NotFound);
        drop(gone);
        drop(running());
        drop(stdin);
        assert!(other.wait().unwrap().success());
    }
}
