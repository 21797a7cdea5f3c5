//! Addresses of Unix sockets to and from the kernel's layout.

use super::RawAddr;
use crate::sys::syscall::failure;
use std::ffi::OsStr;
use std::io;
use std::mem::offset_of;
#[cfg(target_os = "android")]
use std::os::android::net::SocketAddrExt;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;

/// Where the name begins.
const NAME: usize = offset_of!(libc::sockaddr_un, sun_path);

/// How many bytes a name may have.
const MOST: usize = size_of::<libc::sockaddr_un>() - NAME;

impl RawAddr {
    /// Makes an address from bytes as the kernel has them: a path with a null byte at its end, a
    /// null byte and an abstract name, or nothing.
    fn of_name(name: &[u8]) -> RawAddr {
        // SAFETY: all-zero bytes are a valid sockaddr_un: integers only.
        let mut raw: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in raw.sun_path.iter_mut().zip(name) {
            *to = *from as libc::c_char;
        }
        let mut raw = RawAddr::of(raw);
        raw.len = (NAME + name.len().min(MOST)) as libc::socklen_t;
        raw
    }

    /// Returns the address, if it is one of a Unix socket. Fails with `InvalidInput` for a path
    /// that fills the kernel's structure, because the standard library cannot express it.
    pub(crate) fn to_unix(self) -> io::Result<SocketAddr> {
        let len = (self.len as usize).saturating_sub(NAME).min(MOST);
        if len == 0 {
            return unnamed();
        }
        if libc::c_int::from(self.storage.ss_family) != libc::AF_UNIX {
            return Err(failure(
                io::ErrorKind::InvalidInput,
                "the socket's address is not that of a Unix socket",
            ));
        }
        // SAFETY: the storage is aligned and large enough for it, and is all integers.
        let raw = unsafe { *(&raw const self.storage).cast::<libc::sockaddr_un>() };
        #[allow(clippy::unnecessary_cast, reason = "signed on some systems")]
        let name = raw.sun_path.map(|byte| byte as u8);
        match &name[..len] {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            [0, name @ ..] => SocketAddr::from_abstract_name(name),
            // Apple's systems report a socket without a name like this.
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            [0, ..] => unnamed(),
            path => {
                let end = path.iter().position(|byte| *byte == 0);
                let path = &path[..end.unwrap_or(len)];
                SocketAddr::from_pathname(OsStr::from_bytes(path))
            }
        }
    }
}

/// Returns the address of a socket without a name. It does not fail.
pub(crate) fn unnamed() -> io::Result<SocketAddr> {
    SocketAddr::from_pathname("")
}

impl From<&SocketAddr> for RawAddr {
    fn from(addr: &SocketAddr) -> RawAddr {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(name) = addr.as_abstract_name() {
            return RawAddr::of_name(&[&[0], name].concat());
        }
        match addr.as_pathname() {
            Some(path) => RawAddr::of_name(&[path.as_os_str().as_bytes(), &[0]].concat()),
            None => RawAddr::of_name(&[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(addr: &SocketAddr) -> SocketAddr {
        RawAddr::from(addr).to_unix().unwrap()
    }

    #[test]
    fn unix_addresses_survive_the_kernels_layout() {
        for len in [1, 50, MOST - 2, MOST - 1] {
            let path = "p".repeat(len);
            let addr = SocketAddr::from_pathname(&path).unwrap();
            let back = there_and_back(&addr);
            assert_eq!(back.as_pathname().unwrap().as_os_str(), path.as_str());
        }
        let addr = there_and_back(&unnamed().unwrap());
        assert!(addr.is_unnamed());
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn abstract_names_survive_the_kernels_layout() {
        for name in [&b""[..], b"a", b"a\0b\0", &[7; MOST - 1]] {
            let addr = SocketAddr::from_abstract_name(name).unwrap();
            assert_eq!(there_and_back(&addr).as_abstract_name(), Some(name));
        }
    }

    #[test]
    fn a_path_without_a_null_byte_at_its_end_is_an_error_or_its_bytes() {
        let full = RawAddr::of_name(&[b'p'; MOST]);
        let error = full.to_unix().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let path = RawAddr::of_name(b"path").to_unix().unwrap();
        assert_eq!(path.as_pathname().unwrap().as_os_str(), "path");
    }

    #[test]
    fn an_internet_address_is_no_unix_address() {
        let raw = RawAddr::from("127.0.0.1:80".parse::<std::net::SocketAddr>().unwrap());
        assert!(raw.to_unix().is_err());
    }
}
