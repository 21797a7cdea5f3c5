//! [`UnixListener`]: binding, conversions.

use super::Unix;
use crate::net::check_nonblocking;
use crate::net::listener::{BACKLOG, Listener};
use crate::place::Place;
use crate::reactor::Watch;
use crate::reactor::registration::check_runtime;
use crate::sys::socket::Socket;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::SocketAddr;
use std::path::Path;

/// A Unix socket that listens for connections. [`Listener`] has the methods that all listeners
/// have.
///
/// # Examples
///
/// ```
/// use reveille::net::{UnixListener, UnixStream};
///
/// # fn main() -> std::io::Result<()> {
/// # let dir = std::env::temp_dir().join(format!("reveille-listener-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// # let path = dir.join("socket");
/// reveille::block_on(async {
///     let listener = UnixListener::bind(&path)?;
///     let client = UnixStream::connect(&path).await?;
///     let (server, _addr) = listener.accept().await?;
///     server.write_all(b"hello").await?;
///     let mut buf = [0; 5];
///     client.read_exact(&mut buf).await?;
///     assert_eq!(&buf, b"hello");
///     // The file stays until it is removed.
///     drop(listener);
///     std::fs::remove_file(&path)
/// })?;
/// # std::fs::remove_dir(&dir)
/// # }
/// ```
pub type UnixListener = Listener<Unix>;

impl UnixListener {
    /// Listens on a path, where it makes a socket file.
    ///
    /// # The socket file
    ///
    /// The file stays when the listener is dropped and when the process ends. The file of a server
    /// that has ended is *stale*: no process listens on it, and binding to its path fails with
    /// `AddrInUse`. This crate removes no file, because it cannot know which program the file
    /// belongs to. A server that is known to be the only one on its path, because it holds a lock
    /// or runs under a supervisor, removes the file before it binds. Any other server connects
    /// first: `ConnectionRefused` means that the file is stale.
    ///
    /// The permissions of the file and of its directory decide which users may connect. The file
    /// gets those that the `umask` of the process allows. A directory that only the right users can
    /// enter is the safe way.
    ///
    /// # Errors
    ///
    /// Returns `AddrInUse` if the file exists, `InvalidInput` if the path is too long (107 bytes
    /// are allowed on Linux, 103 on the BSDs) or contains a null byte, and the other errors of
    /// `bind(2)`. Returns an error if no runtime runs on this thread; no file is made then.
    ///
    /// # Examples
    ///
    /// See [`UnixListener`].
    #[track_caller]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Listens on an address: a path, or, on Linux and Android, an abstract name. An abstract name
    /// is no file, has no permissions, and is free again when its last socket is closed.
    ///
    /// # Errors
    ///
    /// Same as [`bind`](UnixListener::bind).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")]
    /// # fn main() -> std::io::Result<()> {
    /// use reveille::net::{UnixListener, UnixStream};
    /// use std::os::linux::net::SocketAddrExt;
    /// use std::os::unix::net::SocketAddr;
    ///
    /// let name = format!("org.example.server-{}", std::process::id());
    /// let addr = SocketAddr::from_abstract_name(name)?;
    /// reveille::block_on(async {
    ///     let listener = UnixListener::bind_addr(&addr)?;
    ///     let client = UnixStream::connect_addr(&addr).await?;
    ///     let (_server, _) = listener.accept().await?;
    ///     assert_eq!(client.peer_addr()?.as_abstract_name(), addr.as_abstract_name());
    ///     Ok(())
    /// })
    /// # }
    /// # #[cfg(not(target_os = "linux"))]
    /// # fn main() {}
    /// ```
    #[track_caller]
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<UnixListener> {
        // Checked first, because a socket file would be left behind.
        check_runtime()?;
        let socket = Socket::unix()?;
        socket.bind_unix(addr)?;
        socket.listen(BACKLOG)?;
        UnixListener::register(socket, Watch::Listener { owned: true }, Place::here())
    }

    /// Converts a listener of the standard library, which must be in non-blocking mode.
    ///
    /// The mode is not changed here, because it belongs to the socket, which other code may share.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the socket is in blocking mode. Returns an error if no runtime
    /// runs on this thread, or if the socket cannot be registered. The socket is closed on every
    /// error.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use reveille::net::UnixListener;
    /// use std::os::fd::{FromRawFd, OwnedFd};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # fn socket_of_the_supervisor() -> OwnedFd { unimplemented!() }
    /// let listener = std::os::unix::net::UnixListener::from(socket_of_the_supervisor());
    /// listener.set_nonblocking(true)?;
    /// reveille::block_on(async {
    ///     let listener = UnixListener::from_std(listener)?;
    ///     let (stream, _) = listener.accept().await?;
    ///     stream.write_all(b"hello\n").await
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(listener: std::os::unix::net::UnixListener) -> io::Result<UnixListener> {
        check_nonblocking(listener.as_fd())?;
        let socket = Socket::adopt(listener.into())?;
        UnixListener::register(socket, Watch::Listener { owned: false }, Place::here())
    }

    /// Converts one of several clones of a listener, so that a connection does not wake all of
    /// their runtimes. See
    /// [`TcpListener::from_std_exclusive`](crate::net::TcpListener::from_std_exclusive), of which
    /// everything but `SO_REUSEPORT` holds here too.
    ///
    /// # Errors
    ///
    /// Returns `Unsupported` if the runtime's backend cannot do this. Only epoll can
    /// (`EPOLLEXCLUSIVE`). Otherwise the same as [`from_std`](UnixListener::from_std). The clone is
    /// closed on every error; the other clones are not affected.
    #[track_caller]
    pub fn from_std_exclusive(
        listener: std::os::unix::net::UnixListener,
    ) -> io::Result<UnixListener> {
        check_nonblocking(listener.as_fd())?;
        let socket = Socket::adopt(listener.into())?;
        UnixListener::register(socket, Watch::ExclusiveListener, Place::here())
    }

    /// Converts into a listener of the standard library. It stays in non-blocking mode.
    ///
    /// # Errors
    ///
    /// It cannot fail in this version.
    pub fn into_std(self) -> io::Result<std::os::unix::net::UnixListener> {
        Ok(self.into_io().into_fd().into())
    }
}
