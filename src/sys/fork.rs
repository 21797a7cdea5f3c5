//! Counters of forks, which show that this process is a child or has a child; and children for
//! tests.
//!
//! A child shares the kernel objects that it inherits: a registration that the child removes is
//! gone in the parent, too. So the owner of such an object compares [`count`] with its earlier
//! value once per turn.
//!
//! The child also has a copy of every open descriptor, so closing one in the parent no longer
//! closes the file. [`copies`] changes with each fork that the process makes.
//!
//! A lock stores the number of its holder's process ([`process`]), so that a child can tell whether
//! the holder exists there. A
//! backend recognizes the process whose kernel object it has: [`Process`].
//!
//! Handlers of `pthread_atfork`, which the C library's fork(2) calls, update the counters. Other
//! ways to create a process do not call them:
//!
//! | way | descriptors of the child | what goes unnoticed |
//! |---|---|---|
//! | `posix_spawn`, vfork(2) (`std::process::Command` in most cases) | all, until exec(2) closes those that are close-on-exec; all of this crate are | a file that another thread of the parent closes before exec(2) lives on until then |
//! | clone(2) as a plain system call, `_Fork` | all, until the child ends or calls exec(2) | a file that the parent closes lives on until then; the child uses the parent's kernel object as its own |

use super::syscall::check;
use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
#[cfg(any(test, feature = "conformance"))]
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

static FORKS: AtomicU32 = AtomicU32::new(0);

static COPIES: AtomicU32 = AtomicU32::new(0);

/// Returns the number of forks between the process that first called [`watch`] and this one. Costs
/// one plain load.
#[inline]
pub(crate) fn count() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Returns a number for this process that is never 0 and differs from the numbers of its parent and
/// earlier ancestors.
#[inline]
pub(crate) fn process() -> u32 {
    count().wrapping_add(1).max(1)
}

/// Identifies a process. Differs from that of its descendants.
///
/// The process id alone may be the same: it is used again after its process has ended, and the
/// first process of each PID namespace has the id 1. The number of forks alone is the same in a
/// child that was made by another way than fork(2).
#[cfg_attr(
    any(target_os = "solaris", target_os = "illumos"),
    allow(dead_code, reason = "only epoll, io_uring and kqueue use it")
)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Process {
    id: u32,
    forks: u32,
}

#[cfg_attr(
    any(target_os = "solaris", target_os = "illumos"),
    allow(dead_code, reason = "only epoll, io_uring and kqueue use it")
)]
impl Process {
    /// Returns the calling process. Watches forks from now on.
    pub(crate) fn this() -> Process {
        watch();
        Process::now()
    }

    fn now() -> Process {
        Process {
            id: std::process::id(),
            forks: count(),
        }
    }

    /// Whether this is the calling process.
    pub(crate) fn is_this(self) -> bool {
        self == Process::now()
    }
}

/// Returns a number that changes with every fork, both in the parent and in the child. A child may
/// have a copy of a descriptor that was opened when this returned another number. Costs one plain
/// load.
///
/// The number changes before the fork and, in the parent, once more after it. So a descriptor that
/// another thread opens or closes during the fork counts as copied, unless that thread stops
/// between reading the number and the close for all of the fork.
#[inline]
pub(crate) fn copies() -> u32 {
    COPIES.load(Ordering::Relaxed)
}

thread_local! {
    /// Whether this thread is about to fork and the child has not been counted.
    static IS_FORKING: Cell<bool> = const { Cell::new(false) };
}

/// The process of which this crate knows. Another one is a child that was not counted.
static KNOWN: AtomicU32 = AtomicU32::new(0);

/// Counts the fork that has made this process, if no handler has: because it was made by another
/// way than fork(2), or because the handler of another library, which comes before ours, is
/// running. Costs a system call.
pub(crate) fn count_unnoticed() {
    let (known, this) = (KNOWN.load(Ordering::Relaxed), std::process::id());
    let order = Ordering::Relaxed;
    let is_news = known != 0 && known != this;
    if is_news && KNOWN.compare_exchange(known, this, order, order).is_ok() {
        let _ = IS_FORKING.try_with(|is_forking| is_forking.set(false));
        FORKS.fetch_add(1, order);
    }
}

/// Registers the handlers that count forks. Waits for no other thread, because there may be none:
/// the process may be the child of a fork that was made while another thread was here. So two
/// threads may register them twice, which does not count a child twice.
pub(crate) fn watch() {
    static IS_WATCHED: AtomicBool = AtomicBool::new(false);
    extern "C" fn before() {
        COPIES.fetch_add(1, Ordering::Relaxed);
        // `try_with`: a thread may fork while it ends.
        let _ = IS_FORKING.try_with(|is_forking| is_forking.set(true));
    }
    extern "C" fn in_parent() {
        COPIES.fetch_add(1, Ordering::Relaxed);
    }
    extern "C" fn in_child() {
        if IS_FORKING.try_with(|is_forking| is_forking.replace(false)) != Ok(false) {
            FORKS.fetch_add(1, Ordering::Relaxed);
            KNOWN.store(std::process::id(), Ordering::Relaxed);
        }
    }
    if IS_WATCHED.load(Ordering::Acquire) {
        return;
    }
    KNOWN.store(std::process::id(), Ordering::Relaxed);
    // SAFETY: the handlers are functions, which live as long as the process; atomic operations, a
    // thread-local flag without a destructor and getpid(2) are allowed where they run.
    // If there is no memory for the handlers, forks go unnoticed.
    unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    IS_WATCHED.store(true, Ordering::Release);
}

/// Makes the number of `old` name the file of `new`, close-on-exec, in one step where dup3 exists.
/// The former file of `old` is closed here, and stays open in other processes.
pub(crate) fn replace(old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> io::Result<()> {
    let (old, new) = (old.as_raw_fd(), new.as_raw_fd());
    #[cfg(not(any(target_vendor = "apple", target_os = "android")))]
    // SAFETY: the call takes no pointer. Both numbers are borrowed, so no other code gives them
    // another file.
    check(unsafe { libc::dup3(new, old, libc::O_CLOEXEC) })?;
    // macOS has no dup3, and the libc crate none for Android.
    #[cfg(any(target_vendor = "apple", target_os = "android"))]
    {
        // SAFETY: the call takes no pointer. Both numbers are borrowed, so no other code gives them
        // another file.
        check(unsafe { libc::dup2(new, old) })?;
        // SAFETY: F_SETFD takes an int.
        check(unsafe { libc::fcntl(old, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    }
    Ok(())
}

/// Locked for reading while no child may exist, and for writing by a test that forks.
#[cfg(any(test, feature = "conformance"))]
static CHILDLESS: RwLock<()> = RwLock::new(());

/// Returns a guard. While it lives, [`in_child`] makes no child.
///
/// A child has a copy of every descriptor that is open in the process, whichever thread opened it.
/// A descriptor that is closed meanwhile stays open in the child: its peer sees no end, and its
/// registrations and its port stay. A thread must not hold two guards, nor fork while it holds one.
#[cfg(any(test, feature = "conformance"))]
pub(crate) fn no_child() -> RwLockReadGuard<'static, ()> {
    CHILDLESS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `f` in a child of this process and returns its result, for tests. An error or a panic comes
/// back as a text.
///
/// The child has only this thread. It must not print, nor wait for a lock that another thread
/// holds. A child that has not ended after two minutes is killed. There is one child at a time, and
/// none while a guard of [`no_child`] lives.
#[cfg(any(test, feature = "conformance"))]
pub(crate) fn in_child(f: impl FnOnce() -> Result<(), String>) -> io::Result<Result<(), String>> {
    use std::fs::File;
    use std::io::Write;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

    let _alone = CHILDLESS.write().unwrap_or_else(PoisonError::into_inner);
    let (receive, send) = super::pipe::pipe()?;
    // SAFETY: the child runs `f` on this thread and ends by `_exit`, so it never returns to the
    // caller and runs no exit handler. Locks that other threads of the parent held stay locked in
    // it; every caller passes an `f` that waits for none of them, as the documentation demands.
    let child = check(unsafe { libc::fork() })?;
    if child == 0 {
        let result = catch_unwind(AssertUnwindSafe(f));
        let text = match result {
            Ok(Ok(())) => "ok".to_owned(),
            Ok(Err(text)) => text,
            Err(_) => "panicked".to_owned(),
        };
        let written = File::from(send).write_all(text.as_bytes());
        // SAFETY: the call takes no pointer.
        unsafe { libc::_exit(i32::from(written.is_err())) };
    }
    drop(send);
    let mut entry = [libc::pollfd {
        fd: receive.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    }];
    let ready =
        super::syscall::retry(|| super::poll::poll(&mut entry, Some(Duration::from_secs(120))))?;
    if ready == 0 {
        // SAFETY: the child is ours and was not waited for, so the number is still its own.
        unsafe { libc::kill(child, libc::SIGKILL) };
    }
    let text = read_to_end(receive.into(), &mut entry)?;
    super::syscall::retry(|| {
        // SAFETY: a null status is allowed; the child is ours.
        check(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) })
    })?;
    Ok(match text.as_str() {
        "ok" => Ok(()),
        "" => Err("the child ended without a result, or hung and was killed".to_owned()),
        _ => Err(text),
    })
}

/// Reads the text of a child from a pipe that does not block. `entry` polls the pipe. The child
/// writes everything at once and ends, which is the end of the file.
#[cfg(any(test, feature = "conformance"))]
fn read_to_end(mut pipe: std::fs::File, entry: &mut [libc::pollfd; 1]) -> io::Result<String> {
    use std::io::Read;
    use std::time::Duration;

    let mut text = String::new();
    loop {
        match pipe.read_to_string(&mut text) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let limit = Some(Duration::from_secs(5));
                super::syscall::retry(|| super::poll::poll(entry, limit))?;
            }
            read => return read.map(|_| text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child has the process id of an ancestor if that has ended, or in another PID namespace.
    #[test]
    fn process_is_not_a_child_with_the_same_id() {
        let mut process = Process::this();
        assert!(process.is_this());
        let seen = in_child(|| {
            let is_child = process.is_this();
            process.id = std::process::id();
            match (is_child, process.is_this()) {
                (false, false) => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        });
        assert_eq!(seen.unwrap(), Ok(()));
        assert!(process.is_this());
    }

    #[test]
    fn a_child_is_counted_and_its_parent_is_not() {
        watch();
        let (before, copies_before) = (count(), copies());
        let seen = in_child(|| {
            let (counted, copied) = (count(), copies());
            if counted == before + 1 && copied != copies_before {
                Ok(())
            } else {
                Err(format!(
                    "{counted} after {before}, {copied} after {copies_before}"
                ))
            }
        });
        assert_eq!(seen.unwrap(), Ok(()));
        assert_eq!(count(), before);
        assert_ne!(
            copies(),
            copies_before,
            "the parent has a child with copies"
        );
        let failed = in_child(|| Err("no".to_owned())).unwrap();
        assert_eq!(failed, Err("no".to_owned()));
    }
}
