//! [`Script`]: a reader whose answers a test has written down.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

/// The buffers that an exchange has leaked.
static LEAKED: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// One answer of a reader.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Fills these bytes.
    Bytes(&'static [u8]),
    Pending,
    Error(io::ErrorKind),
    /// Returns one byte more than it was lent, and fills none. With tokio's trait this is possible
    /// only by an exchange of the buffer.
    TooMany,
}

/// Gives one answer to each read, then the end.
#[derive(Debug)]
pub(crate) struct Script(VecDeque<Answer>);

impl Script {
    pub(crate) fn new(answers: &[Answer]) -> Script {
        Script(answers.iter().cloned().collect())
    }

    fn next(&mut self) -> Answer {
        self.0.pop_front().unwrap_or(Answer::Bytes(b""))
    }
}

impl futures_io::AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(match self.next() {
            Answer::Bytes(bytes) => {
                buf[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
            Answer::Pending => return Poll::Pending,
            Answer::Error(kind) => Err(kind.into()),
            Answer::TooMany => Ok(buf.len() + 1),
        })
    }
}

impl tokio::io::AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.next() {
            Answer::Bytes(bytes) => buf.put_slice(bytes),
            Answer::Pending => return Poll::Pending,
            Answer::Error(kind) => return Poll::Ready(Err(kind.into())),
            Answer::TooMany => {
                let len = buf.remaining() + 1;
                let other = Vec::leak(vec![0; len]);
                // Still reachable, so LeakSanitizer reports no leak.
                LEAKED.lock().unwrap().push(other.as_ptr().addr());
                *buf = ReadBuf::new(other);
                buf.advance(len);
            }
        }
        Poll::Ready(Ok(()))
    }
}
