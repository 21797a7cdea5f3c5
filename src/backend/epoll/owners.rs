//! [`Owners`] stores the registration of each fd number, and removes registrations from other
//! threads.
//!
//! When a registration ends on another thread, the loop removes it the next time it runs. Its
//! number may be closed by then. If the file lives on in a duplicate, the kernel's registration
//! could never be removed, and each arrival would wake the loop. So the other thread removes it
//! while the number is open.

use super::control;
use crate::backend::{Release, Token};
use crate::sync::{Mutex, MutexGuard};
use crate::sys::fork::Process;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;

/// The notifier's token, and in the table the mark of a number without an owner. No registration
/// has it.
pub(super) const NO_OWNER: u64 = u64::MAX;

pub(super) struct Owners {
    /// Locked while an fd is added or removed, so that the kernel's set and the owners change
    /// together. A thread that finds no owner may close the number at once.
    table: Mutex<Table>,
    /// The process that owns the epoll instance. In the child of a fork the lock may be held
    /// forever.
    process: Process,
}

pub(super) struct Table {
    /// The number of the epoll instance while it is open.
    epoll: Option<RawFd>,
    /// By fd number: the token that was last added under it, or `NO_OWNER`. Out of date if an fd
    /// was closed without `remove` or `forget`, until the number is added again.
    by_number: Vec<u64>,
}

impl Owners {
    pub(super) fn new(epoll: RawFd) -> Arc<Owners> {
        let table = Table {
            epoll: Some(epoll),
            by_number: Vec::new(),
        };
        Arc::new(Owners {
            table: Mutex::new(table),
            process: Process::this(),
        })
    }

    /// Locks the table. For the loop alone, in the process that made this.
    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }

    /// Forgets the number of the epoll instance, which the caller closes next. Does nothing in the
    /// child of a fork, where the lock may be held forever.
    pub(super) fn close(&self) {
        if self.process.is_this() {
            self.table.lock().epoll = None;
        }
    }
}

impl Table {
    pub(super) fn owner(&self, fd: RawFd) -> u64 {
        let at = usize::try_from(fd).unwrap_or(usize::MAX);
        self.by_number.get(at).copied().unwrap_or(NO_OWNER)
    }

    /// Notes the owner of a number, and returns the one before.
    #[inline(never)]
    pub(super) fn set(&mut self, fd: RawFd, owner: u64) -> u64 {
        let at = fd as usize;
        if at >= self.by_number.len() {
            self.by_number.resize(at + 1, NO_OWNER);
        }
        std::mem::replace(&mut self.by_number[at], owner)
    }

    /// Takes a number from its owner. Returns `NotFound` if the token does not own it.
    pub(super) fn forget(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        let owner = token.to_u64();
        if owner == NO_OWNER || owner != self.owner(fd) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.set(fd, NO_OWNER);
        Ok(())
    }

    /// Takes a number from its owner and out of the kernel's set of `epoll`. Returns `NotFound` if
    /// the token does not own it.
    pub(super) fn remove(
        &mut self,
        epoll: BorrowedFd<'_>,
        fd: RawFd,
        token: Token,
    ) -> io::Result<()> {
        self.forget(fd, token)?;
        match control(epoll, libc::EPOLL_CTL_DEL, fd, 0, 0) {
            // The number was closed, and may have been given to another file since.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOENT)) => {
                Ok(())
            }
            removed => removed,
        }
    }
}

impl Release for Owners {
    fn release(&self, fd: RawFd, token: Token) {
        if !self.process.is_this() {
            return;
        }
        let mut table = self.table.lock();
        let Some(epoll) = table.epoll else {
            return;
        };
        // SAFETY: the instance is open while the table has its number: `Epoll` calls
        // `Owners::close`, which waits for this lock, before it closes the instance.
        let epoll = unsafe { BorrowedFd::borrow_raw(epoll) };
        // On an error the loop has removed it already, and the number may be another
        // registration's.
        let _ = table.remove(epoll, fd, token);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::backend::epoll::Epoll;
    use crate::backend::{Backend, Events, Interest, Trigger};
    use std::io::Write;
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    /// A thread closes the number as soon as it finds that there is nothing left to release. The
    /// file lives on in a duplicate, so the kernel must have removed it by then.
    #[test]
    fn remove_has_removed_what_release_no_longer_finds() {
        const ROUNDS: u32 = 5_000;
        let mut epoll = Epoll::new(4).unwrap();
        let owners = epoll.owners.clone();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(b"x").unwrap();
        let (send, receive) = channel::<(UnixStream, Token)>();
        let (step, steps) = channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for (duplicate, token) in receive {
                    step.send(()).unwrap();
                    let (number, token) = (duplicate.as_raw_fd(), token.to_u64());
                    let is_owned = || {
                        let table = owners.table.try_lock();
                        table.is_none_or(|table| table.owner(number) == token)
                    };
                    let mut spins = 0;
                    while is_owned() {
                        spins += 1;
                        // A thread that is held up needs the processor for the removal.
                        if spins < 10_000 {
                            std::hint::spin_loop();
                        } else {
                            std::thread::yield_now();
                        }
                    }
                    drop(duplicate);
                    step.send(()).unwrap();
                }
            });
            let mut events = Events::with_capacity(4);
            for round in 1..=ROUNDS {
                let (duplicate, token) = (theirs.try_clone().unwrap(), Token::new(round, 1));
                let (fd, number) = (duplicate.as_fd(), duplicate.as_raw_fd());
                epoll
                    .add(fd, token, Interest::READABLE, Trigger::Level)
                    .unwrap();
                send.send((duplicate, token)).unwrap();
                steps.recv().unwrap();
                epoll.remove(number, token).unwrap();
                steps.recv().unwrap();
                epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
                assert_eq!(events.as_slice(), [], "round {round}");
            }
            drop(send);
        });
    }
}
