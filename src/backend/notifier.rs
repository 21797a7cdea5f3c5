//! Wake-up from another thread: the one part of a backend that crosses threads.
//!
//! A [`Notifier`] ends the backend's current wait, or the next one if none is running. Who calls it has published
//! what the loop should look at *before*; the loop consumes the notification and looks *after*. How often it is called
//! is decided above (the park protocol of `reactor/parker.rs`: once per sleep at most), not here.

use crate::sys;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// What a mechanism needs to be woken by: a user event, a port message, or the fd of [`NotifyFd`].
pub trait Notify: Send + Sync {
    /// Ends the running wait or the next one. Any number of calls before that wait count as one.
    ///
    /// It is called from any thread, also from one that is in the middle of another runtime's turn: it must use no
    /// runtime's sockets, timers or tasks.
    ///
    /// # Errors
    ///
    /// What the system call says, except "full already", which is success.
    fn notify(&self) -> io::Result<()>;
}

/// A shared handle to a backend's wake-up; see [`Notify`].
#[derive(Clone)]
pub struct Notifier(Arc<dyn Notify>);

impl Notifier {
    /// Wraps a mechanism's own way to be woken.
    pub fn new(notify: Arc<dyn Notify>) -> Notifier {
        Notifier(notify)
    }

    /// Ends the running wait or the next one.
    ///
    /// # Errors
    ///
    /// What the system call says.
    pub fn notify(&self) -> io::Result<()> {
        self.0.notify()
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notifier")
    }
}

/// The ready-made wake-up for mechanisms that watch fds: an eventfd where the kernel has one, else a pipe.
///
/// The backend owns it, watches [`as_fd`](AsFd::as_fd) for reading and calls [`drain`](NotifyFd::drain) when that
/// is reported; [`notifier`](NotifyFd::notifier) is what it hands out. Both fds live as long as the last handle, so a
/// notification that comes too late writes into nothing rather than to a stranger's fd, and raises no `SIGPIPE`.
pub struct NotifyFd {
    ends: Arc<Ends>,
}

struct Ends {
    receive: File,
    /// `None` for an eventfd, whose one fd is both ends.
    send: Option<File>,
}

impl NotifyFd {
    /// Makes an eventfd, or a pipe where there is none or a sandbox forbids it.
    ///
    /// # Errors
    ///
    /// `EMFILE` and its like.
    pub fn new() -> io::Result<NotifyFd> {
        match NotifyFd::eventfd() {
            Err(error) if is_refused(&error) => NotifyFd::pipe(),
            made => made,
        }
    }

    /// The pipe, whatever the kernel has.
    pub(crate) fn pipe() -> io::Result<NotifyFd> {
        let (receive, send) = sys::pipe::pipe()?;
        Ok(NotifyFd::with_ends(receive.into(), Some(send.into())))
    }

    #[cfg(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "illumos"
    ))]
    fn eventfd() -> io::Result<NotifyFd> {
        Ok(NotifyFd::with_ends(sys::eventfd::eventfd()?.into(), None))
    }

    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "illumos"
    )))]
    fn eventfd() -> io::Result<NotifyFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn with_ends(receive: File, send: Option<File>) -> NotifyFd {
        NotifyFd {
            ends: Arc::new(Ends { receive, send }),
        }
    }

    /// The handle for other threads.
    pub fn notifier(&self) -> Notifier {
        Notifier::new(self.ends.clone())
    }

    /// Whether every notification is a new edge although nothing was read, as on Linux's eventfd: an edge-triggered
    /// mechanism need not call [`drain`](NotifyFd::drain) then.
    pub fn edge_repeats(&self) -> bool {
        cfg!(any(target_os = "linux", target_os = "android")) && self.ends.send.is_none()
    }

    /// Consumes what was notified so far, so that the fd is readable no longer. Call it before looking at what was
    /// published: what is notified afterwards makes the fd readable again.
    #[inline(never)]
    pub fn drain(&self) {
        let mut receive = &self.ends.receive;
        let mut buffer = [0; 128];
        loop {
            match receive.read(&mut buffer) {
                // A pipe that is longer than the buffer; an eventfd gives 8 bytes and is empty.
                Ok(length) if length == buffer.len() => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Empty now, or empty before (`WouldBlock`): nothing else can go wrong with an fd of our own.
                _ => return,
            }
        }
    }

    /// In the child of a fork: makes the same numbers name a new eventfd or pipe, so that the parent's is left alone and
    /// every handle that was given out notifies this process. To be watched anew.
    ///
    /// # Errors
    ///
    /// `EMFILE` and its like; the inherited one is still in use then.
    pub fn after_fork(&self) -> io::Result<()> {
        let fresh = match self.ends.send {
            None => NotifyFd::eventfd()?,
            Some(_) => NotifyFd::pipe()?,
        };
        if let (Some(old), Some(new)) = (&self.ends.send, &fresh.ends.send) {
            sys::fork::replace(old.as_fd(), new.as_fd())?;
        }
        sys::fork::replace(self.as_fd(), fresh.as_fd())
    }
}

impl AsFd for NotifyFd {
    /// The fd to watch for reading.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ends.receive.as_fd()
    }
}

impl Notify for Ends {
    fn notify(&self) -> io::Result<()> {
        let (mut send, message) = match &self.send {
            Some(pipe) => (pipe, &[1][..]),
            None => (&self.receive, &1_u64.to_ne_bytes()[..]),
        };
        loop {
            match send.write(message) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.send.is_some() {
                        // A full pipe: it is readable, and was not read since.
                        return Ok(());
                    }
                    // The counter is full. It is readable, but where edges count, only a write that succeeds makes
                    // one: make room and write again.
                    let _ = send.read(&mut [0; 8]);
                }
                written => return written.map(drop),
            }
        }
    }
}

impl fmt::Debug for NotifyFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.ends.send {
            None => "NotifyFd(eventfd)",
            Some(_) => "NotifyFd(pipe)",
        })
    }
}

/// Whether a call is missing or forbidden here, so that its elder has to do.
pub(super) fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported || sys::syscall::is_refused(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn is_readable(notify: &NotifyFd) -> bool {
        use std::os::fd::AsRawFd;
        let mut fds = [libc::pollfd {
            fd: notify.as_fd().as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }];
        sys::poll::poll(&mut fds, Some(Duration::ZERO)).unwrap() == 1
    }

    fn both() -> [NotifyFd; 2] {
        [NotifyFd::new().unwrap(), NotifyFd::pipe().unwrap()]
    }

    #[test]
    fn drain_consumes_every_notification() {
        for notify in both() {
            assert!(!is_readable(&notify), "{notify:?}");
            let notifier = notify.notifier();
            // More than one buffer of a pipe.
            for _ in 0..300 {
                notifier.notify().unwrap();
            }
            assert!(is_readable(&notify), "{notify:?}");
            notify.drain();
            assert!(!is_readable(&notify), "{notify:?}");
            notify.drain();
        }
    }

    #[test]
    fn a_full_pipe_is_notified_already() {
        let notify = NotifyFd::pipe().unwrap();
        let notifier = notify.notifier();
        for _ in 0..100_000 {
            notifier.notify().unwrap();
        }
        notify.drain();
        assert!(!is_readable(&notify));
    }

    #[test]
    fn notifying_after_the_backend_is_gone_is_harmless() {
        for notify in both() {
            let notifier = notify.notifier();
            drop(notify);
            notifier.notify().unwrap();
        }
    }

    #[test]
    fn a_full_counter_is_emptied_and_written_again() {
        let notify = NotifyFd::new().unwrap();
        if notify.ends.send.is_none() {
            let full = (u64::MAX - 1).to_ne_bytes();
            (&notify.ends.receive).write_all(&full).unwrap();
            notify.notifier().notify().unwrap();
            let mut counter = [0; 8];
            (&notify.ends.receive).read_exact(&mut counter).unwrap();
            assert_eq!(u64::from_ne_bytes(counter), 1);
        }
    }
}
