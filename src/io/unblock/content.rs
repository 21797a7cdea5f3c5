//! [`Content`]: the value and its buffers, and the calls that threads of the pool make on them.

use super::Call;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::thread;
use std::time::Duration;

/// What a call takes to a thread of the pool and back.
pub(super) struct Content<T> {
    pub(super) value: T,
    /// Bytes that were read. Its length is that of the largest read so far, so each byte is zeroed
    /// once at most.
    read: Vec<u8>,
    /// Where in `read` the bytes are that no read has returned.
    unread: Range<usize>,
    /// What the last read found instead of bytes, until a read returns it: the end or an error.
    pub(super) read_end: Option<io::Result<()>>,
    /// What the next call writes.
    pub(super) to_write: Vec<u8>,
    /// The error of a write or flush that no call has returned.
    pub(super) write_error: Option<io::Error>,
    /// The result of the last seek, until it is returned.
    pub(super) position: Option<io::Result<u64>>,
}

impl<T> Content<T> {
    pub(super) fn new(value: T) -> Content<T> {
        Content {
            value,
            read: Vec::new(),
            unread: 0..0,
            read_end: None,
            to_write: Vec::new(),
            write_error: None,
            position: None,
        }
    }

    /// Returns the bytes that no read has returned.
    pub(super) fn unread(&self) -> &[u8] {
        &self.read[self.unread.clone()]
    }

    /// Marks the first `n` of the unread bytes as returned.
    pub(super) fn consume(&mut self, n: usize) {
        self.unread.start += n;
    }

    /// Stores the error of a call that was never made, because its runtime is gone.
    pub(super) fn note_gone(&mut self, call: Call, error: io::Error) {
        match call {
            Call::Read => self.read_end = Some(Err(error)),
            Call::Write | Call::Flush => self.write_error = Some(error),
            Call::Seek => self.position = Some(Err(error)),
            // Its output is missing, which says the same.
            Call::With => {}
        }
    }
}

impl<T: Read> Content<T> {
    /// Reads at most `len` bytes. There must be no unread ones.
    pub(super) fn read(&mut self, len: usize) {
        if self.read.len() < len {
            self.read.resize(len, 0);
        }
        let buf = &mut self.read[..len];
        match repeat(|| self.value.read(buf)) {
            Ok(0) => self.read_end = Some(Ok(())),
            Ok(n) => {
                assert!(
                    n <= len,
                    "a reader returned {n} for a buffer of {len} bytes: its `Read` is wrong"
                );
                self.unread = 0..n;
            }
            Err(error) => self.read_end = Some(Err(error)),
        }
    }
}

impl<T: Write> Content<T> {
    /// Writes all of `to_write`.
    pub(super) fn write(&mut self) {
        let mut left = &self.to_write[..];
        while !left.is_empty() {
            match repeat(|| self.value.write(left)) {
                Ok(0) => {
                    self.write_error = Some(ErrorKind::WriteZero.into());
                    return;
                }
                Ok(n) => left = &left[n..],
                Err(error) => {
                    self.write_error = Some(error);
                    return;
                }
            }
        }
    }

    pub(super) fn flush(&mut self) {
        self.write_error = repeat(|| self.value.flush()).err();
    }
}

impl<T: Seek> Content<T> {
    /// Sets the position, as if no bytes had been read that no read has returned. If that succeeds,
    /// drops them.
    pub(super) fn seek(&mut self, to: SeekFrom) {
        let ahead = self.unread.len() as i64;
        let moved = match to {
            SeekFrom::Current(by) if ahead > 0 => match by.checked_sub(ahead) {
                Some(by) => self.seek_value(SeekFrom::Current(by)),
                None => self
                    .seek_value(SeekFrom::Current(-ahead))
                    .and_then(|_| self.seek_value(to)),
            },
            to => self.seek_value(to),
        };
        if moved.is_ok() {
            self.read_end = None;
        }
        self.position = Some(moved);
    }

    fn seek_value(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = repeat(|| self.value.seek(to))?;
        self.unread = 0..0;
        Ok(position)
    }
}

/// The longest sleep of [`repeat`].
const MAX_PAUSE: Duration = Duration::from_millis(16);

/// Makes a call again if a signal has interrupted it, and after a pause if it would have blocked:
/// the description of the file may be shared with a process that has set `O_NONBLOCK` for it.
fn repeat<R>(mut call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    let mut pause = Duration::from_millis(1);
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(pause);
                pause = MAX_PAUSE.min(2 * pause);
            }
            done => return done,
        }
    }
}
