//! The structures and numbers of linux/io_uring.h that poll requests need and the libc crate lacks.

use crate::sys::timeout::KernelTimespec;
use std::mem::{offset_of, size_of};

// io_uring_setup: flags.
pub(super) const SETUP_CQSIZE: u32 = 1 << 3;
pub(super) const SETUP_CLAMP: u32 = 1 << 4;
/// Linux 5.18.
pub(super) const SETUP_SUBMIT_ALL: u32 = 1 << 7;
/// Linux 5.19.
pub(super) const SETUP_COOP_TASKRUN: u32 = 1 << 8;

// io_uring_setup: features.
pub(super) const FEATURE_SINGLE_MMAP: u32 = 1;
pub(super) const FEATURE_NODROP: u32 = 1 << 1;
/// Linux 5.11.
pub(super) const FEATURE_EXT_ARG: u32 = 1 << 8;
/// Linux 5.13, as are multishot poll requests, which have no feature bit of their own.
pub(super) const FEATURE_RSRC_TAGS: u32 = 1 << 10;

// Where the parts are mapped. The completion ring lies behind the submission ring (SINGLE_MMAP).
pub(super) const OFFSET_RINGS: u32 = 0;
pub(super) const OFFSET_ENTRIES: u32 = 0x1000_0000;

// io_uring_enter: flags.
pub(super) const ENTER_GETEVENTS: u32 = 1;
pub(super) const ENTER_EXT_ARG: u32 = 1 << 3;

// io_uring_register: operations.
/// Linux 6.0.
pub(super) const REGISTER_SYNC_CANCEL: u32 = 24;

// Flags of a cancelation: all requests of a file.
const CANCEL_ALL: u32 = 1;
const CANCEL_FD: u32 = 1 << 1;

// Flags in the submission ring.
pub(super) const SQ_CQ_OVERFLOW: u32 = 1 << 1;

// Operations.
const OP_NOP: u8 = 0;
const OP_POLL_ADD: u8 = 6;
const OP_POLL_REMOVE: u8 = 7;
const OP_ASYNC_CANCEL: u8 = 14;

/// In `Entry::length` of a poll request: it stays armed.
const POLL_ADD_MULTI: u32 = 1;

/// In `Completion::flags`: the request stays armed.
const COMPLETION_MORE: u32 = 1 << 1;

/// struct io_sqring_offsets
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct SubmissionOffsets {
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) ring_mask: u32,
    pub(super) ring_entries: u32,
    pub(super) flags: u32,
    pub(super) dropped: u32,
    pub(super) array: u32,
    reserved: u32,
    user_address: u64,
}

/// struct io_cqring_offsets
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct CompletionOffsets {
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) ring_mask: u32,
    pub(super) ring_entries: u32,
    pub(super) overflow: u32,
    pub(super) entries: u32,
    pub(super) flags: u32,
    reserved: u32,
    user_address: u64,
}

/// struct io_uring_params
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Params {
    pub(super) submission_entries: u32,
    pub(super) completion_entries: u32,
    pub(super) flags: u32,
    thread_cpu: u32,
    thread_idle: u32,
    pub(super) features: u32,
    workers_fd: u32,
    reserved: [u32; 3],
    pub(super) submission: SubmissionOffsets,
    pub(super) completion: CompletionOffsets,
}

impl Params {
    pub(super) fn new(flags: u32, completion_entries: u32) -> Params {
        Params {
            flags,
            completion_entries,
            ..Params::default()
        }
    }
}

/// struct io_uring_sqe: one request.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Entry {
    operation: u8,
    flags: u8,
    priority: u16,
    fd: i32,
    offset: u64,
    address: u64,
    length: u32,
    poll_events: u32,
    user_data: u64,
    buffer: u16,
    personality: u16,
    file_index: u32,
    more: [u64; 2],
}

impl Entry {
    /// A request that does nothing and completes at once.
    pub(super) fn nop(user_data: u64) -> Entry {
        Entry {
            operation: OP_NOP,
            fd: -1,
            user_data,
            ..Entry::default()
        }
    }

    /// A poll request, for `events` of poll(2).
    pub(super) fn poll_add(fd: i32, events: i16, multishot: bool, user_data: u64) -> Entry {
        let events = u32::from(events as u16);
        Entry {
            operation: OP_POLL_ADD,
            fd,
            length: if multishot { POLL_ADD_MULTI } else { 0 },
            // On big-endian machines the halves are swapped.
            poll_events: if cfg!(target_endian = "big") {
                events.rotate_left(16)
            } else {
                events
            },
            user_data,
            ..Entry::default()
        }
    }

    /// Ends the poll request whose `user_data` is `target`, unless a wake-up of it has not been
    /// handled yet (`EALREADY`).
    pub(super) fn poll_remove(target: u64, user_data: u64) -> Entry {
        Entry {
            operation: OP_POLL_REMOVE,
            fd: -1,
            address: target,
            user_data,
            ..Entry::default()
        }
    }

    /// Marks the request whose `user_data` is `target` as cancelled. It ends with `ECANCELED` when
    /// its task work runs, however many wake-ups come.
    pub(super) fn cancel(target: u64, user_data: u64) -> Entry {
        Entry {
            operation: OP_ASYNC_CANCEL,
            ..Entry::poll_remove(target, user_data)
        }
    }
}

/// struct io_uring_cqe: one completion.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct Completion {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Completion {
    /// Whether the request stays armed.
    pub(super) fn stays_armed(self) -> bool {
        self.flags & COMPLETION_MORE != 0
    }
}

/// struct io_uring_getevents_arg
#[repr(C)]
pub(super) struct WaitArgument {
    pub(super) signal_mask: u64,
    pub(super) signal_mask_size: u32,
    pub(super) reserved: u32,
    pub(super) timeout: u64,
}

/// struct io_uring_sync_cancel_reg
#[repr(C)]
#[derive(Default)]
pub(super) struct SyncCancel {
    address: u64,
    fd: i32,
    flags: u32,
    timeout: KernelTimespec,
    operation: u8,
    padding: [u8; 7],
    more: [u64; 3],
}

impl SyncCancel {
    /// Describes all requests of the file that a number names. The call waits for requests that are
    /// just finishing.
    pub(super) fn all_of(fd: i32, timeout: KernelTimespec) -> SyncCancel {
        SyncCancel {
            fd,
            flags: CANCEL_ALL | CANCEL_FD,
            timeout,
            ..SyncCancel::default()
        }
    }
}

const _: () = {
    assert!(size_of::<SyncCancel>() == 64 && offset_of!(SyncCancel, timeout) == 16);
    assert!(size_of::<SubmissionOffsets>() == 40 && size_of::<CompletionOffsets>() == 40);
    assert!(size_of::<Params>() == 120);
    assert!(offset_of!(Params, features) == 20 && offset_of!(Params, submission) == 40);
    assert!(offset_of!(Params, completion) == 80);
    assert!(size_of::<Entry>() == 64 && offset_of!(Entry, fd) == 4);
    assert!(offset_of!(Entry, address) == 16 && offset_of!(Entry, length) == 24);
    assert!(offset_of!(Entry, poll_events) == 28 && offset_of!(Entry, user_data) == 32);
    assert!(offset_of!(Entry, more) == 48);
    assert!(size_of::<Completion>() == 16 && offset_of!(Completion, result) == 8);
    assert!(size_of::<WaitArgument>() == 24 && offset_of!(WaitArgument, timeout) == 16);
    assert!(size_of::<KernelTimespec>() == 16);
};
