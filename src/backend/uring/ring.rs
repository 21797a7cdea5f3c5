//! The two rings that are shared with the kernel, and the two system calls.
//!
//! **Who owns what.** Of the submission ring the kernel moves the head and we the tail: entries from head to tail are
//! the kernel's to read, all others ours to write. Of the completion ring it moves the tail and we the head: entries
//! from head to tail are ours to read (and to write: the kernel never looks at them again), all others the kernel's.
//! Whoever moves an index does so with Release, after it is done with the entries; the other side loads it with
//! Acquire before it touches them. There is one thread on our side, and no thread of the kernel's reads submissions
//! behind our back (no `SQPOLL`): it reads them in `io_uring_enter` alone.
//!
//! **In a child of a fork** the rings are the parent's, memory and all. A `Ring` that is dropped there unmaps and
//! closes its own copies; every other method would change the parent's indices, so nobody may call one.

use super::abi::{self, Completion, Entry, Params, Timespec, WaitArgument};
use crate::sys::mmap::Mapping;
use crate::sys::syscall::{check, failure};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

/// The rings of one `io_uring`. Neither `Send` nor `Sync`, for it holds pointers.
pub(super) struct Ring {
    /// Both rings: the indices, and the completions.
    rings: Mapping,
    /// The requests.
    entries: Mapping,
    params: Params,
    /// Closed last: mappings hold the rings too.
    fd: OwnedFd,
}

/// What of the kernel's offers is asked for, the best first; a kernel that does not know a flag says `EINVAL`.
const FLAGS: [u32; 3] = [
    abi::SETUP_SUBMIT_ALL | abi::SETUP_COOP_TASKRUN,
    abi::SETUP_SUBMIT_ALL,
    0,
];

/// What there is no way around.
const NEEDED: u32 =
    abi::FEATURE_SINGLE_MMAP | abi::FEATURE_NODROP | abi::FEATURE_EXT_ARG | abi::FEATURE_RSRC_TAGS;

impl Ring {
    /// Rings with room for so many requests and answers, each rounded up to a power of two.
    ///
    /// # Errors
    ///
    /// What `io_uring_setup` says, and `Unsupported` on a kernel that is too old.
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
                "io_uring here has no multishot poll requests: they came with Linux 5.13",
            ));
        }
        let completion_end = params.completion.entries as usize
            + params.completion_entries as usize * size_of::<Completion>();
        let array_end = params.submission.array as usize
            + params.submission_entries as usize * size_of::<u32>();
        let rings = Mapping::new(fd.as_fd(), abi::OFFSET_RINGS, completion_end.max(array_end))?;
        let length = params.submission_entries as usize * size_of::<Entry>();
        let entries = Mapping::new(fd.as_fd(), abi::OFFSET_ENTRIES, length)?;
        // The kernel reads the requests by this table of indices; ours stand in the order of the ring.
        for at in 0..params.submission_entries {
            let place = params.submission.array as usize + at as usize * size_of::<u32>();
            rings.atomic(place).store(at, Relaxed);
        }
        Ok(Ring {
            rings,
            entries,
            params,
            fd,
        })
    }

    /// How many requests fit, and how many answers.
    pub(super) fn sizes(&self) -> (u32, u32) {
        (
            self.params.submission_entries,
            self.params.completion_entries,
        )
    }

    /// How many requests the kernel has not taken yet.
    #[inline]
    pub(super) fn unsubmitted(&self) -> u32 {
        let offsets = &self.params.submission;
        // Ours: nobody else stores it.
        let tail = self.rings.atomic(offsets.tail as usize).load(Relaxed);
        tail.wrapping_sub(self.rings.atomic(offsets.head as usize).load(Acquire))
    }

    /// Puts a request into the ring, for the next `enter`. False: there is no room.
    #[inline]
    pub(super) fn push(&self, entry: Entry) -> bool {
        if self.unsubmitted() == self.params.submission_entries {
            return false;
        }
        let tail = self.rings.atomic(self.params.submission.tail as usize);
        let at = tail.load(Relaxed);
        let place = (at & (self.params.submission_entries - 1)) as usize * size_of::<Entry>();
        // SAFETY: the place is within the mapping and aligned; it is not between head and tail, so the kernel does not
        // read it, and no reference to it exists.
        unsafe { self.entries.place::<Entry>(place).write(entry) };
        tail.store(at.wrapping_add(1), Release);
        true
    }

    /// How many answers are there to be taken.
    #[inline]
    pub(super) fn ready(&self) -> u32 {
        let (head, tail) = self.span();
        tail.wrapping_sub(head)
    }

    /// Whether the kernel holds answers that did not fit; the next `enter` moves them.
    #[inline]
    pub(super) fn is_overflown(&self) -> bool {
        let flags = self.rings.atomic(self.params.submission.flags as usize);
        flags.load(Relaxed) & abi::SQ_CQ_OVERFLOW != 0
    }

    /// The first answer, which stays.
    #[inline]
    pub(super) fn peek(&self) -> Option<Completion> {
        let (head, tail) = self.span();
        (head != tail).then(|| self.read(head))
    }

    /// Gives the first answer back to the kernel.
    #[inline]
    pub(super) fn pop(&self) {
        let (head, tail) = self.span();
        debug_assert!(head != tail, "nothing to give back");
        self.set_head(head.wrapping_add(1));
    }

    /// Whether there is such an answer. The last ones are looked at first.
    pub(super) fn find(&self, wanted: &mut dyn FnMut(Completion) -> bool) -> Option<Completion> {
        let (head, mut at) = self.span();
        while at != head {
            at = at.wrapping_sub(1);
            let completion = self.read(at);
            if wanted(completion) {
                return Some(completion);
            }
        }
        None
    }

    /// Takes out the answers that nobody waits for, and closes the gaps.
    pub(super) fn retain(&self, stays: &mut dyn FnMut(Completion) -> bool) {
        let (head, tail) = self.span();
        let (mut from, mut to) = (tail, tail);
        while from != head {
            from = from.wrapping_sub(1);
            let completion = self.read(from);
            if stays(completion) {
                to = to.wrapping_sub(1);
                // SAFETY: the place is within the mapping and aligned; it lies between head and tail, so the kernel does
                // not touch it, and no reference to it exists.
                unsafe { self.place(to).write(completion) };
            }
        }
        self.set_head(to);
    }

    /// Hands over what was pushed, and waits for `least` answers: until `timeout`, or without limit. With 0 it does not
    /// wait, but has the kernel finish what it can.
    ///
    /// # Errors
    ///
    /// Of the waiting only if nothing was handed over: `ETIME` at the end of the timeout, `Interrupted`.
    pub(super) fn enter(&self, least: u32, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| Timespec {
            // A hundred years: what is much longer overflows in some kernels, and the loop waits again.
            seconds: timeout.as_secs().min(100 * 366 * 86_400) as i64,
            nanoseconds: i64::from(timeout.subsec_nanos()),
        });
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        let argument = WaitArgument {
            signal_mask: 0,
            signal_mask_size: 0,
            reserved: 0,
            timeout: timeout as usize as u64,
        };
        // SAFETY: argument and timespec have the kernel's layouts and outlive the call; a null mask leaves the signal mask
        // alone. The kernel reads requests and writes answers in the mappings, by the rules at the head of this file;
        // no request of this module gives it another pointer.
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

    /// Where the answers begin and end.
    #[inline]
    fn span(&self) -> (u32, u32) {
        let offsets = &self.params.completion;
        // Ours: nobody else stores it.
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

    /// An answer between head and tail.
    #[inline]
    fn read(&self, index: u32) -> Completion {
        // SAFETY: the place is within the mapping and aligned; it lies between head and tail (the callers got it from
        // `span`), so the kernel has written it and does not touch it; every value is a valid one.
        unsafe { self.place(index).read() }
    }
}

/// Sets up with the first of `flags` that the kernel knows.
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
    // SAFETY: the call has just made this fd (close-on-exec), and nobody else knows it.
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
        assert!(ring.is_overflown());
        assert_eq!(ring.ready(), 4);
        let mut seen = Vec::new();
        while seen.len() < 10 {
            while let Some(completion) = ring.peek() {
                seen.push(completion.user_data);
                ring.pop();
            }
            ring.enter(0, None).unwrap();
        }
        assert!(!ring.is_overflown());
        assert!(seen.into_iter().eq(0..10));
    }

    #[test]
    fn what_nobody_waits_for_is_taken_out_of_the_middle() {
        let Some(ring) = ring(4, 8) else { return };
        // The ring is worked round its end as well.
        for _ in 0..5 {
            for data in 0..6 {
                while !ring.push(Entry::nop(data)) {
                    ring.enter(0, None).unwrap();
                }
            }
            ring.enter(6, None).unwrap();
            assert!(ring.find(&mut |answer| answer.user_data == 5).is_some());
            ring.retain(&mut |answer| answer.user_data % 3 == 1);
            assert!(ring.find(&mut |answer| answer.user_data == 5).is_none());
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
