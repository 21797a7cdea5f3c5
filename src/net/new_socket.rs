//! [`NewSocket`]: a socket that is not registered yet, as `TcpSocket` and `UnixSocket` contain one.

use crate::sys::fork;
use crate::sys::socket::Socket;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// A socket that is not registered yet, and whether it has the only descriptor of its file. A
/// reactor notices only the forks between its own calls, and this socket may be older than that.
pub(super) struct NewSocket {
    socket: Socket,
    /// Whether no code outside of this crate has had the descriptor.
    own: AtomicBool,
    /// `fork::copies` when it was made.
    copies: u32,
}

impl NewSocket {
    /// Takes over a socket. `own`: this crate has just made it.
    pub(super) fn new(socket: Socket, own: bool) -> NewSocket {
        fork::watch();
        NewSocket {
            socket,
            own: AtomicBool::new(own),
            copies: fork::copies(),
        }
    }

    pub(super) fn get(&self) -> &Socket {
        &self.socket
    }

    /// Lends the descriptor to code outside of this crate, which may duplicate it.
    pub(super) fn lend(&self) -> BorrowedFd<'_> {
        self.own.store(false, Ordering::Relaxed);
        self.socket.as_fd()
    }

    /// Returns the socket, and whether no other descriptor of its file exists.
    pub(super) fn into_parts(self) -> (Socket, bool) {
        let owned = self.own.into_inner() && self.copies == fork::copies();
        (self.socket, owned)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn socket_counts_as_shared_once_it_is_lent_or_the_process_has_forked() {
        let any = "127.0.0.1:0".parse().unwrap();
        let socket = || NewSocket::new(Socket::tcp(any).unwrap(), true);
        // Another test may fork at any time, so this is tried until none has.
        while !socket().into_parts().1 {}
        let lent = socket();
        lent.lend();
        assert!(!lent.into_parts().1);
        let forked = socket();
        fork::in_child(|| Ok(())).unwrap().unwrap();
        assert!(!forked.into_parts().1);
    }
}
