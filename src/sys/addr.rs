//! [`RawAddr`]: an address in the kernel's layout. Those of Unix sockets are in `unix.rs`.

pub(crate) mod unix;

use super::syscall::check;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// An address in the kernel's layout.
#[derive(Clone, Copy)]
pub(crate) struct RawAddr {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl RawAddr {
    /// An empty value with room for any address.
    pub(crate) fn empty() -> RawAddr {
        RawAddr {
            // SAFETY: all-zero bytes are a valid sockaddr_storage on every target: integers only.
            storage: unsafe { std::mem::zeroed() },
            len: size_of::<libc::sockaddr_storage>() as libc::socklen_t,
        }
    }

    /// Returns no address: its length is zero.
    pub(super) fn none() -> RawAddr {
        RawAddr {
            len: 0,
            ..RawAddr::empty()
        }
    }

    /// Makes a value that begins with a `sockaddr_in` or the like.
    fn of<T: Copy>(addr: T) -> RawAddr {
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
        const { assert!(align_of::<T>() <= align_of::<libc::sockaddr_storage>()) };
        let mut raw = RawAddr::empty();
        // SAFETY: the storage is large enough and aligned for T, as asserted above.
        unsafe { (&raw mut raw.storage).cast::<T>().write(addr) };
        raw.len = size_of::<T>() as libc::socklen_t;
        raw
    }

    /// Returns the pointer for `connect` and `bind`, valid during the borrow.
    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    /// Returns the pointer and the length for a call that fills the address in.
    pub(super) fn as_mut_ptrs(&mut self) -> (*mut libc::sockaddr, &mut libc::socklen_t) {
        ((&raw mut self.storage).cast(), &mut self.len)
    }

    /// Makes it empty again, with room for any address.
    pub(super) fn clear(&mut self) {
        self.storage.ss_family = libc::AF_UNSPEC as libc::sa_family_t;
        self.len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    }

    /// Returns the length.
    pub(crate) fn len(&self) -> libc::socklen_t {
        self.len
    }

    /// Returns the address that a call such as `accept` or `getsockname` fills in, and the result
    /// of the call.
    pub(crate) fn filled_by(
        call: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int,
    ) -> io::Result<(libc::c_int, RawAddr)> {
        let mut raw = RawAddr::empty();
        let result = check(call((&raw mut raw.storage).cast(), &raw mut raw.len))?;
        Ok((result, raw))
    }

    /// Returns the address, if it is an internet one and complete.
    pub(crate) fn to_ip(self) -> io::Result<SocketAddr> {
        match libc::c_int::from(self.storage.ss_family) {
            libc::AF_INET if self.holds::<libc::sockaddr_in>() => {
                // SAFETY: the storage is aligned and large enough for it, and the kernel filled it
                // in for this family.
                let addr = unsafe { *(&raw const self.storage).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(addr.sin_addr.s_addr.to_ne_bytes());
                Ok(SocketAddrV4::new(ip, u16::from_be(addr.sin_port)).into())
            }
            libc::AF_INET6 if self.holds::<libc::sockaddr_in6>() => {
                // SAFETY: the storage is aligned and large enough for it, and the kernel filled it
                // in for this family.
                let addr = unsafe { *(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(addr.sin6_addr.s6_addr);
                let port = u16::from_be(addr.sin6_port);
                let (flow, scope) = (addr.sin6_flowinfo, addr.sin6_scope_id);
                Ok(SocketAddrV6::new(ip, port, flow, scope).into())
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the socket's address is not an internet address",
            )),
        }
    }

    fn holds<T>(&self) -> bool {
        self.len as usize >= size_of::<T>()
    }
}

impl From<SocketAddr> for RawAddr {
    fn from(addr: SocketAddr) -> RawAddr {
        match addr {
            SocketAddr::V4(v4) => {
                // SAFETY: all-zero bytes are a valid sockaddr_in: integers only.
                let mut raw: libc::sockaddr_in = unsafe { std::mem::zeroed() };
                raw.sin_family = libc::AF_INET as libc::sa_family_t;
                raw.sin_port = v4.port().to_be();
                raw.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                RawAddr::of(raw)
            }
            SocketAddr::V6(v6) => {
                // SAFETY: all-zero bytes are a valid sockaddr_in6: integers only.
                let mut raw: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
                raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                raw.sin6_port = v6.port().to_be();
                raw.sin6_addr.s6_addr = v6.ip().octets();
                raw.sin6_flowinfo = v6.flowinfo();
                raw.sin6_scope_id = v6.scope_id();
                RawAddr::of(raw)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_layout() {
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 65_535, 7, 9);
        for addr in [
            "127.0.0.1:80".parse().unwrap(),
            "255.1.2.3:0".parse().unwrap(),
            "[2001:db8::5]:443".parse().unwrap(),
            SocketAddr::V6(scoped),
        ] {
            assert_eq!(RawAddr::from(addr).to_ip().unwrap(), addr);
        }
    }

    #[test]
    fn a_short_or_foreign_address_is_refused() {
        let mut raw = RawAddr::from("127.0.0.1:80".parse::<SocketAddr>().unwrap());
        raw.len = 2;
        assert!(raw.to_ip().is_err());
        raw = RawAddr::empty();
        raw.storage.ss_family = libc::AF_UNIX as libc::sa_family_t;
        assert!(raw.to_ip().is_err());
    }
}
