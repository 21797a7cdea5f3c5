//! What readers and writers of every family must do.

use crate::family::{Got, Reader, Writer};
use reveille::yield_now;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::task::Poll;
use std::thread;

/// Reads once, waiting if it must.
async fn read(reader: &mut impl Reader, len: usize) -> Got {
    let got = poll_fn(|cx| reader.poll_read(cx, len)).await;
    got.expect("a read returns no error, least of all that it would block")
}

/// A reader, from the first wait to the end. `peer` is the other end, in blocking mode. With
/// `zeroes` the reader may initialize memory that it does not fill.
pub(crate) async fn reader_keeps_the_contract<P>(mut reader: impl Reader, mut peer: P, zeroes: bool)
where
    P: Write + Send + 'static,
{
    let is_pending = poll_fn(|cx| Poll::Ready(reader.poll_read(cx, 8).is_pending())).await;
    assert!(is_pending, "there is nothing to read");

    peer.write_all(b"hello").unwrap();
    let got = read(&mut reader, 64).await;
    assert_eq!(got.bytes, b"hello");
    assert!(
        got.is_rest_untouched || zeroes,
        "it wrote more than it returned"
    );

    // The rest of what was sent comes with the next read.
    peer.write_all(b"abcde").unwrap();
    let mut all = Vec::new();
    while all.len() < 5 {
        let got = read(&mut reader, 3).await;
        assert!((1..=3).contains(&got.bytes.len()), "{got:?}");
        all.extend(got.bytes);
    }
    assert_eq!(all, b"abcde");

    // More than any reader lends or takes at once.
    let sent: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    let expected = sent.clone();
    let sender = thread::spawn(move || {
        peer.write_all(&sent).unwrap();
    });
    let mut all = Vec::new();
    while all.len() < expected.len() {
        let got = read(&mut reader, 1 << 20).await;
        assert!(!got.bytes.is_empty(), "the end comes too early");
        assert!(
            got.is_rest_untouched || zeroes,
            "it wrote more than it returned"
        );
        all.extend(got.bytes);
    }
    assert!(all == expected, "the bytes arrive in order");
    sender.join().unwrap();
    for _ in 0..2 {
        assert_eq!(read(&mut reader, 8).await.bytes, b"", "the end stays");
    }
}

/// What ends a stream for its reader.
pub(crate) enum End {
    /// Closing the writer.
    Close,
    /// Only a call of another kind.
    Call(Box<dyn FnOnce()>),
    /// Only the drop of the writer.
    Drop,
}

/// A writer, from the first byte to the end. `peer` is the other end, in blocking mode.
pub(crate) async fn writer_keeps_the_contract<P>(mut writer: impl Writer, mut peer: P, end: End)
where
    P: Read + Send + 'static,
{
    assert!(writer.is_vectored());
    assert_eq!(poll_fn(|cx| writer.poll_write(cx, b"")).await.unwrap(), 0);
    let parts = [b"he".as_slice(), b"", b"llo"].map(IoSlice::new);
    let n = poll_fn(|cx| writer.poll_write_vectored(cx, &parts)).await;
    assert_eq!(n.unwrap(), 5, "all buffers are written at once");
    peer.read_exact(&mut [0; 5]).unwrap();

    let (chunk, mut written, mut is_new_poll) = ([7; 10_000], 0, false);
    loop {
        let polled = poll_fn(|cx| Poll::Ready(writer.poll_write(cx, &chunk))).await;
        match polled {
            Poll::Ready(n) => {
                let n = n.expect("a write returns no error, least of all that it would block");
                assert!((1..=chunk.len()).contains(&n), "{n}");
                written += n;
            }
            // The stream is full, unless only the budget of this poll was used up.
            Poll::Pending if is_new_poll => break,
            Poll::Pending => {
                yield_now().await;
                is_new_poll = true;
                continue;
            }
        }
        is_new_poll = false;
    }
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).map(|n| n as u64)
    });
    // The writer is woken when there is room.
    for _ in 0..300 {
        written += poll_fn(|cx| writer.poll_write(cx, &chunk)).await.unwrap();
    }
    poll_fn(|cx| writer.poll_flush(cx)).await.unwrap();
    for _ in 0..2 {
        poll_fn(|cx| writer.poll_close(cx)).await.unwrap();
    }
    match end {
        End::Close => {}
        End::Call(end) => end(),
        End::Drop => {
            drop(writer);
            return assert_eq!(reader.join().unwrap().unwrap(), written as u64);
        }
    }
    assert_eq!(reader.join().unwrap().unwrap(), written as u64);
    // Now the peer is gone, and the connection with it.
    poll_fn(|cx| writer.poll_close(cx)).await.unwrap();
    let error = poll_fn(|cx| writer.poll_write(cx, b"late"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}
