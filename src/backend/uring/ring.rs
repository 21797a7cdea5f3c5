//! [`Ring`] is the pair of rings that are shared with the kernel, with their two system calls.
//!
//! **Who owns what.** In the submission ring the kernel moves the head and we move the tail: the
//! kernel may read the entries from head to tail, and we may write all others. In the completion
//! ring the kernel moves the tail and we move the head: we may read the entries from head to tail
//! (and write them: the kernel never reads them again), and the kernel may write all others. Each
//! side moves an index with Release, after it is done with the entries; the other side loads it
//! with Acquire before it touches them. There is one thread on our side, and no kernel thread reads
//! submissions concurrently (no `SQPOLL`): the kernel reads them only in `io_uring_enter`.
//!
//! **In a child of a fork** the rings belong to the parent, including their memory. A `Ring` that
//! is dropped there unmaps and closes its own copies. Every other method would change the parent's
//! indices, so none may be called.

use super::abi::{self, Completion, Entry, Params, SyncCancel, WaitArgument};
use crate::sys::mmap::Mapping;
use crate::sys::syscall::{check, failure};
use crate::sys::timeout::KernelTimespec;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

/// The rings of one `io_uring`. Neither `Send` nor `Sync`, because it holds pointers.
pub(super) struct Ring {
    /// Both rings: the indices, and the completions.
    rings: Mapping,
    /// The requests.
    entries: Mapping,
    params: Params,
    /// How many calls are refused without reaching the kernel, and with which error.
    #[cfg(test)]
    pub(super) refusals: std::cell::Cell<(u32, i32)>,
    /// Closed last, because the mappings hold the rings too.
    fd: OwnedFd,
}

/// The flags to set up with, the best first. A kernel that does not know a flag returns `EINVAL`.
const FLAGS: [u32; 3] = [
    abi::SETUP_SUBMIT_ALL | abi::SETUP_COOP_TASKRUN,
    abi::SETUP_SUBMIT_ALL,
    0,
];

/// The features that are required.
const NEEDED: u32 =
    abi::FEATURE_SINGLE_MMAP | abi::FEATURE_NODROP | abi::FEATURE_EXT_ARG | abi::FEATURE_RSRC_TAGS;

impl Ring {
    /// Makes rings with room for that many requests and completions, each rounded up to a power of
    /// two.
    ///
    /// # Errors
    ///
    /// Those of `io_uring_setup`, and `Unsupported` on a kernel that is too old.
    pub(super) fn new(submissions: u32, completions: u32) -> io::Result<Ring> {
        Ring::with_flags(&FLAGS, submissions, completions)
    }

    /// As `new`, with the first of `flags` that the kernel knows.
    pub(super) fn with_flags(
        flags: &[u32],
        submissions: u32,
        completions: u32,
    ) -> io::Result<Ring> {
        let (fd, params) = setup_first(flags, submissions, completions, setup)?;
        if params.features & NEEDED != NEEDED {
            return Err(failure(
                io::ErrorKind::Unsupported,
                "this kernel's io_uring has no multishot poll requests: they came with Linux 5.13",
            ));
        }
        let completion_end = params.completion.entries as usize
            + params.completion_entries as usize * size_of::<Completion>();
        let array_end = params.submission.array as usize
            + params.submission_entries as usize * size_of::<u32>();
        let rings = Mapping::new(fd.as_fd(), abi::OFFSET_RINGS, completion_end.max(array_end))?;
        let length = params.submission_entries as usize * size_of::<Entry>();
        let entries = Mapping::new(fd.as_fd(), abi::OFFSET_ENTRIES, length)?;
        // The kernel finds the requests by this table of indices; ours are in the order of the
        // ring.
        for at in 0..params.submission_entries {
            let place = params.submission.array as usize + at as usize * size_of::<u32>();
            rings.atomic(place).store(at, Relaxed);
        }
        Ok(Ring {
            rings,
            entries,
            params,
            #[cfg(test)]
            refusals: Default::default(),
            fd,
        })
    }

    /// Returns how many requests fit, and how many completions.
    pub(super) fn sizes(&self) -> (u32, u32) {
        (
            self.params.submission_entries,
            self.params.completion_entries,
        )
    }

    /// Returns how many requests the kernel has not taken yet.
    #[inline]
    pub(super) fn unsubmitted(&self) -> u32 {
        let offsets = &self.params.submission;
        // Only this side stores it.
        let tail = self.rings.atomic(offsets.tail as usize).load(Relaxed);
        tail.wrapping_sub(self.rings.atomic(offsets.head as usize).load(Acquire))
    }

    /// Puts a request into the ring, for the next `enter`. Returns false if there is no room.
    #[inline]
    pub(super) fn push(&self, entry: Entry) -> bool {
        if self.unsubmitted() == self.params.submission_entries {
            return false;
        }
        let tail = self.rings.atomic(self.params.submission.tail as usize);
        let at = tail.load(Relaxed);
        let place = (at & (self.params.submission_entries - 1)) as usize * size_of::<Entry>();
        // SAFETY: the place is within the mapping and aligned; it is not between head and tail, so
        // the kernel does not read it, and no reference to it exists.
        unsafe { self.entries.place::<Entry>(place).write(entry) };
        tail.store(at.wrapping_add(1), Release);
        true
    }

    /// Returns how many completions are in the ring.
    #[inline]
    pub(super) fn ready(&self) -> u32 {
        let (head, tail) = self.span();
        tail.wrapping_sub(head)
    }

    /// Whether the kernel holds completions that did not fit. The next `enter` moves them.
    #[inline]
    pub(super) fn has_overflow(&self) -> bool {
        let flags = self.rings.atomic(self.params.submission.flags as usize);
        flags.load(Relaxed) & abi::SQ_CQ_OVERFLOW != 0
    }

    /// Returns the first completion, which stays.
    #[inline]
    pub(super) fn peek(&self) -> Option<Completion> {
        let (head, tail) = self.span();
        (head != tail).then(|| self.read(head))
    }

    /// Returns the first completion's entry to the kernel.
    #[inline]
    pub(super) fn pop(&self) {
        let (head, tail) = self.span();
        debug_assert!(head != tail, "no completion is in the ring");
        self.set_head(head.wrapping_add(1));
    }

    /// Returns a completion that `matches`, if there is one. Searches from the end.
    pub(super) fn find(&self, matches: &mut dyn FnMut(Completion) -> bool) -> Option<Completion> {
        let (head, mut at) = self.span();
        while at != head {
            at = at.wrapping_sub(1);
            let completion = self.read(at);
            if matches(completion) {
                return Some(completion);
            }
        }
        None
    }

    /// Removes the completions that are not needed, and closes the gaps.
    pub(super) fn retain(&self, stays: &mut dyn FnMut(Completion) -> bool) {
        let (head, tail) = self.span();
        let (mut from, mut to) = (tail, tail);
        while from != head {
            from = from.wrapping_sub(1);
            let completion = self.read(from);
            if stays(completion) {
                to = to.wrapping_sub(1);
                // SAFETY: the place is within the mapping and aligned; it lies between head and
                // tail, so the kernel does not touch it, and no reference to it exists.
                unsafe { self.place(to).write(completion) };
            }
        }
        self.set_head(to);
    }

    /// Submits the requests in the ring, and waits for `least` completions: until `timeout`, or
    /// without limit. With 0 it does not wait, but makes the kernel finish what it can.
    ///
    /// # Errors
    ///
    /// Errors of the waiting only if nothing was submitted: `ETIME` at the end of the timeout,
    /// `Interrupted`.
    pub(super) fn enter(&self, least: u32, timeout: Option<Duration>) -> io::Result<()> {
        #[cfg(test)]
        if let (left @ 1.., code) = self.refusals.get() {
            self.refusals.set((left - 1, code));
            return Err(io::Error::from_raw_os_error(code));
        }
        let timeout = timeout.map(KernelTimespec::new);
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        let argument = WaitArgument {
            signal_mask: 0,
            signal_mask_size: 0,
            reserved: 0,
            timeout: timeout as usize as u64,
        };
        // SAFETY: argument and timespec have the kernel's layouts and outlive the call; a null mask
        // leaves the signal mask alone. The kernel reads requests and writes completions in the
        // mappings, by the rules at the head of this file; no request of this module gives it
        // another pointer.
        let entered = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd.as_raw_fd(),
                self.unsubmitted(),
                least,
                abi::ENTER_GETEVENTS | abi::ENTER_EXT_ARG,
                ptr::from_ref(&argument),
                size_of::<WaitArgument>(),
            )
        };
        check(entered as libc::c_int).map(drop)
    }

    /// Cancels all requests of the file that `fd` names. Any thread may call this. The kernel
    /// completes each request as usual, and no longer holds the file. Kernels before Linux 6.0
    /// refuse the call.
    pub(super) fn cancel_all_of(rings: BorrowedFd<'_>, fd: RawFd) -> io::Result<()> {
        let patience = KernelTimespec::new(Duration::from_millis(10));
        let argument = SyncCancel::all_of(fd, patience);
        // SAFETY: the argument has the kernel's layout and outlives the call, which only reads it;
        // the rings' indices are the kernel's to move, under its own lock.
        let cancelled = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                rings.as_raw_fd(),
                abi::REGISTER_SYNC_CANCEL,
                ptr::from_ref(&argument),
                1,
            )
        };
        check(cancelled as libc::c_int).map(drop)
    }

    /// Returns where the completions begin and end.
    #[inline]
    fn span(&self) -> (u32, u32) {
        let offsets = &self.params.completion;
        // Only this side stores it.
        let head = self.rings.atomic(offsets.head as usize).load(Relaxed);
        (head, self.rings.atomic(offsets.tail as usize).load(Acquire))
    }

    #[inline]
    fn set_head(&self, head: u32) {
        let place = self.params.completion.head as usize;
        self.rings.atomic(place).store(head, Release);
    }

    #[inline]
    fn place(&self, index: u32) -> ptr::NonNull<Completion> {
        let at = (index & (self.params.completion_entries - 1)) as usize;
        let offset = self.params.completion.entries as usize + at * size_of::<Completion>();
        self.rings.place(offset)
    }

    /// Returns a completion between head and tail.
    #[inline]
    fn read(&self, index: u32) -> Completion {
        // SAFETY: the place is within the mapping and aligned; it lies between head and tail (the
        // callers got it from `span`), so the kernel has written it and does not touch it; every
        // value is a valid one.
        unsafe { self.place(index).read() }
    }
}

/// Sets up the rings with the first of `flags` that the kernel knows.
fn setup_first(
    flags: &[u32],
    submissions: u32,
    completions: u32,
    setup: impl Fn(u32, &mut Params) -> io::Result<OwnedFd>,
) -> io::Result<(OwnedFd, Params)> {
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for flags in flags {
        let flags = flags | abi::SETUP_CQSIZE | abi::SETUP_CLAMP;
        let mut params = Params::new(flags, completions.max(submissions));
        match setup(submissions, &mut params) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            made => return made.map(|fd| (fd, params)),
        }
    }
    Err(refused)
}

fn setup(submissions: u32, params: &mut Params) -> io::Result<OwnedFd> {
    // SAFETY: the parameters have the kernel's layout and outlive the call.
    let fd = unsafe {
        let params = ptr::from_mut(params);
        libc::syscall(libc::SYS_io_uring_setup, submissions, params)
    };
    let fd = check(fd as libc::c_int)?;
    // SAFETY: the call has just made this fd (close-on-exec), and no other code has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("fd", &self.fd.as_raw_fd())
            .field("flags", &self.params.flags)
            .field("unsubmitted", &self.unsubmitted())
            .field("ready", &self.ready())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(submissions: u32, completions: u32) -> Option<Ring> {
        match Ring::new(submissions, completions) {
            Ok(ring) => Some(ring),
            Err(error) => {
                println!("skipped: {error}");
                None
            }
        }
    }

    #[test]
    fn a_full_ring_says_so_and_keeps_what_is_in_it() {
        let Some(ring) = ring(2, 4) else { return };
        assert_eq!(ring.sizes(), (2, 4));
        for round in 0..10 {
            assert!(ring.push(Entry::nop(round)) && ring.push(Entry::nop(round)));
            assert!(!ring.push(Entry::nop(99)));
            ring.enter(2, None).unwrap();
            assert_eq!((ring.unsubmitted(), ring.ready()), (0, 2));
            for _ in 0..2 {
                assert_eq!(ring.peek().unwrap().user_data, round);
                ring.pop();
            }
            assert_eq!(ring.peek(), None);
        }
    }

    #[test]
    fn answers_that_do_not_fit_come_later() {
        let Some(ring) = ring(2, 4) else { return };
        for data in 0..10 {
            assert!(ring.push(Entry::nop(data)));
            ring.enter(0, None).unwrap();
        }
        assert!(ring.has_overflow());
        assert_eq!(ring.ready(), 4);
        let mut seen = Vec::new();
        while seen.len() < 10 {
            while let Some(completion) = ring.peek() {
                seen.push(completion.user_data);
                ring.pop();
            }
            ring.enter(0, None).unwrap();
        }
        assert!(!ring.has_overflow());
        assert!(seen.into_iter().eq(0..10));
    }

    #[test]
    fn find_takes_a_completion_out_of_the_middle() {
        let Some(ring) = ring(4, 8) else { return };
        // The indices wrap around as well.
        for _ in 0..5 {
            for data in 0..6 {
                while !ring.push(Entry::nop(data)) {
                    ring.enter(0, None).unwrap();
                }
            }
            ring.enter(6, None).unwrap();
            assert!(
                ring.find(&mut |completion| completion.user_data == 5)
                    .is_some()
            );
            ring.retain(&mut |completion| completion.user_data % 3 == 1);
            assert!(
                ring.find(&mut |completion| completion.user_data == 5)
                    .is_none()
            );
            assert_eq!(ring.ready(), 2);
            for expected in [1, 4] {
                assert_eq!(ring.peek().unwrap().user_data, expected);
                ring.pop();
            }
        }
    }

    #[test]
    fn an_older_kernel_is_asked_for_less() {
        let refuse = |flags: u32| {
            let made = setup_first(&FLAGS, 4, 8, |entries, params| {
                if params.flags & flags != 0 {
                    return Err(io::Error::from_raw_os_error(libc::EINVAL));
                }
                setup(entries, params)
            });
            made.map(|(_, params)| params.flags & (FLAGS[0] | FLAGS[1]))
        };
        match refuse(0) {
            Err(error) => return println!("skipped: {error}"),
            Ok(flags) => assert_eq!(flags, FLAGS[0]),
        }
        assert_eq!(refuse(abi::SETUP_COOP_TASKRUN).unwrap(), FLAGS[1]);
        assert_eq!(refuse(FLAGS[0]).unwrap(), 0);
        let error = refuse(abi::SETUP_CQSIZE).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        let starved = setup_first(&FLAGS, 4, 8, |_, _| {
            Err(io::Error::from_raw_os_error(libc::EMFILE))
        });
        let error = starved.map(drop).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    }
}
