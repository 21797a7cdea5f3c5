//! [`Signals`]: listens for several kinds of signals at once.

use super::SignalKind;
use crate::runtime;
use crate::signals::Listener;
use crate::sys::syscall::failure;
use futures_core::Stream;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Listens for several kinds of signals, on the runtime of this thread.
///
/// Works as [`signal()`](super::signal()), which listens for one kind. A kind that is named twice
/// counts once.
///
/// # Errors
///
/// Those of [`signal()`](super::signal()), and `InvalidInput` if `kinds` is empty. If one kind is
/// refused, the call listens for none of them.
///
/// # Examples
///
/// ```
/// use reveille::signal::{SignalKind, signals};
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let (usr1, usr2) = (SignalKind::user_defined1(), SignalKind::user_defined2());
///     let mut both = signals(&[usr1, usr2])?;
///     // SAFETY: the call takes no pointer, and the signal has a handler.
///     unsafe { libc::raise(libc::SIGUSR2) };
///     assert_eq!(both.recv().await, Some(usr2));
///     Ok(())
/// })
/// # }
/// ```
pub fn signals(kinds: &[SignalKind]) -> io::Result<Signals> {
    if kinds.is_empty() {
        return Err(failure(
            io::ErrorKind::InvalidInput,
            "cannot listen for signals: the list of kinds is empty; name at least one kind",
        ));
    }
    let listener = Listener::new(runtime::signal_hub()?, kinds)?;
    Ok(Signals { listener })
}

/// Listens for several kinds of signals. Returned by [`signals`].
///
/// It may move to another thread, and to a task of another runtime. It ends with the runtime that
/// made it.
#[must_use = "a listener reports signals only to a caller of `recv`"]
pub struct Signals {
    listener: Listener,
}

impl Signals {
    /// Waits for the next signal and returns its kind. Returns `None` if the runtime that made this
    /// listener has ended and every earlier signal was returned.
    ///
    /// Signals of one kind that arrive together may be reported as one. Signals of different kinds
    /// are reported one after the other, not always in the order of their arrival. A kind that
    /// arrives all the time does not keep another kind from being reported.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Dropping the future loses no signal: the next call returns it.
    pub async fn recv(&mut self) -> Option<SignalKind> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Polls for the next signal, as [`recv`](Signals::recv). The task of the last call is woken.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<SignalKind>> {
        self.listener.poll_recv(cx)
    }
}

/// Reports signals as [`recv`](Signals::recv) does, and ends with the runtime.
impl Stream for Signals {
    type Item = SignalKind;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SignalKind>> {
        self.poll_recv(cx)
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signals")?;
        f.debug_list().entries(self.listener.kinds()).finish()
    }
}
