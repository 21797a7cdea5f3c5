//! Reading through an [`Unblock`].

use super::{Call, Unblock};
use crate::budget;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read};
use std::mem::MaybeUninit;
use std::task::{Context, Poll, ready};

/// Reading, if the value implements [`Read`].
impl<T: Read + Send + 'static> Unblock<T> {
    /// Reads some bytes. `Ok(0)` is the end of the file, or the result for an empty buffer.
    ///
    /// Makes one call for at most as many bytes as `buf` has room for, and returns what it returns,
    /// so there may be fewer bytes.
    ///
    /// # Errors
    ///
    /// Those of the value, and those of every call: see [`Unblock`](Unblock#errors).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped, the next read returns the bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::Unblock;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let mut file = Unblock::new(std::fs::File::open("Cargo.toml")?);
    ///     let mut buf = [0; 9];
    ///     let n = file.read(&mut buf).await?;
    ///     assert_eq!(&buf[..n], b"[package]");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buf)).await
    }

    /// Reads until the buffer is full.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](ErrorKind::UnexpectedEof) if the file ends before, and the errors of
    /// [`read`](Unblock::read).
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the bytes that were read so far are lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::Unblock;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let mut bytes = Unblock::new(&b"good"[..]);
    ///     let error = bytes.read_exact(&mut [0; 5]).await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.read(&mut buf[done..]).await? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => done += n,
            }
        }
        Ok(())
    }

    /// Reads to the end of the file, and appends the bytes to `into`. Returns their number.
    ///
    /// # Errors
    ///
    /// Same as [`read`](Unblock::read). Then `into` has the bytes that were read before.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, if the next call has the same `into`: it has the bytes that were read so far.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::Unblock;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let mut file = Unblock::new(std::fs::File::open("Cargo.toml")?);
    ///     let mut text = Vec::new();
    ///     file.read_to_end(&mut text).await?;
    ///     assert!(text.ends_with(b"\n"));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn read_to_end(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let before = into.len();
        loop {
            let n = poll_fn(|cx| {
                let bytes = ready!(self.poll_fill_buf(cx))?;
                into.extend_from_slice(bytes);
                Poll::Ready(io::Result::Ok(bytes.len()))
            })
            .await?;
            if n == 0 {
                return Ok(into.len() - before);
            }
            self.consume(n);
        }
    }

    /// Polls a [`read`](Unblock::read), for futures written by hand. The last task that has polled
    /// is woken.
    ///
    /// # Errors
    ///
    /// Same as [`read`](Unblock::read).
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::Unblock;
    /// use std::future::poll_fn;
    /// use std::mem::MaybeUninit;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let mut bytes = Unblock::new(&b"good morning"[..]);
    ///     let mut buf = [0; 4];
    ///     assert_eq!(poll_fn(|cx| bytes.poll_read(cx, &mut buf)).await?, 4);
    ///     let mut buf = [MaybeUninit::uninit(); 4];
    ///     assert_eq!(poll_fn(|cx| bytes.poll_read_uninit(cx, &mut buf)).await?, 4);
    ///     poll_fn(|cx| bytes.poll_fill_buf(cx).map_ok(|rest| assert_eq!(rest, b"ning"))).await?;
    ///     bytes.consume(4);
    ///     assert_eq!(poll_fn(|cx| bytes.poll_read(cx, &mut [0; 4])).await?, 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let bytes = ready!(self.poll_bytes(cx, buf.len()))?;
        let n = bytes.len().min(buf.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        self.consume(n);
        Poll::Ready(Ok(n))
    }

    /// Same as [`poll_read`](Unblock::poll_read), for memory that need not be initialized.
    ///
    /// # Errors
    ///
    /// Same as [`read`](Unblock::read).
    ///
    /// # What unsafe code may rely on
    ///
    /// If it returns `Ok(n)`, the first `n` bytes of `buf` are initialized, and `n` is at most its
    /// length. It never writes uninitialized bytes, so initialized bytes stay initialized.
    ///
    /// # Examples
    ///
    /// See [`poll_read`](Unblock::poll_read).
    pub fn poll_read_uninit(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>> {
        let bytes = ready!(self.poll_bytes(cx, buf.len()))?;
        let n = bytes.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(bytes) {
            to.write(*from);
        }
        self.consume(n);
        Poll::Ready(Ok(n))
    }

    /// Polls until there are bytes that were read and not returned, and returns them without a
    /// copy. They stay until [`consume`](Unblock::consume) is called. No bytes mean the end of the
    /// file.
    ///
    /// If there are none, it reads as many as the capacity allows. So the position of a file may
    /// then be far ahead; see [above](Unblock#reads).
    ///
    /// # Errors
    ///
    /// Same as [`read`](Unblock::read).
    ///
    /// # Examples
    ///
    /// See [`poll_read`](Unblock::poll_read).
    pub fn poll_fill_buf(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.poll_bytes(cx, self.capacity)
    }

    /// Polls until there are bytes that no read has returned. If there are none, reads at most
    /// `len`.
    pub(crate) fn poll_bytes(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
    ) -> Poll<io::Result<&[u8]>> {
        if len == 0 {
            return Poll::Ready(Ok(&[]));
        }
        // The end of a call takes a unit of the budget.
        if self.running.is_none() {
            ready!(budget::check(cx));
        }
        loop {
            ready!(self.poll_idle(cx))?;
            self.seeking = None;
            let content = self.content();
            if !content.unread().is_empty() {
                budget::spend();
                return Poll::Ready(Ok(self.content().unread()));
            }
            if let Some(end) = content.read_end.take() {
                return Poll::Ready(end.map(|()| &[][..]));
            }
            let len = len.min(self.capacity);
            self.begin(Call::Read, move |content| content.read(len))?;
        }
    }
}

impl<T> Unblock<T> {
    /// Marks the first `n` of the bytes that [`poll_fill_buf`](Unblock::poll_fill_buf) has returned
    /// as read.
    ///
    /// # Panics
    ///
    /// If there are fewer bytes.
    #[track_caller]
    pub fn consume(&mut self, n: usize) {
        if n == 0 {
            return;
        }
        let unread = match &self.running {
            Some(_) => 0,
            None => self.content().unread().len(),
        };
        assert!(
            n <= unread,
            "{n} bytes were consumed, but `poll_fill_buf` has returned {unread}"
        );
        self.content().consume(n);
    }
}
