//! The options of a [`UdpSocket`].

use super::UdpSocket;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Options. For those that are not here, use a crate such as `socket2`, whose `SockRef` borrows the
/// socket.
impl UdpSocket {
    /// Returns true if the socket may send to broadcast addresses (`SO_BROADCAST`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.io.socket().broadcast()
    }

    /// Sets whether the socket may send to broadcast addresses (`SO_BROADCAST`). Without it, such a
    /// send is `PermissionDenied`.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_broadcast(&self, on: bool) -> io::Result<()> {
        self.io.socket().set_broadcast(on)
    }

    /// Returns the number of routers that a datagram may pass (`IP_TTL`), of IPv4.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn ttl(&self) -> io::Result<u32> {
        self.io.socket().ttl()
    }

    /// Sets the number of routers that a datagram may pass (`IP_TTL`), of IPv4.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::UdpSocket;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// socket.set_ttl(5)?;
    /// socket.set_tos_v4(0x28)?;
    /// socket.set_broadcast(true)?;
    /// socket.set_recv_buffer_size(64 * 1024)?;
    /// assert_eq!((socket.ttl()?, socket.tos_v4()?), (5, 0x28));
    /// assert!(socket.broadcast()? && socket.recv_buffer_size()? >= 64 * 1024);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.io.socket().set_ttl(ttl)
    }

    /// Returns the type-of-service byte of sent datagrams (`IP_TOS`), of IPv4.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn tos_v4(&self) -> io::Result<u32> {
        self.io.socket().tos_v4()
    }

    /// Sets the type-of-service byte of sent datagrams (`IP_TOS`), of IPv4: six bits of DSCP, two
    /// of ECN.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_tos_v4(&self, tos: u32) -> io::Result<()> {
        self.io.socket().set_tos_v4(tos)
    }

    /// Returns the traffic class of sent datagrams (`IPV6_TCLASS`), of IPv6.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn tclass_v6(&self) -> io::Result<u32> {
        self.io.socket().tclass_v6()
    }

    /// Sets the traffic class of sent datagrams (`IPV6_TCLASS`), of IPv6.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_tclass_v6(&self, class: u32) -> io::Result<()> {
        self.io.socket().set_tclass_v6(class)
    }

    /// Returns the size of the receive buffer in bytes (`SO_RCVBUF`). Datagrams that do not fit are
    /// dropped.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn recv_buffer_size(&self) -> io::Result<u32> {
        self.io.socket().recv_buffer_size()
    }

    /// Sets the size of the receive buffer in bytes (`SO_RCVBUF`).
    ///
    /// Linux doubles the value and counts its own structures, and limits it by `net.core.rmem_max`.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_recv_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.io.socket().set_recv_buffer_size(bytes)
    }

    /// Returns the size of the send buffer in bytes (`SO_SNDBUF`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn send_buffer_size(&self) -> io::Result<u32> {
        self.io.socket().send_buffer_size()
    }

    /// Sets the size of the send buffer in bytes (`SO_SNDBUF`).
    ///
    /// Linux doubles the value and counts its own structures, and limits it by `net.core.wmem_max`.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_send_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.io.socket().set_send_buffer_size(bytes)
    }

    /// Returns true if a socket that is bound to an IPv6 address receives no datagrams of IPv4
    /// (`IPV6_V6ONLY`).
    ///
    /// The option can be set only before the socket is bound; see [`bind`](UdpSocket::bind).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, as for a socket of IPv4.
    pub fn only_v6(&self) -> io::Result<bool> {
        self.io.socket().only_v6()
    }
}

/// Multicast.
impl UdpSocket {
    /// Joins a multicast group of IPv4: its datagrams are received from now on
    /// (`IP_ADD_MEMBERSHIP`).
    ///
    /// `interface` is an address of the interface. With the address 0.0.0.0 the system chooses one.
    ///
    /// # Errors
    ///
    /// Returns the errors of `setsockopt(2)`, such as `ENODEV` if no interface has that address.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use reveille::net::UdpSocket;
    /// use std::net::Ipv4Addr;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let group = Ipv4Addr::new(239, 1, 2, 3);
    /// let socket = UdpSocket::bind("0.0.0.0:4000").await?;
    /// socket.join_multicast_v4(group, Ipv4Addr::UNSPECIFIED)?;
    /// let mut buf = [0; 1500];
    /// let (n, from) = socket.recv_from(&mut buf).await?;
    /// println!("{n} bytes from {from}");
    /// socket.leave_multicast_v4(group, Ipv4Addr::UNSPECIFIED)?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.io.socket().join_multicast_v4(&group, &interface)
    }

    /// Leaves a multicast group of IPv4 (`IP_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    ///
    /// Returns the errors of `setsockopt(2)`, such as `EADDRNOTAVAIL` if the socket has not joined
    /// the group on that interface.
    ///
    /// # Examples
    ///
    /// See [`join_multicast_v4`](UdpSocket::join_multicast_v4).
    pub fn leave_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.io.socket().leave_multicast_v4(&group, &interface)
    }

    /// Joins a multicast group of IPv6 (`IPV6_JOIN_GROUP`).
    ///
    /// `interface` is the index of the interface. With 0 the system chooses one.
    ///
    /// # Errors
    ///
    /// Returns the errors of `setsockopt(2)`, such as `ENODEV` if there is no such interface.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use reveille::net::UdpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let group = "ff02::114".parse().unwrap();
    /// let socket = UdpSocket::bind("[::]:4000").await?;
    /// socket.join_multicast_v6(&group, 2)?;
    /// socket.set_multicast_if_v6(2)?; // what is sent to a group leaves by the same interface
    /// socket.set_multicast_loop_v6(false)?; // and is not received here
    /// socket.send_to(b"hello", ("ff02::114", 4000)).await?;
    /// socket.leave_multicast_v6(&group, 2)?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.io.socket().join_multicast_v6(group, interface)
    }

    /// Leaves a multicast group of IPv6 (`IPV6_LEAVE_GROUP`).
    ///
    /// # Errors
    ///
    /// Returns the errors of `setsockopt(2)`, such as `EADDRNOTAVAIL` if the socket has not joined
    /// the group on that interface.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.io.socket().leave_multicast_v6(group, interface)
    }

    /// Returns true if this host receives the multicast datagrams that the socket sends
    /// (`IP_MULTICAST_LOOP`), of IPv4.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.io.socket().multicast_loop_v4()
    }

    /// Sets whether this host receives the multicast datagrams that the socket sends
    /// (`IP_MULTICAST_LOOP`), of IPv4.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_multicast_loop_v4(&self, on: bool) -> io::Result<()> {
        self.io.socket().set_multicast_loop_v4(on)
    }

    /// Returns true if this host receives the multicast datagrams that the socket sends
    /// (`IPV6_MULTICAST_LOOP`), of IPv6.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.io.socket().multicast_loop_v6()
    }

    /// Sets whether this host receives the multicast datagrams that the socket sends
    /// (`IPV6_MULTICAST_LOOP`), of IPv6.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_multicast_loop_v6(&self, on: bool) -> io::Result<()> {
        self.io.socket().set_multicast_loop_v6(on)
    }

    /// Returns the number of routers that a multicast datagram may pass (`IP_MULTICAST_TTL`), of
    /// IPv4.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.io.socket().multicast_ttl_v4()
    }

    /// Sets the number of routers that a multicast datagram may pass (`IP_MULTICAST_TTL`), of IPv4.
    /// By default it is 1: it stays in the local network.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::UdpSocket;
    /// use std::net::Ipv4Addr;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// socket.set_multicast_ttl_v4(4)?;
    /// socket.set_multicast_loop_v4(false)?;
    /// socket.set_multicast_if_v4(Ipv4Addr::LOCALHOST)?;
    /// assert_eq!(socket.multicast_ttl_v4()?, 4);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.io.socket().set_multicast_ttl_v4(ttl)
    }

    /// Returns an address of the interface that sends multicast datagrams (`IP_MULTICAST_IF`), of
    /// IPv4. The address 0.0.0.0 means that the system chooses it.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn multicast_if_v4(&self) -> io::Result<Ipv4Addr> {
        self.io.socket().multicast_if_v4()
    }

    /// Sets the interface that sends multicast datagrams, by one of its addresses
    /// (`IP_MULTICAST_IF`), of IPv4.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_multicast_if_v4(&self, interface: Ipv4Addr) -> io::Result<()> {
        self.io.socket().set_multicast_if_v4(&interface)
    }

    /// Returns the index of the interface that sends multicast datagrams (`IPV6_MULTICAST_IF`), of
    /// IPv6. The index 0 means that the system chooses it.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn multicast_if_v6(&self) -> io::Result<u32> {
        self.io.socket().multicast_if_v6()
    }

    /// Sets the interface that sends multicast datagrams, by its index (`IPV6_MULTICAST_IF`), of
    /// IPv6.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_multicast_if_v6(&self, interface: u32) -> io::Result<()> {
        self.io.socket().set_multicast_if_v6(interface)
    }
}
