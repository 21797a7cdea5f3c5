//! Writing through an [`Unblock`].

use super::{Call, Unblock};
use std::future::poll_fn;
use std::io::{self, IoSlice, Write};
use std::task::{Context, Poll, ready};

/// Writing, if the value implements [`Write`].
impl<T: Write + Send + 'static> Unblock<T> {
    /// Starts to write some bytes, at most [the capacity](Unblock::with_capacity), and returns how
    /// many.
    ///
    /// It waits until the call that is under way has ended, copies the bytes, and returns. A thread
    /// of the pool then writes all of them, by one call or several.
    ///
    /// # Errors
    ///
    /// The error of the write or flush before this one, and those of every call: see
    /// [`Unblock`](Unblock#errors). After an error nothing of `data` is written.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped before it is ready, nothing is written.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::Unblock;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     // A slice has room for as many bytes as it is long.
    ///     let room: &'static mut [u8] = Box::leak(Box::new([0; 2]));
    ///     let mut full = Unblock::new(room);
    ///     assert_eq!(full.write(b"good").await?, 4);
    ///     // Only now it is known that not all of them were written.
    ///     let error = full.flush().await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::WriteZero);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_write(cx, data)).await
    }

    /// Starts to write all bytes: as many [`write`](Unblock::write)s as that takes.
    ///
    /// # Errors
    ///
    /// Same as [`write`](Unblock::write). Some of the bytes may have been written.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: some of the bytes may have been written.
    pub async fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        let mut left = data;
        while !left.is_empty() {
            let n = self.write(left).await?;
            left = &left[n..];
        }
        Ok(())
    }

    /// Waits until all bytes are written, and flushes the value, if there was a write after the
    /// last flush.
    ///
    /// A file is not synchronized with its disk: for that use [`with_mut`](Unblock::with_mut) and
    /// [`sync_all`](std::fs::File::sync_all).
    ///
    /// # Errors
    ///
    /// The error of a write that no other call has returned, that of the flush, and those of every
    /// call: see [`Unblock`](Unblock#errors).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the flush goes on. A second call returns its result, and makes no other flush.
    ///
    /// # Examples
    ///
    /// See [`write`](Unblock::write).
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Polls a [`write`](Unblock::write), for futures written by hand. The last task that has
    /// polled is woken.
    ///
    /// # Errors
    ///
    /// Same as [`write`](Unblock::write).
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::Unblock;
    /// use std::future::poll_fn;
    /// use std::io::IoSlice;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let mut sink = Unblock::new(Vec::new());
    ///     assert_eq!(poll_fn(|cx| sink.poll_write(cx, b"good ")).await?, 5);
    ///     let parts = [IoSlice::new(b"mor"), IoSlice::new(b"ning")];
    ///     assert_eq!(poll_fn(|cx| sink.poll_write_vectored(cx, &parts)).await?, 7);
    ///     poll_fn(|cx| sink.poll_flush(cx)).await?;
    ///     poll_fn(|cx| sink.poll_close(cx)).await?;
    ///     assert_eq!(sink.into_inner().await?, b"good morning");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    /// Same as [`poll_write`](Unblock::poll_write), for several buffers, one after the other.
    ///
    /// # Errors
    ///
    /// Same as [`write`](Unblock::write).
    ///
    /// # Examples
    ///
    /// See [`poll_write`](Unblock::poll_write).
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_written(cx))?;
        let capacity = self.capacity;
        let to_write = &mut self.content().to_write;
        to_write.clear();
        for buf in bufs {
            let room = capacity - to_write.len();
            to_write.extend_from_slice(&buf[..buf.len().min(room)]);
        }
        let len = to_write.len();
        if len > 0 {
            self.begin(Call::Write, |content| content.write())?;
            self.unflushed = true;
        }
        Poll::Ready(Ok(len))
    }

    /// Polls a [`flush`](Unblock::flush), for futures written by hand. The last task that has
    /// polled is woken.
    ///
    /// # Errors
    ///
    /// Same as [`flush`](Unblock::flush).
    ///
    /// # Examples
    ///
    /// See [`poll_write`](Unblock::poll_write).
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_written(cx))?;
            if !self.unflushed {
                return Poll::Ready(Ok(()));
            }
            self.begin(Call::Flush, |content| content.flush())?;
        }
    }

    /// Same as [`poll_flush`](Unblock::poll_flush), for the traits of other crates. It closes
    /// nothing: the drop of the value does.
    ///
    /// # Errors
    ///
    /// Same as [`flush`](Unblock::flush).
    ///
    /// # Examples
    ///
    /// See [`poll_write`](Unblock::poll_write).
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }

    /// Waits for the end of the call that is under way, and returns the error of a write.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_idle(cx))?;
        self.seeking = None;
        Poll::Ready(self.take_write_error())
    }
}
