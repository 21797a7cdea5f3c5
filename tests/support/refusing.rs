//! Addresses where nobody answers, and where nobody can begin to while the test runs: a port that was free a moment ago
//! may be the next one that the kernel hands out, to this test or to one beside it.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};

/// An address that refuses, for as long as the socket that has it lives.
pub(crate) struct Refusing<S> {
    _holds: S,
    pub(crate) addr: SocketAddr,
}

impl Refusing<TcpStream> {
    /// Bound, but not listening.
    pub(crate) fn tcp() -> Refusing<TcpStream> {
        // SAFETY: all-zero bytes are a valid sockaddr_in, integers only; its pointer and length are those of one value that
        // outlives the call; the first call has just made the fd, and nobody else knows it.
        let holds = unsafe {
            let mut any: libc::sockaddr_in = std::mem::zeroed();
            any.sin_family = libc::AF_INET as libc::sa_family_t;
            any.sin_addr.s_addr = u32::from(Ipv4Addr::LOCALHOST).to_be();
            let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
            assert!(fd >= 0);
            let len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            assert_eq!(libc::bind(fd, (&raw const any).cast(), len), 0);
            TcpStream::from(OwnedFd::from_raw_fd(fd))
        };
        let addr = holds.local_addr().unwrap();
        Refusing {
            _holds: holds,
            addr,
        }
    }
}

impl Refusing<UdpSocket> {
    /// Connected to itself: it takes nobody else's datagrams.
    pub(crate) fn udp() -> Refusing<UdpSocket> {
        let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let holds = UdpSocket::bind(any).unwrap();
        let addr = holds.local_addr().unwrap();
        holds.connect(addr).unwrap();
        Refusing {
            _holds: holds,
            addr,
        }
    }
}
