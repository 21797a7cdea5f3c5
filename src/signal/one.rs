//! [`Signal`]: listens for one kind of signal.

use super::SignalKind;
use crate::runtime;
use crate::signals::Listener;
use futures_core::Stream;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Listens for a kind of signal, on the runtime of this thread.
///
/// Signals that arrive after this call are reported, also those that arrive before the first
/// [`recv`](Signal::recv). Earlier ones are not.
///
/// The handler that the first call for a kind installs [stays](super#what-happens-to-the-process)
/// when the listener is dropped.
///
/// # Errors
///
/// | kind | reason |
/// |---|---|
/// | [`InvalidInput`](io::ErrorKind::InvalidInput) | the kind is [refused](super#kinds-that-are-refused), or is no signal |
/// | [`Other`](io::ErrorKind::Other) | no runtime runs on this thread |
/// | any other | the system's error, such as a limit that was reached |
///
/// # Examples
///
/// A daemon that reads its configuration again on SIGHUP:
///
/// ```no_run
/// use reveille::signal::{SignalKind, signal};
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let mut hangups = signal(SignalKind::hangup())?;
///     while hangups.recv().await.is_some() {
///         println!("reads the configuration again");
///     }
///     Ok(())
/// })
/// # }
/// ```
pub fn signal(kind: SignalKind) -> io::Result<Signal> {
    let listener = Listener::new(runtime::signal_hub()?, &[kind])?;
    Ok(Signal { listener })
}

/// Listens for one kind of signal. Returned by [`signal()`].
///
/// It may move to another thread, and to a task of another runtime. It ends with the runtime that
/// made it.
#[must_use = "a listener reports signals only to a caller of `recv`"]
pub struct Signal {
    listener: Listener,
}

impl Signal {
    /// Waits for the next signal of this kind. Returns `None` if the runtime that made this
    /// listener has ended and every earlier signal was returned.
    ///
    /// Signals that arrive before the call returns once more may be reported as one.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Dropping the future loses no signal: the next call returns it.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::signal::{SignalKind, signal};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let mut usr1 = signal(SignalKind::user_defined1())?;
    ///     // SAFETY: the call takes no pointer, and the signal has a handler.
    ///     unsafe { libc::raise(libc::SIGUSR1) };
    ///     assert_eq!(usr1.recv().await, Some(()));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn recv(&mut self) -> Option<()> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Polls for the next signal of this kind, as [`recv`](Signal::recv).
    ///
    /// The task of the last call is woken. It may be woken by a signal of another kind, too.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        self.listener
            .poll_recv(cx)
            .map(|found| found.map(|_kind| ()))
    }

    /// Returns the kind of signal that this listens for.
    pub fn kind(&self) -> SignalKind {
        let kind = self.listener.kinds().next();
        kind.expect("a listener is made for one kind at least")
    }
}

/// Reports signals as [`recv`](Signal::recv) does, and ends with the runtime.
impl Stream for Signal {
    type Item = ();

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        self.poll_recv(cx)
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signal").field(&self.kind()).finish()
    }
}
