//! [`Child`]: a process that was started, and its pipes.

use super::orphan;
use super::running::Running;
use super::watch::Prepared;
use crate::budget;
use crate::net::pipe::{Receiver, Sender};
use crate::place::Place;
use crate::reactor::registration::check_runtime;
use crate::signals::SignalKind;
use crate::sys::process::{KILL, Process, leave, reap_left};
use crate::sys::syscall::failure;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Output};
use std::task::{Context, Poll, ready};

/// The standard input of a child: the writing end of a pipe.
///
/// It can be turned into a [`Stdio`](std::process::Stdio) for another child.
pub type ChildStdin = Sender;

/// The standard output of a child: the reading end of a pipe.
///
/// It can be turned into a [`Stdio`](std::process::Stdio), to become the input of another child:
///
/// ```
/// use reveille::process::Command;
/// use std::process::Stdio;
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let mut one = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
///     let output: Stdio = one.stdout.take().expect("it is piped").try_into()?;
///     let two = Command::new("tr").args(["a-z", "A-Z"]).stdin(output).output().await?;
///     assert_eq!(two.stdout, b"HELLO\n");
///     assert!(one.wait().await?.success());
///     Ok(())
/// })
/// # }
/// ```
pub type ChildStdout = Receiver;

/// The standard error of a child: the reading end of a pipe. The same type as [`ChildStdout`].
pub type ChildStderr = Receiver;

/// A child process. Returned by [`Command::spawn`](super::Command::spawn).
///
/// Dropping it does not end the process, unless
/// [`kill_on_drop`](super::Command::kill_on_drop) is set. The runtime reaps the process when it
/// ends: see [the module](super#no-zombies).
///
/// The fields hold the pipes of the streams that were set to [piped](std::process::Stdio::piped).
/// Take them out to use them in other tasks.
///
/// # Examples
///
/// ```
/// use reveille::process::Command;
/// use std::process::Stdio;
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let mut child = Command::new("cat")
///         .stdin(Stdio::piped())
///         .stdout(Stdio::piped())
///         .spawn()?;
///     let input = child.stdin.take().expect("it is piped");
///     input.write_all(b"hello").await?;
///     drop(input); // The child reads the end.
///     let output = child.wait_with_output().await?;
///     assert_eq!(output.stdout, b"hello");
///     Ok(())
/// })
/// # }
/// ```
#[must_use = "the process continues when its `Child` is dropped, and nothing reports its end"]
pub struct Child {
    state: State,
    kill_on_drop: bool,
    /// The writing end of the process's standard input, if it is piped.
    pub stdin: Option<ChildStdin>,
    /// The reading end of the process's standard output, if it is piped.
    pub stdout: Option<ChildStdout>,
    /// The reading end of the process's standard error, if it is piped.
    pub stderr: Option<ChildStderr>,
}

enum State {
    Running(Running),
    Exited(ExitStatus),
    /// Other code has reaped it.
    Lost,
}

impl Child {
    /// Takes over a child of std. If that fails, the process is killed and reaped later.
    pub(super) fn start(
        mut child: std::process::Child,
        prepared: Prepared,
        kill_on_drop: bool,
        place: Place,
    ) -> io::Result<Child> {
        let ends = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = Process::started(child);
        let converted = || {
            let stdin = ends.0.map(|end| Sender::of_child(end.into(), place));
            let stdout = ends.1.map(|end| Receiver::of_child(end.into(), place));
            let stderr = ends.2.map(|end| Receiver::of_child(end.into(), place));
            Ok((stdin.transpose()?, stdout.transpose()?, stderr.transpose()?))
        };
        let made = match converted() {
            Ok(ends) => Running::new(process, prepared, place).map(|running| (running, ends)),
            Err(error) => Err((process, error)),
        };
        match made {
            Ok((running, (stdin, stdout, stderr))) => Ok(Child {
                state: State::Running(running),
                kill_on_drop,
                stdin,
                stdout,
                stderr,
            }),
            Err((process, error)) => {
                // An error means that it has ended.
                let _ = process.signal(None, KILL);
                leave(process);
                Err(error)
            }
        }
    }

    /// Takes over a child of this process that other code has started, such as a C library that
    /// forks, or [`std::process::Command`]. From now on only this `Child` may wait for it.
    ///
    /// The process must be a child of this one that no other code waits for. If it has ended
    /// already, this reaps it, and [`wait`](Child::wait) returns its status. It has no pipes here;
    /// those of std's `Child` can be turned into [pipes](crate::net::pipe).
    ///
    /// # Errors
    ///
    /// | kind | reason |
    /// |---|---|
    /// | [`InvalidInput`](io::ErrorKind::InvalidInput) | the number is 0, or larger than any process id |
    /// | [`NotFound`](io::ErrorKind::NotFound) | this process has no such child, or it was reaped |
    /// | [`Other`](io::ErrorKind::Other) | no runtime runs on this thread |
    /// | any other | the system's error, such as a limit that was reached; the process is left alone |
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::process::Child;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let other = std::process::Command::new("sh").args(["-c", "exit 3"]).spawn()?;
    ///     // Nothing has waited for it, so the number still belongs to it.
    ///     let mut child = Child::from_pid(other.id())?;
    ///     assert_eq!(child.wait().await?.code(), Some(3));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_pid(pid: u32) -> io::Result<Child> {
        let place = Place::here();
        check_runtime()?;
        let mut process = Process::adopted(pid)?;
        let state = match process.try_wait()? {
            Some(status) => State::Exited(status),
            None => {
                let running = Running::new(process, Prepared::new(false, place)?, place);
                State::Running(running.map_err(|(_process, error)| error)?)
            }
        };
        Ok(Child {
            state,
            kill_on_drop: false,
            stdin: None,
            stdout: None,
            stderr: None,
        })
    }

    /// Returns the process id, or `None` once the process was reaped, because the number may name
    /// another process then.
    pub fn id(&self) -> Option<u32> {
        match &self.state {
            State::Running(running) => running.id(),
            State::Exited(_) | State::Lost => None,
        }
    }

    /// Waits until the process has ended, and returns its status. Returns the same status again
    /// when it is called again.
    ///
    /// The standard input is closed first, if it is still in the [field](Child::stdin). Otherwise a
    /// child that reads its input to the end would never end. Outputs are not read, and a child
    /// that has filled a pipe waits until it is read: take the outputs out and read them, or use
    /// [`wait_with_output`](Child::wait_with_output).
    ///
    /// # Errors
    ///
    /// | kind | reason |
    /// |---|---|
    /// | [`NotFound`](io::ErrorKind::NotFound) | other code has [reaped](super#signals-and-process-ids) the process; the status is lost |
    /// | [`Unsupported`](io::ErrorKind::Unsupported) | this is the child of a fork |
    /// | [`Other`](io::ErrorKind::Other) | the runtime that the child was started on has ended, and the process has not |
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the next call returns the status. The standard input stays closed.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        poll_fn(|cx| self.poll_exit(cx)).await
    }

    /// Returns the status if the process has ended, without waiting. The standard input stays open.
    ///
    /// This works on any thread, and after the end of the runtime.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Child::wait), except that of the runtime.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        match &mut self.state {
            State::Running(running) => {
                let found = running.try_wait();
                self.note(&found);
                found
            }
            State::Exited(status) => Ok(Some(*status)),
            State::Lost => Err(lost_before()),
        }
    }

    fn poll_exit(&mut self, cx: &Context<'_>) -> Poll<io::Result<ExitStatus>> {
        ready!(budget::check(cx));
        let found = match &mut self.state {
            State::Running(running) => ready!(running.poll_exit(cx)),
            State::Exited(status) => Ok(*status),
            State::Lost => Err(lost_before()),
        };
        budget::spend();
        let found = found.map(Some);
        self.note(&found);
        Poll::Ready(found.map(|status| status.expect("it was set above")))
    }

    /// Forgets a process that was reaped.
    fn note(&mut self, found: &io::Result<Option<ExitStatus>>) {
        match found {
            Ok(Some(status)) => self.state = State::Exited(*status),
            _ if self.id().is_none() => self.state = State::Lost,
            _ => {}
        }
    }

    /// Waits until the process has ended, and reads both outputs to their end meanwhile.
    ///
    /// The standard input is closed first, as [`wait`](Child::wait) does. An output that is not
    /// piped, or was taken out, is empty. An output ends when all processes that inherited it have
    /// closed it, so this waits for a process that the child has left in the background.
    ///
    /// There is no limit to what is read.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Child::wait) and of reading. The `Child` is dropped then.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: what was read is lost, and the `Child` is dropped.
    ///
    /// # Examples
    ///
    /// See [`Child`].
    pub async fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let mut read_stdout = pin!(read_to_end(self.stdout.take()));
        let mut read_stderr = pin!(read_to_end(self.stderr.take()));
        let (mut stdout, mut stderr, mut status) = (None, None, None);
        // All three in each poll: a process that waits for room in one pipe ends only when that is
        // read.
        poll_fn(|cx| {
            if stdout.is_none() {
                stdout = ready_value(read_stdout.as_mut().poll(cx))?;
            }
            if stderr.is_none() {
                stderr = ready_value(read_stderr.as_mut().poll(cx))?;
            }
            if status.is_none() {
                status = ready_value(self.poll_exit(cx))?;
            }
            match (&mut stdout, &mut stderr, status) {
                (Some(stdout), Some(stderr), Some(status)) => Poll::Ready(Ok(Output {
                    status,
                    stdout: std::mem::take(stdout),
                    stderr: std::mem::take(stderr),
                })),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Sends a signal to the process.
    ///
    /// It [never reaches another process](super#signals-and-process-ids). Returns `Ok` without
    /// effect if the process was reaped.
    ///
    /// # Errors
    ///
    /// Those of kill(2): `EINVAL` for a number that is no signal, `EPERM` if the process runs as
    /// another user. [`Unsupported`](io::ErrorKind::Unsupported) in the child of a fork.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::process::Command;
    /// use reveille::signal::SignalKind;
    /// use std::os::unix::process::ExitStatusExt;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let mut child = Command::new("sleep").arg("1000").spawn()?;
    ///     child.signal(SignalKind::terminate())?;
    ///     assert_eq!(child.wait().await?.signal(), Some(15));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn signal(&self, kind: SignalKind) -> io::Result<()> {
        match &self.state {
            State::Running(running) if running.id().is_some() => running.signal(kind),
            _ => Ok(()),
        }
    }

    /// Sends a signal to all processes of the group that the child leads: those that it has started
    /// and that have not left the group. [`Command::process_group`](super::Command::process_group)
    /// with 0 makes the child the leader of a new group.
    ///
    /// # Errors
    ///
    /// | kind | reason |
    /// |---|---|
    /// | [`NotFound`](io::ErrorKind::NotFound) | the child leads no group |
    /// | [`InvalidInput`](io::ErrorKind::InvalidInput) | the child was reaped, so the number may name another group; or the number is no signal |
    /// | others | see [`signal`](Child::signal) |
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::process::Command;
    /// use reveille::signal::SignalKind;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let mut child = Command::new("sh")
    ///         .args(["-c", "sleep 1000 & wait"])
    ///         .process_group(0)
    ///         .spawn()?;
    ///     child.signal_group(SignalKind::terminate())?; // The shell and the sleep.
    ///     assert!(!child.wait().await?.success());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn signal_group(&self, kind: SignalKind) -> io::Result<()> {
        match &self.state {
            State::Running(running) if running.id().is_some() => running.signal_group(kind),
            _ => Err(failure(
                io::ErrorKind::InvalidInput,
                "cannot signal the process group of this child: the child was reaped, and the number may name another \
                 group by now; signal the group before waiting",
            )),
        }
    }

    /// Sends SIGKILL, which ends the process. Does not wait for its end. Returns `Ok` without
    /// effect if the process was reaped.
    ///
    /// # Errors
    ///
    /// As [`signal`](Child::signal).
    pub fn start_kill(&mut self) -> io::Result<()> {
        self.signal(SignalKind::from_raw(KILL))
    }

    /// Sends SIGKILL and waits until the process has ended. Returns `Ok` if it had ended before.
    ///
    /// # Errors
    ///
    /// Those of [`start_kill`](Child::start_kill) and [`wait`](Child::wait).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. The signal is sent by the first poll.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.start_kill()?;
        self.wait().await.map(drop)
    }
}

/// Reads a pipe to its end.
async fn read_to_end(pipe: Option<Receiver>) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    if let Some(pipe) = pipe {
        while pipe.read_buf(&mut all).await? != 0 {}
    }
    Ok(all)
}

fn ready_value<T>(polled: Poll<io::Result<T>>) -> io::Result<Option<T>> {
    match polled {
        Poll::Ready(value) => value.map(Some),
        Poll::Pending => Ok(None),
    }
}

#[cold]
fn lost_before() -> io::Error {
    failure(
        io::ErrorKind::NotFound,
        "the exit status of this child is lost: other code has reaped it, as an earlier call found out",
    )
}

impl Drop for Child {
    fn drop(&mut self) {
        if let State::Running(mut running) = std::mem::replace(&mut self.state, State::Lost) {
            if running.is_ours() {
                if self.kill_on_drop {
                    // An error means that it has ended, or cannot be killed by this user.
                    let _ = running.signal(SignalKind::from_raw(KILL));
                }
                if let Ok(None) = running.try_wait() {
                    orphan::begin(running);
                }
            }
        }
        reap_left();
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Child");
        match &self.state {
            State::Running(running) => out.field("id", &running.id()),
            State::Exited(status) => out.field("status", status),
            State::Lost => out.field("status", &"lost"),
        };
        out.field("kill_on_drop", &self.kill_on_drop)
            .field("stdin", &self.stdin)
            .field("stdout", &self.stdout)
            .field("stderr", &self.stderr)
            .finish()
    }
}
