//! The traits for streams and their halves. None of them may write to memory that it does not
//! fill.

use crate::contract::{End, reader_keeps_the_contract, writer_keeps_the_contract};
use crate::family::{ByFutures, ByHyper, ByTokio, Reader};
use crate::support::{on_every_backend, std_pair};
use reveille::net::UnixStream;
use reveille::net::pipe::{Receiver, Sender, pipe};
use std::fs::File;
use std::future::poll_fn;
use std::io::Write;

#[test]
fn stream_keeps_the_contract_of_readers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (peer, stream) = std_pair().await;
            reader_keeps_the_contract(ByFutures(stream), peer, false).await;
            let (peer, stream) = std_pair().await;
            reader_keeps_the_contract(ByFutures(&stream), peer, false).await;
            let (peer, stream) = std_pair().await;
            reader_keeps_the_contract(ByTokio(stream), peer, false).await;
            let (peer, stream) = std_pair().await;
            reader_keeps_the_contract(ByTokio(&stream), peer, false).await;
            let (peer, stream) = std_pair().await;
            reader_keeps_the_contract(ByHyper(stream), peer, false).await;
            let (peer, stream) = std_pair().await;
            reader_keeps_the_contract(ByHyper(&stream), peer, false).await;
        });
    });
}

#[test]
fn read_half_keeps_the_contract_of_readers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (peer, stream) = std_pair().await;
            let (read, _write) = stream.into_split();
            reader_keeps_the_contract(ByFutures(read), peer, false).await;
            let (peer, stream) = std_pair().await;
            let (read, _write) = stream.into_split();
            reader_keeps_the_contract(ByTokio(read), peer, false).await;
            let (peer, stream) = std_pair().await;
            let (read, _write) = stream.into_split();
            reader_keeps_the_contract(ByHyper(read), peer, false).await;
        });
    });
}

#[test]
fn stream_keeps_the_contract_of_writers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (peer, stream) = std_pair().await;
            writer_keeps_the_contract(ByFutures(stream), peer, End::Close).await;
            let (peer, stream) = std_pair().await;
            writer_keeps_the_contract(ByFutures(&stream), peer, End::Close).await;
            let (peer, stream) = std_pair().await;
            writer_keeps_the_contract(ByTokio(stream), peer, End::Close).await;
            let (peer, stream) = std_pair().await;
            writer_keeps_the_contract(ByTokio(&stream), peer, End::Close).await;
            let (peer, stream) = std_pair().await;
            writer_keeps_the_contract(ByHyper(stream), peer, End::Close).await;
            let (peer, stream) = std_pair().await;
            writer_keeps_the_contract(ByHyper(&stream), peer, End::Close).await;
        });
    });
}

#[test]
fn write_half_keeps_the_contract_of_writers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (peer, stream) = std_pair().await;
            let (_read, write) = stream.into_split();
            writer_keeps_the_contract(ByFutures(write), peer, End::Close).await;
            let (peer, stream) = std_pair().await;
            let (_read, write) = stream.into_split();
            writer_keeps_the_contract(ByTokio(write), peer, End::Close).await;
            let (peer, stream) = std_pair().await;
            let (_read, write) = stream.into_split();
            writer_keeps_the_contract(ByHyper(write), peer, End::Close).await;
        });
    });
}

/// A pipe whose writing end is in blocking mode.
fn receiver() -> (File, Receiver) {
    let (sender, receiver) = pipe().unwrap();
    (sender.into_blocking_fd().unwrap().into(), receiver)
}

#[test]
fn pipe_keeps_the_contract_of_readers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (peer, pipe) = receiver();
            reader_keeps_the_contract(ByFutures(pipe), peer, false).await;
            let (peer, pipe) = receiver();
            reader_keeps_the_contract(ByTokio(&pipe), peer, false).await;
            let (peer, pipe) = receiver();
            reader_keeps_the_contract(ByHyper(pipe), peer, false).await;
        });
    });
}

/// A pipe whose reading end is in blocking mode.
fn sender() -> (File, Sender) {
    let (sender, receiver) = pipe().unwrap();
    (receiver.into_blocking_fd().unwrap().into(), sender)
}

#[test]
fn pipe_keeps_the_contract_of_writers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (peer, pipe) = sender();
            writer_keeps_the_contract(ByFutures(pipe), peer, End::Drop).await;
            let (peer, pipe) = sender();
            writer_keeps_the_contract(ByTokio(pipe), peer, End::Drop).await;
            let (peer, pipe) = sender();
            writer_keeps_the_contract(ByHyper(pipe), peer, End::Drop).await;
        });
    });
}

/// hyper offers a buffer that it has grown, and reuses its beginning.
#[test]
fn read_for_hyper_takes_at_most_64_kib() {
    const MOST: usize = 64 * 1024;
    const SENT: usize = MOST + 10_000;
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (mut peer, stream) = std::os::unix::net::UnixStream::pair().unwrap();
            peer.set_nonblocking(true).unwrap();
            stream.set_nonblocking(true).unwrap();
            let stream = UnixStream::from_std(stream).unwrap();
            // All of it waits in the stream before the first read.
            peer.write_all(&[7; SENT]).unwrap();
            let mut reader = ByHyper(&stream);
            for expected in [MOST, SENT - MOST] {
                let got = poll_fn(|cx| reader.poll_read(cx, 4 * MOST)).await.unwrap();
                assert_eq!(got.bytes.len(), expected);
                assert!(got.bytes == vec![7; expected] && got.is_rest_untouched);
            }
        });
    });
}
