//! Setting the position of an [`Unblock`].

use super::{Call, Seeking, Unblock};
use std::future::poll_fn;
use std::io::{self, Seek, SeekFrom};
use std::task::{Context, Poll, ready};

/// Setting the position, if the value implements [`Seek`].
impl<T: Seek + Send + 'static> Unblock<T> {
    /// Sets the position, and returns the new one, counted from the start of the file.
    ///
    /// Bytes that were read and not returned do not count: a relative position counts from the
    /// first of them. They are dropped, and the next read begins at the new position.
    ///
    /// # Errors
    ///
    /// Those of the value, and those of every call: see [`Unblock`](Unblock#errors). The error of a
    /// write before it is left to the next write or flush.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the position may change nevertheless, and the next call waits for
    /// that.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::Unblock;
    /// use std::io::{Cursor, SeekFrom};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let mut bytes = Unblock::new(Cursor::new(b"good morning"));
    ///     assert_eq!(bytes.seek(SeekFrom::End(-7)).await?, 5);
    ///     let mut buf = [0; 7];
    ///     bytes.read_exact(&mut buf).await?;
    ///     assert_eq!(&buf, b"morning");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.idle().await?;
        // Of a call whose future was dropped.
        self.seeking = None;
        poll_fn(|cx| self.poll_seek(cx, to)).await
    }

    /// Polls a [`seek`](Unblock::seek), for futures written by hand. The last task that has polled
    /// is woken.
    ///
    /// As long as the same `to` is passed, and no other call is made, the polls are those of one
    /// seek.
    ///
    /// # Errors
    ///
    /// Same as [`seek`](Unblock::seek).
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::Unblock;
    /// use std::future::poll_fn;
    /// use std::io::{Cursor, SeekFrom};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let mut bytes = Unblock::new(Cursor::new(b"good morning"));
    ///     let position = poll_fn(|cx| bytes.poll_seek(cx, SeekFrom::Start(5))).await?;
    ///     assert_eq!(position, 5);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn poll_seek(&mut self, cx: &mut Context<'_>, to: SeekFrom) -> Poll<io::Result<u64>> {
        loop {
            ready!(self.poll_idle(cx))?;
            let position = self.content().position.take();
            let is_begun = self.seeking == Some(Seeking::Begun(to));
            self.seeking = None;
            if let (true, Some(position)) = (is_begun, position) {
                return Poll::Ready(position);
            }
            self.begin(Call::Seek, move |content| content.seek(to))?;
            self.seeking = Some(Seeking::Begun(to));
        }
    }

    /// Sets what the next call of [`poll_complete`](Unblock::poll_complete) seeks.
    #[cfg(feature = "tokio")]
    pub(crate) fn start_seek(&mut self, to: SeekFrom) {
        self.seeking = Some(Seeking::Wanted(to));
    }

    /// Polls the seek of [`start_seek`](Unblock::start_seek). If there is none, returns the present
    /// position.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let to = match self.seeking {
            Some(Seeking::Wanted(to) | Seeking::Begun(to)) => to,
            None => SeekFrom::Current(0),
        };
        self.poll_seek(cx, to)
    }
}
