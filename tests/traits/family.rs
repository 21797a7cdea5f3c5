//! One way to read and write by three families of traits.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What the memory of a buffer holds before a read.
pub(crate) const UNTOUCHED: u8 = 0xA5;

/// What the families with a cursor have filled before a read.
const FILLED_BEFORE: &[u8] = b"before";

/// What a read has done to a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Got {
    /// The bytes that the read has filled.
    pub(crate) bytes: Vec<u8>,
    /// Whether the memory behind them is what it was.
    pub(crate) is_rest_untouched: bool,
}

impl Got {
    fn new(memory: &[u8], n: usize) -> Got {
        // Slices are compared at once: a loop over a megabyte takes long in a test that is not
        // optimized.
        Got {
            bytes: memory[..n].to_vec(),
            is_rest_untouched: memory[n..] == vec![UNTOUCHED; memory.len() - n],
        }
    }
}

/// Reads by one family of traits.
pub(crate) trait Reader {
    /// Polls a read into memory of `len` bytes that hold [`UNTOUCHED`].
    fn poll_read(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<Got>>;
}

/// Reads by the traits of `futures-io`.
#[derive(Debug)]
pub(crate) struct ByFutures<T>(pub(crate) T);

impl<T: futures_io::AsyncRead + Unpin> Reader for ByFutures<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<Got>> {
        let mut memory = vec![UNTOUCHED; len];
        let polled = Pin::new(&mut self.0).poll_read(cx, &mut memory);
        polled.map_ok(|n| Got::new(&memory, n))
    }
}

/// Memory of which a cursor does not know that it is initialized.
struct Memory(Vec<u8>);

impl Memory {
    /// Memory that holds [`UNTOUCHED`], for what was filled before and for `len` bytes more.
    fn new(len: usize) -> Memory {
        Memory(vec![UNTOUCHED; FILLED_BEFORE.len() + len])
    }

    /// Lends all of it to a cursor.
    fn lend(&mut self) -> &mut [MaybeUninit<u8>] {
        let len = self.0.len();
        self.0.clear();
        &mut self.0.spare_capacity_mut()[..len]
    }

    /// Compares a cursor over `len` bytes that were lent with the memory below it.
    fn compare(
        &mut self,
        polled: Poll<io::Result<()>>,
        filled: &[u8],
        len: usize,
    ) -> Poll<io::Result<Got>> {
        // SAFETY: `new` wrote all bytes, and no trait may take that back.
        unsafe { self.0.set_len(FILLED_BEFORE.len() + len) };
        assert!(self.0.starts_with(filled), "the cursor fills this memory");
        let new = filled.strip_prefix(FILLED_BEFORE);
        let n = new.expect("what was filled before is still there").len();
        let is_success = matches!(polled, Poll::Ready(Ok(())));
        assert!(n == 0 || is_success, "{polled:?} with {n} bytes");
        polled.map_ok(|()| Got::new(&self.0[FILLED_BEFORE.len()..], n))
    }
}

/// Reads by tokio's traits.
#[derive(Debug)]
pub(crate) struct ByTokio<T>(pub(crate) T);

impl<T: tokio::io::AsyncRead + Unpin> Reader for ByTokio<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<Got>> {
        let mut memory = Memory::new(len);
        let mut buf = tokio::io::ReadBuf::uninit(memory.lend());
        buf.put_slice(FILLED_BEFORE);
        let polled = Pin::new(&mut self.0).poll_read(cx, &mut buf);
        let filled = buf.filled().to_vec();
        memory.compare(polled, &filled, len)
    }
}

/// Reads by hyper's traits.
#[derive(Debug)]
pub(crate) struct ByHyper<T>(pub(crate) T);

impl<T: hyper::rt::Read + Unpin> Reader for ByHyper<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<Got>> {
        let mut memory = Memory::new(len);
        let mut buf = hyper::rt::ReadBuf::uninit(memory.lend());
        buf.unfilled().put_slice(FILLED_BEFORE);
        let polled = Pin::new(&mut self.0).poll_read(cx, buf.unfilled());
        let filled = buf.filled().to_vec();
        memory.compare(polled, &filled, len)
    }
}

/// Writes by one family of traits.
pub(crate) trait Writer {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The `poll_close` or `poll_shutdown` of the trait.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether the trait reports that vectored writes are efficient; true if it has no such method.
    fn is_vectored(&self) -> bool;
}

impl<T: futures_io::AsyncWrite + Unpin> Writer for ByFutures<T> {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }

    fn is_vectored(&self) -> bool {
        true
    }
}

impl<T: tokio::io::AsyncWrite + Unpin> Writer for ByTokio<T> {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

impl<T: hyper::rt::Write + Unpin> Writer for ByHyper<T> {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
