//! [`Sys`] is what the backend needs of a system with kqueue, so that tests can put another one
//! below it.
//!
//! `struct kevent` has five layouts and two signs; [`Entry`] is one for all. The flags have the
//! same values on every system, which `bsd.rs` makes the compiler check.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// Adds a filter, or changes its parameters and checks the file again. (`mod.rs` lists what stays
/// as it was.)
pub(in crate::backend) const EV_ADD: u32 = 0x1;
/// Removes a filter.
pub(in crate::backend) const EV_DELETE: u32 = 0x2;
/// Enables a filter.
pub(in crate::backend) const EV_ENABLE: u32 = 0x4;
/// Disables a filter.
pub(in crate::backend) const EV_DISABLE: u32 = 0x8;
/// Reports once, then is silent until something new happens.
pub(in crate::backend) const EV_CLEAR: u32 = 0x20;
/// Returns an entry for a change, even if it succeeded.
pub(in crate::backend) const EV_RECEIPT: u32 = 0x40;
/// Reports once, then is disabled.
pub(in crate::backend) const EV_DISPATCH: u32 = 0x80;
/// Output: the entry is a receipt; `data` is the error, or 0.
pub(in crate::backend) const EV_ERROR: u32 = 0x4000;
/// Output: the filter's side has ended.
pub(in crate::backend) const EV_EOF: u32 = 0x8000;

/// Triggers a user event.
pub(in crate::backend) const NOTE_TRIGGER: u32 = 0x0100_0000;

/// The kind of a filter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in crate::backend) enum Filter {
    /// Data, or the end of it.
    Read,
    /// Room, or the end of it.
    Write,
    /// Out-of-band data.
    Except,
    /// A user event, triggered by `NOTE_TRIGGER`.
    User,
}

/// A `struct kevent`: a change as input, an event or a receipt as output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::backend) struct Entry {
    pub(in crate::backend) ident: usize,
    pub(in crate::backend) filter: Filter,
    pub(in crate::backend) flags: u32,
    pub(in crate::backend) fflags: u32,
    pub(in crate::backend) data: i64,
}

/// One kqueue of a system; `as_fd` is its descriptor.
pub(in crate::backend) trait Sys: AsFd + Send + Sync + Sized + 'static {
    /// The system's own `struct kevent`.
    type Record: Copy;

    /// `NOTE_OOB` for `EVFILT_EXCEPT`, where there is that filter.
    const OOB: Option<u32>;

    /// kqueue(2), close-on-exec. A value that was inherited by a fork closes nothing when it is
    /// dropped: the descriptor is not inherited, so its number may be another file's in the child.
    fn open() -> io::Result<Self>;

    fn record(entry: Entry) -> Self::Record;

    fn entry(record: &Self::Record) -> Entry;

    /// kevent(2): applies `changes`, then waits for at most `room` events, which it puts into
    /// `events` (cleared first). `None` waits without limit.
    fn kevent(
        &self,
        changes: &[Self::Record],
        events: &mut Vec<Self::Record>,
        room: usize,
        timeout: Option<Duration>,
    ) -> io::Result<()>;
}
