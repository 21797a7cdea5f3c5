//! UDP sockets and Unix datagram sockets.

use super::fixture::{Fixture, RemoteThread, half_polled, is_gone, wake_a_task};
use reveille::net::{UdpSocket, UnixDatagram};
use std::io;
use std::net::{Ipv4Addr, UdpSocket as StdUdp};
use std::os::unix::net::UnixDatagram as StdUnix;

/// A socket of the runtime, and a peer that is connected to it.
fn udp(fixture: &Fixture) -> (UdpSocket, StdUdp) {
    let any = (Ipv4Addr::LOCALHOST, 0);
    let socket = fixture.make(UdpSocket::bind(any)).unwrap();
    let peer = StdUdp::bind(any).unwrap();
    peer.connect(socket.local_addr().unwrap()).unwrap();
    (socket, peer)
}

/// One of a pair of sockets that belongs to the runtime, and the other one, which blocks.
fn unix(fixture: &Fixture) -> (UnixDatagram, StdUnix) {
    let (here, there) = StdUnix::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    let socket = fixture.make(async { UnixDatagram::from_std(here).unwrap() });
    (socket, there)
}

pub(crate) fn udp_poll_recv(fixture: &mut Fixture) {
    let (socket, peer) = udp(fixture);
    let to = peer.local_addr().unwrap();
    let receives = |socket: UdpSocket, remote: &RemoteThread| {
        let mut buf = [0; 8];
        let received = remote.wait(socket.recv_from(&mut buf));
        if remote.state.is_gone() {
            is_gone(received);
            is_gone(remote.wait(socket.readable()));
            // Operations that need not wait still work.
            assert_eq!(remote.wait(socket.send_to(b"bye", to)).unwrap(), 3);
            let nothing = socket.try_recv_from(&mut buf).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        } else {
            assert_eq!(received.unwrap(), (5, to));
        }
    };
    let deliver = || assert_eq!(peer.send(b"hello").unwrap(), 5);
    fixture.run(socket, receives, deliver).unwrap();
}

pub(crate) fn udp_wake(fixture: &mut Fixture) {
    let (socket, peer) = udp(fixture);
    let probe = fixture.probe.clone();
    let receives = async move {
        let _probe = probe;
        assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 5);
    };
    wake_a_task(fixture, receives, move || {
        assert_eq!(peer.send(b"hello").unwrap(), 5);
    });
}

pub(crate) fn udp_drop_half_polled(fixture: &mut Fixture) {
    let (socket, _peer) = udp(fixture);
    let probe = fixture.probe.clone();
    let future = half_polled(fixture, async move {
        let _probe = probe;
        socket.readable().await
    });
    let drops = |future, remote: &RemoteThread| {
        drop(future);
        remote.waits();
    };
    fixture.run(future, drops, || {}).unwrap();
}

pub(crate) fn unix_datagram_poll_recv(fixture: &mut Fixture) {
    let (socket, peer) = unix(fixture);
    let receives = |socket: UnixDatagram, remote: &RemoteThread| {
        let mut buf = [0; 8];
        let received = remote.wait(socket.recv(&mut buf));
        if remote.state.is_gone() {
            is_gone(received);
            is_gone(remote.wait(socket.readable()));
            assert_eq!(remote.wait(socket.send(b"bye")).unwrap(), 3);
        } else {
            assert_eq!(&buf[..received.unwrap()], b"hello");
        }
    };
    let deliver = || assert_eq!(peer.send(b"hello").unwrap(), 5);
    fixture.run(socket, receives, deliver).unwrap();
}

/// A send to a full peer may wait for a timer of the runtime in place of an event.
pub(crate) fn unix_datagram_poll_send(fixture: &mut Fixture) {
    let (socket, peer) = unix(fixture);
    let mut sent = 0;
    while socket.try_send(b"hello").is_ok() {
        sent += 1;
    }
    let sends = |socket: UnixDatagram, remote: &RemoteThread| {
        let result = remote.wait(socket.send(b"more"));
        if remote.state.is_gone() {
            is_gone(result);
        } else {
            assert_eq!(result.unwrap(), 4);
        }
    };
    let deliver = || {
        for _ in 0..sent {
            assert_eq!(peer.recv(&mut [0; 8]).unwrap(), 5);
        }
    };
    fixture.run(socket, sends, deliver).unwrap();
}

pub(crate) fn unix_datagram_drop(fixture: &mut Fixture) {
    let (socket, peer) = unix(fixture);
    let drops = |socket, remote: &RemoteThread| {
        drop(socket);
        remote.waits();
        // The owner closes it when it handles the message.
        peer.set_nonblocking(true).unwrap();
        while !matches!(peer.send(b"more"), Err(error) if error.kind() != io::ErrorKind::WouldBlock)
        {
            std::thread::yield_now();
        }
    };
    fixture.run(socket, drops, || {}).unwrap();
}
