//! A part of a file as the body of a response.

use hyper::body::{Body, Bytes, Frame, SizeHint};
use reveille::io::Unblock;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// How much is read by one call.
const PIECE: usize = 64 * 1024;

/// Reads a part of a file when hyper has room for more, on a thread of the pool. Holds one piece at
/// most. If it is dropped, the call that is under way ends without effect.
pub(crate) struct FileBody {
    /// `None`: nothing is left.
    reader: Option<Unblock<Part>>,
    left: u64,
}

impl FileBody {
    /// `len` bytes of the file from an offset on.
    pub(crate) fn new(file: Arc<File>, offset: u64, len: u64) -> FileBody {
        let part = Part {
            file,
            offset,
            left: len,
        };
        FileBody {
            reader: (len > 0).then(|| Unblock::with_capacity(PIECE, part)),
            left: len,
        }
    }

    pub(crate) fn empty() -> FileBody {
        FileBody {
            reader: None,
            left: 0,
        }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let body = &mut *self;
        let Some(reader) = &mut body.reader else {
            return Poll::Ready(None);
        };
        let piece = match ready!(reader.poll_fill_buf(cx)) {
            Ok(piece) => Bytes::copy_from_slice(piece),
            Err(error) => {
                // hyper then closes the connection before `Content-Length` is reached, so that the
                // client notices.
                eprintln!("files: {error}");
                body.reader = None;
                return Poll::Ready(Some(Err(error)));
            }
        };
        reader.consume(piece.len());
        body.left -= piece.len() as u64;
        if body.left == 0 {
            // Closes the file, unless others read it.
            body.reader = None;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.reader.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// A part of a file. It has a position of its own, for others read the same file.
struct Part {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Part {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.left.min(buf.len() as u64);
        let n = self.file.read_at(&mut buf[..len as usize], self.offset)?;
        if n == 0 && len > 0 {
            let shrunk = "a file has become shorter while it was sent";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, shrunk));
        }
        self.offset += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}
