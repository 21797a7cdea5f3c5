//! [`Mapping`] is owned memory that is shared with the kernel through a file.

use super::syscall::check;
use std::io;
use std::mem::{align_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;

/// A shared, readable and writable mapping, unmapped on drop. A child of a fork inherits it, and
/// the child's drop unmaps only its own.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    /// Maps `length` bytes of the file from `offset` on.
    pub(crate) fn new(fd: BorrowedFd<'_>, offset: u32, length: usize) -> io::Result<Mapping> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: the kernel chooses a place where nothing is mapped yet; the borrow keeps the fd
        // open.
        let start = unsafe {
            let file = fd.as_raw_fd();
            libc::mmap(
                ptr::null_mut(),
                length,
                access,
                flags,
                file,
                offset as libc::off_t,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("the kernel maps nothing at address 0");
        Ok(Mapping { start, length })
    }

    /// Returns the address of a value of type `T` that begins `offset` bytes into the mapping.
    ///
    /// # Panics
    ///
    /// If it does not lie within the mapping, or not on a multiple of its alignment.
    #[inline]
    pub(crate) fn place<T>(&self, offset: usize) -> NonNull<T> {
        let room = self.length.checked_sub(size_of::<T>());
        assert!(
            room.is_some_and(|room| offset <= room) && offset % align_of::<T>() == 0,
            "outside of the mapping, or not aligned"
        );
        // SAFETY: the offset was just found to lie within the mapping.
        unsafe { self.start.add(offset) }.cast()
    }

    /// Returns a number that the kernel reads and writes at the same time.
    ///
    /// # Panics
    ///
    /// As `place`.
    #[inline]
    pub(crate) fn atomic(&self, offset: usize) -> &AtomicU32 {
        let place = self.place::<u32>(offset);
        // SAFETY: the place is within the mapping, which lives as long as the borrow, and aligned
        // (a mapping begins at a page); every value is a valid u32, and on this side it is only
        // touched as an atomic.
        unsafe { AtomicU32::from_ptr(place.as_ptr()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `new` with this length, and no reference into it outlives it.
        // A failure cannot be reported.
        let _ = check(unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::{AsFd, FromRawFd};
    use std::sync::atomic::Ordering;

    /// Makes a mapping of a file.
    fn memory(length: u64) -> File {
        // SAFETY: the name is a C string; the flag takes no pointer.
        let fd = check(unsafe { libc::memfd_create(c"mapping".as_ptr(), libc::MFD_CLOEXEC) });
        // SAFETY: the call has just made this fd, and no other code has it.
        let file = unsafe { File::from_raw_fd(fd.unwrap()) };
        file.set_len(length).unwrap();
        file
    }

    #[test]
    fn stores_reach_the_file() {
        let mut file = memory(4096);
        let mapping = Mapping::new(file.as_fd(), 0, 4096).unwrap();
        mapping.atomic(4).store(0x0102_0304, Ordering::Release);
        drop(mapping);
        let mut start = [0; 8];
        file.read_exact(&mut start).unwrap();
        assert_eq!(start[4..], 0x0102_0304_u32.to_ne_bytes());
    }

    #[test]
    fn place_panics_beyond_the_end_or_unaligned() {
        let file = memory(4096);
        let mapping = Mapping::new(file.as_fd(), 0, 4096).unwrap();
        mapping.place::<u64>(4088);
        for offset in [4089, 4092, 4096, usize::MAX, 2] {
            let placed = std::panic::catch_unwind(|| mapping.place::<u64>(offset));
            assert!(placed.is_err(), "{offset}");
        }
    }
}
