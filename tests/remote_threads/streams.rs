//! Unix streams, their owned halves, and the ends of a pipe.

use super::fixture::{Fixture, RemoteThread, half_polled, is_gone, wake_a_task};
use reveille::net::kind::{Readable, Unix, Writable};
use reveille::net::{ByteStream, OwnedReadHalf, OwnedWriteHalf, UnixStream, pipe};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream as StdStream;

/// A stream of the runtime, and its peer, which blocks.
fn unix(fixture: &Fixture) -> (UnixStream, StdStream) {
    let (here, there) = StdStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    let stream = fixture.make(async { UnixStream::from_std(here).unwrap() });
    (stream, there)
}

/// The reading end of a pipe, and its peer, which blocks.
fn receiver(fixture: &Fixture) -> (pipe::Receiver, File) {
    let (sender, receiver) = fixture.make(async { pipe::pipe().unwrap() });
    (receiver, File::from(sender.into_blocking_fd().unwrap()))
}

/// The writing end of a pipe, and its peer, which blocks.
fn sender(fixture: &Fixture) -> (pipe::Sender, File) {
    let (sender, receiver) = fixture.make(async { pipe::pipe().unwrap() });
    (sender, File::from(receiver.into_blocking_fd().unwrap()))
}

// ---- reading ----

fn poll_read<K: Readable>(fixture: &mut Fixture, stream: ByteStream<K>, mut peer: impl Write) {
    let reads = |stream: ByteStream<K>, remote: &RemoteThread| {
        let mut buf = [0; 8];
        let read = remote.wait(stream.read(&mut buf));
        if remote.state.is_gone() {
            is_gone(read);
            is_gone(remote.wait(stream.readable()));
            // Operations that need not wait still work.
            let nothing = stream.try_read(&mut buf).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        } else {
            assert_eq!(&buf[..read.unwrap()], b"hello");
        }
    };
    let deliver = || peer.write_all(b"hello").unwrap();
    fixture.run(stream, reads, deliver).unwrap();
}

fn wake_reader<K: Readable>(
    fixture: &mut Fixture,
    stream: ByteStream<K>,
    mut peer: impl Write + Send,
) {
    let probe = fixture.probe.clone();
    let reads = async move {
        let _probe = probe;
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 5);
    };
    wake_a_task(fixture, reads, move || peer.write_all(b"hello").unwrap());
}

pub(crate) fn unix_poll_read(fixture: &mut Fixture) {
    let (stream, peer) = unix(fixture);
    poll_read(fixture, stream, peer);
}

pub(crate) fn pipe_poll_read(fixture: &mut Fixture) {
    let (receiver, peer) = receiver(fixture);
    poll_read(fixture, receiver, peer);
}

pub(crate) fn unix_wake(fixture: &mut Fixture) {
    let (stream, peer) = unix(fixture);
    wake_reader(fixture, stream, peer);
}

pub(crate) fn pipe_wake(fixture: &mut Fixture) {
    let (receiver, peer) = receiver(fixture);
    wake_reader(fixture, receiver, peer);
}

// ---- writing ----

fn poll_write<K: Writable>(fixture: &mut Fixture, stream: ByteStream<K>, peer: impl Read) {
    let mut sent = 0;
    while let Ok(n) = stream.try_write(&[0; 1 << 12]) {
        sent += n;
    }
    let writes = |stream: ByteStream<K>, remote: &RemoteThread| {
        let written = remote.wait(stream.write_all(&[1; 1 << 12]));
        if remote.state.is_gone() {
            is_gone(written);
            is_gone(remote.wait(stream.writable()));
        } else {
            written.unwrap();
        }
    };
    let mut all = peer.take(sent as u64);
    let deliver = || {
        // The peer reads everything, so that there is room.
        let read = io::copy(&mut all, &mut io::sink());
        assert_eq!(read.unwrap(), sent as u64);
    };
    fixture.run(stream, writes, deliver).unwrap();
}

pub(crate) fn unix_poll_write(fixture: &mut Fixture) {
    let (stream, peer) = unix(fixture);
    poll_write(fixture, stream, peer);
}

pub(crate) fn pipe_poll_write(fixture: &mut Fixture) {
    let (sender, peer) = sender(fixture);
    poll_write(fixture, sender, peer);
}

// ---- dropping ----

/// Drops a stream, or a future that holds it. The peer then reads the end.
fn drop_there<T: Send>(fixture: &mut Fixture, thing: T, mut peer: impl Read + Send) {
    let drops = |thing, remote: &RemoteThread| {
        drop(thing);
        remote.waits();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "it is closed");
    };
    fixture.run(thing, drops, || {}).unwrap();
}

pub(crate) fn unix_drop(fixture: &mut Fixture) {
    let (stream, peer) = unix(fixture);
    drop_there(fixture, stream, peer);
}

pub(crate) fn unix_drop_half_polled(fixture: &mut Fixture) {
    let (stream, peer) = unix(fixture);
    let probe = fixture.probe.clone();
    let future = half_polled(fixture, async move {
        let _probe = probe;
        stream.readable().await
    });
    drop_there(fixture, future, peer);
}

pub(crate) fn sender_drop(fixture: &mut Fixture) {
    let (sender, peer) = sender(fixture);
    drop_there(fixture, sender, peer);
}

/// The writing peer of a reading end that is gone gets an error.
pub(crate) fn receiver_drop_half_polled(fixture: &mut Fixture) {
    let (receiver, mut peer) = receiver(fixture);
    let probe = fixture.probe.clone();
    let future = half_polled(fixture, async move {
        let _probe = probe;
        receiver.readable().await
    });
    let drops = |future, remote: &RemoteThread| {
        drop(future);
        remote.waits();
        // The owner closes it when it handles the message.
        while peer.write_all(b"more").is_ok() {}
    };
    fixture.run(future, drops, || {}).unwrap();
}

// ---- halves ----

/// The owner keeps the other half.
pub(crate) fn read_half_poll_read(fixture: &mut Fixture) {
    let (stream, mut peer) = unix(fixture);
    let (read, write) = stream.into_split();
    let reads = |read: OwnedReadHalf<Unix>, remote: &RemoteThread| {
        let mut buf = [0; 8];
        let got = remote.wait(read.read(&mut buf));
        if remote.state.is_gone() {
            is_gone(got);
        } else {
            assert_eq!(&buf[..got.unwrap()], b"hello");
        }
    };
    fixture
        .run(read, reads, || peer.write_all(b"hello").unwrap())
        .unwrap();
    assert_eq!(write.try_write(b"bye").unwrap(), 3);
    drop(write);
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"bye");
}

/// The peer reads the end. The reading side is still there.
pub(crate) fn write_half_drop(fixture: &mut Fixture) {
    let (stream, mut peer) = unix(fixture);
    let (read, write) = stream.into_split();
    let drops = |write: OwnedWriteHalf<Unix>, remote: &RemoteThread| {
        assert_eq!(write.try_write(b"bye").unwrap(), 3);
        drop(write);
        remote.waits();
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"bye");
        peer.write_all(b"still").unwrap();
    };
    fixture.run(write, drops, || {}).unwrap();
    assert_eq!(read.try_read(&mut [0; 8]).unwrap(), 5);
}
