//! [`UCred`]: the credentials of the peer of a Unix stream.

use super::UnixStream;
use std::io;

/// The user, group and process at the other end of a [`UnixStream`]. Returned by
/// [`UnixStream::peer_cred`].
///
/// # Examples
///
/// See [`UnixStream::peer_cred`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UCred {
    uid: u32,
    gid: u32,
    pid: Option<i32>,
}

impl UCred {
    /// Returns the effective user id.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Returns the effective group id.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Returns the process id, if the system reports it: DragonFly and FreeBSD before 13 do not. On
    /// Linux it is also `None` for a process that has no id in the pid namespace of this one.
    ///
    /// The id is that of the process at the time that [`UnixStream::peer_cred`] names. It may have
    /// ended since, and another process may have its id.
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }
}

impl UnixStream {
    /// Returns the credentials of the peer, as they were when it called `connect(2)` or
    /// `listen(2)`, or when the pair was made. The kernel vouches for them.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::net::{UCred, UnixStream};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let (one, _other) = UnixStream::pair()?;
    ///     let peer: UCred = one.peer_cred()?;
    ///     if let Some(pid) = peer.pid() {
    ///         assert_eq!(pid, std::process::id() as i32);
    ///     }
    ///     println!("user {}, group {}", peer.uid(), peer.gid());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn peer_cred(&self) -> io::Result<UCred> {
        let cred = self.socket().peer_cred()?;
        Ok(UCred {
            uid: cred.uid,
            gid: cred.gid,
            pid: cred.pid,
        })
    }
}
