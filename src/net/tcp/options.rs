//! The options of a [`TcpStream`].

use super::TcpStream;
use crate::sys::socket_options::Keepalive;
use std::io;
use std::time::Duration;

impl TcpStream {
    /// Returns true if small packets are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket().nodelay()
    }

    /// Sets whether small packets are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket().set_nodelay(nodelay)
    }

    /// Returns the number of routers that a packet may pass (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket().ttl()
    }

    /// Sets the number of routers that a packet may pass (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket().set_ttl(ttl)
    }

    /// Returns how long a close waits for unsent bytes (`SO_LINGER`). With `None` they are sent in
    /// the background.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.socket().linger()
    }

    /// Sets how long a close waits for unsent bytes (`SO_LINGER`), rounded up to seconds.
    ///
    /// | `linger` | a close |
    /// |---|---|
    /// | `None` | returns at once; the kernel sends unsent bytes in the background |
    /// | zero | resets the connection and drops unsent bytes |
    /// | more than zero | **may block the thread** for this long, although the stream is non-blocking |
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// stream.set_nodelay(true)?;
    /// stream.set_ttl(5)?;
    /// stream.set_linger(Some(Duration::ZERO))?;
    /// assert!(stream.nodelay()?);
    /// assert_eq!(stream.ttl()?, 5);
    /// assert_eq!(stream.linger()?, Some(Duration::ZERO));
    /// assert!(stream.take_error()?.is_none());
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.socket().set_linger(linger)
    }

    /// Makes the drop of the stream reset the connection: the peer gets an error in place of the
    /// end of the stream, unsent bytes are dropped, and the port has no TIME-WAIT. The same as
    /// [`set_linger(Some(Duration::ZERO))`](TcpStream::set_linger).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let client = TcpStream::connect(listener.local_addr()?).await?;
    /// let (server, _) = listener.accept().await?;
    /// client.set_zero_linger()?;
    /// drop(client);
    /// let error = server.read(&mut [0; 16]).await.unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.socket().set_linger(Some(Duration::ZERO))
    }

    /// Returns when the connection is checked while nothing is sent (`SO_KEEPALIVE`), or `None` if
    /// it is not.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn keepalive(&self) -> io::Result<Option<Keepalive>> {
        self.socket().keepalive()
    }

    /// Sets whether and when the connection is checked while nothing is sent (`SO_KEEPALIVE`). If
    /// the peer does not answer, a waiting read ends with `TimedOut`.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, for example if a time is longer than the kernel's
    /// limit (on Linux 32,767 seconds and 127 checks). Returns `Unsupported` on systems that have
    /// one setting for all connections, unless all fields are `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{Keepalive, TcpListener, TcpStream};
    /// use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// let keepalive = Keepalive {
    ///     idle: Some(Duration::from_secs(60)),
    ///     interval: Some(Duration::from_secs(10)),
    ///     ..Keepalive::default()
    /// };
    /// stream.set_keepalive(Some(keepalive))?;
    /// assert_eq!(stream.keepalive()?.unwrap().idle, keepalive.idle);
    /// stream.set_keepalive(None)?;
    /// assert_eq!(stream.keepalive()?, None);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn set_keepalive(&self, keepalive: Option<Keepalive>) -> io::Result<()> {
        self.socket().set_keepalive(keepalive)
    }

    /// Returns how long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`), or `None` for the
    /// system's limit. Linux and Android only.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn user_timeout(&self) -> io::Result<Option<Duration>> {
        self.socket().user_timeout()
    }

    /// Sets how long sent bytes may stay unacknowledged before the connection ends with `TimedOut`
    /// (`TCP_USER_TIMEOUT`, tcp(7)). Rounded up to milliseconds. It also replaces the number of
    /// checks of [`set_keepalive`](TcpStream::set_keepalive). Linux and Android only.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// # #[cfg(target_os = "linux")]
    /// # {
    /// let limit = Some(Duration::from_secs(20));
    /// stream.set_user_timeout(limit)?;
    /// assert_eq!(stream.user_timeout()?, limit);
    /// # }
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn set_user_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket().set_user_timeout(timeout)
    }

    /// Returns the size of the kernel's receive buffer in bytes (`SO_RCVBUF`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn recv_buffer_size(&self) -> io::Result<u32> {
        self.socket().recv_buffer_size()
    }

    /// Sets the size of the kernel's receive buffer in bytes (`SO_RCVBUF`). The kernel may choose
    /// another: Linux doubles it, within its limits (socket(7)), and no longer adapts it to the
    /// traffic. For a large window set it before connecting, with a
    /// [`TcpSocket`](crate::net::TcpSocket).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_recv_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.socket().set_recv_buffer_size(bytes)
    }

    /// Returns the size of the kernel's send buffer in bytes (`SO_SNDBUF`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn send_buffer_size(&self) -> io::Result<u32> {
        self.socket().send_buffer_size()
    }

    /// Sets the size of the kernel's send buffer in bytes (`SO_SNDBUF`), as
    /// [`set_recv_buffer_size`](TcpStream::set_recv_buffer_size) does for the receive buffer.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// stream.set_recv_buffer_size(64 * 1024)?;
    /// stream.set_send_buffer_size(64 * 1024)?;
    /// assert!(stream.recv_buffer_size()? >= 64 * 1024);
    /// assert!(stream.send_buffer_size()? >= 64 * 1024);
    /// stream.set_tos_v4(0x10)?; // low delay
    /// assert_eq!(stream.tos_v4()?, 0x10);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn set_send_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.socket().set_send_buffer_size(bytes)
    }

    /// Returns the type-of-service byte of sent IPv4 packets (`IP_TOS`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn tos_v4(&self) -> io::Result<u32> {
        self.socket().tos_v4()
    }

    /// Sets the type-of-service byte of sent IPv4 packets (`IP_TOS`, ip(7)). The lowest two bits
    /// belong to the kernel.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_tos_v4(&self, tos: u32) -> io::Result<()> {
        self.socket().set_tos_v4(tos)
    }

    /// Returns the traffic class of sent IPv6 packets (`IPV6_TCLASS`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn tclass_v6(&self) -> io::Result<u32> {
        self.socket().tclass_v6()
    }

    /// Sets the traffic class of sent IPv6 packets (`IPV6_TCLASS`, ipv6(7)).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_tclass_v6(&self, class: u32) -> io::Result<()> {
        self.socket().set_tclass_v6(class)
    }

    /// Returns true if the kernel acknowledges received bytes at once (`TCP_QUICKACK`). Linux and
    /// Android only.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn quickack(&self) -> io::Result<bool> {
        self.socket().quickack()
    }

    /// Sets whether the kernel acknowledges received bytes at once (`TCP_QUICKACK`). The kernel may
    /// change it again as the connection goes on (tcp(7)): set it after each read that needs it.
    /// Linux and Android only.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// # #[cfg(target_os = "linux")]
    /// # {
    /// stream.set_quickack(true)?;
    /// println!("acknowledges at once: {}", stream.quickack()?);
    /// # }
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn set_quickack(&self, on: bool) -> io::Result<()> {
        self.socket().set_quickack(on)
    }
}
