//! The credentials of the process at the other end of a Unix stream. Every system has its own call.
//!
//! | systems | call |
//! |---|---|
//! | Linux, Android, OpenBSD | `SO_PEERCRED` |
//! | NetBSD | `LOCAL_PEEREID` |
//! | FreeBSD | `getpeereid`, and `LOCAL_PEERCRED` for the process id (0 before FreeBSD 13) |
//! | Apple's | `getpeereid`, and `LOCAL_PEERPID` |
//! | DragonFly | `getpeereid` |
//! | illumos, Solaris | `getpeerucred` |

use super::socket::Socket;
use std::io;

/// The effective user and group of a process, and its id if the system tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PeerCred {
    pub(crate) uid: libc::uid_t,
    pub(crate) gid: libc::gid_t,
    pub(crate) pid: Option<libc::pid_t>,
}

impl Socket {
    /// Returns the credentials that the peer had when it connected or began to listen, or when the
    /// pair was made.
    pub(crate) fn peer_cred(&self) -> io::Result<PeerCred> {
        let cred = system::peer_cred(self)?;
        Ok(PeerCred {
            pid: cred.pid.filter(|pid| *pid > 0),
            ..cred
        })
    }
}

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "openbsd",
    target_os = "netbsd"
))]
mod system {
    use super::{PeerCred, Socket};
    use std::io;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn peer_cred(socket: &Socket) -> io::Result<PeerCred> {
        let none = libc::ucred {
            pid: 0,
            uid: 0,
            gid: 0,
        };
        let cred = socket.option_over(libc::SOL_SOCKET, libc::SO_PEERCRED, none)?;
        // All of a socket without a peer: -1 for the user and the group.
        if cred.pid == 0 && cred.uid == libc::uid_t::MAX {
            return Err(io::Error::from_raw_os_error(libc::ENOTCONN));
        }
        Ok(PeerCred {
            uid: cred.uid,
            gid: cred.gid,
            pid: Some(cred.pid),
        })
    }

    #[cfg(target_os = "openbsd")]
    pub(super) fn peer_cred(socket: &Socket) -> io::Result<PeerCred> {
        let none = libc::sockpeercred {
            uid: 0,
            gid: 0,
            pid: 0,
        };
        let cred = socket.option_over(libc::SOL_SOCKET, libc::SO_PEERCRED, none)?;
        Ok(PeerCred {
            uid: cred.uid,
            gid: cred.gid,
            pid: Some(cred.pid),
        })
    }

    #[cfg(target_os = "netbsd")]
    pub(super) fn peer_cred(socket: &Socket) -> io::Result<PeerCred> {
        let none = libc::unpcbid {
            unp_pid: 0,
            unp_euid: 0,
            unp_egid: 0,
        };
        // The level of options of Unix sockets is 0.
        let cred = socket.option_over(0, libc::LOCAL_PEEREID, none)?;
        Ok(PeerCred {
            uid: cred.unp_euid,
            gid: cred.unp_egid,
            pid: Some(cred.unp_pid),
        })
    }
}

#[cfg(any(
    target_os = "freebsd",
    target_os = "dragonfly",
    target_vendor = "apple"
))]
mod system {
    use super::{PeerCred, Socket};
    use crate::sys::syscall::check;
    use std::io;

    pub(super) fn peer_cred(socket: &Socket) -> io::Result<PeerCred> {
        let (mut uid, mut gid) = (0, 0);
        // SAFETY: the call writes the two numbers, which outlive it.
        check(unsafe { libc::getpeereid(socket.raw(), &mut uid, &mut gid) })?;
        let pid = pid(socket);
        Ok(PeerCred { uid, gid, pid })
    }

    #[cfg(target_os = "freebsd")]
    fn pid(socket: &Socket) -> Option<libc::pid_t> {
        // SAFETY: all-zero bytes are a valid xucred: integers, and a union of one and a null
        // pointer.
        let none: libc::xucred = unsafe { std::mem::zeroed() };
        // The level of options of Unix sockets is 0.
        let cred = socket.option_over(0, libc::LOCAL_PEERCRED, none).ok()?;
        // SAFETY: the kernel writes the id; before FreeBSD 13, zeroes.
        Some(unsafe { cred.cr_pid__c_anonymous_union.cr_pid })
    }

    #[cfg(target_os = "dragonfly")]
    fn pid(_: &Socket) -> Option<libc::pid_t> {
        None
    }

    #[cfg(target_vendor = "apple")]
    fn pid(socket: &Socket) -> Option<libc::pid_t> {
        socket.option(libc::SOL_LOCAL, libc::LOCAL_PEERPID).ok()
    }
}

#[cfg(any(target_os = "illumos", target_os = "solaris"))]
mod system {
    use super::{PeerCred, Socket};
    use crate::sys::syscall::check;
    use std::io;

    pub(super) fn peer_cred(socket: &Socket) -> io::Result<PeerCred> {
        let mut cred = std::ptr::null_mut();
        // SAFETY: the call writes one pointer, which outlives it.
        check(unsafe { libc::getpeerucred(socket.raw(), &mut cred) })?;
        // SAFETY: the call succeeded, so the pointer is that of credentials, which are freed once,
        // after their last use.
        unsafe {
            let uid = libc::ucred_geteuid(cred);
            let gid = libc::ucred_getegid(cred);
            let pid = Some(libc::ucred_getpid(cred));
            libc::ucred_free(cred);
            Ok(PeerCred { uid, gid, pid })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_of_a_pair_is_this_process() {
        let (here, _there) = Socket::unix_pair().unwrap();
        let cred = here.peer_cred().unwrap();
        // SAFETY: these calls take nothing.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        assert_eq!((cred.uid, cred.gid), (uid, gid));
        let pid = std::process::id() as libc::pid_t;
        assert!(cred.pid.is_none_or(|peer| peer == pid));
        #[cfg(any(target_os = "linux", target_os = "android"))]
        assert_eq!(cred.pid, Some(pid));
    }

    #[test]
    fn a_socket_without_a_peer_has_no_credentials() {
        assert!(Socket::unix().unwrap().peer_cred().is_err());
    }
}
