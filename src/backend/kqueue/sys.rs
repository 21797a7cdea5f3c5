//! What the backend needs of a system that has kqueue, so that another can stand in for it in tests.
//!
//! `struct kevent` has five layouts and two signs; here it is one. The flags have the same values on every system, which
//! `bsd.rs` has the compiler check.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// Adds a filter, or changes its parameters and looks again. (What else stays as it was is said at the backend.)
pub(in crate::backend) const EV_ADD: u32 = 0x1;
/// Takes it out.
pub(in crate::backend) const EV_DELETE: u32 = 0x2;
/// Lets it report.
pub(in crate::backend) const EV_ENABLE: u32 = 0x4;
/// Keeps it from reporting.
pub(in crate::backend) const EV_DISABLE: u32 = 0x8;
/// Told once, then silent until something new happens.
pub(in crate::backend) const EV_CLEAR: u32 = 0x20;
/// Answers a change with an entry of its own, also if all went well.
pub(in crate::backend) const EV_RECEIPT: u32 = 0x40;
/// Told once, then disabled.
pub(in crate::backend) const EV_DISPATCH: u32 = 0x80;
/// Out: the entry answers a change, `data` is its error or 0.
pub(in crate::backend) const EV_ERROR: u32 = 0x4000;
/// Out: the filter's side has ended.
pub(in crate::backend) const EV_EOF: u32 = 0x8000;

/// Triggers a user event.
pub(in crate::backend) const NOTE_TRIGGER: u32 = 0x0100_0000;

/// What is watched of an `ident`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in crate::backend) enum Filter {
    /// Data, or the end of it.
    Read,
    /// Room, or the end of it.
    Write,
    /// Out-of-band data.
    Except,
    /// What `NOTE_TRIGGER` says.
    User,
}

/// A `struct kevent`: a change on the way in, an event or the answer to a change on the way out.
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

    /// kqueue(2), close-on-exec. A value that was inherited by a fork closes nothing when it is dropped: the descriptor is
    /// not inherited, so its number may be another file's in the child.
    fn open() -> io::Result<Self>;

    fn record(entry: Entry) -> Self::Record;

    fn entry(record: &Self::Record) -> Entry;

    /// kevent(2): applies `changes`, then waits for at most `room` events, which it puts into `events` (cleared first).
    /// `None` waits without limit.
    fn kevent(
        &self,
        changes: &[Self::Record],
        events: &mut Vec<Self::Record>,
        room: usize,
        timeout: Option<Duration>,
    ) -> io::Result<()>;
}
