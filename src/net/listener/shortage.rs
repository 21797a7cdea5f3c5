//! Accepting while the process is out of descriptors: the listener counts the failures, and may
//! close the connections that it cannot take.

use super::Listener;
use crate::net::kind::Duplex;
use crate::sync::ForkLock;
use crate::sys::socket::{self, Socket};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of a listener, and the descriptor that it keeps in reserve.
pub(super) struct Shortage {
    /// How many calls of accept(2) failed for lack of descriptors or memory.
    failed: AtomicU64,
    /// How many connections were closed because of that.
    shed: AtomicU64,
    reserve: ForkLock<Reserve>,
}

/// The descriptor in reserve, if connections are to be shed.
#[derive(Default)]
struct Reserve {
    is_wanted: bool,
    /// `None` if another thread was faster when it was to be opened again.
    socket: Option<Socket>,
}

impl Reserve {
    fn fill(&mut self) -> io::Result<()> {
        if self.socket.is_none() {
            let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            self.socket = Some(Socket::tcp(any)?);
        }
        Ok(())
    }
}

impl Shortage {
    pub(super) fn new() -> Shortage {
        Shortage {
            failed: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            reserve: ForkLock::new(Reserve::default()),
        }
    }

    /// Accepts the first connection of the queue. If a descriptor is missing and connections are to
    /// be shed, closes the connection and returns `ECONNABORTED`, the error of a connection that
    /// has ended in the queue.
    #[inline]
    pub(super) fn accept<K: Duplex>(&self, listener: &Socket) -> io::Result<(Socket, K::Addr)> {
        match K::accept(listener) {
            Err(error) if socket::is_exhausted(&error) => Err(self.close_one::<K>(listener, error)),
            result => result,
        }
    }

    /// Closes a connection if that is wanted, and returns the error that `accept` reports.
    #[cold]
    fn close_one<K: Duplex>(&self, listener: &Socket, error: io::Error) -> io::Error {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut reserve = self.reserve.lock();
        if !reserve.is_wanted || reserve.fill().is_err() {
            return error;
        }
        // The connection takes the place of the descriptor that is closed here. Linux looks for a
        // descriptor before it looks for a connection, so there may be none.
        reserve.socket = None;
        let error = match K::accept(listener) {
            Ok(_closed) => {
                self.shed.fetch_add(1, Ordering::Relaxed);
                socket::aborted()
            }
            Err(error) => error,
        };
        // If that fails, the next shortage tries again.
        let _ = reserve.fill();
        error
    }
}

impl<K: Duplex> Listener<K> {
    /// Sets whether connections are closed at once while the process is out of descriptors. By
    /// default they wait in the kernel's queue until a descriptor is free.
    ///
    /// A client then sees at once that it is not served, and may try another server. By default the
    /// client waits, perhaps for a long time. While this is on, the listener keeps one descriptor
    /// in reserve. When no other is free, it closes the reserve, accepts the connection, closes the
    /// connection, and opens the reserve again.
    ///
    /// # Errors
    ///
    /// Returns an error if no descriptor is free for the reserve. Then it stays off.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::TcpListener;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// listener.shed_when_full(true)?;
    /// assert_eq!((listener.shortages(), listener.shed()), (0, 0));
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn shed_when_full(&self, on: bool) -> io::Result<()> {
        let mut reserve = self.shortage.reserve.lock();
        if on {
            reserve.fill()?;
        } else {
            reserve.socket = None;
        }
        reserve.is_wanted = on;
        Ok(())
    }

    /// Returns how many times accepting has failed because the process or the system was out of
    /// descriptors or memory. It counts tries, not connections, for logs and metrics.
    pub fn shortages(&self) -> u64 {
        self.shortage.failed.load(Ordering::Relaxed)
    }

    /// Returns how many connections were closed because of
    /// [`shed_when_full`](Listener::shed_when_full).
    pub fn shed(&self) -> u64 {
        self.shortage.shed.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shortage")
            .field("failed", &self.failed)
            .field("shed", &self.shed)
            .finish_non_exhaustive()
    }
}
