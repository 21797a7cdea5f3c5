//! The traits for the ends of pipes.

use crate::contract::reader_keeps_the_contract;
use crate::family::{ByFutures, ByHyper, ByTokio, Writer};
use crate::support::on_every_backend;
use reveille::net::pipe::{Receiver, pipe};
use std::fs::File;
use std::future::poll_fn;
use std::io::IoSlice;

/// A pipe with a blocking writing end.
fn blocking_pipe() -> (File, Receiver) {
    let (sender, receiver) = pipe().unwrap();
    (sender.into_blocking_fd().unwrap().into(), receiver)
}

#[test]
fn receiver_keeps_the_contract_of_readers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (peer, receiver) = blocking_pipe();
            reader_keeps_the_contract(ByFutures(receiver), peer, false).await;
            let (peer, receiver) = blocking_pipe();
            reader_keeps_the_contract(ByTokio(&receiver), peer, false).await;
            let (peer, receiver) = blocking_pipe();
            receiver.set_short_read_hint(true);
            reader_keeps_the_contract(ByHyper(receiver), peer, false).await;
        });
    });
}

#[test]
fn closing_a_sender_does_not_end_the_pipe() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (sender, receiver) = pipe().unwrap();
            writes_after_close(&receiver, ByFutures(&sender)).await;
            writes_after_close(&receiver, ByTokio(&sender)).await;
            writes_after_close(&receiver, ByHyper(&sender)).await;
            writes_after_close(&receiver, ByFutures(sender)).await;
            // The last one was dropped.
            assert_eq!(receiver.read(&mut [0; 8]).await.unwrap(), 0);
        });
    });
}

async fn writes_after_close(receiver: &Receiver, mut sender: impl Writer) {
    assert!(sender.is_vectored());
    poll_fn(|cx| sender.poll_close(cx)).await.unwrap();
    let parts = [b"he".as_slice(), b"", b"llo"].map(IoSlice::new);
    let n = poll_fn(|cx| sender.poll_write_vectored(cx, &parts)).await;
    assert_eq!(n.unwrap(), 5);
    poll_fn(|cx| sender.poll_flush(cx)).await.unwrap();
    let mut buf = [0; 8];
    assert_eq!(receiver.read(&mut buf).await.unwrap(), 5);
    assert_eq!(&buf[..5], b"hello");
}
