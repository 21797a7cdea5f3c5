//! Wake-up from another thread: the one part of a backend that crosses threads.
//!
//! A [`Notifier`] ends the backend's current wait, or the next one if none is running. Who calls it has published
//! what the loop should look at *before*; the loop consumes the notification and looks *after*. How often it is called
//! is decided above (the park protocol of `reactor/driver.rs`: once per sleep at most), not here.

use std::fmt;
use std::io;
use std::sync::Arc;

/// What a mechanism needs to be woken by: a user event, a port message, or the fd of [`NotifyFd`].
pub trait Notify: Send + Sync {
    /// Ends the running wait or the next one. Any number of calls before that wait count as one.
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
