//! The system calls of event ports, on systems that have them.

use super::sys::{PortEvent, SOURCE_ALERT, SOURCE_FD, SOURCE_USER, Sys};
use crate::sys::fd::set_cloexec;
use crate::sys::syscall::check;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

#[derive(Clone, Copy, Debug)]
pub(in crate::backend) struct Kernel;

// The record is handed to the kernel as its own.
const _: () = assert!(
    size_of::<PortEvent>() == size_of::<libc::port_event>()
        && align_of::<PortEvent>() == align_of::<libc::port_event>()
        && offset_of!(PortEvent, events) == offset_of!(libc::port_event, portev_events)
        && offset_of!(PortEvent, source) == offset_of!(libc::port_event, portev_source)
        && offset_of!(PortEvent, object) == offset_of!(libc::port_event, portev_object)
        && offset_of!(PortEvent, user) == offset_of!(libc::port_event, portev_user)
);
const _: () = assert!(
    SOURCE_USER as libc::c_int == libc::PORT_SOURCE_USER
        && SOURCE_FD as libc::c_int == libc::PORT_SOURCE_FD
        && SOURCE_ALERT as libc::c_int == libc::PORT_SOURCE_ALERT
);

impl Sys for Kernel {
    fn create(&self) -> io::Result<OwnedFd> {
        // SAFETY: the call takes no pointer.
        let port = check(unsafe { libc::port_create() })?;
        // SAFETY: the call has just made this fd, and no other code has it.
        let port = unsafe { OwnedFd::from_raw_fd(port) };
        // No form of port_create sets this in the same call.
        set_cloexec(port.as_fd())?;
        Ok(port)
    }

    fn associate(
        &self,
        port: BorrowedFd<'_>,
        fd: RawFd,
        events: libc::c_short,
        user: usize,
    ) -> io::Result<()> {
        let (source, user) = (libc::PORT_SOURCE_FD, ptr::without_provenance_mut(user));
        let events = libc::c_int::from(events);
        // SAFETY: the user value is a number that the kernel hands back and does not follow; a
        // number that is no fd is an error.
        let done =
            unsafe { libc::port_associate(port.as_raw_fd(), source, fd as usize, events, user) };
        check(done).map(drop)
    }

    fn dissociate(&self, port: BorrowedFd<'_>, fd: RawFd) -> io::Result<()> {
        let source = libc::PORT_SOURCE_FD;
        // SAFETY: the call takes no pointer; a number that is no fd is an error.
        check(unsafe { libc::port_dissociate(port.as_raw_fd(), source, fd as usize) }).map(drop)
    }

    fn getn(
        &self,
        port: BorrowedFd<'_>,
        list: &mut [PortEvent],
        nget: &mut libc::c_uint,
        timeout: Option<&libc::timespec>,
    ) -> io::Result<()> {
        let max = libc::c_uint::try_from(list.len()).unwrap_or(libc::c_uint::MAX);
        let timeout = timeout.map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the list has room for `max` records of the kernel's layout; the count and the
        // timeout outlive the call, which does not write to the timeout, whatever its type says.
        check(unsafe {
            let list = list.as_mut_ptr().cast();
            libc::port_getn(port.as_raw_fd(), list, max, nget, timeout.cast_mut())
        })
        .map(drop)
    }

    fn send(&self, port: BorrowedFd<'_>, events: libc::c_int, user: usize) -> io::Result<()> {
        let user = ptr::without_provenance_mut(user);
        // SAFETY: the user value is a number that the kernel hands back and does not follow.
        check(unsafe { libc::port_send(port.as_raw_fd(), events, user) }).map(drop)
    }

    fn alert(&self, port: BorrowedFd<'_>, events: libc::c_int) -> io::Result<()> {
        let (how, user) = (libc::PORT_ALERT_SET, ptr::null_mut());
        // SAFETY: the user value is null, and the kernel would not follow it.
        check(unsafe { libc::port_alert(port.as_raw_fd(), how, events, user) }).map(drop)
    }
}
