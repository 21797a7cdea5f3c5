//! The options of UDP sockets.
//!
//! `std` has most of them and knows their types on each system, so they are set through it.

use super::socket::Socket;
use std::io;
use std::mem::ManuallyDrop;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

impl Socket {
    /// Lends the socket to a function as a socket of `std`.
    fn as_std<R>(&self, call: impl FnOnce(&UdpSocket) -> R) -> R {
        // Not `raw`, which is -1 after the descriptor was taken.
        let fd = self.as_fd().as_raw_fd();
        // SAFETY: the descriptor is open during the call, because this socket is borrowed, and
        // `ManuallyDrop` keeps it open after the call.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        call(&ManuallyDrop::new(UdpSocket::from(fd)))
    }

    pub(crate) fn broadcast(&self) -> io::Result<bool> {
        self.as_std(UdpSocket::broadcast)
    }

    pub(crate) fn set_broadcast(&self, on: bool) -> io::Result<()> {
        self.as_std(|socket| socket.set_broadcast(on))
    }

    pub(crate) fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.as_std(UdpSocket::multicast_loop_v4)
    }

    pub(crate) fn set_multicast_loop_v4(&self, on: bool) -> io::Result<()> {
        self.as_std(|socket| socket.set_multicast_loop_v4(on))
    }

    pub(crate) fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.as_std(UdpSocket::multicast_loop_v6)
    }

    pub(crate) fn set_multicast_loop_v6(&self, on: bool) -> io::Result<()> {
        self.as_std(|socket| socket.set_multicast_loop_v6(on))
    }

    pub(crate) fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.as_std(UdpSocket::multicast_ttl_v4)
    }

    pub(crate) fn set_multicast_ttl_v4(&self, hops: u32) -> io::Result<()> {
        self.as_std(|socket| socket.set_multicast_ttl_v4(hops))
    }

    pub(crate) fn join_multicast_v4(&self, group: &Ipv4Addr, on: &Ipv4Addr) -> io::Result<()> {
        self.as_std(|socket| socket.join_multicast_v4(group, on))
    }

    pub(crate) fn leave_multicast_v4(&self, group: &Ipv4Addr, on: &Ipv4Addr) -> io::Result<()> {
        self.as_std(|socket| socket.leave_multicast_v4(group, on))
    }

    pub(crate) fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.as_std(|socket| socket.join_multicast_v6(group, interface))
    }

    pub(crate) fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.as_std(|socket| socket.leave_multicast_v6(group, interface))
    }

    pub(crate) fn multicast_if_v4(&self) -> io::Result<Ipv4Addr> {
        // `in_addr`: four bytes in the order of the network.
        let addr: u32 = self.option(libc::IPPROTO_IP, libc::IP_MULTICAST_IF)?;
        Ok(Ipv4Addr::from(addr.to_ne_bytes()))
    }

    pub(crate) fn set_multicast_if_v4(&self, addr: &Ipv4Addr) -> io::Result<()> {
        let addr = u32::from_ne_bytes(addr.octets());
        self.set_option(libc::IPPROTO_IP, libc::IP_MULTICAST_IF, addr)
    }

    pub(crate) fn multicast_if_v6(&self) -> io::Result<u32> {
        let index: libc::c_uint = self.option(libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF)?;
        Ok(index)
    }

    pub(crate) fn set_multicast_if_v6(&self, interface: u32) -> io::Result<()> {
        self.set_option(libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF, interface)
    }
}
