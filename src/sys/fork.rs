//! fork(2): noticing that this process is the child of one, and, for tests, making one.
//!
//! What a child inherits of a kernel object is the object itself, not a copy: a removal that the child makes takes the
//! registration from the parent. So whoever holds one compares [`count`] with what it was, once per turn.

use super::syscall::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
#[cfg(any(test, feature = "conformance"))]
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// How many forks lie between the first caller of [`watch`] and this process. One plain load.
#[inline]
pub(crate) fn count() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Has forks counted from now on.
pub(crate) fn watch() {
    static WATCH: Once = Once::new();
    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    WATCH.call_once(|| {
        // SAFETY: the handler lives as long as the process, and one atomic addition is allowed where it runs. When
        // there is no memory for it forks go unnoticed, which is all that can be done.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// Makes the number of `old` name the file of `new`, close-on-exec, in one step where there is dup3; what `old` named
/// before is closed here and lives on in other processes.
pub(crate) fn replace(old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> io::Result<()> {
    let (old, new) = (old.as_raw_fd(), new.as_raw_fd());
    #[cfg(not(any(target_vendor = "apple", target_os = "android")))]
    // SAFETY: the call takes no pointer; both numbers are borrowed, so nobody else gives them another meaning.
    check(unsafe { libc::dup3(new, old, libc::O_CLOEXEC) })?;
    // macOS has no dup3, and the libc crate none for Android.
    #[cfg(any(target_vendor = "apple", target_os = "android"))]
    {
        // SAFETY: as above.
        check(unsafe { libc::dup2(new, old) })?;
        // SAFETY: F_SETFD takes an int.
        check(unsafe { libc::fcntl(old, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    }
    Ok(())
}

/// Shared by what no child may disturb, alone for who forks.
#[cfg(any(test, feature = "conformance"))]
static CHILDLESS: RwLock<()> = RwLock::new(());

/// As long as it lives no child of [`in_child`] does. A child has a copy of all that is open in the whole process, whichever
/// thread opened it: what is closed meanwhile stays open in the child, its peer hears of no end, its registrations and its
/// port stay. Not to be held twice by one thread, nor by one that forks.
#[cfg(any(test, feature = "conformance"))]
pub(crate) fn no_child() -> RwLockReadGuard<'static, ()> {
    CHILDLESS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `f` in a child of this process and returns what it returned, for tests: its error or panic comes back as a text.
///
/// The child is this thread alone. It must not print, nor wait for what another thread holds; a child that is not
/// done after two minutes is killed. One child at a time, and none while anybody holds [`no_child`].
#[cfg(any(test, feature = "conformance"))]
pub(crate) fn in_child(f: impl FnOnce() -> Result<(), String>) -> io::Result<Result<(), String>> {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

    let _alone = CHILDLESS.write().unwrap_or_else(PoisonError::into_inner);
    let (receive, send) = super::pipe::pipe()?;
    // SAFETY: the child runs `f` on this thread and ends by `_exit`, so it comes back to nobody and runs no exit
    // handler; what other threads of the parent held is held for ever in it, which the caller knows.
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
    let mut text = String::new();
    // The child writes all at once and ends; end of file comes with that.
    let mut receive = File::from(receive);
    loop {
        match receive.read_to_string(&mut text) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                super::syscall::retry(|| {
                    super::poll::poll(&mut entry, Some(Duration::from_secs(5)))
                })?;
            }
            read => break read.map(drop)?,
        }
    }
    super::syscall::retry(|| {
        // SAFETY: a null status is allowed; the child is ours.
        check(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) })
    })?;
    Ok(match text.as_str() {
        "ok" => Ok(()),
        "" => Err("the child ended without a word, or hung and was killed".to_owned()),
        _ => Err(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_counted_and_its_parent_is_not() {
        watch();
        let before = count();
        let seen = in_child(|| {
            let counted = count();
            if counted == before + 1 {
                Ok(())
            } else {
                Err(format!("{counted} after {before}"))
            }
        });
        assert_eq!(seen.unwrap(), Ok(()));
        assert_eq!(count(), before);
        let failed = in_child(|| Err("no".to_owned())).unwrap();
        assert_eq!(failed, Err("no".to_owned()));
    }
}
