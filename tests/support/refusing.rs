//! Addresses that refuse connections for as long as a test runs. A port that is merely free does
//! not: the kernel may give it to another test.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};

/// An address that refuses connections while this socket holds it.
pub(crate) struct Refusing<S> {
    _holds: S,
    pub(crate) addr: SocketAddr,
}

impl Refusing<TcpStream> {
    /// Bound, but not listening.
    pub(crate) fn tcp() -> Refusing<TcpStream> {
        // SAFETY: all-zero bytes are a valid sockaddr_in, which has integers only; its pointer and
        // length are those of one value that outlives the call; the first call has just made the
        // fd, and no other code knows it.
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
    /// Connected to itself, so it accepts no other socket's datagrams.
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
