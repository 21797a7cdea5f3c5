//! Child processes (feature `process`): reaping and signaling them, pidfds, and the children that
//! nothing waits for any more.
//!
//! A [`Process`] is a child that was not reaped yet. The kernel keeps the number of such a child
//! for it, so a signal that is sent to the number reaches this child and no other process. Rules:
//!
//! | rule | kept by |
//! |---|---|
//! | a child is reaped by its own number, never by a wait for any child | [`Process::try_wait`] |
//! | after `try_wait` has returned a status or an error, no signal is sent | the caller, which drops the `Process` then |
//! | only the process that started a child reaps or signals it, not the child of a fork | [`Process::check_parent`] |
//! | a child that is still alive when its `Process` is no longer needed goes to [`leave`] | the caller |
//!
//! Other code of the process can break the first rule: a call that waits for any child, or SIGCHLD
//! that is ignored, so that the kernel reaps. Then `try_wait` reports that the status is lost.
//!
//! A number names a zombie until it is reaped, so `pidfd_open` directly after the start of a child
//! opens that child, even if it has ended already.

use super::fork;
use super::fork_lock::ForkLock;
use super::once_box::OnceBox;
use super::syscall::{check, failure, retry};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

/// The signal that ends a process and cannot be handled.
pub(crate) const KILL: i32 = libc::SIGKILL;

/// A child of this process that was not reaped yet.
#[derive(Debug)]
pub(crate) struct Process {
    id: libc::pid_t,
    /// `None`: other code has started it.
    started: Option<Child>,
    /// The process whose child it is.
    parent: fork::Process,
}

impl Process {
    /// Takes over a child that std has just started. Its pipes stay in `child`, so take them first.
    pub(crate) fn started(child: Child) -> Process {
        Process {
            // The system's numbers fit: std has converted it from a `pid_t`.
            id: child.id() as libc::pid_t,
            started: Some(child),
            parent: fork::Process::this(),
        }
    }

    /// Takes over a child with this number that other code has started. The caller makes sure by
    /// [`try_wait`](Process::try_wait) that there is such a child.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a number that no process can have.
    pub(crate) fn adopted(id: u32) -> io::Result<Process> {
        match libc::pid_t::try_from(id) {
            // 0 would mean any child of this process group.
            Ok(id) if id > 0 => Ok(Process {
                id,
                started: None,
                parent: fork::Process::this(),
            }),
            _ => Err(failure(
                io::ErrorKind::InvalidInput,
                "cannot adopt this child: 0 and numbers above the largest process id name no process",
            )),
        }
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.id.unsigned_abs()
    }

    /// Whether this process is the parent, and not the child of a fork.
    pub(crate) fn is_ours(&self) -> bool {
        self.parent.is_this()
    }

    /// Returns an error in the child of a fork.
    pub(crate) fn check_parent(&self) -> io::Result<()> {
        match self.is_ours() {
            true => Ok(()),
            false => Err(failure(
                io::ErrorKind::Unsupported,
                "cannot use this child process here: it is a child of the process that forked, and only its parent can \
                 wait for it or signal it",
            )),
        }
    }

    /// Reaps the child if it has ended, and returns its status then. After that, and after an error
    /// of kind `NotFound`, the number may name another process.
    ///
    /// # Errors
    ///
    /// `NotFound` if it was reaped by other code. See also [`check_parent`](Process::check_parent).
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.check_parent()?;
        let found = match &mut self.started {
            Some(child) => child.try_wait(),
            None => wait_without_blocking(self.id),
        };
        found.map_err(|error| match error.raw_os_error() {
            Some(libc::ECHILD) => lost(),
            _ => error,
        })
    }

    /// Sends a signal to the child; through its pidfd, if there is one.
    ///
    /// # Errors
    ///
    /// Those of kill(2), and see [`check_parent`](Process::check_parent).
    pub(crate) fn signal(&self, pidfd: Option<BorrowedFd<'_>>, signal: i32) -> io::Result<()> {
        self.check_parent()?;
        if let Some(pidfd) = pidfd {
            match send_signal(pidfd, signal) {
                // A sandbox may refuse this call. If the child may not be signaled, the other call
                // says so as well.
                Err(error) if super::syscall::is_refused(&error) => {}
                sent => return sent,
            }
        }
        kill(self.id, signal)
    }

    /// Sends a signal to all processes of the group whose number is that of the child. Only the
    /// child can have made such a group.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such group. Otherwise as [`signal`](Process::signal).
    pub(crate) fn signal_group(&self, signal: i32) -> io::Result<()> {
        self.check_parent()?;
        kill(-self.id, signal).map_err(|error| match error.raw_os_error() {
            Some(libc::ESRCH) => failure(
                io::ErrorKind::NotFound,
                "cannot signal the process group of this child: the child leads none; start it with \
                 `Command::process_group(0)`",
            ),
            _ => error,
        })
    }
}

/// Returns the error of a child that was reaped by other code.
#[cold]
pub(crate) fn lost() -> io::Error {
    failure(
        io::ErrorKind::NotFound,
        "the exit status of this child is lost: either it is no child of this process, or other code has reaped it, by a \
         wait for any child, or SIGCHLD is ignored and the system has reaped it",
    )
}

/// Whether the error says that there is no such process.
pub(crate) fn is_no_process(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

fn kill(id: libc::pid_t, signal: i32) -> io::Result<()> {
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::kill(id, signal) }).map(drop)
}

/// Reaps a child that has ended.
fn wait_without_blocking(id: libc::pid_t) -> io::Result<Option<ExitStatus>> {
    let mut status = 0;
    // SAFETY: the status is a local that the call writes.
    let found = retry(|| check(unsafe { libc::waitpid(id, &mut status, libc::WNOHANG) }))?;
    Ok((found != 0).then(|| ExitStatus::from_raw(status)))
}

/// Opens a descriptor of a process, close-on-exec, which is readable when the process has ended.
/// With the number of a child that was not reaped, it is a descriptor of that child.
///
/// # Errors
///
/// `Unsupported` or `ENOSYS` where there are no such descriptors (they are used on Linux since
/// 5.3), `EMFILE` and the like, and whatever a sandbox returns.
#[cfg(target_os = "linux")]
pub(crate) fn pidfd_open(id: u32) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;

    let (id, flags) = (id as libc::pid_t, 0);
    // SAFETY: the call takes no pointer.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, id, flags) } as libc::c_int)?;
    // SAFETY: the call has just made the fd, and no other code has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// As on Linux, where there are such descriptors.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pidfd_open(_id: u32) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let (fd, info, flags) = (pidfd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>(), 0);
    // SAFETY: a null pointer stands for the information that kill(2) would send; the fd is
    // borrowed.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, flags) };
    check(sent as libc::c_int).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn send_signal(_pidfd: BorrowedFd<'_>, _signal: i32) -> io::Result<()> {
    // The caller sends it to the number then.
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// The children that were alive when their runtime ended.
static LEFT: OnceBox<ForkLock<Vec<Process>>> = OnceBox::new();

/// Takes over a child that nothing waits for any more, and for which no runtime is left. Reaps it
/// if it has ended; otherwise [`reap_left`] tries again.
pub(crate) fn leave(mut process: Process) {
    // An error: it is not ours to reap.
    if let Ok(None) = process.try_wait() {
        let left = LEFT.get_or_make(|| ForkLock::new(Vec::new()));
        left.lock().push(process);
    }
}

/// Reaps the children that were [left](leave) and have ended since. Called when a child is started
/// or dropped, and at the end of a runtime.
pub(crate) fn reap_left() {
    let Some(left) = LEFT.get() else {
        return;
    };
    // Without the lock, because each try is a system call.
    let mut all = std::mem::take(&mut *left.lock());
    all.retain_mut(|process| matches!(process.try_wait(), Ok(None)));
    if !all.is_empty() {
        left.lock().append(&mut all);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::fork::in_child;
    use std::process::{Command, Stdio};

    /// A child that ends when its input does.
    fn cat() -> (Process, std::process::ChildStdin) {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        (Process::started(child), stdin)
    }

    /// Whether there is a child with this number, alive or a zombie.
    fn is_child(id: libc::pid_t) -> bool {
        let flags = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
        // SAFETY: a siginfo is plain data that the call fills.
        let found = unsafe {
            let mut info = std::mem::zeroed::<libc::siginfo_t>();
            check(libc::waitid(
                libc::P_PID,
                id as libc::id_t,
                &mut info,
                flags,
            ))
        };
        match found {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ECHILD), "{error}");
                false
            }
        }
    }

    fn wait(process: &mut Process) -> ExitStatus {
        loop {
            match process.try_wait().unwrap() {
                Some(status) => return status,
                None => std::thread::sleep(std::time::Duration::from_millis(1)),
            }
        }
    }

    #[test]
    fn signal_reaches_the_child_with_and_without_a_pidfd() {
        let pidfd = |process: &Process| pidfd_open(process.id()).ok();
        for by_pidfd in [false, true] {
            let (mut process, _stdin) = cat();
            let fd = by_pidfd.then(|| pidfd(&process)).flatten();
            let fd = fd.as_ref().map(std::os::fd::AsFd::as_fd);
            process.signal(fd, 0).unwrap();
            assert_eq!(process.try_wait().unwrap(), None);
            process.signal(fd, libc::SIGTERM).unwrap();
            assert_eq!(wait(&mut process).signal(), Some(libc::SIGTERM));
        }
    }

    #[test]
    fn child_that_was_left_is_reaped_later() {
        let (process, stdin) = cat();
        let id = process.id() as libc::pid_t;
        leave(process);
        reap_left();
        drop(stdin);
        // Another test may end a runtime, and have the whole list in its hands for a while.
        while is_child(id) {
            reap_left();
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    #[test]
    fn child_of_a_fork_cannot_use_the_children_of_its_parent() {
        let (mut process, stdin) = cat();
        let seen = in_child(|| {
            let kinds = [
                process.try_wait().unwrap_err().kind(),
                process.signal(None, KILL).unwrap_err().kind(),
                process.signal_group(KILL).unwrap_err().kind(),
            ];
            match kinds == [io::ErrorKind::Unsupported; 3] {
                true => Ok(()),
                false => Err(format!("{kinds:?}")),
            }
        });
        assert_eq!(seen.unwrap(), Ok(()));
        assert_eq!(process.try_wait().unwrap(), None);
        drop(stdin);
        assert!(wait(&mut process).success());
    }

    #[test]
    fn number_that_is_no_child_is_not_reaped() {
        for id in [0, u32::MAX] {
            let error = Process::adopted(id).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{id}");
        }
        let mut own = Process::adopted(std::process::id()).unwrap();
        assert_eq!(own.try_wait().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
