//! TCP streams.

use super::fixture::{Fixture, RemoteThread, half_polled, is_gone, wake_a_task};
use reveille::net::{TcpListener, TcpStream};
use std::io::{self, Read, Write};

/// A stream of the runtime, and its peer.
pub(crate) fn tcp(fixture: &Fixture) -> (TcpStream, std::net::TcpStream) {
    fixture.make(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (stream, peer)
    })
}

pub(crate) fn tcp_poll_read(fixture: &mut Fixture) {
    let (stream, mut peer) = tcp(fixture);
    let mut writer = peer.try_clone().unwrap();
    let reads = |stream: TcpStream, remote: &RemoteThread| {
        let mut buf = [0; 8];
        let read = remote.wait(stream.read(&mut buf));
        if remote.state.is_gone() {
            is_gone(read);
            is_gone(remote.wait(stream.readable()));
            // Operations that need not wait still work.
            assert_eq!(remote.wait(stream.write(b"bye")).unwrap(), 3);
            let nothing = stream.try_read(&mut buf).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        } else {
            assert_eq!(&buf[..read.unwrap()], b"hello");
        }
    };
    let deliver = || writer.write_all(b"hello").unwrap();
    fixture.run(stream, reads, deliver).unwrap();
    if fixture.state.is_gone() {
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"bye");
    }
}

pub(crate) fn tcp_poll_writable(fixture: &mut Fixture) {
    let (stream, peer) = tcp(fixture);
    let mut sent = 0;
    while let Ok(n) = stream.try_write(&[0; 1 << 16]) {
        sent += n;
    }
    let writes = |stream: TcpStream, remote: &RemoteThread| {
        let mut writable = remote.wait(stream.writable());
        if remote.state.is_gone() {
            // The peer has read, so there is room.
            while writable.is_ok() {
                while stream.try_write(&[0; 1 << 16]).is_ok() {}
                writable = remote.wait(stream.writable());
            }
            is_gone(writable);
            is_gone(remote.wait(stream.write_all(&vec![0; 1 << 22])));
        } else {
            writable.unwrap();
            remote.wait(stream.write(b"more")).unwrap();
        }
    };
    let mut all = (&peer).take(sent as u64);
    let deliver = || {
        // The peer reads everything, so that there is room.
        let read = io::copy(&mut all, &mut io::sink());
        assert_eq!(read.unwrap(), sent as u64);
    };
    fixture.run(stream, writes, deliver).unwrap();
}

pub(crate) fn tcp_wake(fixture: &mut Fixture) {
    let (stream, mut peer) = tcp(fixture);
    let probe = fixture.probe.clone();
    let reads = async move {
        let _probe = probe;
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 5);
    };
    wake_a_task(fixture, reads, move || peer.write_all(b"hello").unwrap());
}

pub(crate) fn tcp_drop(fixture: &mut Fixture) {
    let (stream, mut peer) = tcp(fixture);
    let drops = |stream, remote: &RemoteThread| {
        drop(stream);
        remote.waits();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "it is closed");
    };
    fixture.run(stream, drops, || {}).unwrap();
}

pub(crate) fn tcp_drop_half_polled(fixture: &mut Fixture) {
    let (stream, mut peer) = tcp(fixture);
    let probe = fixture.probe.clone();
    let future = half_polled(fixture, async move {
        let _probe = probe;
        stream.readable().await
    });
    let drops = |future, remote: &RemoteThread| {
        drop(future);
        remote.waits();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "it is closed");
    };
    fixture.run(future, drops, || {}).unwrap();
}
