//! `read_buf`, `try_read_buf`, `poll_read_uninit`, `poll_read_vectored`.

use super::support::poll_once;
use super::{ends, on_every_backend, pair, unix_pair};
use reveille::net::ByteStream;
use reveille::net::kind::{Readable, Writable};
use std::future::poll_fn;
use std::io::{ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::pin::pin;

#[test]
fn read_buf_appends_and_keeps_the_rest() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            appends(pair().await).await;
            appends(ends()).await;
            appends(unix_pair()).await;
        });
    });
}

async fn appends<W: Writable, R: Readable>((near, far): (ByteStream<W>, ByteStream<R>)) {
    let mut buf = Vec::with_capacity(8);
    buf.extend_from_slice(b"old:");
    near.write_all(b"new!").await.unwrap();
    far.readable().await.unwrap();
    assert_eq!(far.read_buf(&mut buf).await.unwrap(), 4);
    assert_eq!((buf.as_slice(), buf.capacity()), (&b"old:new!"[..], 8));

    // Full: it makes room, so that 0 always means the end.
    near.write_all(b"more").await.unwrap();
    far.readable().await.unwrap();
    assert_eq!(far.read_buf(&mut buf).await.unwrap(), 4);
    assert_eq!(buf, b"old:new!more");
    assert!(buf.capacity() >= 8 + 32);

    let nothing = far.try_read_buf(&mut buf).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    near.write_all(b"now").await.unwrap();
    far.readable().await.unwrap();
    let mut fresh = Vec::new();
    assert_eq!(far.try_read_buf(&mut fresh).unwrap(), 3);
    assert_eq!(fresh, b"now");

    drop(near);
    assert_eq!(far.read_buf(&mut fresh).await.unwrap(), 0);
    assert_eq!(fresh, b"now");
    // A vector without capacity is no reason to return 0 before the end.
    assert_eq!(far.read_buf(&mut Vec::new()).await.unwrap(), 0);
}

#[test]
fn a_long_transfer_through_read_buf_arrives() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair().await;
            transfer(near, far).await;
            let (near, far) = ends();
            transfer(near, far).await;
            let (near, far) = unix_pair();
            transfer(near, far).await;
        });
    });
}

async fn transfer<W: Writable, R: Readable>(near: ByteStream<W>, far: ByteStream<R>) {
    let sent: Vec<u8> = (0..600_000_u32).map(|i| (i ^ (i >> 8)) as u8).collect();
    let expected = sent.clone();
    let writer = reveille::spawn(async move { near.write_all(&sent).await });
    let mut got = Vec::new();
    while far.read_buf(&mut got).await.unwrap() != 0 {
        if got.len() % 3 == 0 {
            got.reserve(10_000);
        }
    }
    writer.await.unwrap().unwrap();
    assert!(got == expected, "{} bytes arrived", got.len());
}

#[test]
fn poll_read_uninit_writes_only_what_it_returns() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            writes_only(pair().await).await;
            writes_only(ends()).await;
            writes_only(unix_pair()).await;
        });
    });
}

async fn writes_only<W: Writable, R: Readable>((near, far): (ByteStream<W>, ByteStream<R>)) {
    near.write_all(b"data").await.unwrap();
    far.readable().await.unwrap();
    let mut buf = [MaybeUninit::new(0xAA_u8); 12];
    let n = poll_fn(|cx| far.poll_read_uninit(cx, &mut buf)).await;
    assert_eq!(n.unwrap(), 4);
    // SAFETY: all of it was initialized above, and reads initialize what they write.
    let bytes = buf.map(|byte| unsafe { byte.assume_init() });
    assert_eq!(&bytes, b"data\xAA\xAA\xAA\xAA\xAA\xAA\xAA\xAA");
    let n = poll_fn(|cx| far.poll_read_uninit(cx, &mut [])).await;
    assert_eq!(n.unwrap(), 0);
}

#[test]
fn poll_read_vectored_fills_one_buffer_after_the_other() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            fills_in_order(pair().await).await;
            fills_in_order(ends()).await;
            fills_in_order(unix_pair()).await;
        });
    });
}

async fn fills_in_order<W: Writable, R: Readable>((near, far): (ByteStream<W>, ByteStream<R>)) {
    let (mut head, mut none, mut body) = ([0; 2], [0; 0], [0; 3]);
    let mut bufs = [&mut head[..], &mut none, &mut body].map(IoSliceMut::new);
    {
        let mut waits = pin!(poll_fn(|cx| far.poll_read_vectored(cx, &mut bufs)));
        assert!(poll_once(&mut waits).await.is_pending());
        near.write_all(b"abcdefgh").await.unwrap();
        assert_eq!(waits.await.unwrap(), 5);
    }
    assert_eq!((&*bufs[0], &*bufs[2]), (&b"ab"[..], &b"cde"[..]));
    // The rest fills the first buffer, and one byte of the last.
    let rest = poll_fn(|cx| far.poll_read_vectored(cx, &mut bufs)).await;
    assert_eq!(rest.unwrap(), 3);
    assert_eq!((&*bufs[0], &*bufs[2]), (&b"fg"[..], &b"hde"[..]));
    drop(near);
    let end = poll_fn(|cx| far.poll_read_vectored(cx, &mut bufs)).await;
    assert_eq!(end.unwrap(), 0);
}
