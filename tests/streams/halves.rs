//! The methods of the owned halves that only pass on to the stream: those that poll, and
//! `try_peek`.

use super::support::poll_once;
use super::{Pair, on_every_backend, pair, unix_pair};
use reveille::net::OwnedWriteHalf;
use reveille::net::kind::Duplex;
use reveille::spawn;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::pin::pin;

#[test]
fn owned_halves_peek_and_poll_several_buffers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            peek_and_read(pair().await).await;
            peek_and_read(unix_pair()).await;
        });
    });
}

async fn peek_and_read<K: Duplex>((near, far): Pair<K>) {
    let ((read, _answers), (_questions, write)) = (far.into_split(), near.into_split());
    let (mut buf, mut head, mut body) = ([0; 16], [0; 4], [0; 16]);
    for _ in 0..2 {
        let nothing = read.try_peek(&mut buf).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        {
            let mut ready = pin!(poll_fn(|cx| read.poll_read_ready(cx)));
            assert!(poll_once(&mut ready).await.is_pending());
            let mut peeked = pin!(poll_fn(|cx| read.poll_peek(cx, &mut buf)));
            assert!(poll_once(&mut peeked).await.is_pending());
            let mut parts = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut body)];
            let mut got = pin!(poll_fn(|cx| read.poll_read_vectored(cx, &mut parts)));
            assert!(poll_once(&mut got).await.is_pending());

            let parts = [IoSlice::new(b"head"), IoSlice::new(b"body!")];
            let sent = poll_fn(|cx| write.poll_write_vectored(cx, &parts)).await;
            assert_eq!(sent.unwrap(), 9);
            ready.await.unwrap();
            assert_eq!(peeked.await.unwrap(), 9);
            assert_eq!(got.await.unwrap(), 9);
        }
        assert_eq!(&buf[..9], b"headbody!");
        assert_eq!((&head, &body[..5]), (b"head", &b"body!"[..]));

        write.write_all(b"again").await.unwrap();
        read.readable().await.unwrap();
        assert_eq!(read.try_peek(&mut buf).unwrap(), 5);
        assert_eq!(&buf[..5], b"again");
        // It is there still.
        assert_eq!(read.read(&mut buf).await.unwrap(), 5);
    }
}

#[test]
fn owned_write_half_is_ready_only_if_a_write_succeeds() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            fill_and_drain(pair().await).await;
            fill_and_drain(unix_pair()).await;
        });
    });
}

/// Writes until the kernel takes no more.
fn fill<K: Duplex>(write: &OwnedWriteHalf<K>) -> usize {
    let mut sent = 0;
    while let Ok(n) = write.try_write(&[0; 4096]) {
        sent += n;
    }
    sent
}

async fn fill_and_drain<K: Duplex>((near, far): Pair<K>) {
    let ((read, _answers), (_questions, write)) = (far.into_split(), near.into_split());
    let mut ready = pin!(poll_fn(|cx| write.poll_write_ready(cx)));
    (&mut ready).await.unwrap();
    let mut sent = fill(&write);
    while poll_once(&mut ready).await.is_ready() {
        // Bytes that were on their way have made room.
        let more = fill(&write);
        assert!(more > 0, "it is writable when it says so");
        sent += more;
    }
    let drained = spawn(async move {
        let (mut all, mut buf) = (0, vec![0; 1 << 16]);
        loop {
            match read.read(&mut buf).await.unwrap() {
                0 => return all,
                n => all += n,
            }
        }
    });
    ready.await.unwrap();
    let parts = [IoSlice::new(b"the"), IoSlice::new(b"end")];
    let last = poll_fn(|cx| write.poll_write_vectored(cx, &parts)).await;
    drop(write);
    assert_eq!(drained.await.unwrap(), sent + last.unwrap());
}
