//! [`Identity`] and [`FileTracker`] find out whether a number still names the file that was
//! registered under it, or was closed and given to another file.
//!
//! The inode distinguishes sockets, and files with different names. It does not distinguish open
//! files that share one inode: all event fds, timer fds and the like do, and a FIFO or a terminal
//! may be opened twice. On Linux and Android epoll distinguishes them: it stores pairs of open file
//! and number, forgets a file that is closed, and refuses to modify a pair that it does not have.
//! So files of these kinds are added to an epoll instance that is never waited on. If a sandbox
//! forbids epoll the inode decides, and two open files with one inode count as the same.

use crate::sys::fd::{FileId, FileKind, identify};
use std::io;
use std::os::fd::RawFd;

/// The identity of a registered file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    id: FileId,
    pub(super) kind: FileKind,
    /// Whether the `FileTracker` has the open file.
    is_noted: bool,
}

/// Remembers which open file each number named when it was registered.
#[derive(Debug, Default)]
pub(super) struct FileTracker(imp::Files);

impl Identity {
    /// Returns the identity of the file that a number names, by its inode. `FileTracker::note` adds
    /// the open file.
    ///
    /// # Errors
    ///
    /// `EBADF` for a number that is not open.
    pub(super) fn of(fd: RawFd) -> io::Result<Identity> {
        let (id, kind) = identify(fd)?;
        Ok(Identity {
            id,
            kind,
            is_noted: false,
        })
    }
}

impl FileTracker {
    /// Remembers which open file the number names, if the inode is not enough.
    pub(super) fn note(&mut self, fd: RawFd, file: &mut Identity) {
        // A socket has an inode of its own. A regular file of /proc may report a change to one poll
        // only, and adding it to an epoll instance polls it.
        if !matches!(file.kind, FileKind::Socket | FileKind::Regular) {
            file.is_noted = self.0.add(fd);
        }
    }

    /// Whether a number that now names `now` still names the file that was registered under it.
    pub(super) fn is_same(&self, fd: RawFd, known: &Identity, now: &Identity) -> bool {
        now.id == known.id && (!known.is_noted || self.0.knows(fd))
    }

    /// Forgets a file that is no longer registered. The number may have been closed or given to
    /// another file.
    pub(super) fn forget(&self, fd: RawFd, known: &Identity) {
        if known.is_noted {
            self.0.remove(fd);
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use super::*;
    use crate::backend::epoll::create;
    use crate::sys::syscall::check;
    use std::os::fd::{AsRawFd, OwnedFd};

    /// The epoll instance, created for the first file.
    #[derive(Debug, Default)]
    pub(super) struct Files(Option<OwnedFd>);

    impl Files {
        /// Adds a file. Returns false if no instance can be created, or if it refuses the file.
        pub(super) fn add(&mut self, fd: RawFd) -> bool {
            if self.0.is_none() {
                self.0 = create().ok();
            }
            // The number may have been closed since, while a duplicate keeps its old file in the
            // instance.
            self.control(libc::EPOLL_CTL_ADD, fd) || self.knows(fd)
        }

        pub(super) fn knows(&self, fd: RawFd) -> bool {
            self.control(libc::EPOLL_CTL_MOD, fd)
        }

        pub(super) fn remove(&self, fd: RawFd) {
            self.control(libc::EPOLL_CTL_DEL, fd);
        }

        /// Makes one call of `epoll_ctl` for no events, so that the file wakes nothing through this
        /// instance.
        fn control(&self, what: libc::c_int, fd: RawFd) -> bool {
            let Some(epoll) = &self.0 else { return false };
            let mut event = libc::epoll_event { events: 0, u64: 0 };
            // SAFETY: the event outlives the call, which keeps no pointer to it; a number that is
            // not open is an error.
            check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), what, fd, &mut event) }).is_ok()
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    use super::*;

    /// On other systems only the inode decides.
    #[derive(Debug, Default)]
    pub(super) struct Files;

    impl Files {
        pub(super) fn add(&mut self, _fd: RawFd) -> bool {
            false
        }

        pub(super) fn knows(&self, _fd: RawFd) -> bool {
            true
        }

        pub(super) fn remove(&self, _fd: RawFd) {}
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::sys::{eventfd::eventfd, test_fds};
    use std::os::fd::{AsFd, AsRawFd};

    #[test]
    fn is_same_distinguishes_event_fds_and_finds_a_file_again() {
        let mut tracker = FileTracker::default();
        let [number, other] = [eventfd().unwrap(), eventfd().unwrap()];
        let fd = number.as_raw_fd();
        let now = || Identity::of(fd).unwrap();
        let mut known = now();
        tracker.note(fd, &mut known);
        assert!(known.is_noted);
        assert!(tracker.is_same(fd, &known, &now()));
        let duplicate = number.try_clone().unwrap();
        test_fds::replace(number.as_fd(), other.as_fd()).unwrap();
        assert!(!tracker.is_same(fd, &known, &now()));
        let mut next = now();
        tracker.note(fd, &mut next);
        assert!(tracker.is_same(fd, &next, &now()));
        tracker.forget(fd, &next);
        // The first event fd comes back under its number.
        test_fds::replace(number.as_fd(), duplicate.as_fd()).unwrap();
        assert!(tracker.is_same(fd, &known, &now()));
        tracker.forget(fd, &known);
        assert!(!tracker.is_same(fd, &known, &now()));
    }

    #[test]
    fn is_same_without_epoll_compares_inodes() {
        let tracker = FileTracker::default();
        let [number, other] = [eventfd().unwrap(), eventfd().unwrap()];
        let fd = number.as_raw_fd();
        let now = || Identity::of(fd).unwrap();
        let known = now();
        test_fds::replace(number.as_fd(), other.as_fd()).unwrap();
        assert!(tracker.is_same(fd, &known, &now()));
        let (reader, _writer) = crate::sys::pipe::pipe().unwrap();
        test_fds::replace(number.as_fd(), reader.as_fd()).unwrap();
        assert!(!tracker.is_same(fd, &known, &now()));
    }
}
