//! [`Notifier`] ends a backend's wait from another thread; [`NotifyFd`] is the ready-made fd for
//! it.
//!
//! A notification ends the current wait, or the next one if none is running. The caller first
//! publishes what the loop should process, then notifies. The loop first consumes the notification,
//! then checks what was published. `reactor/parker.rs` decides how often to notify: once per sleep
//! at most.

use crate::sys;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Ends the wait of a backend: by a user event, a port message, or the fd of [`NotifyFd`].
pub trait Notify: Send + Sync {
    /// Ends the running wait or the next one. Any number of calls before that wait count as one.
    ///
    /// It is called from any thread, even during a turn of another runtime, so it must not use any
    /// runtime's sockets, timers or tasks.
    ///
    /// # Errors
    ///
    /// The error of the system call, except "already full", which is success. After an error the
    /// loop may sleep until something else ends its wait or the next notification succeeds.
    fn notify(&self) -> io::Result<()>;
}

/// A shared handle that ends a backend's wait; see [`Notify`].
///
/// ```
/// use reveille::backend::{Notifier, Notify};
/// use std::io;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
///
/// #[derive(Default)]
/// struct Flag(AtomicBool);
///
/// impl Notify for Flag {
///     fn notify(&self) -> io::Result<()> {
///         self.0.store(true, SeqCst);
///         Ok(())
///     }
/// }
///
/// let flag = Arc::new(Flag::default());
/// let notifier = Notifier::new(flag.clone());
/// notifier.notify()?;
/// assert!(flag.0.load(SeqCst));
/// # Ok::<(), io::Error>(())
/// ```
#[derive(Clone)]
pub struct Notifier(Arc<dyn Notify>);

impl Notifier {
    /// Makes a handle for a custom mechanism.
    pub fn new(notify: Arc<dyn Notify>) -> Notifier {
        Notifier(notify)
    }

    /// Ends the running wait or the next one.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    pub fn notify(&self) -> io::Result<()> {
        self.0.notify()
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notifier")
    }
}

/// An fd that ends a wait, for mechanisms that watch fds: an eventfd if the kernel has one,
/// otherwise a pipe.
///
/// The backend owns it and watches [`as_fd`](AsFd::as_fd) for reading. When that is reported, it
/// calls [`drain`](NotifyFd::drain). It hands out [`notifier`](NotifyFd::notifier). Both ends stay
/// open as long as any handle exists, so a notification that comes too late is harmless and raises
/// no `SIGPIPE`.
///
/// ```
/// use reveille::backend::NotifyFd;
/// let notify = NotifyFd::new()?;
/// let notifier = notify.notifier();
/// std::thread::spawn(move || notifier.notify()).join().unwrap()?;
/// notify.drain();
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct NotifyFd {
    ends: Arc<Ends>,
}

struct Ends {
    receive: File,
    /// `None` for an eventfd, which is both ends.
    send: Option<File>,
}

impl NotifyFd {
    /// Makes an eventfd, or a pipe if the kernel has no eventfd or a sandbox forbids it.
    ///
    /// # Errors
    ///
    /// `EMFILE` and other errors of the system call.
    pub fn new() -> io::Result<NotifyFd> {
        match NotifyFd::eventfd() {
            Err(error) if is_refused(&error) => NotifyFd::pipe(),
            made => made,
        }
    }

    /// Makes a pipe, even if the kernel has eventfds.
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

    /// Returns the handle for other threads.
    pub fn notifier(&self) -> Notifier {
        Notifier::new(self.ends.clone())
    }

    /// Returns whether every notification is a new edge although nothing was read, as on Linux's
    /// eventfd. For custom backends: an edge-triggered mechanism need not call
    /// [`drain`](NotifyFd::drain) then.
    pub fn edge_repeats(&self) -> bool {
        cfg!(any(target_os = "linux", target_os = "android")) && self.ends.send.is_none()
    }

    /// Consumes all notifications so far, so that the fd is no longer readable.
    ///
    /// Call it before you check what was published: a later notification makes the fd readable
    /// again.
    #[inline(never)]
    pub fn drain(&self) {
        let mut receive = &self.ends.receive;
        let mut buffer = [0; 128];
        loop {
            match receive.read(&mut buffer) {
                // A pipe may hold more than the buffer. An eventfd returns 8 bytes and is empty
                // then.
                Ok(length) if length == buffer.len() => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It is empty now, or was empty before (`WouldBlock`). Other errors cannot happen.
                _ => return,
            }
        }
    }

    /// Makes the same numbers name a new eventfd or pipe, in the child of a fork.
    ///
    /// So the parent's fd is left alone, and every handle that was handed out notifies this
    /// process. The mechanism has to watch the fd again.
    ///
    /// # Errors
    ///
    /// `EMFILE` and other errors of the system call. Then the inherited fd is still in use.
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
    /// Returns the fd to watch for reading.
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
                        // A full pipe is readable, and nothing has read it since.
                        return Ok(());
                    }
                    // The counter is full, so the fd is readable. But a mechanism that reports
                    // edges needs a write that succeeds: make room and write again.
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

/// Whether the system or the kernel lacks this call or a sandbox blocks it, so that the caller
/// should fall back to an older one.
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
            // More than fits in the buffer of `drain`.
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
    fn notify_of_a_full_pipe_succeeds() {
        let notify = NotifyFd::pipe().unwrap();
        let notifier = notify.notifier();
        for _ in 0..100_000 {
            notifier.notify().unwrap();
        }
        notify.drain();
        assert!(!is_readable(&notify));
    }

    #[test]
    fn notify_after_the_end_of_the_backend_is_harmless() {
        for notify in both() {
            let notifier = notify.notifier();
            drop(notify);
            notifier.notify().unwrap();
        }
    }

    #[test]
    fn notify_empties_a_full_counter_and_writes_again() {
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
