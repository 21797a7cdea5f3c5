//! [`Signal`] is an fd whose readiness a fake kernel sets.

use crate::sys::eventfd::eventfd;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

/// An fd that is readable or not, as set.
pub(super) struct Signal {
    file: File,
    is_set: bool,
}

impl Signal {
    pub(super) fn new() -> io::Result<Signal> {
        Ok(Signal {
            file: eventfd()?.into(),
            is_set: false,
        })
    }

    pub(super) fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Makes the fd readable, or not readable.
    pub(super) fn set(&mut self, set: bool) {
        if set != self.is_set {
            let changed = match set {
                true => self.file.write(&1_u64.to_ne_bytes()),
                false => self.file.read(&mut [0; 8]),
            };
            changed.expect("the fake's eventfd works");
            self.is_set = set;
        }
    }
}
