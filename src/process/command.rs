//! [`Command`]: how a process is started.

use super::Child;
use super::watch::Prepared;
use crate::place::Place;
use crate::reactor::registration::check_runtime;
use crate::sys::process::reap_left;
use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{CommandArgs, CommandEnvs, ExitStatus, Output, Stdio};

/// A program to start, with its arguments, environment, streams and process group.
///
/// It is std's [`Command`](std::process::Command), with functions that belong to the runtime of
/// this thread. It can be used several times.
///
/// There is no `pre_exec`, which is unsafe. [`as_std_mut`](Command::as_std_mut) gives access to
/// that of std.
///
/// # Examples
///
/// ```
/// use reveille::process::Command;
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let status = Command::new("sh").args(["-c", "exit 7"]).status().await?;
///     assert_eq!(status.code(), Some(7));
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct Command {
    std: std::process::Command,
    kill_on_drop: bool,
    by_sigchld: bool,
}

/// What is started. These methods do what those of std's [`Command`](std::process::Command) do.
impl Command {
    /// Makes a command for a program: a path, or a name that is looked up in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command::from(std::process::Command::new(program))
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        self.std.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Command {
        self.std.args(args);
        self
    }

    /// Sets the argument 0, which is otherwise the program.
    pub fn arg0(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        self.std.arg0(arg);
        self
    }

    /// Sets a variable of the environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.std.env(key, value);
        self
    }

    /// Sets variables of the environment.
    pub fn envs(
        &mut self,
        vars: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> &mut Command {
        self.std.envs(vars);
        self
    }

    /// Removes a variable of the environment.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Command {
        self.std.env_remove(key);
        self
    }

    /// Removes all variables of the environment: those that were set here, and those that the child
    /// would inherit from this process.
    pub fn env_clear(&mut self) -> &mut Command {
        self.std.env_clear();
        self
    }

    /// Sets the directory that the child begins in.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Command {
        self.std.current_dir(dir);
        self
    }

    /// Sets the standard input. By default the child inherits that of this process.
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Command {
        self.std.stdin(stdin);
        self
    }

    /// Sets the standard output. By default the child inherits that of this process.
    /// [`output`](Command::output) replaces it by a pipe.
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Command {
        self.std.stdout(stdout);
        self
    }

    /// Sets the standard error. By default the child inherits that of this process.
    /// [`output`](Command::output) replaces it by a pipe.
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Command {
        self.std.stderr(stderr);
        self
    }

    /// Sets the user id.
    pub fn uid(&mut self, id: u32) -> &mut Command {
        self.std.uid(id);
        self
    }

    /// Sets the group id.
    pub fn gid(&mut self, id: u32) -> &mut Command {
        self.std.gid(id);
        self
    }

    /// Puts the child into a process group: 0 makes a new one that it leads, which
    /// [`Child::signal_group`] signals as a whole. By default the child is in the group of this
    /// process, and gets the signals that the terminal sends to the group, such as SIGINT at
    /// Ctrl-C.
    pub fn process_group(&mut self, group: i32) -> &mut Command {
        self.std.process_group(group);
        self
    }

    /// Returns the program.
    pub fn get_program(&self) -> &OsStr {
        self.std.get_program()
    }

    /// Returns the arguments, without argument 0.
    pub fn get_args(&self) -> CommandArgs<'_> {
        self.std.get_args()
    }

    /// Returns the variables that are set, and with `None` those that are removed.
    pub fn get_envs(&self) -> CommandEnvs<'_> {
        self.std.get_envs()
    }

    /// Returns the directory that the process begins in, if it was set.
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.std.get_current_dir()
    }

    /// Returns std's command.
    pub fn as_std(&self) -> &std::process::Command {
        &self.std
    }

    /// Returns std's command, to set what has no method here, such as `pre_exec`.
    pub fn as_std_mut(&mut self) -> &mut std::process::Command {
        &mut self.std
    }

    /// Returns std's command. What was set by [`kill_on_drop`](Command::kill_on_drop) and
    /// [`watch_by_sigchld`](Command::watch_by_sigchld) is lost.
    pub fn into_std(self) -> std::process::Command {
        self.std
    }
}

/// What happens with the child.
impl Command {
    /// Sets whether dropping the [`Child`] kills its process, by SIGKILL. The default is `false`.
    ///
    /// The drop does not wait for the end of the process. The runtime reaps it, as
    /// [any other](super#no-zombies).
    ///
    /// # Examples
    ///
    /// A process that may not run longer than a second:
    ///
    /// ```
    /// use reveille::process::Command;
    /// use reveille::time::{Duration, timeout};
    ///
    /// # fn main() {
    /// reveille::block_on(async {
    ///     let mut command = Command::new("sleep");
    /// #   let second = Duration::from_millis(5);
    /// #   if false {
    ///     let second = Duration::from_secs(1);
    /// #   }
    ///     let status = command.arg("1000").kill_on_drop(true).status();
    ///     assert!(timeout(second, status).await.is_err());
    /// });
    /// # }
    /// ```
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Command {
        self.kill_on_drop = kill;
        self
    }

    /// Returns whether dropping the [`Child`] kills its process.
    pub fn get_kill_on_drop(&self) -> bool {
        self.kill_on_drop
    }

    /// Sets whether the end of the process is noticed by SIGCHLD where it could be noticed by a
    /// pidfd: see [the table](super#how-the-end-of-a-process-is-noticed). The default is `false`.
    ///
    /// Use it in programs with many children that live long: it saves one descriptor for each.
    pub fn watch_by_sigchld(&mut self, by_sigchld: bool) -> &mut Command {
        self.by_sigchld = by_sigchld;
        self
    }

    /// Starts the process.
    ///
    /// It blocks the thread until the system has started the program, which takes about half a
    /// millisecond, or has refused it.
    ///
    /// # Errors
    ///
    /// Returns an error if no runtime runs on this thread, and the errors of std's
    /// [`spawn`](std::process::Command::spawn), such as `NotFound` if there is no such program.
    ///
    /// Lack of descriptors is an error before the process is started, in most cases. If the runtime
    /// cannot watch the process or its pipes after all, the process is killed.
    ///
    /// # Examples
    ///
    /// See [`Child`].
    #[track_caller]
    pub fn spawn(&mut self) -> io::Result<Child> {
        let place = Place::here();
        check_runtime()?;
        reap_left();
        let prepared = Prepared::new(self.by_sigchld, place)?;
        Child::start(self.std.spawn()?, prepared, self.kill_on_drop, place)
    }

    /// Starts the process, and returns a future that waits until it has ended.
    ///
    /// The process is started by the call, not by the first poll, which closes the pipes of streams
    /// that were set to [piped](std::process::Stdio::piped).
    ///
    /// # Errors
    ///
    /// The future returns the errors of [`spawn`](Command::spawn) and [`Child::wait`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the [`Child`]: the process goes on, unless
    /// [`kill_on_drop`](Command::kill_on_drop) is set.
    #[track_caller]
    pub fn status(&mut self) -> impl Future<Output = io::Result<ExitStatus>> + use<> {
        let child = self.spawn();
        async move {
            let mut child = child?;
            (child.stdin, child.stdout, child.stderr) = (None, None, None);
            child.wait().await
        }
    }

    /// Starts the process with pipes for its standard output and error. The returned future waits
    /// until it has ended, and returns its exit status and what it has written.
    ///
    /// The process is started by the call, not by the first poll. Unlike std's `output`, this
    /// replaces what was set by [`stdout`](Command::stdout) and [`stderr`](Command::stderr), and
    /// the standard input is inherited by default.
    ///
    /// # Errors
    ///
    /// The future returns the errors of [`spawn`](Command::spawn) and [`Child::wait_with_output`].
    ///
    /// # Cancel safety
    ///
    /// As [`status`](Command::status).
    ///
    /// # Examples
    ///
    /// See [the module](super).
    #[track_caller]
    pub fn output(&mut self) -> impl Future<Output = io::Result<Output>> + use<> {
        self.std.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.spawn();
        async move { child?.wait_with_output().await }
    }
}

impl From<std::process::Command> for Command {
    fn from(std: std::process::Command) -> Command {
        Command {
            std,
            kill_on_drop: false,
            by_sigchld: false,
        }
    }
}
