//! The traits for `Unblock`.

use crate::contract::reader_keeps_the_contract;
use crate::family::{ByFutures, ByHyper, ByTokio, Writer};
use crate::support::on_every_backend;
use reveille::io::Unblock;
use std::future::poll_fn;
use std::io::{Cursor, IoSlice, SeekFrom};
use std::os::unix::net::UnixStream;
use std::pin::Pin;

#[test]
fn unblock_keeps_the_contract_of_readers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let pair = || {
                let (here, there) = UnixStream::pair().unwrap();
                (Unblock::new(here), there)
            };
            let (reader, peer) = pair();
            reader_keeps_the_contract(ByFutures(reader), peer, false).await;
            let (reader, peer) = pair();
            reader_keeps_the_contract(ByTokio(reader), peer, false).await;
            let (reader, peer) = pair();
            reader_keeps_the_contract(ByHyper(reader), peer, false).await;
        });
    });
}

async fn write_all_ways(mut writer: impl Writer) {
    let n = poll_fn(|cx| writer.poll_write(cx, b"good ")).await;
    assert_eq!(n.unwrap(), 5);
    let parts = [
        IoSlice::new(b"mor"),
        IoSlice::new(b""),
        IoSlice::new(b"ning"),
    ];
    let n = poll_fn(|cx| writer.poll_write_vectored(cx, &parts)).await;
    assert_eq!(n.unwrap(), 7);
    assert!(writer.is_vectored());
    poll_fn(|cx| writer.poll_flush(cx)).await.unwrap();
    let n = poll_fn(|cx| writer.poll_write(cx, b"!")).await;
    assert_eq!(n.unwrap(), 1);
    poll_fn(|cx| writer.poll_close(cx)).await.unwrap();
}

#[test]
fn unblock_is_written_and_closed_by_every_family() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for by in 0..3 {
                let (here, mut there) = UnixStream::pair().unwrap();
                let writer = Unblock::new(here);
                match by {
                    0 => write_all_ways(ByFutures(writer)).await,
                    1 => write_all_ways(ByTokio(writer)).await,
                    _ => write_all_ways(ByHyper(writer)).await,
                }
                let mut all = String::new();
                std::io::Read::read_to_string(&mut there, &mut all).unwrap();
                assert_eq!(all, "good morning!");
            }
        });
    });
}

#[test]
fn unblock_is_repositioned_by_both_families() {
    use futures_io::AsyncSeek as BySeek;
    use tokio::io::AsyncSeek as ByTwoCalls;
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut bytes = Unblock::new(Cursor::new(b"good morning"));
            let to = SeekFrom::Current(2);
            for position in [2, 4] {
                let seek = poll_fn(|cx| BySeek::poll_seek(Pin::new(&mut bytes), cx, to));
                assert_eq!(seek.await.unwrap(), position);
            }
            for position in [6, 8] {
                ByTwoCalls::start_seek(Pin::new(&mut bytes), to).unwrap();
                for _ in 0..2 {
                    let done = poll_fn(|cx| ByTwoCalls::poll_complete(Pin::new(&mut bytes), cx));
                    assert_eq!(done.await.unwrap(), position);
                }
            }
            // The second of two that were started counts.
            ByTwoCalls::start_seek(Pin::new(&mut bytes), to).unwrap();
            ByTwoCalls::start_seek(Pin::new(&mut bytes), SeekFrom::Start(5)).unwrap();
            let done = poll_fn(|cx| ByTwoCalls::poll_complete(Pin::new(&mut bytes), cx));
            assert_eq!(done.await.unwrap(), 5);
            let mut rest = Vec::new();
            bytes.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"morning");
        });
    });
}

#[test]
fn unblock_is_a_buffered_reader_for_both_families() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut bytes = Unblock::with_capacity(5, &b"good morning"[..]);
            for part in [&b"good "[..], b"morni"] {
                let fill = poll_fn(|cx| {
                    let polled = futures_io::AsyncBufRead::poll_fill_buf(Pin::new(&mut bytes), cx);
                    polled.map_ok(<[u8]>::to_vec)
                });
                assert_eq!(fill.await.unwrap(), part);
                futures_io::AsyncBufRead::consume(Pin::new(&mut bytes), 5);
            }
            for part in [&b"ng"[..], b""] {
                let fill = poll_fn(|cx| {
                    let polled = tokio::io::AsyncBufRead::poll_fill_buf(Pin::new(&mut bytes), cx);
                    polled.map_ok(<[u8]>::to_vec)
                });
                assert_eq!(fill.await.unwrap(), part);
                tokio::io::AsyncBufRead::consume(Pin::new(&mut bytes), part.len());
            }
        });
    });
}
