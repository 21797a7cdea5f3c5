//! [`Sys`] has the system calls of event ports as a trait: the kernel below it is the host's, or
//! the fake of the tests.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// `port_event_t`: one record of a port. The names are those of `portev_` without the prefix.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::backend) struct PortEvent {
    pub(in crate::backend) events: libc::c_int,
    pub(in crate::backend) source: libc::c_ushort,
    pub(in crate::backend) pad: libc::c_ushort,
    pub(in crate::backend) object: usize,
    pub(in crate::backend) user: usize,
}

impl PortEvent {
    /// No event: no kernel reports a source of 0.
    pub(in crate::backend) const NONE: PortEvent = PortEvent {
        events: 0,
        source: 0,
        pad: 0,
        object: 0,
        user: 0,
    };
}

/// From port_send(3C).
pub(in crate::backend) const SOURCE_USER: libc::c_ushort = 3;
/// From port_associate(3C) with an fd, whose number is the object.
pub(in crate::backend) const SOURCE_FD: libc::c_ushort = 4;
/// From port_alert(3C).
pub(in crate::backend) const SOURCE_ALERT: libc::c_ushort = 5;

/// The system calls. A port is an fd like any other. A number that is not open, or not a port, is
/// an error.
pub(in crate::backend) trait Sys: Clone + Send + Sync + 'static {
    /// port_create(3C), close-on-exec.
    fn create(&self) -> io::Result<OwnedFd>;

    /// port_associate(3C) with the source fd: one event for the first of `events` that holds, now
    /// or later.
    fn associate(
        &self,
        port: BorrowedFd<'_>,
        fd: RawFd,
        events: libc::c_short,
        user: usize,
    ) -> io::Result<()>;

    /// port_dissociate(3C) with the source fd.
    fn dissociate(&self, port: BorrowedFd<'_>, fd: RawFd) -> io::Result<()>;

    /// port_getn(3C). `nget` is how many events to wait for; afterwards it is how many there are,
    /// even after some errors.
    fn getn(
        &self,
        port: BorrowedFd<'_>,
        list: &mut [PortEvent],
        nget: &mut libc::c_uint,
        timeout: Option<&libc::timespec>,
    ) -> io::Result<()>;

    /// port_send(3C).
    fn send(&self, port: BorrowedFd<'_>, events: libc::c_int, user: usize) -> io::Result<()>;

    /// port_alert(3C): `PORT_ALERT_SET` with `events`, where 0 ends the alert.
    fn alert(&self, port: BorrowedFd<'_>, events: libc::c_int) -> io::Result<()>;
}
