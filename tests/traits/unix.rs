//! The traits for Unix streams and their halves.

use crate::contract::{End, reader_keeps_the_contract, writer_keeps_the_contract};
use crate::family::{ByFutures, ByHyper, ByTokio};
use crate::support::on_every_backend;
use reveille::net::UnixStream;

/// A pair of which one is a blocking stream of `std`.
fn pair() -> (std::os::unix::net::UnixStream, UnixStream) {
    let (one, other) = UnixStream::pair().unwrap();
    let one = one.into_std().unwrap();
    one.set_nonblocking(false).unwrap();
    (one, other)
}

#[test]
fn stream_and_read_half_keep_the_contract_of_readers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (peer, stream) = pair();
            reader_keeps_the_contract(ByFutures(&stream), peer, false).await;
            let (peer, stream) = pair();
            reader_keeps_the_contract(ByTokio(stream), peer, false).await;
            let (peer, stream) = pair();
            let (read, _write) = stream.into_split();
            reader_keeps_the_contract(ByHyper(read), peer, false).await;
        });
    });
}

#[test]
fn stream_and_write_half_keep_the_contract_of_writers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (peer, stream) = pair();
            writer_keeps_the_contract(ByFutures(&stream), peer, End::Close).await;
            let (peer, stream) = pair();
            writer_keeps_the_contract(ByTokio(stream), peer, End::Close).await;
            let (peer, stream) = pair();
            let (_read, write) = stream.into_split();
            writer_keeps_the_contract(ByHyper(write), peer, End::Close).await;
        });
    });
}
